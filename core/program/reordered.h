// Elementwise programs on results that lie in another order than row-major (channels last,
// transposed): it does not matter in which order elements are met, so the dimensions of all
// operands are put into the order of the results.
#pragma once

#include "program/emitter.h"

namespace flambeau {

// The dimensions from the one with the largest stride to the one with the smallest; empty if they
// are in that order already.
Dims memory_order(const Dims& shape, const Dims& strides);

// Lengths or strides in that order; as they are for an empty order.
Dims in_order(const Dims& order, const Dims& dims);

// Views of a program's operands with dimensions in `order`, that of the outputs.
class Reordered {
 public:
  Reordered(const Dims& order, std::span<const ProgramInput> inputs,
            std::span<Tensor* const> outputs);
  std::span<const ProgramInput> inputs() const { return inputs_; }
  std::span<Tensor* const> outputs() const { return outputs_; }

 private:
  Tensor* view(const Dims& order, const Tensor& tensor);
  std::vector<TensorRef> views_;
  std::vector<ProgramInput> inputs_;
  std::vector<Tensor*> outputs_;
};

// The same of an operand without its address.
void reorder(const Dims& order, ProgramOperand& operand);

// Lists of tensors for run_foreach, where the k-th tensors of all lists that are dense in one order
// have become lines.
class Lines {
 public:
  Lines(std::span<const ForeachInput> inputs, std::span<const std::span<Tensor* const>> outputs);
  // False: all tensors are contiguous as they are, and nothing was made.
  bool any() const { return any_; }
  std::span<const ForeachInput> inputs() const { return inputs_; }
  std::span<const std::span<Tensor* const>> outputs() const { return outputs_; }

 private:
  void flatten(size_t k);
  bool any_ = false;
  std::vector<std::vector<Tensor*>> lists_;  // inputs that are tensors, then outputs
  std::vector<TensorRef> lines_;
  std::vector<ForeachInput> inputs_;
  std::vector<std::span<Tensor* const>> outputs_;
};

}  // namespace flambeau
