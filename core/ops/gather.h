// Reading and writing at positions that a tensor of indices names.
#pragma once

#include "ops/registry.h"

namespace flambeau {

TensorRef gather(const TensorRef& x, int64_t dim, const TensorRef& index);
TensorRef scatter(const TensorRef& x, int64_t dim, const TensorRef& index, const TensorRef& src);
TensorRef scatter(const TensorRef& x, int64_t dim, const TensorRef& index, Scalar value);
TensorRef scatter_add(const TensorRef& x, int64_t dim, const TensorRef& index,
                      const TensorRef& src);

TensorRef index_select(const TensorRef& x, int64_t dim, const TensorRef& index);
TensorRef index_add(const TensorRef& x, int64_t dim, const TensorRef& index,
                    const TensorRef& source, Scalar alpha = 1);
TensorRef index_fill(const TensorRef& x, int64_t dim, const TensorRef& index, Scalar value);
TensorRef take(const TensorRef& x, const TensorRef& index);
TensorRef put(const TensorRef& x, const TensorRef& index, const TensorRef& source, bool accumulate);
TensorRef embedding(const TensorRef& weight, const TensorRef& indices, int64_t padding_idx = -1,
                    bool scale_grad_by_freq = false);

TensorRef masked_select(const TensorRef& x, const TensorRef& mask);
TensorRef masked_scatter(const TensorRef& x, const TensorRef& mask, const TensorRef& source);
// Positions of the elements that are not zero, one row each.
TensorRef nonzero(const TensorRef& x);

TensorRef flip(const TensorRef& x, const Dims& dims);
TensorRef roll(const TensorRef& x, const Dims& shifts, const Dims& dims);
TensorRef tril(const TensorRef& x, int64_t diagonal);
TensorRef triu(const TensorRef& x, int64_t diagonal);
TensorRef diag_embed(const TensorRef& x, int64_t offset, int64_t dim1, int64_t dim2);

// What the index errors of an operator look like.
struct IndexRule {
  const char* op;
  int64_t bound;
  int64_t dim = -1;
  ErrorKind kind = ErrorKind::Index;
  bool from_end = false;  // negative indices count from the end
};
IndexRule gather_rule(const Call& call);  // of the primitive gather
// The indices as a dense int64 tensor in [0, bound).
TensorRef checked_indices(const TensorRef& index, const IndexRule& rule);

// The unsigned type of an element's width, for kernels that only move elements.
template <class Function>
decltype(auto) visit_width(DType dtype, Function&& function) {
  switch (item_size(dtype)) {
    case 1:
      return function.template operator()<uint8_t>();
    case 2:
      return function.template operator()<uint16_t>();
    case 4:
      return function.template operator()<uint32_t>();
    default:
      return function.template operator()<uint64_t>();
  }
}

}  // namespace flambeau
