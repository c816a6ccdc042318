// Reductions: results that combine the elements along some dimensions.
#pragma once

#include "ops/reduction_kernels.h"
#include "ops/registry.h"

namespace flambeau {

// Without `dims`: over all elements.
TensorRef sum(const TensorRef& x);
TensorRef sum(const TensorRef& x, const Dims& dims, bool keepdim = false);
TensorRef mean(const TensorRef& x);
TensorRef mean(const TensorRef& x, const Dims& dims, bool keepdim = false);
TensorRef prod(const TensorRef& x, const Dims& dims, bool keepdim = false);
TensorRef amax(const TensorRef& x, const Dims& dims, bool keepdim = false);
TensorRef amin(const TensorRef& x, const Dims& dims, bool keepdim = false);
TensorRef any(const TensorRef& x);
TensorRef all(const TensorRef& x);
TensorRef logsumexp(const TensorRef& x, const Dims& dims, bool keepdim = false);
// Root of the sum of |x|^p.
TensorRef vector_norm(const TensorRef& x, double p, const std::optional<Dims>& dims = {},
                      bool keepdim = false);
// Values and positions of the largest (smallest) elements along a dimension.
TensorList max_along(const TensorRef& x, int64_t dim, bool keepdim);
TensorList min_along(const TensorRef& x, int64_t dim, bool keepdim);

// Undoes broadcasting: sums x down to `shape`, from which it could be expanded. x itself if equal.
TensorRef sum_to(const TensorRef& x, const Dims& shape);

TensorRef cumsum(const TensorRef& x, int64_t dim);
TensorRef cumprod(const TensorRef& x, int64_t dim);

// The dimensions to reduce as bits; absent or empty means all.
uint64_t dimension_mask(const char* op, const std::optional<Dims>& dims, int64_t rank);
Dims reduced_shape(const Dims& shape, uint64_t mask, bool keepdim);
Dims dimensions_of(uint64_t mask);
// Elements per result.
int64_t reduced_count(const Dims& shape, uint64_t mask);
// IndexError if a dimension to reduce has no elements although there are results.
void require_elements(const char* op, const Tensor& x, uint64_t mask);
// A result (or its gradient) as it would be with keepdim.
TensorRef with_kept(const TensorRef& result, uint64_t mask, bool keepdim);
// The same, expanded to the input's shape.
TensorRef spread(const TensorRef& result, uint64_t mask, bool keepdim, const Dims& shape);
// Attributes of a reduction: ints[0] is the mask, flag is keepdim.
Attributes reduction_attributes(uint64_t mask, bool keepdim);

// For kernels written in terms of operators: nothing inside is recorded.
class Unrecorded {
 public:
  Unrecorded() : saved_(mode) {
    if (mode.tracing) recorder.untraceable("an operator that reads values");
    mode.grad = mode.tracing = false;
    mode.in_place = nullptr;
  }
  ~Unrecorded() { mode = saved_; }

 private:
  Mode saved_;
};

// Gradient rule of everything that picks one element per line: output 1 holds the positions along
// dimension ints[0], flag is keepdim.
void picked_gradient(Gradient& gradient);
// Gradient rule of reductions whose result is one of the elements: those that equal it share the
// gradient; so do NaNs when the result is NaN.
void shared_gradient(Gradient& gradient);

}  // namespace flambeau
