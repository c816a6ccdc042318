// The seam for operators that cut a tensor into parts (unbind, split): one record for all parts.
#pragma once

#include "ops/registry.h"

namespace flambeau {

// Gives `parts`, views of `input` that follow one another along `dim` and together are all of it,
// their history. `stacked`: they lack that dimension (unbind). Defined by autograd (parts.cpp).
extern void (*record_parts)(const TensorRef& input, const TensorList& parts, int64_t dim,
                            bool stacked);

}  // namespace flambeau
