// Results on their way to the host, and the times at which a GPU reached a point of its queue. Waiting for one waits
// for the work queued before it, not for what was queued since.
#include <c10/core/Event.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include "shim_internal.h"

namespace {

struct Later {
  at::Tensor values;                // on the host; a GPU tensor's are in pinned memory
  std::optional<c10::Event> ready;  // when they have arrived
};

c10::Stream stream_of(const at::Device &device) { return c10::impl::VirtualGuardImpl(device.type()).getStream(device); }

Later *begin(const at::Tensor &x) {
  if (x.is_cpu()) {
    return new Later{x.detach().clone(at::MemoryFormat::Contiguous), std::nullopt};
  }
  auto later = std::make_unique<Later>(
      Later{at::empty(x.sizes(), x.options().device(at::kCPU).pinned_memory(true)), std::nullopt});
  later->values.copy_(x.detach(), /*non_blocking=*/true);
  later->ready.emplace(x.device().type());
  later->ready->record(stream_of(x.device()));
  return later.release();
}

}  // namespace

char *lt_read_later(lt_tensor t, void **later) {
  LT_PROTECT({
    at::NoGradGuard no_grad;
    *later = begin(ref(t));
  })
}

char *lt_await(void *later, void *out, size_t bytes) {
  LT_PROTECT({
    auto *l = static_cast<Later *>(later);
    if (l->ready) {
      l->ready->synchronize();
    }
    TORCH_CHECK(l->values.nbytes() == bytes, bytes, " bytes asked for of ", l->values.nbytes());
    std::memcpy(out, l->values.const_data_ptr(), bytes);
  })
}

void lt_free_later(void *later) { delete static_cast<Later *>(later); }

char *lt_timestamp(int device, void **timestamp) {
  LT_PROTECT({
    auto event = std::make_unique<c10::Event>(at::kCUDA, c10::EventFlag::BACKEND_DEFAULT);  // with its time
    event->record(stream_of(device_of(device)));
    *timestamp = event.release();
  })
}

char *lt_between(void *from, void *to, double *milliseconds) {
  LT_PROTECT({
    auto *begin = static_cast<c10::Event *>(from), *end = static_cast<c10::Event *>(to);
    begin->synchronize();
    end->synchronize();
    *milliseconds = begin->elapsedTime(*end);
  })
}

void lt_free_timestamp(void *timestamp) { delete static_cast<c10::Event *>(timestamp); }

// x - x is 0, or NaN if x is not finite.
char *lt_nan_if_not_finite(lt_tensor total, lt_tensor t) {
  LT_PROTECT({
    at::NoGradGuard no_grad;
    auto x = ref(t).detach();
    ref(total).add_(x.sub(x).sum(at::kDouble));
  })
}
