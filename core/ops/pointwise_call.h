// What running, differentiating and recording pointwise operators share.
#pragma once

#include <vector>

#include "ops/pointwise.h"

namespace flambeau {

// The operands of a call; no heap for the usual few.
class SmallInputs {
 public:
  explicit SmallInputs(int count) : count_(count), more_(count > kFew ? count : 0) {}
  TensorRef& operator[](int i) { return count_ > kFew ? more_[i] : few_[i]; }
  const TensorRef& operator[](int i) const { return count_ > kFew ? more_[i] : few_[i]; }
  operator std::span<const TensorRef>() const {
    return {count_ > kFew ? more_.data() : few_, static_cast<size_t>(count_)};
  }

 private:
  static constexpr int kFew = 4;
  int count_;
  TensorRef few_[kFew];
  std::vector<TensorRef> more_;
};

// The numbers of a call, in order: Note [Calls of pointwise operators].
class PointwiseNumbers {
 public:
  explicit PointwiseNumbers(const Attributes& attributes) : attributes_(attributes) {}
  Scalar next();

 private:
  const Attributes& attributes_;
  int next_ = 0;
};

void infer_pointwise(Call& call);
void run_pointwise(Call& call);
void pointwise_gradient(Gradient& gradient);
Saved pointwise_saves(const Call& call, uint32_t needs);
void delete_backward_plans(BackwardPlan* first);

}  // namespace flambeau
