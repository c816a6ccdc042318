// Pooling over the last two or three dimensions of tensors, checked by the caller; recorded.
#pragma once

#include "ops/registry.h"

namespace flambeau {

// Attributes::ints holds kernel, stride, padding and dilation of every axis (kernels of 0 mean
// adaptive windows), more_ints the spatial shape of the result.
TensorList max_pool(const TensorRef& x, Attributes attributes);  // values and their positions
// Also flag (count the padding) and scalars[0] (the divisor; 0: the number of elements).
TensorRef average_pool(const TensorRef& x, Attributes attributes);

}  // namespace flambeau
