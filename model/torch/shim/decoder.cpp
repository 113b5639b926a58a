// The two halves of a decoder layer, each one node of the graph with its backward written out: fewer passes over memory, only what
// backward cannot do without is kept, and gradients of weights are added by the matrix product itself to the buffers where they collect.
// The layer over single operations is their twin, which the tests compare them with.
#include <torch/csrc/autograd/custom_function.h>

#include "attention.h"
#include "decoder.h"
#include "layer_ops.h"
#include "products.h"

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// The parts of q, k and v in rows of heads.
struct Heads {
  at::Tensor all, turned, q, k, v;

  Heads(const at::Tensor &qkv, int64_t heads, int64_t groups) : all(qkv.view({qkv.size(0), heads + 2 * groups, -1})) {
    turned = all.narrow(1, 0, heads + groups);
    q = all.narrow(1, 0, heads), k = all.narrow(1, heads, groups), v = all.narrow(1, heads + groups, groups);
  }
};

// x + what follows -> attention(rotary(norm(x) qkv^T)) [T,H*d], and x, so that the gradient of the sum comes back in one pass.
struct AttentionHalf : torch::autograd::Function<AttentionHalf> {
  static variable_list forward(AutogradContext *context, const at::Tensor &x, const at::Tensor &norm, const at::Tensor &weight,
                               const std::optional<at::Tensor> &bias, const at::Tensor &cos, const at::Tensor &sin,
                               const std::vector<int64_t> &starts, double eps, int64_t heads, int64_t groups, bool keep) {
    at::AutoDispatchBelowAutograd below;
    auto n = lt::rms_norm_forward(x, {}, norm, eps);  // [T,D]
    auto qkv = lt::product(n.out, weight, bias.value_or(at::Tensor()));  // [T,(H+2G)*d]
    Heads h(qkv, heads, groups);
    lt::rotate(h.turned, cos, sin, h.turned, false);
    auto a = lt::attention_forward(h.q, h.k, h.v, {starts, true});  // [T,H,d]
    bool again = !keep || !weight.requires_grad();
    context->save_for_backward({x, norm, weight, bias.value_or(at::Tensor()), n.inverse, again ? at::Tensor() : n.out, qkv, a.out, a.log_sums, a.state,
                                a.unused, cos, sin});
    context->saved_data["starts"] = starts;
    context->saved_data["eps"] = eps;
    context->saved_data["heads"] = heads;
    context->saved_data["groups"] = groups;
    return {a.out.view({x.size(0), -1}), x};
  }

  static variable_list backward(AutogradContext *context, variable_list grads) {
    auto saved = context->get_saved_variables();
    auto &x = saved[0], &norm = saved[1], &weight = saved[2], &bias = saved[3], &inverse = saved[4], &normed = saved[5], &qkv = saved[6];
    lt::Attended a{saved[7], saved[8], saved[9], saved[10]};
    int64_t heads = context->saved_data["heads"].toInt(), groups = context->saved_data["groups"].toInt();
    lt::Samples samples{context->saved_data["starts"].toIntVector(), true};
    auto d_qkv = at::empty_like(qkv);  // [T,(H+2G)*d]
    Heads h(qkv, heads, groups), d(d_qkv, heads, groups);
    auto made = lt::attention_backward(h.q, h.k, h.v, a, grads[0].contiguous().view(h.q.sizes()), samples, {d.q, d.k, d.v});
    if (made.q.is_same(d.q)) {
      lt::rotate(d.turned, saved[11], saved[12], d.turned, true);
    } else {  // the rotation moves them to their place
      lt::rotate(made.q, saved[11], saved[12], d.q, true);
      lt::rotate(made.k, saved[11], saved[12], d.k, true);
      d.v.copy_(made.v);
    }
    at::Tensor d_weight, d_bias;
    if (weight.requires_grad()) {
      auto n = normed.defined() ? normed : lt::rms_norm_forward(x, {}, norm, context->saved_data["eps"].toDouble()).out;  // [T,D]
      d_weight = lt::weight_gradient(weight, d_qkv, n);
    }
    if (bias.defined() && bias.requires_grad()) {
      d_bias = d_qkv.sum(0);
    }
    if (!context->needs_input_grad(0) && !norm.requires_grad()) {
      return {{}, {}, d_weight, d_bias, {}, {}, {}, {}, {}, {}, {}};
    }
    auto d_x = lt::rms_norm_backward(x, inverse, norm, lt::product_back(d_qkv, weight), grads[1], norm.requires_grad());
    return {d_x.x, d_x.weight, d_weight, d_bias, {}, {}, {}, {}, {}, {}, {}};
  }
};

