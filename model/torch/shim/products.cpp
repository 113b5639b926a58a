// The matrix products of linear layers. MKL, which libtorch uses on a CPU, does not use AVX-512 on AMD processors, so
// our own products are faster there at any size. Each element is summed in the order of the inner dimension: it does
// not depend on the number of threads, nor on how many rows are multiplied at once.
#include "products.h"

#include <torch/csrc/autograd/custom_function.h>

#include "few_rows.h"
#include "panels.h"

namespace {

// of the inner dimension at a time: a panel of 32 KB, and a sum of sums, which rounds less than one long one
constexpr int64_t kInner = 512;
constexpr int64_t kPanels = 6144;   // rows of panels that a task keeps: 384 KB
constexpr int64_t kWorthwhile = 96;  // rows that make a panel worth packing
constexpr int64_t kGathered = 128;  // rows of both operands at a time where rows are the inner dimension

bool own_products() {
  static const bool faster = __builtin_cpu_is("amd") && __builtin_cpu_supports("avx512f");
  return faster;
}

bool fits(const at::Tensor &a, const at::Tensor &b) {
  auto good = [](const at::Tensor &x) { return lt::cpu_fits(x) && x.dim() == 2 && x.stride(1) == 1; };
  return own_products() && good(a) && good(b);
}

// A matrix whose rows may be strided.
struct Rows {
  const float *data;
  int64_t rows, columns, row;

  explicit Rows(const at::Tensor &x)
      : data(x.const_data_ptr<float>()), rows(x.size(0)), columns(x.size(1)), row(x.stride(0)) {}
};

// A block of c = base + a b: rows of a [rows,k], and panels of b [k,columns].
struct Block {
  const float *a;
  int64_t a_row, rows, k;
  const float *panels;
  int64_t columns;
  const float *base;  // or null
  int64_t base_row;
  float *c;
  int64_t c_row;
};

// Rows i to i+n of the columns from j on, where the panel extends past the block's edge: computed in a buffer with room
// for all of its columns.
LT_INLINE void edge(const Block &x, int64_t i, int64_t n, int64_t j, const float *panel) {
  float room[lt::kTile * lt::kLanes];
  lt::tile_of(n, x.k, x.a + i * x.a_row, x.a_row, 1, panel, nullptr, 0, room, lt::kLanes);
  for (int64_t r = 0; r < n; r++) {
    for (int64_t q = 0; j + q < x.columns; q++) {
      x.c[(i + r) * x.c_row + j + q] = room[r * lt::kLanes + q] + (x.base ? x.base[(i + r) * x.base_row + j + q] : 0);
    }
  }
}

LT_SIMD void multiply(const Block &x) {
  for (int64_t i = 0; i < x.rows; i += lt::kTile) {
    int64_t n = std::min(lt::kTile, x.rows - i), j = 0;
    const float *panel = x.panels, *base = x.base ? x.base + i * x.base_row : nullptr;
    for (; j + lt::kLanes <= x.columns; j += lt::kLanes, panel += x.k * lt::kLanes) {
      lt::tile_of(n, x.k, x.a + i * x.a_row, x.a_row, 1, panel, base ? base + j : nullptr, x.base_row,
                  x.c + i * x.c_row + j, x.c_row);
    }
    if (j < x.columns) {
      edge(x, i, n, j, panel);
    }
  }
}

// c [m,n] = base + a [m,k] b, where pack(first column, first inner place, how many of each, out) makes panels of b
// [k,n]. A task is as many panels as the caches hold, and all rows, or some of the rows if there are too few panels for
// all threads.
template <typename Pack>
void panel_products(const Rows &a, int64_t n, const float *base, int64_t base_row, float *c, const Pack &pack) {
  int64_t panels = lt::panels(n), threads = at::get_num_threads(), inner = std::min(kInner, a.columns);
  int64_t width = std::clamp<int64_t>(panels / (4 * threads), 1, std::max<int64_t>(1, kPanels / inner)),
          groups = (panels + width - 1) / width;
  int64_t cuts = std::clamp<int64_t>(4 * threads / panels, 1, std::max<int64_t>(1, a.rows / kWorthwhile)),
          block = (a.rows + cuts - 1) / cuts;
  lt::share(groups * cuts, [&](int64_t task) {
    int64_t j = task / cuts * width * lt::kLanes, first = task % cuts * block,
            columns = std::min(width * lt::kLanes, n - j);
    lt::Scratch scratch(width * inner * lt::kLanes);
    float *packed = scratch.take(width * inner * lt::kLanes), *to = c + first * n + j;
    for (int64_t p = 0; p < a.columns; p += inner) {
      int64_t k = std::min(inner, a.columns - p), rows = std::min(block, a.rows - first);
      pack(j, p, columns, k, packed);
      if (p == 0) {
        multiply({a.data + first * a.row, a.row, rows, k, packed, columns, base ? base + first * base_row + j : nullptr,
                  base_row, to, n});
      } else {
        multiply({a.data + first * a.row + p, a.row, rows, k, packed, columns, to, n, to, n});
      }
    }
  });
}

// Columns first to end of a, kTile of them at a time, row after row: [columns / kTile][rows][kTile].
LT_SIMD void pack_tiles(const Rows &a, int64_t r, int64_t rows, int64_t first, int64_t end, float *out) {
  for (int64_t i = first; i < end; i += lt::kTile) {
    const float *from = a.data + r * a.row + i;
    if (end - i >= lt::kTile) {
      for (int64_t k = 0; k < rows; k++, from += a.row, out += lt::kTile) {
        std::memcpy(out, from, lt::kTile * sizeof(float));
      }
      continue;
    }
    for (int64_t k = 0; k < rows; k++, from += a.row, out += lt::kTile) {
      std::memcpy(out, from, (end - i) * sizeof(float));
    }
  }
}

// sum [columns of a, columns of b] += a^T b, for columns first to end of a.
struct Gathering {
  Rows a, b;
  int64_t first, end;
  float *sum;
  int64_t sum_row;

