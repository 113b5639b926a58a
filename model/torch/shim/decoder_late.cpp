// Attention of the last decoder layer, whose result is read from each sample's first wanted position on: queries are made for those
// positions alone, keys and values for all. The weight is the joined one of AttentionHalf, q's rows above those of k and v.
#include "attention.h"
#include "decoder.h"
#include "layer_ops.h"
#include "products.h"

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// The rows of x [T,..] that ask: [M,..].
at::Tensor asking(const at::Tensor &x, const lt::Samples &samples) {
  std::vector<at::Tensor> parts;
  for (int64_t i = 0; i < samples.count(); i++) {
    parts.push_back(x.narrow(0, samples.first_query(i), samples.query_count(i)));
  }
  return at::cat(parts, 0);
}

// sum [T,..] += x [M,..] at the rows that ask.
void add_asking(const at::Tensor &sum, const at::Tensor &x, const lt::Samples &samples) {
  for (int64_t i = 0; i < samples.count(); i++) {
    sum.narrow(0, samples.first_query(i), samples.query_count(i)).add_(x.narrow(0, samples.queries[i], samples.query_count(i)));
  }
}

// The rows of a weight or bias that make q, and those that make k and v.
struct Split {
  at::Tensor q, kv;

  Split(const at::Tensor &joined, int64_t heads, int64_t groups) {
    if (joined.defined()) {
      int64_t above = joined.size(0) / (heads + 2 * groups) * heads;
      q = joined.narrow(0, 0, above), kv = joined.narrow(0, above, joined.size(0) - above);
    }
  }
};

// q [M,H*d] and kv [T,2G*d] in rows of heads.
struct Heads {
  at::Tensor q, k, v;

  Heads(const at::Tensor &queries, const at::Tensor &kv, int64_t heads, int64_t groups) {
    auto both = kv.view({kv.size(0), 2 * groups, -1});
    q = queries.view({queries.size(0), heads, -1}), k = both.narrow(1, 0, groups), v = both.narrow(1, groups, groups);
  }
};

// The gradient of the joined weight, as lt::weight_gradient gives it.
at::Tensor weight_gradient(const at::Tensor &weight, int64_t heads, int64_t groups, const at::Tensor &d_q, const at::Tensor &d_kv, const at::Tensor &n,
                           const lt::Samples &samples) {
  auto late = asking(n, samples);  // [M,D]
  auto &collected = weight.mutable_grad();
  if (!collected.defined()) {
    return at::cat({d_q.t().mm(late), d_kv.t().mm(n)}, 0);
  }
  Split sum(collected, heads, groups);
  lt::add_weight_gradient(sum.q, d_q, late);
  lt::add_weight_gradient(sum.kv, d_kv, n);
  return {};
}

struct LateAttentionHalf : torch::autograd::Function<LateAttentionHalf> {
  static variable_list forward(AutogradContext *context, const at::Tensor &x, const at::Tensor &norm, const at::Tensor &weight,
                               const std::optional<at::Tensor> &bias, const at::Tensor &cos, const at::Tensor &sin, const std::vector<int64_t> &starts,
                               const std::vector<int64_t> &queries, double eps, int64_t heads, int64_t groups, bool keep) {
    at::AutoDispatchBelowAutograd below;
    lt::Samples samples{starts, true, queries};
    auto n = lt::rms_norm_forward(x, {}, norm, eps);  // [T,D]
    Split w(weight, heads, groups), b(bias.value_or(at::Tensor()), heads, groups);
    auto q = lt::product(asking(n.out, samples), w.q, b.q), kv = lt::product(n.out, w.kv, b.kv);  // [M,H*d], [T,2G*d]
    Heads h(q, kv, heads, groups);
    lt::rotate(h.q, asking(cos, samples), asking(sin, samples), h.q, false);
    lt::rotate(h.k, cos, sin, h.k, false);
    auto a = lt::attention_forward(h.q, h.k, h.v, samples);  // [M,H,d]
    bool again = !keep || !weight.requires_grad();
    context->save_for_backward({x, norm, weight, bias.value_or(at::Tensor()), n.inverse, again ? at::Tensor() : n.out, q, kv, a.out, a.log_sums, a.state,
                                a.unused, cos, sin});
    context->saved_data["starts"] = starts;
    context->saved_data["queries"] = queries;
    context->saved_data["eps"] = eps;
    context->saved_data["heads"] = heads;
    context->saved_data["groups"] = groups;
    return {a.out.view({q.size(0), -1}), x};
  }

  static variable_list backward(AutogradContext *context, variable_list grads) {
    auto saved = context->get_saved_variables();
    auto &x = saved[0], &norm = saved[1], &weight = saved[2], &bias = saved[3], &inverse = saved[4], &normed = saved[5];
    int64_t heads = context->saved_data["heads"].toInt(), groups = context->saved_data["groups"].toInt();
    lt::Samples samples{context->saved_data["starts"].toIntVector(), true, context->saved_data["queries"].toIntVector()};
    auto d_q = at::empty_like(saved[6]), d_kv = at::empty_like(saved[7]);  // [M,H*d], [T,2G*d]
    Heads d(d_q, d_kv, heads, groups);
    attention_back(saved, grads[0].contiguous(), samples, d);
    at::Tensor d_weight, d_bias;
    if (weight.requires_grad()) {
      auto n = normed.defined() ? normed : lt::rms_norm_forward(x, {}, norm, context->saved_data["eps"].toDouble()).out;  // [T,D]
      d_weight = weight_gradient(weight, heads, groups, d_q, d_kv, n, samples);
    }
    if (bias.defined() && bias.requires_grad()) {
      d_bias = at::cat({d_q.sum(0), d_kv.sum(0)}, 0);
    }
    if (!context->needs_input_grad(0) && !norm.requires_grad()) {
      return {{}, {}, d_weight, d_bias, {}, {}, {}, {}, {}, {}, {}, {}};
    }
    Split w(weight, heads, groups);
    auto d_n = lt::product_back(d_kv, w.kv);  // [T,D]
    add_asking(d_n, lt::product_back(d_q, w.q), samples);
    auto d_x = lt::rms_norm_backward(x, inverse, norm, d_n, grads[1], norm.requires_grad());
    return {d_x.x, d_x.weight, d_weight, d_bias, {}, {}, {}, {}, {}, {}, {}, {}};
  }

  // Writes the gradients of q, k and v before their rotation to d.
  static void attention_back(const variable_list &saved, const at::Tensor &grad, const lt::Samples &samples, const Heads &d) {
    auto &cos = saved[12], &sin = saved[13];
    Heads h(saved[6], saved[7], d.q.size(1), d.k.size(1));
    auto made = lt::attention_backward(h.q, h.k, h.v, {saved[8], saved[9], saved[10], saved[11]}, grad.view(h.q.sizes()), samples, {d.q, d.k, d.v});
    lt::rotate(made.q, asking(cos, samples), asking(sin, samples), d.q, true);
    lt::rotate(made.k, cos, sin, d.k, true);
    if (!made.v.is_same(d.v)) {
      d.v.copy_(made.v);
    }
  }
};

}  // namespace

variable_list lt::late_attention_half(const at::Tensor &x, const at::Tensor &norm, const at::Tensor &weight, const std::optional<at::Tensor> &bias,
                                      const at::Tensor &cos, const at::Tensor &sin, const std::vector<int64_t> &starts,
                                      const std::vector<int64_t> &queries, double eps, int64_t heads, int64_t groups, bool keep) {
  return LateAttentionHalf::apply(x, norm, weight, bias, cos, sin, starts, queries, eps, heads, groups, keep);
}
