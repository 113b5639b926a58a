// The two halves of a decoder layer, each one node of the graph with its backward written out: fewer passes over
// memory, only what backward needs is kept, and the matrix product itself adds the gradients of weights to the buffers
// that accumulate them. The same layer made of single operations is the reference that tests compare them with.
#include <torch/csrc/autograd/custom_function.h>

#include "attention.h"
#include "layer_ops.h"
#include "products.h"

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// A node's Saved holds by name what its backward needs. Its tensors() lists them in one order for saving and restoring.
template <typename Saved>
void save(AutogradContext *context, Saved saved) {
  variable_list list;
  for (auto *tensor : saved.tensors()) {
    list.push_back(*tensor);
  }
  context->save_for_backward(std::move(list));
}

template <typename Saved>
Saved restore(AutogradContext *context) {
  Saved saved;
  auto list = context->get_saved_variables();
  auto next = list.begin();
  for (auto *tensor : saved.tensors()) {
    *tensor = *next++;
  }
  return saved;
}

// The norm's output, kept or recomputed, which gives the same bits.
at::Tensor normed_again(const at::Tensor &kept, const at::Tensor &x, const at::Tensor &norm, double eps) {
  return kept.defined() ? kept : lt::rms_norm_forward(x, {}, norm, eps).out;
}

// ---- Attention ----

// The rows of x [T,..] at the positions that have a query: [M,..].
at::Tensor query_rows(const at::Tensor &x, const lt::Samples &samples) {
  if (samples.queries.empty()) {
    return x;
  }
  std::vector<at::Tensor> parts;
  for (int64_t i = 0; i < samples.count(); i++) {
    parts.push_back(x.narrow(0, samples.first_query(i), samples.query_count(i)));
  }
  return at::cat(parts, 0);
}

// sum [T,..] += x [M,..] at the positions that have a query.
void add_query_rows(const at::Tensor &sum, const at::Tensor &x, const lt::Samples &samples) {
  for (int64_t i = 0; i < samples.count(); i++) {
    int64_t count = samples.query_count(i);
    sum.narrow(0, samples.first_query(i), count).add_(x.narrow(0, samples.query_borders()[i], count));
  }
}

// q, k and v, or their gradients: parts of one matrix or, if queries are late, of one for q and one for k and v.
struct QKV {
  at::Tensor all;                   // [T,(H+2G)*d]; undefined where queries are late
  at::Tensor queries, keys_values;  // [M,H*d], [T,2G*d]; undefined where they are not
  at::Tensor q, k, v;               // [M,H,d], [T,G,d], [T,G,d]
};

// The linear map that makes q, k and v. Its weight [(H+2G)*d,D] has q's rows above those of k and v.
//
// If every position has a query, one product makes all three. The last layer's result is read from each sample's first
// wanted position on, so that only each sample's last positions have a query there: queries are late, and one product
// makes q for them and another makes k and v for all positions.
struct Projection {
  lt::Samples samples;
  int64_t heads, groups;

  bool late() const { return !samples.queries.empty(); }

  // n [T,D], bias may be undefined -> q, k and v, q and k rotated. cos, sin [T,1,d]
  QKV forward(const at::Tensor &n, const at::Tensor &weight, const at::Tensor &bias, const at::Tensor &cos,
              const at::Tensor &sin) const {
    if (!late()) {
      auto h = by_heads(lt::product(n, weight, bias));
      auto turned = heads_of(h.all).narrow(1, 0, heads + groups);  // q and k in one pass
      lt::rotate(turned, cos, sin, turned, false);
      return h;
    }
    auto w = split(weight), b = split(bias);
    auto h = by_heads(lt::product(query_rows(n, samples), w.q, b.q), lt::product(n, w.kv, b.kv));
    lt::rotate(h.q, query_rows(cos, samples), query_rows(sin, samples), h.q, false);
    lt::rotate(h.k, cos, sin, h.k, false);
    return h;
  }

