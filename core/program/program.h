// A program: a straight-line list of scalar instructions that an elementwise or row-wise operator
// runs for every element. It is built once from a formula, differentiated, and executed in one
// pass over memory.
#pragma once

#include <atomic>
#include <span>
#include <string>
#include <vector>

#include "base/object.h"
#include "tensor/tensor.h"

namespace flambeau {

// The instructions; instructions.def is the one table.
enum class Instruction : uint8_t {
  Input,     // the element of input `index`
  Constant,  // `constant`
#define INSTRUCTION(name, ...) name,
#include "program/instructions.def"
#undef INSTRUCTION
  Count
};

// How many numbers a value is: one per run, one per row (last axis), one per element.
enum class Extent : uint8_t { Uniform, Row, Element };

// Operands are indices of earlier values, -1 where there are fewer.
struct Value {
  Instruction instruction = Instruction::Input;
  Extent extent = Extent::Element;
  int32_t index = 0;  // of an Input
  int32_t operands[3] = {-1, -1, -1};
  double constant = 0;
};

// What all registers of a run hold. Loads convert to it, stores convert from it. Bool and every
// integer type compute as Int64, 16-bit floats as Float32.
enum class Precision : uint8_t { Float32, Float64, Int64 };
Precision precision_of(DType dtype);

// How a program is executed (machine.cpp); made at its first run.
class Plan;

// Immutable once built (builder.h).
class Program : public Object {
 public:
  ~Program() override;

  int input_count = 0;
  std::vector<Value> values;     // operands come before their users
  std::vector<int32_t> outputs;  // indices of values
  bool has_rows = false;         // contains row values: runs over whole last axes
  // The operator's own derivative, if it names one: a program of the inputs, the outputs and the
  // incoming gradients, in this order, whose outputs are the gradients of the inputs.
  Ref<Program> derivative;

  std::string to_string() const;  // one line per value, for golden tests and reports
  uint64_t hash() const;

 private:
  friend const Plan& plan_of(const Program& program);
  mutable std::atomic<Plan*> plan_{nullptr};
};
using ProgramRef = Ref<Program>;

// The gradient of a program as a program again. Its inputs are those of `reads`, in order (numbers
// come last); its outputs are the gradients of the inputs in `wanted` (ascending), but for those in
// `zero`.
struct Derivative {
  struct Read {
    enum class Kind : uint8_t { Gradient, Input, Output } kind;
    int32_t index;
  };
  ProgramRef program;
  std::vector<Read> reads;
  // Bit i: the gradient of input i is identically zero and has no output.
  uint32_t zero = 0;
};
Derivative differentiate(const Program& program, uint32_t wanted);

// What an input reads in a run: a tensor that broadcasts to the outputs' shape, or one number.
struct ProgramInput {
  const Tensor* tensor = nullptr;
  Scalar scalar;
};

// Runs a program. All outputs have one shape (with rows: a row-valued output has a last axis of
// length 1); they may be strided, of any dtype, and may be exactly the memory of an input.
// Threads: yes. Inputs are where the outputs are; 0-d tensors of the CPU may go with any.
void run_program(const Program& program, Precision precision, std::span<const ProgramInput> inputs,
                 std::span<Tensor* const> outputs);

using Executor = decltype(&run_program);
extern Executor program_executor;  // what run_program calls

// Direct path: one instruction on contiguous memory of the precision's own type. A bit in
// `scalars` says that operand i points to one value instead of `count`.
using Kernel = void (*)(void* out, const void* a, const void* b, const void* c, int64_t count,
                        uint32_t scalars);
Kernel kernel_of(Instruction instruction, Precision precision);
int arity_of(Instruction instruction);
// The direct path of a comparison: stores the kernel's ones and zeros as bools.
void run_test(Kernel kernel, Precision precision, bool* out, const void* a, const void* b,
              int64_t count, uint32_t scalars);

}  // namespace flambeau