// h = x + y o^T -> h + swiglu(norm(h) gate_up^T) down^T. x [N,D], y [N,H*d] -> [N,D]
struct MLPHalf : torch::autograd::Function<MLPHalf> {
  static at::Tensor forward(AutogradContext *context, const at::Tensor &x, const at::Tensor &y, const at::Tensor &o, const at::Tensor &norm,
                            const at::Tensor &gate_up, const at::Tensor &down, double eps, bool keep) {
    at::AutoDispatchBelowAutograd below;
    auto n = lt::rms_norm_forward(x, lt::product(y, o), norm, eps);  // [N,D]
    auto inner = lt::product(n.out, gate_up);  // [N,2I]
    auto halves = inner.chunk(2, 1);
    auto gated = lt::swiglu_forward(halves[0], halves[1]);  // [N,I]
    auto kept = [&](const at::Tensor &weight, const at::Tensor &input) { return keep && weight.requires_grad() ? input : at::Tensor(); };
    context->save_for_backward({n.sum, o.requires_grad() ? y : at::Tensor(), o, norm, gate_up, down, n.inverse, kept(gate_up, n.out), inner,
                                kept(down, gated)});
    context->saved_data["eps"] = eps;
    return lt::product(gated, down, n.sum);
  }

  static variable_list backward(AutogradContext *context, variable_list grads) {
    auto saved = context->get_saved_variables();
    auto &h = saved[0], &y = saved[1], &o = saved[2], &norm = saved[3], &gate_up = saved[4], &down = saved[5], &inverse = saved[6], &normed = saved[7];
    auto &inner = saved[8], &gated = saved[9];
    auto grad = grads[0].contiguous(), d_inner = at::empty_like(inner);  // [N,D], [N,2I]
    auto halves = inner.chunk(2, 1), d_halves = d_inner.chunk(2, 1);
    at::Tensor d_down, d_gate_up, d_o;
    if (down.requires_grad()) {
      d_down = lt::weight_gradient(down, grad, gated.defined() ? gated : lt::swiglu_forward(halves[0], halves[1]));
    }
    lt::swiglu_backward(halves[0], halves[1], lt::product_back(grad, down), d_halves[0], d_halves[1]);
    if (gate_up.requires_grad()) {
      auto n = normed.defined() ? normed : lt::rms_norm_forward(h, {}, norm, context->saved_data["eps"].toDouble()).out;  // [N,D]
      d_gate_up = lt::weight_gradient(gate_up, d_inner, n);
    }
    auto d_h = lt::rms_norm_backward(h, inverse, norm, lt::product_back(d_inner, gate_up), grad, norm.requires_grad());
    if (o.requires_grad()) {
      d_o = lt::weight_gradient(o, d_h.x, y);
    }
    return {d_h.x, context->needs_input_grad(1) ? lt::product_back(d_h.x, o) : at::Tensor(), d_o, d_h.weight, d_gate_up, d_down, {}, {}};
  }
};

std::optional<at::Tensor> optional(lt_tensor t) { return t ? std::optional<at::Tensor>(ref(t)) : std::nullopt; }

}  // namespace

int lt_decoder_fits(lt_tensor x) { return lt::cpu_fits(ref(x)) || lt::flash_fits(ref(x)); }

char *lt_decoder_attention(lt_tensor x, lt_tensor norm, lt_tensor weight, lt_tensor bias, lt_tensor cos, lt_tensor sin, const int64_t *starts,
                           const int64_t *queries, int samples, double eps, int64_t heads, int64_t groups, int keep, lt_tensor *out, lt_tensor *same) {
  LT_PROTECT({
    std::vector<int64_t> borders(starts, starts + samples + 1), late;
    if (queries) {
      late.assign(queries, queries + samples + 1);
    }
    auto result = queries ? lt::late_attention_half(ref(x), ref(norm), ref(weight), optional(bias), ref(cos), ref(sin), borders, late, eps, heads, groups,
                                                    keep != 0)
                          : AttentionHalf::apply(ref(x), ref(norm), ref(weight), optional(bias), ref(cos), ref(sin), borders, eps, heads, groups, keep != 0);
    *out = own(result[0]);
    *same = own(result[1]);
  })
}

char *lt_decoder_mlp(lt_tensor x, lt_tensor y, lt_tensor o, lt_tensor norm, lt_tensor gate_up, lt_tensor down, double eps, int keep, lt_tensor *out) {
  LT_PROTECT(*out = own(MLPHalf::apply(ref(x), ref(y), ref(o), ref(norm), ref(gate_up), ref(down), eps, keep != 0)))
}