  // Room for the gradients, laid out as forward lays out the values. q [M,H,d]
  QKV room(int64_t positions, const at::Tensor &q) const {
    int64_t d = q.size(2);
    if (!late()) {
      return by_heads(at::empty({positions, (heads + 2 * groups) * d}, q.options()));
    }
    return by_heads(at::empty({q.size(0), heads * d}, q.options()),
                    at::empty({positions, 2 * groups * d}, q.options()));
  }

  // Rotates the gradients that attention made back, into d. They may be there already.
  void rotate_back(const lt::AttentionGradients &made, const at::Tensor &cos, const at::Tensor &sin,
                   const QKV &d) const {
    lt::rotate(made.q, query_rows(cos, samples), query_rows(sin, samples), d.q, true);
    lt::rotate(made.k, cos, sin, d.k, true);
    if (!made.v.is_same(d.v)) {
      d.v.copy_(made.v);
    }
  }

  // The gradient of the weight, as lt::weight_gradient gives it.
  at::Tensor weight_gradient(const at::Tensor &weight, const QKV &d, const at::Tensor &n) const {
    if (!late()) {
      return lt::weight_gradient(weight, d.all, n);
    }
    auto late_rows = query_rows(n, samples);  // [M,D]
    auto &collected = weight.mutable_grad();
    if (!collected.defined()) {
      return at::cat({d.queries.t().mm(late_rows), d.keys_values.t().mm(n)}, 0);
    }
    auto sum = split(collected);
    lt::add_weight_gradient(sum.q, d.queries, late_rows);
    lt::add_weight_gradient(sum.kv, d.keys_values, n);
    return {};
  }

  at::Tensor bias_gradient(const QKV &d) const {
    return late() ? at::cat({d.queries.sum(0), d.keys_values.sum(0)}, 0) : d.all.sum(0);
  }

  at::Tensor input_gradient(const QKV &d, const at::Tensor &weight) const {  // [T,D]
    if (!late()) {
      return lt::product_back(d.all, weight);
    }
    auto w = split(weight);
    auto sum = lt::product_back(d.keys_values, w.kv);
    add_query_rows(sum, lt::product_back(d.queries, w.q), samples);
    return sum;
  }

 private:
  at::Tensor heads_of(const at::Tensor &all) const { return all.view({all.size(0), heads + 2 * groups, -1}); }

  QKV by_heads(const at::Tensor &all) const {
    auto h = heads_of(all);
    return {all, {}, {}, h.narrow(1, 0, heads), h.narrow(1, heads, groups), h.narrow(1, heads + groups, groups)};
  }

  QKV by_heads(const at::Tensor &queries, const at::Tensor &keys_values) const {
    auto kv = keys_values.view({keys_values.size(0), 2 * groups, -1});
    auto q = queries.view({queries.size(0), heads, -1});
    return {{}, queries, keys_values, q, kv.narrow(1, 0, groups), kv.narrow(1, groups, groups)};
  }

  // The rows of the weight, its gradient or the bias that make q, and those that make k and v.
  struct Split {
    at::Tensor q, kv;
  };
  Split split(const at::Tensor &joined) const {
    if (!joined.defined()) {
      return {};
    }
    int64_t above = joined.size(0) / (heads + 2 * groups) * heads;
    return {joined.narrow(0, 0, above), joined.narrow(0, above, joined.size(0) - above)};
  }
};

// x + what follows -> attention(rotary(norm(x) weight^T + bias)) [M,H*d], and x, so that the gradient of the sum comes
// back in one pass.
struct AttentionHalf : torch::autograd::Function<AttentionHalf> {
  struct Saved {
    at::Tensor x, norm, weight, bias;  // bias may be undefined
    at::Tensor inverse, normed;        // normed: undefined for a frozen weight, and if backward recomputes it
    at::Tensor q, k, v, cos, sin;
    lt::Attended attended;

    std::vector<at::Tensor *> tensors() {
      return {&x, &norm, &weight, &bias, &inverse, &normed, &q, &k, &v, &cos, &sin,
              &attended.out, &attended.log_sums, &attended.state, &attended.unused};
    }
  };

