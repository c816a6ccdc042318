// Attention as a primitive. nn.functional.scaled_dot_product_attention is the definition, and what
// runs wherever the kernel does not apply.
#include "ops/attention.h"

#include <limits>

#include "ops/arithmetic.h"
#include "ops/creation.h"
#include "ops/matmul.h"
#include "ops/portable.h"
#include "ops/reduction.h"
#include "ops/rows.h"
#include "ops/views.h"
#include "tensor/copy.h"

namespace flambeau {
namespace {

extern const Primitive kAttention, kAttentionBackward;

constexpr double kInfinity = std::numeric_limits<double>::infinity();

Dims batch_of(const Tensor& x) { return Dims(x.shape().begin(), x.shape().end() - 2); }

Dims common_batch(const Tensor& q, const Tensor& k, const Tensor& v) {
  return broadcast_shapes("attention", broadcast_shapes("attention", batch_of(q), batch_of(k)),
                          batch_of(v));
}
Dims with_matrix(const Dims& batch, int64_t rows, int64_t columns) {
  Dims shape = batch;
  shape.push_back(rows);
  shape.push_back(columns);
  return shape;
}

// What a call of either primitive is about: its inputs from `first` on.
struct Attended {
  const TensorRef q, k, v, mask;
  double scale;
  bool causal;
};
Attended attended(const Call& call, int first) {
  return {call.inputs[first],
          call.inputs[first + 1],
          call.inputs[first + 2],
          call.has(first + 3) ? call.inputs[first + 3] : nullptr,
          call.attributes.scalars[0].to_double(),
          call.attributes.flag != 0};
}

// --- in operators: on the CPU, for gradients of gradients, and where the kernel does not fit

TensorRef scores_of(const Attended& x) {
  TensorRef scores = matmul(mul(x.q, x.scale), transpose_last(x.k));
  if (x.causal) {
    Device device = x.q->device();
    TensorRef rows = arange(0, x.q->size(x.q->dim() - 2), 1, DType::Int64);
    TensorRef keys = arange(0, x.k->size(x.k->dim() - 2), 1, DType::Int64);
    TensorRef hidden = to_device(lt(unsqueeze(rows, 1), keys), device);
    scores = masked_fill(scores, hidden, -kInfinity);
  }
  if (!x.mask) return scores;
  if (x.mask->dtype() == DType::Bool) return masked_fill(scores, logical_not(x.mask), -kInfinity);
  return add(scores, x.mask);
}

// Zeros where a row sees nothing.
TensorRef weights_of(const TensorRef& scores) {
  if (scores->shape().back() == 0) return scores;
  TensorRef empty = eq(amax(scores, {-1}, true), -kInfinity);
  return masked_fill(softmax(masked_fill(scores, empty, 0.0), -1), empty, 0.0);
}

// Those of q, k and v.
std::array<TensorRef, 3> gradients_of(const Attended& x, const TensorRef& g) {
  TensorRef weights = weights_of(scores_of(x));
  TensorRef slopes = matmul(g, transpose_last(x.v));
  slopes = mul(weights, sub(slopes, sum(mul(weights, slopes), {-1}, true)));
  return {mul(matmul(slopes, x.k), x.scale), matmul(transpose_last(slopes), mul(x.q, x.scale)),
          matmul(transpose_last(weights), g)};
}

// --- attention

void infer_attention(Call& call) {
  const Tensor &q = call.input(0), &k = call.input(1), &v = call.input(2);
  const Dims batch = common_batch(q, k, v);
  Dims rows = batch;
  rows.push_back(q.size(q.dim() - 2));
  call.output_count = 2;
  call.expect(0, with_matrix(batch, q.size(q.dim() - 2), v.shape().back()), q.dtype());
  call.expect(1, rows, DType::Float32);
}

void run_attention(Call& call) {
  GradMode off(false);
  TensorRef scores = scores_of(attended(call, 0));
  copy(call.output(0), *matmul(weights_of(scores), call.inputs[2]));
  TensorRef sums = logsumexp(to_dtype(scores, DType::Float32), {-1});
  copy(call.output(1), *masked_fill(sums, eq(sums, -kInfinity), kInfinity));
}
void run_attention_cuda(Call& call) {
  if (!attention_on_gpu(call)) run_attention(call);
}

// The kernel's gradient has no gradient; with create_graph the rule is written in operators.
void attention_rule(Gradient& gradient) {
  const TensorRef& g = gradient.g();
  if (!g) return;
  const Attributes& attributes = gradient.attributes();
  TensorRef q = gradient.input(0), k = gradient.input(1), v = gradient.input(2);
  TensorRef mask = gradient.input_count() > 3 ? gradient.input(3) : nullptr;
  std::array<TensorRef, 3> results;
  if (mode.grad) {
    results =
        gradients_of({q, k, v, mask, attributes.scalars[0].to_double(), attributes.flag != 0}, g);
  } else {
    const TensorRef inputs[] = {g, gradient.output(0), gradient.output(1), q, k, v, mask};
    Call call{kAttentionBackward, inputs, Attributes(attributes), {}, {}, 3, {}};
    apply(call);
    for (int i = 0; i < 3; ++i) results[i] = call.outputs[i];
  }
  for (int i = 0; i < 3; ++i) {
    if (gradient.needs(i)) gradient.set(i, results[i]);
  }
}

const Primitive kAttention{.name = "attention",
                           .infer = infer_attention,
                           .run = run_attention,
                           .gradient = attention_rule,
                           .saved_inputs = 15,
                           .saved_outputs = 3,
                           .grad_name = "ScaledDotProductFlashAttentionBackward0",
                           .run_cuda = run_attention_cuda};

// --- attention_backward: gradients of q, k and v in the shape of the whole batch

void infer_backward(Call& call) {
  const Tensor &q = call.input(3), &k = call.input(4), &v = call.input(5);
  const Dims batch = common_batch(q, k, v);
  const int64_t keys = k.size(k.dim() - 2);
  call.output_count = 3;
  call.expect(0, with_matrix(batch, q.size(q.dim() - 2), q.shape().back()), q.dtype());
  call.expect(1, with_matrix(batch, keys, k.shape().back()), k.dtype());
  call.expect(2, with_matrix(batch, keys, v.shape().back()), v.dtype());
}
void run_backward(Call& call) {
  GradMode off(false);
  std::array<TensorRef, 3> results = gradients_of(attended(call, 3), call.inputs[0]);
  for (int i = 0; i < 3; ++i) copy(call.output(i), *results[i]);
}
void run_backward_cuda(Call& call) {
  if (!attention_backward_on_gpu(call)) run_backward(call);
}

const Primitive kAttentionBackward{.name = "attention_backward",
                                   .infer = infer_backward,
                                   .run = run_backward,
                                   .run_cuda = run_backward_cuda};

// --- what the kernel takes; see also Note [Calls out of files]

// Whether a shape can be broadcast to another.
bool broadcasts_to(const Dims& from, const Dims& to) {
  const int64_t lead = to.size() - from.size();
  for (int64_t d = 0; d < from.size(); ++d) {
    if (lead < 0 || (from[d] != 1 && from[d] != to[lead + d])) return false;
  }
  return true;
}

bool fits(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor* mask) {
  const DType dtype = q.dtype();
  if (!is_floating(dtype) || dtype == DType::Float64) return false;
  for (const Tensor* x : {&q, &k, &v}) {
    if (x->dim() < 2 || x->dtype() != dtype || x->shape().back() == 0) return false;
    if (x->shape().back() > kMostAttentionFeatures) return false;
  }
  const int64_t rows = q.size(q.dim() - 2), keys = k.size(k.dim() - 2);
  if (q.shape().back() != k.shape().back() || keys != v.size(v.dim() - 2)) return false;
  const Dims batch = common_batch(q, k, v);
  if (!mask) return true;
  return (mask->dtype() == DType::Bool || mask->dtype() == dtype) &&
         broadcasts_to(mask->shape(), with_matrix(batch, rows, keys));
}

void check_attended(const Call& call, int first) {
  need_inputs(call, first + 3, first + 4);
  const Tensor* mask = call.has(first + 3) ? &call.input(first + 3) : nullptr;
  need(call, fits(call.input(first), call.input(first + 1), call.input(first + 2), mask),
       "queries, keys, values and mask do not fit each other, or the kernel");
}
void check_backward(const Call& call) {
  check_attended(call, 3);
  const Tensor &q = call.input(3), &v = call.input(5);
  const int64_t rows = q.size(q.dim() - 2);
  Dims sums = common_batch(q, call.input(4), v);
  const Dims shape = with_matrix(sums, rows, v.shape().back());
  sums.push_back(rows);
  const bool whole = call.input(0).shape() == shape && call.input(1).shape() == shape &&
                     call.input(2).shape() == sums && call.input(0).dtype() == q.dtype() &&
                     call.input(1).dtype() == q.dtype() && call.input(2).dtype() == DType::Float32;
  need(call, whole, "the gradient and the results must have the shapes of the results");
}
PORTABLE(kAttention, [](const Call& call) { check_attended(call, 0); });
PORTABLE(kAttentionBackward, check_backward);

// --- Python: what scaled_dot_product_attention asks for

// None: the kernel does not apply.
Result fused_attention(const TensorRef& query, const TensorRef& key, const TensorRef& value,
                       const std::optional<TensorRef>& attn_mask, bool is_causal, double scale) {
  const TensorRef mask = attn_mask.value_or(nullptr);
  if (mask && mask->requires_grad() && mode.grad) return {};
  if (!attention_kernels_permitted() || !fits(*query, *key, *value, mask.get())) return {};
  Attributes attributes;
  attributes.scalars[0] = scale;
  attributes.flag = is_causal;
  const TensorRef inputs[] = {query, key, value, mask};
  Call call{kAttention, inputs, std::move(attributes), {}, {}, 2, {}};
  apply(call);
  return call.outputs[0];
}
OPERATOR_FORMS(fused_attention, "fused_attention", "query, key, value, attn_mask, is_causal, scale",
               kPrivate,
               "softmax(Q K^T * scale + mask) V in one kernel, None if there is none for this; see "
               "nn.functional.scaled_dot_product_attention.");

}  // namespace
}  // namespace flambeau