  int64_t room() const {
    return lt::panels(b.columns) * lt::kLanes * kGathered + (end - first + lt::kTile) * kGathered;
  }
};

LT_SIMD void gather(const Gathering &g, float *panels) {
  float *tiles = panels + lt::panels(g.b.columns) * lt::kLanes * kGathered, part[lt::kTile * lt::kLanes];
  for (int64_t r = 0; r < g.a.rows; r += kGathered) {
    int64_t rows = std::min(kGathered, g.a.rows - r);
    lt::pack(g.b.data + r * g.b.row, g.b.row, rows, g.b.columns, panels);
    pack_tiles(g.a, r, rows, g.first, g.end, tiles);
    for (int64_t i = g.first; i < g.end; i += lt::kTile) {
      const float *tile = tiles + (i - g.first) * rows;
      int64_t n = std::min(lt::kTile, g.end - i), j = 0;
      for (; j + lt::kLanes <= g.b.columns; j += lt::kLanes) {
        float *c = g.sum + i * g.sum_row + j;
        lt::tile_of(n, rows, tile, 1, lt::kTile, panels + j * rows, c, g.sum_row, c, g.sum_row);
      }
      if (j < g.b.columns) {
        lt::tile_of(n, rows, tile, 1, lt::kTile, panels + j * rows, nullptr, 0, part, lt::kLanes);
        for (int64_t k = 0; k < n * lt::kLanes; k++) {
          if (j + k % lt::kLanes < g.b.columns) {
            g.sum[(i + k / lt::kLanes) * g.sum_row + j + k % lt::kLanes] += part[k];
          }
        }
      }
    }
  }
}

}  // namespace