  static variable_list forward(AutogradContext *context, const at::Tensor &x, const at::Tensor &norm,
                               const at::Tensor &weight, const std::optional<at::Tensor> &optional_bias,
                               const at::Tensor &cos, const at::Tensor &sin, const Projection &projection, double eps,
                               bool keep) {
    at::AutoDispatchBelowAutograd below;
    auto bias = optional_bias.value_or(at::Tensor());
    auto n = lt::rms_norm_forward(x, {}, norm, eps);  // [T,D]
    auto h = projection.forward(n.out, weight, bias, cos, sin);
    auto a = lt::attention_forward(h.q, h.k, h.v, projection.samples);  // [M,H,d]
    save(context, Saved{.x = x, .norm = norm, .weight = weight, .bias = bias, .inverse = n.inverse,
                        .normed = keep && weight.requires_grad() ? n.out : at::Tensor(),
                        .q = h.q, .k = h.k, .v = h.v, .cos = cos, .sin = sin, .attended = a});
    context->saved_data["starts"] = projection.samples.starts;
    context->saved_data["queries"] = projection.samples.queries;
    context->saved_data["eps"] = eps;
    return {a.out.view({h.q.size(0), -1}), x};
  }

  static variable_list backward(AutogradContext *context, variable_list grads) {
    auto saved = restore<Saved>(context);
    auto list = [&](const char *name) { return context->saved_data[name].toIntVector(); };
    Projection projection{{list("starts"), true, list("queries")}, saved.q.size(1), saved.k.size(1)};
    auto d = projection.room(saved.x.size(0), saved.q);
    auto d_out = grads[0].contiguous().view(saved.q.sizes());  // [M,H,d]
    auto made = lt::attention_backward(saved.q, saved.k, saved.v, saved.attended, d_out, projection.samples,
                                       {d.q, d.k, d.v});
    projection.rotate_back(made, saved.cos, saved.sin, d);
    at::Tensor d_weight, d_bias;
    if (saved.weight.requires_grad()) {
      auto n = normed_again(saved.normed, saved.x, saved.norm, context->saved_data["eps"].toDouble());  // [T,D]
      d_weight = projection.weight_gradient(saved.weight, d, n);
    }
    if (saved.bias.defined() && saved.bias.requires_grad()) {
      d_bias = projection.bias_gradient(d);
    }
    lt::NormGradients d_x;
    if (context->needs_input_grad(0) || saved.norm.requires_grad()) {
      auto d_n = projection.input_gradient(d, saved.weight);  // [T,D]
      d_x = lt::rms_norm_backward(saved.x, saved.inverse, saved.norm, d_n, grads[1], saved.norm.requires_grad());
    }
    return {d_x.x, d_x.weight, d_weight, d_bias, {}, {}, {}, {}, {}};
  }
};

// ---- MLP ----

// h = x + y o^T -> h + swiglu(norm(h) gate_up^T) down^T. x [N,D], y [N,H*d] -> [N,D]
struct MLPHalf : torch::autograd::Function<MLPHalf> {
  struct Saved {
    at::Tensor h, norm, o, gate_up, down;
    at::Tensor inverse, inner;    // [N]; [N,2I]: gate and up
    at::Tensor y, normed, gated;  // the inputs of o, gate_up and down: undefined for a frozen weight, and the last two
                                  // if backward recomputes them

    std::vector<at::Tensor *> tensors() {
      return {&h, &norm, &o, &gate_up, &down, &inverse, &inner, &y, &normed, &gated};
    }
  };

