// A program: a straight-line list of scalar instructions that an elementwise or row-wise operator
// runs for every element. It is built once from a formula, differentiated, and executed in one
// pass over memory.
#pragma once

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

// Operands are indices of earlier values. A value is one number per element, or one number per
// row (`row`) when it stems from a row instruction and everything it depends on does.
struct Value {
  Instruction instruction = Instruction::Input;
  bool row = false;
  int32_t index = 0;  // of an Input
  int32_t operands[3] = {-1, -1, -1};
  double constant = 0;
};

// What all registers of a run hold. Loads convert to it, stores convert from it. Bool and every
// integer type compute as Int64, 16-bit floats as Float32.
enum class Precision : uint8_t { Float32, Float64, Int64 };
Precision precision_of(DType dtype);

class Program : public Object {
 public:
  int input_count = 0;
  std::vector<Value> values;     // operands come before their users
  std::vector<int32_t> outputs;  // indices of values
  bool has_rows = false;         // contains row instructions: runs over whole last axes

  std::string to_string() const;  // one line per value, for golden tests and reports
  uint64_t hash() const;
};
using ProgramRef = Ref<Program>;

// The gradient of a program as a program again. Its inputs are those of `reads`, in order; its
// outputs are the gradients of the inputs in `wanted` (ascending).
struct Derivative {
  struct Read {
    enum class Kind : uint8_t { Gradient, Input, Output } kind;
    int32_t index;
  };
  ProgramRef program;
  std::vector<Read> reads;
  // Bit i of `zero`: the gradient of wanted input i is identically zero (nothing to propagate).
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
// Threads: yes. Inputs and outputs are CPU tensors.
void run_program(const Program& program, Precision precision, std::span<const ProgramInput> inputs,
                 std::span<Tensor* const> outputs);

// Direct path: one instruction on contiguous memory of the precision's own type. A bit in
// `scalars` says that operand i points to one value instead of `count`.
using Kernel = void (*)(void* out, const void* a, const void* b, const void* c, int64_t count,
                        uint32_t scalars);
Kernel kernel_of(Instruction instruction, Precision precision);
int arity_of(Instruction instruction);

}  // namespace flambeau
