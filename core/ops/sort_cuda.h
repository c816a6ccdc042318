// Sorting lines on a GPU.
#pragma once

#include "ops/registry.h"

namespace flambeau::cuda_ops {

struct Sorted {
  TensorRef values, positions;
};
// A dense line of int64 numbers from 0 to `largest`, of which the lower bits are sorted only.
// Equal numbers keep their order.
Sorted sort_small(const TensorRef& x, int64_t largest);

}  // namespace flambeau::cuda_ops
