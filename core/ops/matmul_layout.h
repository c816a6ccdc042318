// How matrices lie in memory, for products on any device.
#pragma once

#include <algorithm>
#include <vector>

#include "tensor/copy.h"
#include "tensor/tensor.h"

namespace flambeau {

// How the last two dimensions of a tensor lie in memory.
struct MatrixLayout {
  bool transposed;
  int64_t leading;
};

// False if neither rows nor columns are dense.
bool find_layout(const Tensor& x, MatrixLayout& layout);

// A matrix, or a batch of them, whose rows or columns are dense; owns a copy where one was needed.
struct Matrices {
  TensorRef tensor;
  MatrixLayout layout;

  explicit Matrices(const TensorRef& x) : tensor(x) {
    if (find_layout(*tensor, layout)) return;
    tensor = dense_copy(*x, x->dtype());
    find_layout(*tensor, layout);
  }
  // The strides of the dimensions of a batch, 0 where it broadcasts; `shape` is the result's.
  Dims batch_strides(const Dims& shape) const;
  // Where each matrix of a batch begins.
  std::vector<int64_t> offsets(const Dims& shape) const;
};

// A step of one vector that products can read: itself, or a copy.
TensorRef with_positive_step(const TensorRef& x);

// NotImplementedError for a type that has no products.
void require_products(const char* op, DType dtype);

}  // namespace flambeau
