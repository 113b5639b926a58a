// Streams and events on the CPU, which libtorch lacks, for the emulation of NCCL: a stream is a thread that does what
// it is told in order.
#pragma once
#include <c10/core/impl/DeviceGuardImplInterface.h>

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>

namespace {

// A point of a stream.
class Mark {
 public:
  explicit Mark(bool of_caller) : of_caller(of_caller), reached_(of_caller) {}
  void reach() {
    std::lock_guard<std::mutex> turn(mutex_);
    reached_ = true;
    changed_.notify_all();
  }
  void wait() {
    std::unique_lock<std::mutex> turn(mutex_);
    changed_.wait(turn, [this] { return reached_; });
  }
  const bool of_caller;  // of the thread's own stream, which has always done all that it was told

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool reached_;
};

class Stream {
 public:
  Stream() : thread_([this] { run(); }) {}
  void tell(std::function<void()> what) {
    std::lock_guard<std::mutex> turn(mutex_);
    queue_.push_back(std::move(what));
    changed_.notify_one();
  }
  bool behind_caller = false;  // it was told to wait for the caller since its last collective

 private:
  void run() {
    for (;;) {
      std::function<void()> next;
      {
        std::unique_lock<std::mutex> turn(mutex_);
        changed_.wait(turn, [this] { return !queue_.empty(); });
        next = std::move(queue_.front());
        queue_.pop_front();
      }
      next();
    }
  }
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> queue_;
  std::thread thread_;
};

// The streams' ids are their addresses; 0 is the calling thread itself.
struct Guard final : c10::impl::NoOpDeviceGuardImpl<c10::DeviceType::CPU> {
  using Event = std::shared_ptr<Mark>;
  static Stream *of(const c10::Stream &s) { return reinterpret_cast<Stream *>(s.id()); }

  c10::Stream getStreamFromGlobalPool(c10::Device device, bool) const override {
    return c10::Stream(c10::Stream::UNSAFE, device, reinterpret_cast<c10::StreamId>(new Stream));
  }
  void *getStreamNativeHandle(const c10::Stream s) const override { return of(s); }
  void record(void **event, const c10::Stream &s, const c10::DeviceIndex, const c10::EventFlag) const override {
    auto mark = std::make_shared<Mark>(of(s) == nullptr);
    if (of(s)) {
      of(s)->tell([mark] { mark->reach(); });
    }
    destroyEvent(*event, -1);
    *event = new Event(mark);
  }
  void block(void *event, const c10::Stream &s) const override {
    auto mark = *static_cast<Event *>(event);
    if (!of(s)) {
      mark->wait();
      return;
    }
    of(s)->behind_caller |= mark->of_caller;
    of(s)->tell([mark] { mark->wait(); });
  }
  void destroyEvent(void *event, const c10::DeviceIndex) const noexcept override { delete static_cast<Event *>(event); }
};

__attribute__((constructor)) void install() {
  c10::impl::device_guard_impl_registry[static_cast<size_t>(c10::DeviceType::CPU)].store(new Guard);
}

}  // namespace