  static at::Tensor forward(AutogradContext *context, const at::Tensor &x, const at::Tensor &y, const at::Tensor &o,
                            const at::Tensor &norm, const at::Tensor &gate_up, const at::Tensor &down, double eps,
                            bool keep) {
    at::AutoDispatchBelowAutograd below;
    auto n = lt::rms_norm_forward(x, lt::product(y, o), norm, eps);  // [N,D]
    auto inner = lt::product(n.out, gate_up);  // [N,2I]
    auto halves = inner.chunk(2, 1);
    auto gated = lt::swiglu_forward(halves[0], halves[1]);  // [N,I]
    auto kept = [&](const at::Tensor &weight, const at::Tensor &input) {
      return keep && weight.requires_grad() ? input : at::Tensor();
    };
    save(context, Saved{.h = n.sum, .norm = norm, .o = o, .gate_up = gate_up, .down = down, .inverse = n.inverse,
                        .inner = inner, .y = o.requires_grad() ? y : at::Tensor(), .normed = kept(gate_up, n.out),
                        .gated = kept(down, gated)});
    context->saved_data["eps"] = eps;
    return lt::product(gated, down, n.sum);
  }

  static variable_list backward(AutogradContext *context, variable_list grads) {
    auto saved = restore<Saved>(context);
    auto grad = grads[0].contiguous(), d_inner = at::empty_like(saved.inner);  // [N,D], [N,2I]
    auto halves = saved.inner.chunk(2, 1), d_halves = d_inner.chunk(2, 1);
    at::Tensor d_down, d_gate_up, d_o;
    if (saved.down.requires_grad()) {
      auto gated = saved.gated.defined() ? saved.gated : lt::swiglu_forward(halves[0], halves[1]);  // [N,I]
      d_down = lt::weight_gradient(saved.down, grad, gated);
    }
    lt::swiglu_backward(halves[0], halves[1], lt::product_back(grad, saved.down), d_halves[0], d_halves[1]);
    if (saved.gate_up.requires_grad()) {
      auto n = normed_again(saved.normed, saved.h, saved.norm, context->saved_data["eps"].toDouble());  // [N,D]
      d_gate_up = lt::weight_gradient(saved.gate_up, d_inner, n);
    }
    auto d_n = lt::product_back(d_inner, saved.gate_up);  // [N,D]
    auto d_h = lt::rms_norm_backward(saved.h, saved.inverse, saved.norm, d_n, grad, saved.norm.requires_grad());
    if (saved.o.requires_grad()) {
      d_o = lt::weight_gradient(saved.o, d_h.x, saved.y);
    }
    auto d_y = context->needs_input_grad(1) ? lt::product_back(d_h.x, saved.o) : at::Tensor();
    return {d_h.x, d_y, d_o, d_h.weight, d_gate_up, d_down, {}, {}};
  }
};

std::optional<at::Tensor> optional(lt_tensor t) { return t ? std::optional<at::Tensor>(ref(t)) : std::nullopt; }

}  // namespace

int lt_decoder_fits(lt_tensor x) { return lt::cpu_fits(ref(x)) || lt::flash_fits(ref(x)); }

char *lt_decoder_attention(lt_tensor x, lt_tensor norm, lt_tensor weight, lt_tensor bias, lt_tensor cos, lt_tensor sin,
                           const int64_t *starts, const int64_t *queries, int samples, double eps, int64_t heads,
                           int64_t groups, int keep, lt_tensor *out, lt_tensor *same) {
  LT_PROTECT({
    auto borders = [&](const int64_t *list) {
      return list ? std::vector<int64_t>(list, list + samples + 1) : std::vector<int64_t>();
    };
    Projection projection{{borders(starts), true, borders(queries)}, heads, groups};
    auto result = AttentionHalf::apply(ref(x), ref(norm), ref(weight), optional(bias), ref(cos), ref(sin), projection,
                                       eps, keep != 0);
    *out = own(result[0]);
    *same = own(result[1]);
  })
}

char *lt_decoder_mlp(lt_tensor x, lt_tensor y, lt_tensor o, lt_tensor norm, lt_tensor gate_up, lt_tensor down,
                     double eps, int keep, lt_tensor *out) {
  LT_PROTECT(*out = own(MLPHalf::apply(ref(x), ref(y), ref(o), ref(norm), ref(gate_up), ref(down), eps, keep != 0)))
}
