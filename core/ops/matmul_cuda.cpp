#include "ops/matmul_cuda.h"

#include <array>

#include "cuda/launch.h"
#include "cuda/scratch.h"
#include "ops/matmul_layout.h"

namespace flambeau {

namespace {

using cuda::MatrixOperand;
using cuda::MatrixProduct;

// --- kernels of our own (ops/matmul.cu)

constexpr cuda::KernelFile kFile{"ops/matmul.cu", "ops/tiles.cuh"};
constexpr int64_t kTile = 64;

const cuda::Function& kernel(const char* entry, DType dtype, int device) {
  return kFile.get(entry, {{"T", cuda::type_name(dtype)}, {"INDEX", "int64"}}, device);
}

struct KernelOperand {
  const void* data;
  int64_t row, column, batch;
};
KernelOperand kernel_operand(const MatrixOperand& operand) {
  return operand.transposed ? KernelOperand{operand.data, 1, operand.leading, operand.batch_stride}
                            : KernelOperand{operand.data, operand.leading, 1, operand.batch_stride};
}

template <class Accumulator>
void multiply_by_tiles(const MatrixProduct& product) {
  struct Shape {
    int64_t rows, columns, inner, batch;
  } shape{product.m, product.n, product.k, product.batch};
  const int64_t blocks =
      (product.m + kTile - 1) / kTile * ((product.n + kTile - 1) / kTile) * product.batch;
  cuda::launch(kernel("multiply", product.dtype, product.device),
               {static_cast<unsigned>(std::min<int64_t>(blocks, INT32_MAX))}, {256}, 0, shape,
               kernel_operand(product.a), kernel_operand(product.b), kernel_operand(product.c),
               product.bias, product.out, product.out_batch_stride, product.alpha.to<Accumulator>(),
               product.beta.to<Accumulator>());
}

// Calls function.operator()<T>() for the type that kernels accumulate in.
template <class Function>
void visit_accumulator(DType dtype, Function&& function) {
  if (dtype == DType::Float64) {
    function.template operator()<double>();
  } else if (is_floating(dtype)) {
    function.template operator()<float>();
  } else {
    function.template operator()<int64_t>();
  }
}

// --- from tensors to products

MatrixOperand operand_of(const Matrices& matrices) {
  return {matrices.tensor->data(), matrices.layout.transposed, matrices.layout.leading, 0};
}

MatrixProduct product_of(const Matrices& a, const Matrices& b, const Tensor& out) {
  const int64_t d = out.dim() - 2;
  MatrixProduct product;
  product.dtype = out.dtype();
  product.device = out.device().index;
  product.m = out.size(d);
  product.n = out.size(d + 1);
  product.k = a.tensor->shape().back();
  product.a = operand_of(a);
  product.b = operand_of(b);
  product.out = out.data();
  return product;
}

const void* advanced(const void* data, int64_t elements, DType dtype) {
  return static_cast<const char*>(data) + elements * item_size(dtype);
}

// The products of a batch of any shape: one run per index of all its dimensions but the longest.
void multiply_each(MatrixProduct product, Dims shape, std::array<Dims, 3> strides) {
  merge_dimensions(shape, strides);
  int64_t longest = 0, runs = 1;
  for (int64_t d = 1; d < shape.size(); ++d) {
    if (shape[d] > shape[longest]) longest = d;
  }
  if (!shape.empty()) {
    product.batch = shape[longest];
    product.a.batch_stride = strides[0][longest];
    product.b.batch_stride = strides[1][longest];
    product.out_batch_stride = strides[2][longest];
    runs = count_elements(shape) / product.batch;
  }
  for (int64_t run = 0; run < runs; ++run) {
    MatrixProduct part = product;
    int64_t at[3] = {0, 0, 0}, rest = run;
    for (int64_t d = shape.size() - 1; d >= 0; --d) {
      if (d == longest) continue;
      for (int i = 0; i < 3; ++i) at[i] += rest % shape[d] * strides[i][d];
      rest /= shape[d];
    }
    part.a.data = advanced(product.a.data, at[0], product.dtype);
    part.b.data = advanced(product.b.data, at[1], product.dtype);
    part.out = const_cast<void*>(advanced(product.out, at[2], product.dtype));
    part.c = {part.out, false, product.n, product.out_batch_stride};
    multiply_on_gpu(part);
  }
}

void multiply_batch(Call& call, int first, Scalar alpha, Scalar beta) {
  const Tensor& out = call.output();
  require_products(call.primitive.name, out.dtype());
  if (out.numel() == 0) return;
  Matrices a(call.inputs[first]), b(call.inputs[first + 1]);
  MatrixProduct product = product_of(a, b, out);
  product.alpha = alpha;
  product.beta = beta;
  const int64_t batch_dims = out.dim() - 2;
  multiply_each(product, Dims(out.shape().begin(), out.shape().begin() + batch_dims),
                {a.batch_strides(out.shape()), b.batch_strides(out.shape()),
                 Dims(out.strides().begin(), out.strides().begin() + batch_dims)});
}

bool is_one(Scalar value) { return value.to_double() == 1; }

// Whether x + a b is a product with a bias in every row.
bool has_bias_row(const Call& call) {
  const Tensor& x = call.input(0);
  const int64_t columns = call.output().size(1);
  return x.dim() == 1 && x.size(0) == columns && (x.stride(0) == 1 || columns == 1) &&
         is_one(call.attributes.scalars[0]) && is_one(call.attributes.scalars[1]);
}

// Whether products can add the tensor as it lies: rows one after another, none of them repeated.
bool is_matrix_of(const Tensor& x, const Dims& shape) {
  return x.shape() == shape && (x.stride(1) == 1 || x.size(1) <= 1) &&
         (x.stride(0) >= x.size(1) || x.size(0) <= 1);
}

}  // namespace

void multiply_on_gpu(const MatrixProduct& product) {
  if (product.m == 0 || product.n == 0 || product.batch == 0) return;
  if (cuda::cublaslt_multiply(product)) return;
  visit_accumulator(product.dtype, [&]<class T>() { multiply_by_tiles<T>(product); });
}

void run_mm_cuda(Call& call) {
  const Tensor& out = call.output();
  require_products("mm", out.dtype());
  Matrices a(call.inputs[0]), b(call.inputs[1]);
  multiply_on_gpu(product_of(a, b, out));
}

void run_addmm_cuda(Call& call) {
  const Tensor &x = call.input(0), &out = call.output();
  require_products("addmm", out.dtype());
  if (out.numel() == 0) return;
  Matrices a(call.inputs[1]), b(call.inputs[2]);
  MatrixProduct product = product_of(a, b, out);
  product.alpha = call.attributes.scalars[1];
  product.beta = call.attributes.scalars[0];
  if (has_bias_row(call)) {
    product.bias = x.data();
    product.beta = 0;
    if (cuda::cublaslt_multiply(product)) return;
    if (is_floating(out.dtype()) && cuda::cublaslt_problem().empty()) {
      // It may have the product without the bias.
      copy(out, x);
      product.bias = nullptr;
      product.beta = 1;
      product.c = {out.data(), false, product.n, 0};
    }
  } else if (product.beta.to_double() != 0 && is_matrix_of(x, out.shape())) {
    product.c = {x.data(), false, std::max(x.stride(0), product.n), 0};
  } else if (product.beta.to_double() != 0) {
    copy(out, x);
    product.c = {out.data(), false, product.n, 0};
  }
  multiply_on_gpu(product);
}

bool multiply_and_activate(Call& call, cuda::Activation activation, const TensorRef& at,
                           Tensor& result) {
  const Tensor& out = call.output();
  const int first = call.inputs.size() == 3 ? 1 : 0;  // addmm adds input 0
  if (out.numel() == 0 || (first == 1 && !has_bias_row(call))) return false;
  auto lies_like_it = [&](const Tensor& x) {
    return x.dtype() == out.dtype() && x.numel() == out.numel() && x.contiguous();
  };
  const bool keeps = result.data() != out.data();
  if (!out.contiguous() || !lies_like_it(result) || (at && !lies_like_it(*at))) return false;
  if (keeps && activation != cuda::Activation::Gelu) return false;
  Matrices a(call.inputs[first]), b(call.inputs[first + 1]);
  MatrixProduct product = product_of(a, b, out);
  product.bias = first == 1 ? call.input(0).data() : nullptr;
  product.activation = activation;
  product.before = at ? at->data() : keeps ? out.data() : nullptr;
  product.out = result.data();
  return cuda::cublaslt_multiply(product);
}

bool multiply_and_sum(Call& call, int factor, Tensor& sums) {
  const Tensor& out = call.output();
  if (call.inputs.size() != 2 || out.numel() == 0 || sums.dtype() != out.dtype()) return false;
  if (!sums.contiguous() || sums.numel() != out.size(factor)) return false;
  Matrices a(call.inputs[0]), b(call.inputs[1]);
  MatrixProduct product = product_of(a, b, out);
  (factor == 0 ? product.a_sums : product.b_sums) = sums.data();
  return cuda::cublaslt_multiply(product);
}

void run_batches_cuda(Call& call) { multiply_batch(call, 0, 1, 0); }

void run_baddbmm_cuda(Call& call) {
  const Scalar beta = call.attributes.scalars[0], alpha = call.attributes.scalars[1];
  if (beta.to_double() != 0) copy(call.output(), call.input(0));
  multiply_batch(call, 1, alpha, beta);
}

void run_mv_cuda(Call& call) {
  const Tensor& out = call.output();
  require_products("mv", out.dtype());
  Matrices a(call.inputs[0]);
  // The vector as a matrix of one column; its leading dimension is its step.
  TensorRef x = with_positive_step(call.inputs[1]);
  MatrixProduct product;
  product.dtype = out.dtype();
  product.device = out.device().index;
  product.m = out.numel();
  product.n = 1;
  product.k = x->numel();
  product.a = operand_of(a);
  product.b = {x->data(), false, x->numel() > 1 ? x->stride(0) : 1, 0};
  product.out = out.data();
  multiply_on_gpu(product);
}

void run_dot_cuda(Call& call) {
  const Tensor &x = call.input(0), &y = call.input(1), &out = call.output();
  require_products("dot", out.dtype());
  const int device = out.device().index;
  const int64_t count = x.numel();
  // Few enough parts for one block to sum.
  const auto blocks = static_cast<unsigned>(std::clamp<int64_t>((count + 1023) / 1024, 1, 256));
  visit_accumulator(out.dtype(), [&]<class Accumulator>() {
    const cuda::Scratch parts(blocks * sizeof(Accumulator), device);
    cuda::launch(kernel("dot_parts", out.dtype(), device), {blocks}, {256}, 0, x.data(),
                 x.stride(0), y.data(), y.stride(0), count, parts.data());
    cuda::launch(kernel("dot_total", out.dtype(), device), {1}, {256}, 0, parts.data(),
                 static_cast<int>(blocks), out.data());
  });
}

}  // namespace flambeau
