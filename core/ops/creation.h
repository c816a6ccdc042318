// New tensors, and joining tensors into new ones.
#pragma once

#include "ops/registry.h"

namespace flambeau {

TensorRef zeros(const Dims& shape, DType dtype, Device device = {});
TensorRef ones(const Dims& shape, DType dtype, Device device = {});
TensorRef full(const Dims& shape, Scalar value, DType dtype, Device device = {});
TensorRef arange(Scalar start, Scalar end, Scalar step, DType dtype, Device device = {});
// Values that were computed on the CPU, where they are wanted.
TensorRef placed(const TensorRef& values, Device device);
TensorRef cat(const TensorList& tensors, int64_t dim);
TensorRef stack(const TensorList& tensors, int64_t dim);

}  // namespace flambeau
