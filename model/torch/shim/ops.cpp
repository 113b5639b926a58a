// Differentiable operations that gotch's bindings lack or get wrong. Each is the reference's formula over libtorch's
// own operations.
#include <atomic>

#include "shim_internal.h"

namespace lt {
static std::atomic<bool> use_fused{true};
bool fused() { return use_fused; }
}  // namespace lt

int lt_set_fused(int on) { return lt::use_fused.exchange(on != 0); }

char *lt_gelu(lt_tensor x, lt_tensor *out) { LT_PROTECT(*out = own(at::gelu(ref(x)))) }

char *lt_gelu_tanh(lt_tensor x, lt_tensor *out) { LT_PROTECT(*out = own(at::gelu(ref(x), "tanh"))) }

// Pixels to floats by table: table [3,256] holds the normalised value of each level of each channel. [n,3,S,S] u8 ->
// [n,3,S,S].
char *lt_normalize(lt_tensor pixels, lt_tensor table, int dtype, lt_tensor *out) {
  LT_PROTECT({
    auto &levels = ref(pixels);
    auto index = levels.to(at::kInt) + at::arange(3, levels.options().dtype(at::kInt)).mul(256).view({1, 3, 1, 1});
    auto values = ref(table).view({-1}).index_select(0, index.view({-1}));
    *out = own(values.view(levels.sizes()).to(static_cast<at::ScalarType>(dtype)));
  })
}

// Parts of the last dimension. One operation instead of a narrow for each part: its backward joins their gradients
// once.
char *lt_split(lt_tensor x, const int64_t *sizes, int parts, lt_tensor *out) {
  LT_PROTECT({
    auto split = ref(x).split_with_sizes(at::IntArrayRef(sizes, parts), -1);
    for (int i = 0; i < parts; i++) {
      out[i] = own(split[i]);
    }
  })
}

// The patches of a ViT as rows, so that its convolution is a matrix product. [n,3,S,S] -> [n*(S/p)^2, 3*p*p]
char *lt_patches(lt_tensor pixels, int64_t patch, lt_tensor *out) {
  LT_PROTECT({
    auto &x = ref(pixels);
    int64_t n = x.size(0), channels = x.size(1), side = x.size(2) / patch;
    auto cut = x.narrow(2, 0, side * patch).narrow(3, 0, side * patch);
    auto grid = cut.reshape({n, channels, side, patch, side, patch}).permute({0, 2, 4, 1, 3, 5});
    *out = own(grid.reshape({n * side * side, channels * patch * patch}));
  })
}
