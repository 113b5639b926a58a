// Data in and out, views, gradients, random fills.
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/variable.h>

#include "shim_internal.h"

namespace {

at::IntArrayRef dims_of(const int64_t *shape, int dims) { return at::IntArrayRef(shape, static_cast<size_t>(dims)); }

at::TensorOptions options(int dtype) { return at::TensorOptions().dtype(static_cast<at::ScalarType>(dtype)); }

// The bytes as a CPU tensor that does not own them.
at::Tensor borrowed(const void *data, const int64_t *shape, int dims, int dtype) {
  return at::from_blob(const_cast<void *>(data), dims_of(shape, dims), options(dtype));
}

}  // namespace

void lt_free(lt_tensor t) { delete static_cast<at::Tensor *>(t); }

char *lt_empty(const int64_t *shape, int dims, int dtype, int device, int zero, lt_tensor *out) {
  LT_PROTECT({
    auto o = options(dtype).device(device_of(device));
    *out = own(zero ? at::zeros(dims_of(shape, dims), o) : at::empty(dims_of(shape, dims), o));
  })
}

char *lt_from_bytes(const void *data, const int64_t *shape, int dims, int dtype, int device, lt_tensor *out) {
  LT_PROTECT({
    auto source = borrowed(data, shape, dims, dtype);
    // A copy from pinned memory does not wait for the GPU's queued work, and libtorch keeps that memory until the copy
    // is done.
    *out = own(device < 0 ? source.clone() : source.pin_memory().to(device_of(device), /*non_blocking=*/true));
  })
}

char *lt_copy_from_bytes(lt_tensor destination, const void *data, const int64_t *shape, int dims, int dtype) {
  LT_PROTECT({
    at::NoGradGuard no_grad;
    ref(destination).copy_(borrowed(data, shape, dims, dtype));
  })
}

char *lt_copy_to_bytes(lt_tensor t, void *out, size_t bytes) {
  LT_PROTECT({
    auto host = ref(t).detach().to(at::kCPU).contiguous();
    TORCH_CHECK(host.nbytes() == bytes, "tensor has ", host.nbytes(), " bytes, the destination ", bytes);
    std::memcpy(out, host.const_data_ptr(), bytes);
  })
}

char *lt_describe(lt_tensor t, int *dtype, int *device, int *dims, int64_t shape[8]) {
  LT_PROTECT({
    auto &x = ref(t);
    TORCH_CHECK(x.dim() <= 8, "tensor has ", x.dim(), " dimensions");
    *dtype = static_cast<int>(x.scalar_type());
    *device = x.is_cpu() ? -1 : x.get_device();
    *dims = static_cast<int>(x.dim());
    for (int i = 0; i < x.dim(); i++) {
      shape[i] = x.size(i);
    }
  })
}

char *lt_copy(lt_tensor destination, lt_tensor source) {
  LT_PROTECT({
    at::NoGradGuard no_grad;
    ref(destination).copy_(ref(source));
  })
}

char *lt_zero(lt_tensor t) {
  LT_PROTECT({
    at::NoGradGuard no_grad;
    ref(t).zero_();
  })
}

char *lt_leaf_view(lt_tensor flat, int64_t offset, const int64_t *shape, int dims, lt_tensor *out) {
  LT_PROTECT({
    at::NoGradGuard no_grad;
    auto size = dims_of(shape, dims);
    *out = own(ref(flat).narrow(0, offset, c10::multiply_integers(size)).view(size).detach());
  })
}

char *lt_detach(lt_tensor t, int requires_grad, lt_tensor *out) {
  LT_PROTECT({
    auto x = ref(t).detach();
    x.requires_grad_(requires_grad != 0);
    *out = own(x);
  })
}

char *lt_set_grad(lt_tensor leaf, lt_tensor grad) {
  LT_PROTECT({
    ref(leaf).requires_grad_(true);
    ref(leaf).mutable_grad() = grad ? ref(grad) : at::Tensor();
  })
}

int lt_requires_grad(lt_tensor t) { return ref(t).requires_grad(); }

char *lt_grad(lt_tensor leaf, lt_tensor *out) {
  LT_PROTECT({
    auto &grad = ref(leaf).grad();
    *out = grad.defined() ? own(grad) : nullptr;
  })
}

char *lt_backward(lt_tensor t, lt_tensor grad) {
  LT_PROTECT({
    if (grad) {
      torch::autograd::backward({ref(t)}, {ref(grad)});
    } else {
      torch::autograd::backward({ref(t)});
    }
  })
}

int lt_grad_mode(int enabled) {
  bool before = at::GradMode::is_enabled();
  at::GradMode::set_enabled(enabled != 0);
  return before;
}

// The values of a large tensor are drawn in blocks, each with its own generator, so that all threads draw and their
// number does not matter.
char *lt_fill_normal(lt_tensor t, double std, uint64_t seed) {
  LT_PROTECT({
    at::NoGradGuard no_grad;
    constexpr int64_t kRun = 1 << 22;
    auto &x = ref(t);
    auto values = at::empty({x.numel()}, at::kFloat);
    at::parallel_for(0, (x.numel() + kRun - 1) / kRun, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; i++) {
        auto run = at::from_blob(values.data_ptr<float>() + i * kRun, {std::min(kRun, x.numel() - i * kRun)});
        run.normal_(0, std, at::detail::createCPUGenerator(seed + static_cast<uint64_t>(i)));
      }
    });
    x.copy_(values.view(x.sizes()));
  })
}

char *lt_fill_uniform(lt_tensor t, double bound, uint64_t seed) {
  LT_PROTECT({
    at::NoGradGuard no_grad;
    auto &x = ref(t);
    x.copy_(at::empty(x.sizes(), at::kFloat).uniform_(-bound, bound, at::detail::createCPUGenerator(seed)));
  })
}
