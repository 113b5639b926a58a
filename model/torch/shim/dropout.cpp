// Dropout (Srivastava et al. 2014) without a generator: whether an element stays is a hash of its sample's key and its
// place in the sample. Nothing depends on what was drawn before, so the masks are the same when a layer is recomputed,
// when micro-batches are divided differently, when a run resumes from a checkpoint, and on every device.
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>

#include <cmath>

#include "shim_internal.h"
#include "simd.h"

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr uint32_t kColumn = 0x9e3779b1, kFirst = 0x85ebca6b, kSecond = 0xc2b2ae35;
constexpr int64_t kElements = 16384;        // elements that a CPU thread takes, at least
constexpr int64_t kSlice = int64_t{1} << 22;  // elements that libtorch's operations process at a time

// The finaliser of SplitMix64 (Steele et al. 2014).
uint64_t mix(uint64_t z) {
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

// Two words for each row, [2,R] int32.
at::Tensor words_of_rows(int64_t rows, const uint64_t *keys, const int64_t *starts, int samples) {
  auto words = at::empty({2, rows}, at::kInt);
  auto *low = reinterpret_cast<uint32_t *>(words.data_ptr<int32_t>()), *high = low + rows;
  for (int k = 0; k < samples; k++) {
    for (int64_t r = starts[k]; r < starts[k + 1]; r++) {
      uint64_t word = mix(keys[k] + static_cast<uint64_t>(r - starts[k] + 1) * 0x9e3779b97f4a7c15);
      low[r] = static_cast<uint32_t>(word);
      high[r] = static_cast<uint32_t>(word >> 32);
    }
  }
  return words;
}

// A hash of 32 bits is read as a signed number; those below the bound are dropped.
int32_t bound(double p) { return static_cast<int32_t>(std::floor(std::ldexp(p, 32)) - std::ldexp(1.0, 31)); }

LT_SIMD void drop_row(const float *x, float *y, int64_t columns, uint32_t low, uint32_t high, int32_t least,
                      float scale) {
  for (int64_t c = 0; c < columns; c++) {
    uint32_t h = low + static_cast<uint32_t>(c) * kColumn;
    h = (h ^ (h >> 16)) * kFirst + high;
    h = (h ^ (h >> 15)) * kSecond;
    y[c] = static_cast<int32_t>(h) >= least ? x[c] * scale : 0.0f;
  }
}

at::Tensor drop_on_cpu(const at::Tensor &x, const at::Tensor &words, double p) {
  auto y = at::empty_like(x);
  int64_t rows = x.size(0), columns = x.size(1);
  auto *in = x.const_data_ptr<float>();
  auto *out = y.data_ptr<float>();
  auto *low = words.const_data_ptr<int32_t>(), *high = low + rows;
  at::parallel_for(0, rows, std::max<int64_t>(1, kElements / columns), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; r++) {
      drop_row(in + r * columns, out + r * columns, columns, static_cast<uint32_t>(low[r]),
               static_cast<uint32_t>(high[r]), bound(p), static_cast<float>(1 / (1 - p)));
    }
  });
  return y;
}

// h ^ (h >> bits), a logical shift.
void fold(at::Tensor &h, int bits) { h.bitwise_xor_(h.bitwise_right_shift(bits).bitwise_and_((1 << (32 - bits)) - 1)); }

// The same by libtorch's operations; int32 wraps around there.
at::Tensor drop_by_operations(const at::Tensor &x, const at::Tensor &words, double p) {
  auto signed_word = [](uint32_t word) { return static_cast<int64_t>(static_cast<int32_t>(word)); };
  auto y = at::empty_like(x);
  auto columns = at::arange(x.size(1), words.options()).mul_(signed_word(kColumn));  // [C]
  int64_t step = std::max<int64_t>(1, kSlice / x.size(1));
  for (int64_t first = 0; first < x.size(0); first += step) {
    int64_t rows = std::min(step, x.size(0) - first);
    auto word = [&](int64_t i) { return words[i].narrow(0, first, rows).unsqueeze(1); };  // [r,1]
    auto h = word(0) + columns;                                                           // [r,C]
    fold(h, 16);
    h.mul_(signed_word(kFirst)).add_(word(1));
    fold(h, 15);
    h.mul_(signed_word(kSecond));
    auto slice = x.narrow(0, first, rows);
    y.narrow(0, first, rows).copy_(at::where(h.ge(bound(p)), slice * (1 / (1 - p)), at::zeros({}, x.options())));
  }
  return y;
}

at::Tensor drop(const at::Tensor &input, const at::Tensor &words, double p) {
  auto x = input.contiguous();
  bool ours = lt::fused() && x.is_cpu() && x.scalar_type() == at::kFloat;
  return ours ? drop_on_cpu(x, words, p) : drop_by_operations(x, words, p);
}

// Backward drops the gradient's elements by the same mask, computed again: only two words a row are kept.
struct Dropout : torch::autograd::Function<Dropout> {
  static at::Tensor forward(AutogradContext *context, const at::Tensor &x, const at::Tensor &words, double p) {
    at::AutoDispatchBelowAutograd below;
    RECORD_FUNCTION("llavatrain::dropout", {});
    context->save_for_backward({words});
    context->saved_data["p"] = p;
    return drop(x, words, p);
  }

  static variable_list backward(AutogradContext *context, variable_list grads) {
    RECORD_FUNCTION("llavatrain::dropout_backward", {});
    auto words = context->get_saved_variables()[0];
    return {drop(grads[0], words, context->saved_data["p"].toDouble()), at::Tensor(), at::Tensor()};
  }
};

}  // namespace

char *lt_dropout(lt_tensor x, double p, const uint64_t *keys, const int64_t *starts, int samples, lt_tensor *out) {
  LT_PROTECT({
    auto &rows = ref(x);
    TORCH_CHECK(rows.dim() == 2 && starts[samples] == rows.size(0), "the samples end at row ", starts[samples], " of ",
                rows.sizes());
    auto words = words_of_rows(rows.size(0), keys, starts, samples).to(rows.device());
    *out = own(Dropout::apply(rows, words, p));
  })
}
