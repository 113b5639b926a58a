// What libtorch's own profiler (Kineto) saw: every operation that went through the dispatcher, autograd's nodes, our
// kernels by their RECORD_FUNCTION annotations, and on a GPU its kernels and copies.
#include <kineto/ActivityType.h>
#include <torch/csrc/autograd/profiler_kineto.h>

#include <cstdlib>

#include "shim_internal.h"

namespace {

namespace profiler = torch::autograd::profiler;
using libkineto::ActivityType;

bool wanted(const profiler::KinetoEvent &e) {
  switch (static_cast<ActivityType>(e.activityType())) {
    case ActivityType::CPU_OP:
    case ActivityType::GPU_MEMCPY:
    case ActivityType::GPU_MEMSET:
    case ActivityType::CONCURRENT_KERNEL:
      return true;
    default:
      return false;
  }
}

lt_event describe(const profiler::KinetoEvent &e, const char *name) {
  bool host = static_cast<ActivityType>(e.activityType()) == ActivityType::CPU_OP;
  return {name,
          static_cast<int64_t>(e.startNs()),
          static_cast<int64_t>(e.durationNs()),
          host ? -1 : e.deviceIndex(),
          host ? static_cast<int64_t>(e.startThreadId()) : e.deviceResourceId(),
          host ? e.correlationId() : e.linkedCorrelationId()};
}

}  // namespace

// The profiler belongs to the thread that starts it, and follows backward to autograd's threads.
char *lt_profile_start(int cards) {
  LT_PROTECT({
    TORCH_CHECK(!profiler::profilerEnabled(), "a profile is being taken already");
    profiler::ProfilerConfig config(profiler::ProfilerState::KINETO);
    std::set<profiler::ActivityType> activities{profiler::ActivityType::CPU};
    if (cards) {
      activities.insert(profiler::ActivityType::CUDA);
    }
    profiler::prepareProfiler(config, activities);
    profiler::enableProfiler(config, activities);
  })
}

char *lt_profile_stop(lt_event **out, int64_t *count) {
  LT_PROTECT({
    auto result = profiler::disableProfiler();
    std::vector<const profiler::KinetoEvent *> events;
    size_t text = 0;
    for (auto &e : result->events()) {
      if (wanted(e)) {
        events.push_back(&e);
        text += e.name().size() + 1;
      }
    }
    // the names follow the events
    auto *block = static_cast<lt_event *>(std::malloc(events.size() * sizeof(lt_event) + text + 1));
    TORCH_CHECK(block, "out of memory for ", events.size(), " profiled events");
    auto *name = reinterpret_cast<char *>(block + events.size());
    for (size_t i = 0; i < events.size(); i++) {
      block[i] = describe(*events[i], name);
      name = stpcpy(name, events[i]->name().c_str()) + 1;
    }
    *out = block;
    *count = static_cast<int64_t>(events.size());
  })
}
