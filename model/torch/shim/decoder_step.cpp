// A decoder layer in generation, without a graph: the new positions of some samples, whose keys and values so far lie
// in an arena. The layer in single operations (llama.go) is the reference that tests compare it with.
#include <sys/mman.h>

#include "attention.h"
#include "few_rows.h"
#include "layer_ops.h"

namespace {

// arena [C,G,d] at rows [T] = x [T,G,d], whose rows may be strided.
void put_rows(at::Tensor arena, const at::Tensor &rows, const at::Tensor &x) {
  TORCH_CHECK(x.size(1) == arena.size(1) && x.size(2) == arena.size(2) && rows.size(0) == x.size(0) &&
                  arena.is_contiguous() && x.scalar_type() == arena.scalar_type(),
              "rows of ", x.sizes(), " for an arena of ", arena.sizes());
  if (!arena.is_cpu() || !lt::heads_together(x)) {
    arena.index_copy_(0, rows, x);
    return;
  }
  int64_t bytes = arena.size(1) * arena.size(2) * arena.element_size(), step = x.stride(0) * x.element_size();
  auto *to = static_cast<char *>(arena.data_ptr());
  auto *from = static_cast<const char *>(x.const_data_ptr());
  auto *row = rows.const_data_ptr<int64_t>();
  for (int64_t i = 0; i < x.size(0); i++, from += step) {
    TORCH_CHECK(row[i] >= 0 && row[i] < arena.size(0), "row ", row[i], " of an arena of ", arena.size(0));
    std::memcpy(to + row[i] * bytes, from, bytes);
  }
}

lt::Samples samples_of(const lt_extents *e) {
  lt::Samples samples{{0}, true, std::vector<int64_t>(e->borders, e->borders + e->count + 1),
                      std::vector<int64_t>(e->places, e->places + e->count)};
  for (int i = 0; i < e->count; i++) {
    samples.starts.push_back(samples.starts.back() + e->lengths[i]);
  }
  return samples;
}

// In bf16 on a CPU only weights, keys and values are bf16: what lies between the products is computed in fp32, by our
// kernels, which is faster there and more exact.
at::Tensor step(const at::Tensor &given, const lt_layer *l, const lt_extents *e, at::Tensor keys, at::Tensor values) {
  bool mixed = given.is_cpu() && given.scalar_type() == at::kBFloat16;
  auto own = [&](lt_tensor t) { return mixed ? ref(t).to(at::kFloat) : ref(t); };
  auto x = mixed ? given.to(at::kFloat) : given, cos = own(l->cos), sin = own(l->sin);
  auto &weight = ref(l->qkv);
  int64_t d = keys.size(2), heads = l->heads, groups = keys.size(1);
  auto n = lt::rms_norm_forward(x, {}, own(l->input_norm), l->eps).out;                                 // [T,D]
  auto all = lt::generation_product(n, weight, l->qkv_bias ? ref(l->qkv_bias) : at::Tensor());        // [T,(H+2G)d]
  auto by_head = all.view({all.size(0), heads + 2 * groups, d});
  auto q = by_head.narrow(1, 0, heads), k = by_head.narrow(1, heads, groups),
       v = by_head.narrow(1, heads + groups, groups);
  if (l->q_norm) {
    q = lt::rms_norm_forward(q.contiguous(), {}, own(l->q_norm), l->eps).out;
    k = lt::rms_norm_forward(k.contiguous(), {}, own(l->k_norm), l->eps).out;
  }
  lt::rotate(q, cos, sin, q, false);
  lt::rotate(k, cos, sin, k, false);
  put_rows(keys, ref(e->rows), k.to(keys.scalar_type()));
  put_rows(values, ref(e->rows), v.to(values.scalar_type()));
  auto y = lt::extents_attention(q, keys, values, samples_of(e), l->window).reshape({x.size(0), heads * d});
  auto rest = x;
  if (l->wanted) {
    rest = x.index_select(0, ref(l->wanted)), y = y.index_select(0, ref(l->wanted));
  }
  auto h = lt::rms_norm_forward(rest, lt::generation_product(y, ref(l->o)), own(l->post_norm), l->eps);  // [N,D]
  auto halves = lt::generation_product(h.out, ref(l->gate_up)).chunk(2, 1);                              // [N,I] twice
  auto gated = lt::swiglu_forward(halves[0], halves[1]);  // [N,I]
  return lt::generation_product(gated, ref(l->down), h.sum).to(given.scalar_type());
}

}  // namespace

char *lt_decoder_step(lt_tensor x, const lt_layer *layer, const lt_extents *extents, lt_tensor keys, lt_tensor values,
                      lt_tensor *out) {
  LT_PROTECT({
    at::NoGradGuard none;
    *out = own(step(ref(x), layer, extents, ref(keys), ref(values)));
  })
}

char *lt_put_rows(lt_tensor arena, lt_tensor rows, lt_tensor x) {
  LT_PROTECT({
    at::NoGradGuard none;
    put_rows(ref(arena), ref(rows), ref(x));
  })
}

char *lt_move_rows(lt_tensor arena, int64_t from, int64_t to, int64_t count) {
  LT_PROTECT({
    at::NoGradGuard none;
    ref(arena).narrow(0, to, count).copy_(ref(arena).narrow(0, from, count));
  })
}

// Asks the system for large pages behind a tensor on the CPU, so that reading all of it looks up fewer addresses. A
// system that has none leaves everything as it is.
void lt_large_pages(lt_tensor t) {
  auto &x = ref(t);
  if (!x.is_cpu() || !x.is_contiguous()) {
    return;
  }
  constexpr uintptr_t page = 2 << 20;
  auto begin = (reinterpret_cast<uintptr_t>(x.const_data_ptr()) + page - 1) / page * page,
       end = (reinterpret_cast<uintptr_t>(x.const_data_ptr()) + x.nbytes()) / page * page;
  if (begin < end) {
    constexpr int collapse = 25;  // MADV_COLLAPSE: now, where the system can
    madvise(reinterpret_cast<void *>(begin), end - begin, MADV_HUGEPAGE);
    madvise(reinterpret_cast<void *>(begin), end - begin, collapse);
  }
}

char *lt_extents_attention(lt_tensor q, lt_tensor k, lt_tensor v, const lt_extents *e, int64_t window, lt_tensor *out) {
  LT_PROTECT({
    at::NoGradGuard none;
    *out = own(lt::extents_attention(ref(q), ref(k), ref(v), samples_of(e), window));
  })
}
