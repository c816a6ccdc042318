// Indexing by tensors: x[i, j], x[mask], and assignment through them.
#pragma once

#include "ops/registry.h"

namespace flambeau {

// An index per dimension: null takes the whole dimension, int64 tensors broadcast together, bool
// tensors stand for their nonzero positions (one dimension of x for each of theirs).
TensorRef index(const TensorRef& x, const TensorList& indices);
// x[indices] = values, in place; values broadcast. `accumulate` adds, repeated places too.
TensorRef index_put_(const TensorRef& x, const TensorList& indices, const TensorRef& values,
                     bool accumulate);

}  // namespace flambeau
