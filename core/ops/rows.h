// Operators over whole rows that are programs: softmax, normalisation.
#pragma once

#include "ops/pointwise.h"

namespace flambeau {

TensorRef softmax(const TensorRef& x, int64_t dim);
TensorRef log_softmax(const TensorRef& x, int64_t dim);
// Over the last dimensions, which are `normalized_shape`; weight and bias may be null.
TensorRef layer_norm(const TensorRef& x, const Dims& normalized_shape, const TensorRef& weight,
                     const TensorRef& bias, double eps);
TensorRef rms_norm(const TensorRef& x, const Dims& normalized_shape, const TensorRef& weight,
                   double eps);

}  // namespace flambeau
