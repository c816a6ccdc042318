// Matrix products.
#pragma once

#include "ops/registry.h"

namespace flambeau {

struct Epilogue;

// The kernel of a product that hands each finished block of its result, a matrix, to an epilogue
// (nullptr: none). Null for primitives that are no such product.
using ProductKernel = void (*)(Call& call, const Epilogue* epilogue);
ProductKernel product_kernel(const Primitive& primitive);

TensorRef mm(const TensorRef& a, const TensorRef& b);
TensorRef bmm(const TensorRef& a, const TensorRef& b);
TensorRef mv(const TensorRef& matrix, const TensorRef& vector);
TensorRef dot(const TensorRef& a, const TensorRef& b);
TensorRef outer(const TensorRef& a, const TensorRef& b);
// beta * x + alpha * a b
TensorRef addmm(const TensorRef& x, const TensorRef& a, const TensorRef& b, Scalar beta = 1,
                Scalar alpha = 1);
TensorRef baddbmm(const TensorRef& x, const TensorRef& a, const TensorRef& b, Scalar beta = 1,
                  Scalar alpha = 1);
TensorRef matmul(const TensorRef& a, const TensorRef& b);
// x W^T + bias; bias may be null.
TensorRef linear(const TensorRef& x, const TensorRef& weight, const TensorRef& bias);

}  // namespace flambeau