at::Tensor lt::product(const at::Tensor &x, const at::Tensor &w, const at::Tensor &base) {
  if (!fits(x, w) || (base.defined() && !base.is_contiguous())) {
    return !base.defined() ? at::linear(x, w) : base.dim() == 1 ? at::linear(x, w, base) : at::addmm(base, x, w.t());
  }
  RECORD_FUNCTION("llavatrain::product", {});
  auto y = at::empty({x.size(0), w.size(0)}, x.options());
  Rows a(x), b(w);
  auto *start = base.defined() ? base.const_data_ptr<float>() : nullptr;
  panel_products(a, b.rows, start, start && base.dim() == 2 ? b.rows : 0, y.data_ptr<float>(),
                 [&](int64_t j, int64_t p, int64_t columns, int64_t k, float *out) {
                   pack_transposed(b.data + j * b.row + p, b.row, columns, k, out);
                 });
  return y;
}

at::Tensor lt::product_back(const at::Tensor &dy, const at::Tensor &w) {
  if (!fits(dy, w)) {
    return dy.mm(w);
  }
  RECORD_FUNCTION("llavatrain::product_back", {});
  auto dx = at::empty({dy.size(0), w.size(1)}, dy.options());
  Rows a(dy), b(w);
  panel_products(a, b.columns, nullptr, 0, dx.data_ptr<float>(),
                 [&](int64_t j, int64_t p, int64_t columns, int64_t k, float *out) {
                   pack(b.data + p * b.row + j, b.row, k, columns, out);
                 });
  return dx;
}

void lt::add_weight_gradient(at::Tensor sum, const at::Tensor &dy, const at::Tensor &x) {
  if (!fits(dy, x) || !fits(sum, x)) {
    sum.addmm_(dy.t(), x);
    return;
  }
  RECORD_FUNCTION("llavatrain::weight_gradient", {});
  Rows a(dy), b(x);
  auto *to = sum.data_ptr<float>();
  // of dy, for one task
  int64_t columns = std::clamp<int64_t>(a.columns / (4 * at::get_num_threads()), 24, 96) / kTile * kTile;
  share((a.columns + columns - 1) / columns, [&](int64_t task) {
    Gathering g{a, b, task * columns, std::min(a.columns, (task + 1) * columns), to, sum.stride(0)};
    Scratch scratch(g.room());
    gather(g, scratch.take(g.room()));
  });
}

at::Tensor lt::weight_gradient(const at::Tensor &w, const at::Tensor &dy, const at::Tensor &x) {
  auto &collected = w.mutable_grad();
  if (!collected.defined()) {
    return dy.t().mm(x);
  }
  add_weight_gradient(collected, dy, x);
  return {};
}

namespace {

struct Linear : torch::autograd::Function<Linear> {
  static at::Tensor forward(torch::autograd::AutogradContext *context, const at::Tensor &x, const at::Tensor &w,
                            const std::optional<at::Tensor> &bias) {
    at::AutoDispatchBelowAutograd below;
    context->save_for_backward({w.requires_grad() ? x : at::Tensor(), w, bias.value_or(at::Tensor())});
    return lt::product(x, w, bias.value_or(at::Tensor()));
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext *context,
                                                 torch::autograd::variable_list grads) {
    auto saved = context->get_saved_variables();
    auto &x = saved[0], &w = saved[1], &bias = saved[2];
    auto dy = grads[0].contiguous();
    at::Tensor dx, dw, d_bias;
    if (context->needs_input_grad(0)) {
      dx = lt::product_back(dy, w);
    }
    if (w.requires_grad()) {
      dw = lt::weight_gradient(w, dy, x);
    }
    if (bias.defined() && bias.requires_grad()) {
      d_bias = dy.sum(0);
    }
    return {dx, dw, d_bias};
  }
};

}  // namespace

int lt_own_products(void) { return own_products(); }

char *lt_product(lt_tensor x, lt_tensor w, lt_tensor *out) {
  LT_PROTECT({
    at::NoGradGuard none;
    *out = own(lt::generation_product(ref(x), ref(w)));
  })
}

char *lt_linear(lt_tensor x, lt_tensor w, lt_tensor bias, lt_tensor *out) {
  LT_PROTECT({
    auto b = bias ? std::optional<at::Tensor>(ref(bias)) : std::nullopt;
    *out = own(lt::fused() && ref(x).dim() == 2 ? Linear::apply(ref(x), ref(w), b) : at::linear(ref(x), ref(w), b));
  })
}
