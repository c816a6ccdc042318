// Matrix products. Operands whose rows or columns are dense go to gemm as they lie, whatever their
// strides; only others are copied.
#include "ops/matmul.h"

#include "blas/gemm.h"
#include "ops/arithmetic.h"
#include "ops/matmul_cuda.h"
#include "ops/matmul_layout.h"
#include "ops/portable.h"
#include "ops/reduction.h"
#include "ops/views.h"
#include "tensor/copy.h"

namespace flambeau {
namespace {

// Calls function.operator()<T>() for the types that have products.
template <class Function>
void visit_products(const char* op, DType dtype, Function&& function) {
  require_products(op, dtype);
  visit_dtype(dtype, [&]<class T>() {
    if constexpr (!std::is_same_v<T, bool>) function.template operator()<T>();
  });
}

void require_same_dtype(const char* op, const Tensor& a, const Tensor& b) {
  require(a.dtype() == b.dtype(), op,
          ": expected m1 and m2 to have the same dtype, but got: torch.", dtype_name(a.dtype()),
          " != torch.", dtype_name(b.dtype()), "; convert one of them with .to(dtype)");
}

[[noreturn]] void fail_shapes(const char* op, const Tensor& a, const Tensor& b) {
  int64_t i = a.dim() - 2, j = b.dim() - 2;
  bool mended = a.size(i + 1) == b.size(j + 1) || a.size(i) == b.size(j);
  fail(op, ": mat1 and mat2 shapes cannot be multiplied (", a.size(i), "x", a.size(i + 1), " and ",
       b.size(j), "x", b.size(j + 1), "); the inner lengths must be equal",
       mended ? ": transpose one of them (.mT)?" : "");
}

void require_matrix(const char* op, const char* argument, const Tensor& x) {
  require(x.dim() == 2, op, ": ", argument, " must be a matrix, got a tensor of shape ", x.shape(),
          "; see torch.matmul for other shapes");
}

// Whether a matrix is the transpose of one that is contiguous, such as weight.T in linear.
bool lies_transposed(const Tensor& x) {
  return x.stride(0) == 1 && x.stride(1) == x.size(0) && x.size(0) > 1 && x.size(1) > 1;
}

void infer_product(Call& call, int first) {
  const Tensor &a = call.input(first), &b = call.input(first + 1);
  const char* name = call.primitive.name;
  require_matrix(name, first ? "mat1" : "self", a);
  require_matrix(name, "mat2", b);
  if (a.size(1) != b.size(0)) fail_shapes(name, a, b);
  require_same_dtype(name, a, b);
  call.attributes.flag = lies_transposed(a) | lies_transposed(b) << 1;
  call.expect(0, {a.size(0), b.size(1)}, a.dtype());
}

// What a product's rule reads: each factor's gradient needs the other factor.
template <int first>
Saved saves_factors(const Call&, uint32_t needs) {
  uint32_t a = needs >> first & 1, b = needs >> (first + 1) & 1;
  return {b << first | a << (first + 1), 0};
}

// --- mm

void infer_mm(Call& call) { infer_product(call, 0); }

void multiply(Call& call, const Epilogue* epilogue) {
  Matrices a(call.inputs[0]), b(call.inputs[1]);
  Tensor& out = call.output();
  int64_t m = out.size(0), n = out.size(1), k = a.tensor->size(1);
  visit_products("mm", out.dtype(), [&]<class T>() {
    gemm<T>(a.layout.transposed, b.layout.transposed, m, n, k, 1, a.tensor->data<T>(),
            a.layout.leading, b.tensor->data<T>(), b.layout.leading, 0, out.data<T>(),
            std::max<int64_t>(n, 1), epilogue);
  });
}

void run_mm(Call& call) { multiply(call, nullptr); }

// The gradients of the factors `first` and `first + 1` of a product. A factor that lay transposed
// (attribute flag) gets a gradient that lies transposed: turned back, it is contiguous, as the
// tensor that it came from, and need not be copied.
template <TensorRef (*product)(const TensorRef&, const TensorRef&)>
void factor_gradients(Gradient& gradient, int first, const TensorRef& g) {
  auto turned = [](const TensorRef& x) { return transpose_last(x); };
  const int flag = gradient.attributes().flag;
  if (gradient.needs(first)) {
    TensorRef b = gradient.input(first + 1);
    gradient.set(first, flag & 1 ? turned(product(b, turned(g))) : product(g, turned(b)));
  }
  if (gradient.needs(first + 1)) {
    TensorRef a = gradient.input(first);
    gradient.set(first + 1, flag & 2 ? turned(product(turned(g), a)) : product(turned(a), g));
  }
}

void mm_gradient(Gradient& gradient) { factor_gradients<mm>(gradient, 0, gradient.g()); }

const Primitive kMm{.name = "mm",
                    .infer = infer_mm,
                    .run = run_mm,
                    .gradient = mm_gradient,
                    .saved_inputs = 3,
                    .saves = saves_factors<0>,
                    .run_cuda = run_mm_cuda};

// --- addmm: inputs x, a, b; scalars beta, alpha

void require_scale(const Call& call) {
  const Attributes& attributes = call.attributes;
  bool whole = !is_floating(call.input(1).dtype());
  require(!whole || !(attributes.scalars[0].is_float() || attributes.scalars[1].is_float()),
          call.primitive.name, ": For integral input tensors, argument beta and alpha must not be ",
          "floating point numbers; pass integers");
}

void require_broadcasts(const Call& call) {
  const Tensor& x = call.input(0);
  require_same_dtype(call.primitive.name, x, call.input(1));
  broadcast_strides(x, call.specs[0].shape);
  require_scale(call);
}

void infer_addmm(Call& call) {
  infer_product(call, 1);
  require_broadcasts(call);
}

bool is_one(Scalar value) { return value.to_double() == 1; }

void multiply_and_add(Call& call, const Epilogue* epilogue) {
  const Tensor& x = call.input(0);
  Matrices a(call.inputs[1]), b(call.inputs[2]);
  Tensor& out = call.output();
  Scalar beta = call.attributes.scalars[0], alpha = call.attributes.scalars[1];
  int64_t m = out.size(0), n = out.size(1), k = a.tensor->size(1);
  int64_t leading = std::max<int64_t>(n, 1);
  bool row = x.dim() == 1 && x.size(0) == n && (x.stride(0) == 1 || n <= 1);
  bool bias = row && is_one(beta) && is_one(alpha);
  if (!bias && beta.to_double() != 0) copy(out, x);
  visit_products("addmm", out.dtype(), [&]<class T>() {
    const T *first = a.tensor->data<T>(), *second = b.tensor->data<T>();
    if (bias) {
      gemm_bias<T>(a.layout.transposed, b.layout.transposed, m, n, k, first, a.layout.leading,
                   second, b.layout.leading, x.data<T>(), out.data<T>(), leading, epilogue);
    } else {
      gemm<T>(a.layout.transposed, b.layout.transposed, m, n, k, alpha.to<Compute<T>>(), first,
              a.layout.leading, second, b.layout.leading, beta.to<Compute<T>>(), out.data<T>(),
              leading, epilogue);
    }
  });
}

void run_addmm(Call& call) { multiply_and_add(call, nullptr); }

TensorRef scaled(const TensorRef& x, Scalar factor) { return is_one(factor) ? x : mul(x, factor); }

template <TensorRef (*product)(const TensorRef&, const TensorRef&)>
void scaled_product_gradient(Gradient& gradient) {
  const Attributes& attributes = gradient.attributes();
  if (gradient.needs(0)) gradient.set(0, scaled(gradient.g(), attributes.scalars[0]));
  if (!gradient.needs(1) && !gradient.needs(2)) return;
  TensorRef g = scaled(gradient.g(), attributes.scalars[1]);
  factor_gradients<product>(gradient, 1, g);
}

const Primitive kAddmm{.name = "addmm",
                       .infer = infer_addmm,
                       .run = run_addmm,
                       .gradient = scaled_product_gradient<mm>,
                       .saved_inputs = 6,
                       .saves = saves_factors<1>,
                       .run_cuda = run_addmm_cuda};

// --- bmm, baddbmm

void infer_batch(Call& call, int first) {
  const Tensor &a = call.input(first), &b = call.input(first + 1);
  const char* name = call.primitive.name;
  require(a.dim() == 3, name, ": batch1 must be a 3D tensor, got shape ", a.shape(),
          "; see torch.matmul for other shapes");
  require(b.dim() == 3, name, ": batch2 must be a 3D tensor, got shape ", b.shape(),
          "; see torch.matmul for other shapes");
  require(a.size(0) == b.size(0) && a.size(2) == b.size(1), name,
          ": Expected size for first two dimensions of batch2 tensor to be: [", a.size(0), ", ",
          a.size(2), "] but got: [", b.size(0), ", ", b.size(1), "]; batch1 has shape ", a.shape());
  require_same_dtype(name, a, b);
  call.expect(0, {a.size(0), a.size(1), b.size(2)}, a.dtype());
}

void multiply_batch(const char* op, const TensorRef& first, const TensorRef& second, Scalar alpha,
                    Scalar beta, Tensor& out) {
  if (out.numel() == 0) return;
  Matrices a(first), b(second);
  int64_t d = out.dim() - 2, m = out.size(d), n = out.size(d + 1), k = a.tensor->shape().back();
  std::vector<int64_t> a_offsets = a.offsets(out.shape()), b_offsets = b.offsets(out.shape());
  visit_products(op, out.dtype(), [&]<class T>() {
    gemm_batch<T>(a.layout.transposed, b.layout.transposed, a_offsets.size(), m, n, k,
                  alpha.to<Compute<T>>(), a.tensor->data<T>(), a.layout.leading, a_offsets.data(),
                  b.tensor->data<T>(), b.layout.leading, b_offsets.data(), beta.to<Compute<T>>(),
                  out.data<T>(), std::max<int64_t>(n, 1), m * n);
  });
}

void infer_bmm(Call& call) { infer_batch(call, 0); }
void run_bmm(Call& call) {
  multiply_batch("bmm", call.inputs[0], call.inputs[1], 1, 0, call.output());
}

void bmm_gradient(Gradient& gradient) { factor_gradients<bmm>(gradient, 0, gradient.g()); }

const Primitive kBmm{.name = "bmm",
                     .infer = infer_bmm,
                     .run = run_bmm,
                     .gradient = bmm_gradient,
                     .saved_inputs = 3,
                     .saves = saves_factors<0>,
                     .run_cuda = run_batches_cuda};

// Batches of any common shape, read where they lie.
void infer_batches(Call& call) {
  const Tensor &a = call.input(0), &b = call.input(1);
  require_same_dtype("matmul", a, b);
  auto batch_of = [](const Tensor& x) { return Dims(x.shape().begin(), x.shape().end() - 2); };
  Dims shape = broadcast_shapes("matmul", batch_of(a), batch_of(b));
  shape.push_back(a.size(a.dim() - 2));
  shape.push_back(b.shape().back());
  call.expect(0, shape, a.dtype());
}

TensorRef multiply_batches(const TensorRef& a, const TensorRef& b);

void batches_gradient(Gradient& gradient) {
  factor_gradients<multiply_batches>(gradient, 0, gradient.g());
}

const Primitive kBatches{.name = "batch_matmul",
                         .infer = infer_batches,
                         .run = run_bmm,
                         .gradient = batches_gradient,
                         .saved_inputs = 3,
                         .grad_name = "UnsafeViewBackward0",
                         .saves = saves_factors<0>,
                         .run_cuda = run_batches_cuda};

TensorRef multiply_batches(const TensorRef& a, const TensorRef& b) {
  return apply(kBatches, {a, b});
}

void infer_baddbmm(Call& call) {
  infer_batch(call, 1);
  require_broadcasts(call);
}
void run_baddbmm(Call& call) {
  Scalar beta = call.attributes.scalars[0], alpha = call.attributes.scalars[1];
  if (beta.to_double() != 0) copy(call.output(), call.input(0));
  multiply_batch("baddbmm", call.inputs[1], call.inputs[2], alpha, beta, call.output());
}

const Primitive kBaddbmm{.name = "baddbmm",
                         .infer = infer_baddbmm,
                         .run = run_baddbmm,
                         .gradient = scaled_product_gradient<bmm>,
                         .saved_inputs = 6,
                         .saves = saves_factors<1>,
                         .run_cuda = run_baddbmm_cuda};

// --- mv, dot

void infer_mv(Call& call) {
  const Tensor &a = call.input(0), &x = call.input(1);
  require(a.dim() == 2 && x.dim() == 1, "mv: vector + matrix @ vector expected, got ", a.dim(),
          "D matrix of shape ", a.shape(), " and ", x.dim(), "D vector of shape ", x.shape());
  require(a.size(1) == x.size(0), "mv: size mismatch, got input (", a.size(0), "), mat (",
          a.size(0), "x", a.size(1), "), vec (", x.size(0),
          "); the matrix needs as many columns as the vector ", "has elements");
  require_same_dtype("mv", a, x);
  call.expect(0, {a.size(0)}, a.dtype());
}

void run_mv(Call& call) {
  Matrices a(call.inputs[0]);
  Tensor& out = call.output();
  int64_t m = out.numel(), k = call.input(1).numel();
  // The vector as a matrix of one column; its leading dimension is its step.
  TensorRef dense = with_positive_step(call.inputs[1]);
  int64_t step = std::max<int64_t>(k > 1 ? dense->stride(0) : 1, 1);
  visit_products("mv", out.dtype(), [&]<class T>() {
    gemm<T>(a.layout.transposed, false, m, 1, k, 1, a.tensor->data<T>(), a.layout.leading,
            dense->data<T>(), step, 0, out.data<T>(), 1);
  });
}

void mv_gradient(Gradient& gradient) {
  const TensorRef& g = gradient.g();
  if (gradient.needs(0)) gradient.set(0, outer(g, gradient.input(1)));
  if (gradient.needs(1)) gradient.set(1, mv(transpose_last(gradient.input(0)), g));
}

const Primitive kMv{.name = "mv",
                    .infer = infer_mv,
                    .run = run_mv,
                    .gradient = mv_gradient,
                    .saved_inputs = 3,
                    .saves = saves_factors<0>,
                    .run_cuda = run_mv_cuda};

void infer_dot(Call& call) {
  const Tensor &a = call.input(0), &b = call.input(1);
  require(a.dim() == 1 && b.dim() == 1, "dot: 1D tensors expected, but got ", a.dim(), "D and ",
          b.dim(), "D tensors of shapes ", a.shape(), " and ", b.shape(),
          "; see torch.matmul, or flatten them");
  require(a.dtype() == b.dtype(), "dot: expected both vectors to have same dtype, but found torch.",
          dtype_name(a.dtype()), " and torch.", dtype_name(b.dtype()),
          "; convert one of them with .to(dtype)");
  require(a.numel() == b.numel(), "dot: inconsistent tensor size, expected tensor [", a.numel(),
          "] and src [", b.numel(), "] to have the same number of elements");
  call.expect(0, {}, a.dtype());
}

void run_dot(Call& call) {
  const Tensor &a = call.input(0), &b = call.input(1);
  visit_products("dot", a.dtype(), [&]<class T>() {
    *call.output().data<T>() =
        flambeau::dot<T>(a.numel(), a.data<T>(), a.stride(0), b.data<T>(), b.stride(0));
  });
}

void dot_gradient(Gradient& gradient) {
  if (gradient.needs(0)) gradient.set(0, mul(gradient.g(), gradient.input(1)));
  if (gradient.needs(1)) gradient.set(1, mul(gradient.g(), gradient.input(0)));
}

const Primitive kDot{.name = "dot",
                     .infer = infer_dot,
                     .run = run_dot,
                     .gradient = dot_gradient,
                     .saved_inputs = 3,
                     .saves = saves_factors<0>,
                     .run_cuda = run_dot_cuda};

void check_batches(const Call& call) {
  need_inputs(call, 2, 2);
  const Tensor &a = call.input(0), &b = call.input(1);
  need(call, a.dim() >= 2 && b.dim() >= 2 && a.shape().back() == b.size(b.dim() - 2),
       "matrices whose inner lengths are equal are required");
}
PORTABLE(kMm, check_inputs<2>);
PORTABLE(kBatches, check_batches);
PORTABLE(kAddmm, check_inputs<3>);
PORTABLE(kBmm, check_inputs<2>);
PORTABLE(kBaddbmm, check_inputs<3>);
PORTABLE(kMv, check_inputs<2>);
PORTABLE(kDot, check_inputs<2>);

Attributes scale(Scalar beta, Scalar alpha) {
  Attributes attributes;
  attributes.scalars[0] = beta;
  attributes.scalars[1] = alpha;
  return attributes;
}

// Joins all dimensions but the last.
TensorRef flat_rows(const TensorRef& x) { return reshape(x, {-1, x->shape().back()}); }

// The shape of x with its last dimension replaced.
Dims with_last(const Dims& shape, int64_t last) {
  Dims result = shape;
  result.back() = last;
  return result;
}

}  // namespace

ProductKernel product_kernel(const Primitive& primitive) {
  if (&primitive == &kMm) return multiply;
  return &primitive == &kAddmm ? multiply_and_add : nullptr;
}

TensorRef mm(const TensorRef& a, const TensorRef& b) { return apply(kMm, {a, b}); }
TensorRef bmm(const TensorRef& a, const TensorRef& b) { return apply(kBmm, {a, b}); }
TensorRef mv(const TensorRef& matrix, const TensorRef& vector) {
  return apply(kMv, {matrix, vector});
}
TensorRef dot(const TensorRef& a, const TensorRef& b) { return apply(kDot, {a, b}); }
TensorRef addmm(const TensorRef& x, const TensorRef& a, const TensorRef& b, Scalar beta,
                Scalar alpha) {
  return apply(kAddmm, {x, a, b}, scale(beta, alpha));
}
TensorRef baddbmm(const TensorRef& x, const TensorRef& a, const TensorRef& b, Scalar beta,
                  Scalar alpha) {
  return apply(kBaddbmm, {x, a, b}, scale(beta, alpha));
}

TensorRef outer(const TensorRef& a, const TensorRef& b) {
  require(a->dim() == 1, "outer: Expected 1-D argument self, but got ", a->dim(), "-D of shape ",
          a->shape(), "; flatten it first");
  require(b->dim() == 1, "outer: Expected 1-D argument vec2, but got ", b->dim(), "-D of shape ",
          b->shape(), "; flatten it first");
  return mul(unsqueeze(a, 1), b);
}

TensorRef matmul(const TensorRef& a, const TensorRef& b) {
  int64_t p = a->dim(), q = b->dim();
  if (p == 2 && q == 2) return mm(a, b);
  require(p > 0 && q > 0, "matmul: both arguments to matmul need to be at least 1D, but they are ",
          p, "D and ", q, "D; use * with numbers");
  if (p == 1 && q == 1) return dot(a, b);
  if (p == 2 && q == 1) return mv(a, b);
  if (p == 1 && q == 2) return squeeze(mm(unsqueeze(a, 0), b), 0);
  if (p == 1) return squeeze(matmul(unsqueeze(a, 0), b), -2);
  if (q == 1) return squeeze(matmul(a, unsqueeze(b, 1)), -1);
  if (a->shape().back() != b->size(q - 2)) fail_shapes("matmul", *a, *b);
  // A batch of rows times one matrix is one product.
  if (q == 2 && a->numel() > 0) {
    return view(mm(flat_rows(a), b), with_last(a->shape(), b->size(1)));
  }
  return p == 3 && q == 3 && a->size(0) == b->size(0) ? bmm(a, b) : multiply_batches(a, b);
}

TensorRef linear(const TensorRef& x, const TensorRef& weight, const TensorRef& bias) {
  require(weight->dim() == 1 || weight->dim() == 2, "linear: weight must be 1-D or 2-D, got shape ",
          weight->shape());
  if (weight->dim() == 1) {
    TensorRef product = matmul(x, weight);
    return bias ? add(product, bias) : product;
  }
  require(x->dim() > 0, "linear: the input must have at least one dimension, got a 0-d tensor");
  TensorRef turned = transpose_last(weight);
  require(x->shape().back() == weight->size(1),
          "linear: mat1 and mat2 shapes cannot be multiplied ", "(",
          x->numel() / std::max<int64_t>(x->shape().back(), 1), "x", x->shape().back(), " and ",
          weight->size(1), "x", weight->size(0), "); the input's last dimension must be ",
          weight->size(1), ", got an input of shape ", x->shape(), " and a weight of shape ",
          weight->shape());
  if (!bias) return matmul(x, turned);
  if (x->dim() == 2) return addmm(bias, x, turned);
  if (x->numel() == 0 || bias->dim() != 1) return add(matmul(x, turned), bias);
  return view(addmm(bias, flat_rows(x), turned), with_last(x->shape(), weight->size(0)));
}

// --- Python

#define PRODUCT_ERRORS "Raises:\n    RuntimeError: the shapes or dtypes do not fit."
#define PRODUCT_DTYPES "of one dtype (any but bool)"

OPERATOR_FORMS(
    mm, "mm", "input, mat2", kUsual,
    "Product of two matrices.\n\nArgs:\n    input: (n, k).\n    mat2: (k, m), " PRODUCT_DTYPES
    ".\n\nReturns:\n    A tensor (n, m).\n\n" PRODUCT_ERRORS)
    .autocast("lower");
OPERATOR_FORMS(bmm, "bmm", "input, mat2", kUsual,
               "Products of two batches of matrices.\n\nArgs:\n    input: (b, n, k).\n    mat2: "
               "(b, k, m), " PRODUCT_DTYPES
               ".\n\nReturns:\n    A tensor (b, n, m).\n\n" PRODUCT_ERRORS)
    .autocast("lower");
OPERATOR_FORMS(
    mv, "mv", "input, vec", kUsual,
    "Product of a matrix and a vector.\n\nArgs:\n    input: (n, k).\n    vec: (k,), " PRODUCT_DTYPES
    ".\n\nReturns:\n    A tensor (n,).\n\n" PRODUCT_ERRORS)
    .autocast("lower on cuda");

#define DOT_DOC                                                                           \
  "Sum of the products of two vectors' elements.\n\nArgs:\n    input: (k,).\n    other: " \
  "(k,), " PRODUCT_DTYPES ".\n\nReturns:\n    A 0-d tensor.\n\n" PRODUCT_ERRORS
static TensorRef dot_operator(const TensorRef& input, const TensorRef& tensor) {
  return dot(input, tensor);
}
OPERATOR_FORMS(dot_operator, "dot", "input, tensor", kUsual, DOT_DOC).autocast("promote on cuda");
static TensorRef vdot(const TensorRef& input, const TensorRef& other) { return dot(input, other); }
OPERATOR(vdot, "input, other", DOT_DOC).autocast("promote on cuda");

static TensorRef inner(const TensorRef& input, const TensorRef& other) {
  if (input->dim() == 0 || other->dim() == 0) return mul(input, other);
  require(input->shape().back() == other->shape().back(),
          "inner() the last dimension must match on both input tensors but got shapes ",
          input->shape(), " and ", other->shape());
  TensorRef product = mm(flat_rows(input), transpose_last(flat_rows(other)));
  Dims shape(input->shape().begin(), input->shape().end() - 1);
  for (int64_t d = 0; d < other->dim() - 1; ++d) shape.push_back(other->size(d));
  return view(product, shape);
}
OPERATOR(
    inner, "input, other",
    "Products summed over the last dimension of both.\n\nArgs:\n    input: (*, k).\n    other: "
    "(*, k), " PRODUCT_DTYPES
    ".\n\nReturns:\n    A tensor of the leading shapes one after the "
    "other.\n\n" PRODUCT_ERRORS);

#define OUTER_DOC                                                                                \
  "Products of all elements of one vector with all of another.\n\nArgs:\n    input: (n,).\n"     \
  "    vec2: (m,).\n\nReturns:\n    A tensor (n, m).\n\nRaises:\n    RuntimeError: an argument " \
  "is not a vector."
OPERATOR_FORMS(outer, "outer", "input, vec2", kUsual, OUTER_DOC);
static TensorRef ger(const TensorRef& input, const TensorRef& vec2) { return outer(input, vec2); }
OPERATOR(ger, "input, vec2", OUTER_DOC);

#define SCALED_ARGUMENTS                                                                        \
  "    beta (number): factor of the input; with 0 the input is not read.\n    alpha (number): " \
  "factor of the product.\n"
OPERATOR_FORMS(
    addmm, "addmm", "input, mat1, mat2, *, beta=1, alpha=1", kUsual | kInPlace,
    "beta * input + alpha * (mat1 @ mat2).\n\nArgs:\n    input: a tensor that broadcasts "
    "to (n, m).\n    mat1: (n, k).\n    mat2: (k, m).\n" SCALED_ARGUMENTS
    "\nReturns:\n    A tensor (n, m).\n\n" PRODUCT_ERRORS)
    .autocast("lower");
OPERATOR_FORMS(
    baddbmm, "baddbmm", "input, batch1, batch2, *, beta=1, alpha=1", kUsual | kInPlace,
    "beta * input + alpha * bmm(batch1, batch2).\n\nArgs:\n    input: a tensor that "
    "broadcasts to (b, n, m).\n    batch1: (b, n, k).\n    batch2: (b, k, m).\n" SCALED_ARGUMENTS
    "\nReturns:\n    A tensor (b, n, m).\n\n" PRODUCT_ERRORS)
    .autocast("lower");

static TensorRef addbmm(const TensorRef& input, const TensorRef& batch1, const TensorRef& batch2,
                        const Scalar& beta, const Scalar& alpha) {
  TensorRef product = scaled(sum(bmm(batch1, batch2), {0}), alpha);
  broadcast_strides(*input, product->shape());
  return beta.to_double() == 0 ? product : add(scaled(input, beta), product);
}
OPERATOR_FORMS(addbmm, "addbmm", "input, batch1, batch2, *, beta=1, alpha=1", kUsual | kInPlace,
               "beta * input + alpha * the sum of bmm(batch1, batch2) over the batch.\n\nArgs:\n"
               "    input: a tensor that broadcasts to (n, m).\n    batch1: (b, n, k).\n"
               "    batch2: (b, k, m).\n" SCALED_ARGUMENTS
               "\nReturns:\n    A tensor (n, m).\n\n" PRODUCT_ERRORS)
    .autocast("lower");
static TensorRef addmv(const TensorRef& input, const TensorRef& mat, const TensorRef& vec,
                       const Scalar& beta, const Scalar& alpha) {
  TensorRef product = scaled(mv(mat, vec), alpha);
  broadcast_strides(*input, product->shape());
  return beta.to_double() == 0 ? product : add(scaled(input, beta), product);
}
OPERATOR_FORMS(addmv, "addmv", "input, mat, vec, *, beta=1, alpha=1", kUsual | kInPlace,
               "beta * input + alpha * (mat @ vec).\n\nArgs:\n    input: a tensor that broadcasts "
               "to (n,).\n    mat: (n, k).\n    vec: (k,).\n" SCALED_ARGUMENTS
               "\nReturns:\n    A tensor (n,).\n\n" PRODUCT_ERRORS)
    .autocast("lower on cuda");
static TensorRef addr(const TensorRef& input, const TensorRef& vec1, const TensorRef& vec2,
                      const Scalar& beta, const Scalar& alpha) {
  TensorRef product = scaled(outer(vec1, vec2), alpha);
  broadcast_strides(*input, product->shape());
  return beta.to_double() == 0 ? product : add(scaled(input, beta), product);
}
OPERATOR_FORMS(addr, "addr", "input, vec1, vec2, *, beta=1, alpha=1", kUsual | kInPlace,
               "beta * input + alpha * outer(vec1, vec2).\n\nArgs:\n    input: a tensor that "
               "broadcasts to (n, m).\n    vec1: (n,).\n    vec2: (m,).\n" SCALED_ARGUMENTS
               "\nReturns:\n    A tensor (n, m).\n\n" PRODUCT_ERRORS)
    .autocast("lower on cuda");

OPERATOR_FORMS(matmul, "matmul", "input, other", kUsual,
               "Matrix product of tensors (the operator @).\n\n"
               "Two vectors give their dot product. A vector counts as a row on the left and as a "
               "column on the right, and that dimension goes away. Dimensions before the last two "
               "are a batch and broadcast.\n\nArgs:\n    input: (*, n, k) or (k,).\n    other: "
               "(*, k, m) or (k,), " PRODUCT_DTYPES
               ".\n\nReturns:\n    A tensor (*, n, m).\n\n" PRODUCT_ERRORS
               "\n\nExample:\n    >>> (torch.ones(5, 2, 3) @ torch.ones(3, 4)).shape\n"
               "    torch.Size([5, 2, 4])")
    .autocast("lower");

static TensorRef linear_operator(const TensorRef& input, const TensorRef& weight,
                                 const std::optional<TensorRef>& bias) {
  return linear(input, weight, bias ? *bias : TensorRef());
}
OPERATOR_FORMS(linear_operator, "linear", "input, weight, bias=None", kFunctional,
               "A linear layer: input @ weight.T + bias.\n\nArgs:\n    input: (*, k).\n    weight: "
               "(m, k), or (k,).\n    bias (optional): (m,).\n\nReturns:\n    A tensor (*, "
               "m).\n\n" PRODUCT_ERRORS)
    .autocast("lower");

}  // namespace flambeau
