// Reductions that other operators, gradient rules and the engine use.
#pragma once

#include "ops/registry.h"

namespace flambeau {

// Sums a tensor to a shape it was broadcast from: the engine's un-broadcasting.
TensorRef sum_to(const TensorRef& x, const Dims& shape);

}  // namespace flambeau
