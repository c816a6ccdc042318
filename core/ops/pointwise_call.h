// What running, differentiating and recording pointwise operators share.
#pragma once

#include "base/inline_array.h"
#include "ops/pointwise.h"

namespace flambeau {

using SmallInputs = InlineArray<TensorRef, 4>;

// The numbers of a call, in order: Note [Calls of pointwise operators].
class PointwiseNumbers {
 public:
  explicit PointwiseNumbers(const Attributes& attributes) : attributes_(attributes) {}
  Scalar next() { return at(next_++); }
  Scalar at(int position) const;

 private:
  const Attributes& attributes_;
  int next_ = 0;
};

// As pointwise(), for operands that are not needed any more: the result may take the memory of
// one that nobody else holds. Records nothing if it does, so only where gradients are off.
TensorRef pointwise_overwriting(const Pointwise& op, std::span<Operand> operands);

void infer_pointwise(Call& call);
void run_pointwise(Call& call);
void pointwise_gradient(Gradient& gradient);
Saved pointwise_saves(const Call& call, uint32_t needs);
void delete_backward_plans(BackwardPlan* first);

}  // namespace flambeau
