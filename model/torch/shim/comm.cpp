// Collectives, whichever engine a group has.
#include "comm.h"

namespace {

lt::Comm *comm_of(lt_comm comm) { return static_cast<lt::Comm *>(comm); }

void require_contiguous(const at::Tensor &t) {
  TORCH_CHECK(t.is_contiguous(), "a collective needs contiguous memory, not strides ", t.strides());
}

void require_pair(const at::Tensor &whole, const at::Tensor &part, int world) {
  require_contiguous(whole);
  require_contiguous(part);
  TORCH_CHECK(whole.scalar_type() == part.scalar_type(), whole.scalar_type(), " and ", part.scalar_type(),
              " in one collective");
  TORCH_CHECK(whole.numel() == part.numel() * world, whole.numel(), " elements are not ", world, " times ",
              part.numel());
}

void require_sums(const at::Tensor &t) {
  switch (t.scalar_type()) {
    case at::kFloat:
    case at::kDouble:
    case at::kHalf:
    case at::kBFloat16:
    case at::kInt:
    case at::kLong:
    case at::kByte:
      return;
    default:
      TORCH_CHECK(false, "no sums of ", t.scalar_type(), " over processes");
  }
}

// What a caller's tensor holds, without a trace in autograd: it may be a leaf that trains, and what a collective writes
// into it is no operation of its own.
at::Tensor plain(lt_tensor t) { return ref(t).variable_data(); }

}  // namespace

// Waits for what is under way.
void lt_free_comm(lt_comm comm) { delete comm_of(comm); }

char *lt_all_reduce(lt_comm comm, lt_tensor t, lt_work *work) {
  LT_PROTECT({
    at::NoGradGuard no_grad;
    require_contiguous(ref(t));
    require_sums(ref(t));
    *work = comm_of(comm)->all_reduce(plain(t)).release();
  })
}

char *lt_broadcast(lt_comm comm, lt_tensor t, int root, lt_work *work) {
  LT_PROTECT({
    at::NoGradGuard no_grad;
    require_contiguous(ref(t));
    *work = comm_of(comm)->broadcast(plain(t), root).release();
  })
}

char *lt_all_gather(lt_comm comm, lt_tensor out, lt_tensor in, lt_work *work) {
  LT_PROTECT({
    at::NoGradGuard no_grad;
    require_pair(ref(out), ref(in), comm_of(comm)->world());
    *work = comm_of(comm)->all_gather(plain(out), plain(in)).release();
  })
}

char *lt_reduce_scatter(lt_comm comm, lt_tensor out, lt_tensor in, lt_work *work) {
  LT_PROTECT({
    at::NoGradGuard no_grad;
    require_pair(ref(in), ref(out), comm_of(comm)->world());
    require_sums(ref(in));
    *work = comm_of(comm)->reduce_scatter(plain(out), plain(in)).release();
  })
}

char *lt_barrier(lt_comm comm, lt_work *work) {
  LT_PROTECT({
    at::NoGradGuard no_grad;
    *work = comm_of(comm)->barrier().release();
  })
}

char *lt_wait(lt_work work) {
  std::unique_ptr<lt::Work> waited(static_cast<lt::Work *>(work));
  LT_PROTECT({
    at::NoGradGuard no_grad;
    waited->wait();
  })
}

char *lt_async_error(lt_comm comm) {
  LT_PROTECT({
    auto text = comm_of(comm)->async_error();
    if (!text.empty()) {
      return strdup(text.c_str());
    }
  })
}
