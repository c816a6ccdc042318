// Convolution and its transpose on tensors, checked by the caller; recorded.
#pragma once

#include "ops/primitive.h"

namespace flambeau {

// Attributes::ints holds stride, padding and dilation of every axis and then the groups; more_ints
// the spatial shape of the result. The bias may be null.
TensorRef convolution(const TensorRef& x, const TensorRef& w, const TensorRef& bias,
                      Attributes attributes);
TensorRef convolution_transpose(const TensorRef& y, const TensorRef& w, const TensorRef& bias,
                                Attributes attributes);

}  // namespace flambeau
