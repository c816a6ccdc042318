// Elementwise and row-wise operators: a program, a rule for the result's type, and names. A
// Pointwise is a primitive; its gradient is derived from the program and made of Pointwises again.
//
// Note [Calls of pointwise operators]: Call.inputs are the operands, null where one is a number.
// Attributes.scalars are the numbers in order: those among the operands, then the parameters (all
// of them in Attributes.object when there are more than four). Attributes.dtype is the type that
// is computed in, bit i of Attributes.flag says that operand i is a tensor. Attributes.ints is the
// axis of the rows where it is not the last.
#pragma once

#include <atomic>
#include <initializer_list>
#include <string>
#include <vector>

#include "ops/primitive.h"
#include "ops/registry.h"
#include "program/program.h"

namespace flambeau {

// Which type the operands are computed in and the result has. The common type is PyTorch's
// promotion over the promoting operands: tensors with dimensions, then 0-d tensors, then numbers.
enum class Promotion : uint8_t {
  Common,           // add: result of the common type
  Floating,         // sin: integers become the default floating type
  Compare,          // eq: computed in the common type, result Bool
  CompareFloating,  // isclose: computed in a floating type, result Bool
  Integral,         // bitwise_and: common type, which must not be floating
  First,            // the first tensor's type, whatever the others are
};

// A tensor or a number, implicitly made from either.
struct Operand : TensorOrScalar {
  Operand() = default;
  Operand(TensorRef value) : TensorOrScalar{std::move(value), {}} {}
  Operand(Scalar value) : TensorOrScalar{nullptr, value} {}
  Operand(const TensorOrScalar& value) : TensorOrScalar(value) {}
  Operand(bool value) : Operand(Scalar(value)) {}
  Operand(int value) : Operand(Scalar(value)) {}
  Operand(int64_t value) : Operand(Scalar(value)) {}
  Operand(double value) : Operand(Scalar(value)) {}
};

class BackwardPlan;

struct Pointwise : Primitive {
  std::string name_text;
  std::string grad_name_text;
  ProgramRef program;  // inputs: the operands in order, then the parameters (numbers)
  Promotion promotion = Promotion::Common;
  int operand_count = 0;                // inputs that may be tensors
  uint32_t not_promoting = 0;           // bit i: operand i has no say in the type (a condition)
  const char* bool_refusal = nullptr;   // set: Bool is refused, with this hint
  bool whole_power = false;             // integers have no negative powers
  const Pointwise* for_bool = nullptr;  // used instead when the common type is Bool
  // One instruction on its operands in order: its kernels by dtype, where the result has the
  // operands' type and nothing needs converting.
  Kernel direct[kDTypeCount] = {};
  int cost = 1;

  Pointwise(std::string name, ProgramRef program, Promotion promotion, int operand_count,
            std::string grad_name = {});
  ~Pointwise();
  bool yields_bool() const {
    return promotion == Promotion::Compare || promotion == Promotion::CompareFloating;
  }
  const BackwardPlan& backward(uint32_t needs) const {
    BackwardPlan* plan =
        needs < kPlans - 1 ? plans_[needs].load(std::memory_order_acquire) : nullptr;
    if (plan) return *plan;
    return find_backward(needs);
  }

 private:
  const BackwardPlan& find_backward(uint32_t needs) const;
  static constexpr int kPlans = 8;  // by needs; operators of more operands share the last list
  mutable std::atomic<BackwardPlan*> plans_[kPlans] = {};
};

// The operator of one instruction ("exp", "add"); made at first use, lives forever.
const Pointwise& pointwise_of(Instruction instruction);

// Applies an operator: promotes, broadcasts, runs, records. `operands` are followed by the
// parameters, if any.
TensorRef pointwise(const Pointwise& op, std::span<const Operand> operands);
inline TensorRef pointwise(const Pointwise& op, std::initializer_list<Operand> operands) {
  return pointwise(op, std::span<const Operand>(operands.begin(), operands.size()));
}
// A row operator along another axis than the last, which is what its rows are.
TensorRef pointwise_rows(const Pointwise& op, std::span<const Operand> operands, int64_t axis);
// All outputs of a program with several.
TensorList pointwise_outputs(const Pointwise& op, std::span<const Operand> operands,
                             int64_t axis = -1);
// Writes into operand 0, which must be a tensor (`x.add_(y)`); returns it.
TensorRef pointwise_in_place(const Pointwise& op, std::span<const Operand> operands);
// Writes into `out` (`torch.add(x, y, out=out)`), giving it the result's shape; returns it.
TensorRef pointwise_out(const Pointwise& op, std::span<const Operand> operands,
                        const TensorRef& out);

// The hot paths of `exp(x)`, `x + y` and `x * 2`.
TensorRef unary(const Pointwise& op, const TensorRef& a);
TensorRef binary(const Pointwise& op, const TensorRef& a, const TensorRef& b);
TensorRef binary(const Pointwise& op, const TensorRef& a, Scalar b);
TensorRef binary(const Pointwise& op, Scalar a, const TensorRef& b);

// Runs a program in place over lists of tensors, without recording: optimizer steps. Input i is
// lists[i][k] for the k-th run; output j is written into lists[targets[j]][k]. The numbers follow
// the lists in the program's inputs and are the same for all k.
void foreach_program(const Program& program, std::span<const TensorList> lists,
                     std::span<const Scalar> numbers, std::span<const int> targets);

// The common type of operands, as torch.result_type.
DType common_type(std::span<const Operand> operands, uint32_t not_promoting = 0);
// The shape to which all shapes broadcast; `name` opens the message of the RuntimeError.
Dims broadcast_shapes(const char* name, const Dims& a, const Dims& b);

}  // namespace flambeau
