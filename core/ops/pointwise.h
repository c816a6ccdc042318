// Elementwise and row-wise operators: a program, a rule for the result's type, and names. One
// Pointwise is a primitive; its gradient is derived from the program and is a Pointwise again.
#pragma once

#include <initializer_list>
#include <memory>
#include <mutex>
#include <string>

#include "ops/primitive.h"
#include "ops/registry.h"
#include "program/program.h"

namespace flambeau {

// Which type the operands are computed in and the result has. The common type is PyTorch's
// promotion over the promoting operands: tensors with dimensions, then 0-d tensors, then numbers.
enum class Promotion : uint8_t {
  Common,    // add: result of the common type
  Floating,  // sin: integers become the default floating type
  Compare,   // eq: computed in the common type, result Bool
  Integral,  // bitwise_and: common type, which must not be floating
  First,     // the first operand's type, whatever the others are
};

// A tensor or a number, implicitly made from either.
struct Operand : TensorOrScalar {
  Operand(TensorRef value) : TensorOrScalar{std::move(value), {}} {}
  Operand(Scalar value) : TensorOrScalar{nullptr, value} {}
  Operand(const TensorOrScalar& value) : TensorOrScalar(value) {}
  Operand(bool value) : Operand(Scalar(value)) {}
  Operand(int value) : Operand(Scalar(value)) {}
  Operand(int64_t value) : Operand(Scalar(value)) {}
  Operand(double value) : Operand(Scalar(value)) {}
};

struct Pointwise : Primitive {
  std::string name_text;
  std::string grad_name_text;
  ProgramRef program;  // inputs: the operands in order, then the scalar parameters
  Promotion promotion = Promotion::Common;
  int operand_count = 0;       // inputs that may be tensors
  uint32_t not_promoting = 0;  // bit i: operand i has no say in the type (where's condition)
  bool rejects_bool = false;   // sub, neg: PyTorch refuses Bool
  const Pointwise* for_bool = nullptr;  // used instead when the common type is Bool

  Pointwise(std::string name, ProgramRef program, Promotion promotion, int operand_count,
            std::string grad_name = {});
  ~Pointwise();

 private:
  friend struct PointwiseGradient;
  Kernel direct_[3] = {};  // single instruction: its kernels by precision
  mutable std::mutex mutex_;
  mutable std::shared_ptr<struct BackwardPlan> backward_[8];
};

// The operator of one instruction ("exp", "add"); made at first use, lives forever.
const Pointwise& pointwise_of(Instruction instruction);

// Applies an operator: promotes, broadcasts, runs, records.
TensorRef pointwise(const Pointwise& op, std::span<const Operand> operands);
inline TensorRef pointwise(const Pointwise& op, std::initializer_list<Operand> operands) {
  return pointwise(op, std::span<const Operand>(operands.begin(), operands.size()));
}
// All outputs of a program with several.
TensorList pointwise_outputs(const Pointwise& op, std::span<const Operand> operands);
// Writes into operand 0, which must be a tensor (`x.add_(y)`); returns it.
TensorRef pointwise_in_place(const Pointwise& op, std::span<const Operand> operands);
// Writes into `out` (`torch.add(x, y, out=out)`), giving it the result's shape if it is empty.
TensorRef pointwise_out(const Pointwise& op, std::span<const Operand> operands,
                        const TensorRef& out);

// The hot paths of `x + y`, `x * 2` and `exp(x)`.
TensorRef unary(const Pointwise& op, const TensorRef& a);
TensorRef binary(const Pointwise& op, const TensorRef& a, const TensorRef& b);
TensorRef binary(const Pointwise& op, const TensorRef& a, Scalar b);
TensorRef binary(const Pointwise& op, Scalar a, const TensorRef& b);

// Runs a program in place over lists of tensors, without recording: optimizer steps. Input i is
// lists[i][k] for the k-th run; output j is written into lists[targets[j]][k]. The numbers follow
// the lists in the program's inputs and are the same for all k.
void foreach_program(const Program& program, std::span<const TensorList> lists,
                     std::span<const Scalar> numbers, std::span<const int> targets);

// The result type of an operator on these operands, as torch.result_type.
DType common_type(std::span<const Operand> operands, uint32_t not_promoting = 0);
// The shape to which all shapes broadcast; `name` opens the message of the RuntimeError.
Dims broadcast_shapes(const char* name, const Dims& a, const Dims& b);

}  // namespace flambeau
