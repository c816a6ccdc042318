// Programs as machine code: the fast executor of what machine.cpp runs on any processor.
//
// ProgramRun is for callers that run one program on the same shapes again and again (a compiled
// graph): everything that depends on shapes, strides and types is decided when it is made. It
// runs machine code where there is some for the program, and the block machine otherwise; its
// caller need not know which.
#pragma once

#include <memory>
#include <string>

#include "base/cpu.h"
#include "base/thread_pool.h"
#include "program/machine.h"

namespace flambeau {

// What a run reads or writes, without its address.
struct ProgramOperand {
  static ProgramOperand number() { return {}; }
  static ProgramOperand of(const Tensor& tensor) {
    return {true, tensor.dtype(), tensor.shape(), tensor.strides()};
  }
  bool is_tensor = false;  // false: a number, given anew for every run
  DType dtype = DType::Float32;
  Dims shape, strides;  // strides in elements
};

// When programs run as machine code.
// FLAMBEAU_EMITTER=0 and =always in the environment ask for the first and the last.
enum class EmitterUse : uint8_t { Never, WhenWorthwhile, Always };
EmitterUse emitter_use();
void set_emitter_use(EmitterUse use);

// The executor of run_program: machine code for programs that have done enough work to deserve it,
// the block machine otherwise.
void run_adaptively(const Program& program, Precision precision,
                    std::span<const ProgramInput> inputs, std::span<Tensor* const> outputs);
// Counts the work of a program; true once it is enough for machine code.
bool worthwhile(const Program& program, int64_t elements);

class ProgramRun {
 public:
  // One operand for every input and output of the program; the rules are those of run_program. An
  // output may be exactly the memory of an input of the same shape and type (in place), and must
  // not overlap an input otherwise.
  ProgramRun(ProgramRef program, Precision precision, std::span<const ProgramOperand> inputs,
             std::span<const ProgramOperand> outputs,
             InstructionSet instruction_set = flambeau::instruction_set());
  ~ProgramRun();
  ProgramRun(ProgramRun&&) noexcept;

  // Addresses of the first elements of the tensor inputs and of the outputs, and the values of
  // the number inputs, each in order. Allocates nothing when there is machine code. Several
  // threads may call it at once.
  void run(std::span<void* const> inputs, std::span<const Scalar> numbers,
           std::span<void* const> outputs) const;

  // The same part by part: what the inputs read is made meanwhile. All outputs are matrices.
  // `body` gets the function to call for each part, from any thread; the function needs machine
  // code, and operands that lie like matrices.
  using Part = FunctionRef<void(int64_t row_begin, int64_t row_end, int64_t column_begin,
                                int64_t column_end)>;
  bool has_parts() const;
  void run_in_parts(std::span<void* const> inputs, std::span<const Scalar> numbers,
                    std::span<void* const> outputs, FunctionRef<void(Part)> body) const;

  // Whether there is machine code for it.
  bool emitted() const;
  // The machine code as text, one instruction per line; empty if there is none.
  std::string listing() const;
  std::span<const uint8_t> code() const;

 private:
  struct Prepared;
  std::unique_ptr<Prepared> prepared_;
};

// run_foreach for callers that update the same tensors again and again: remembers what it found out
// about them. One thread at a time.
class ForeachRun {
 public:
  ForeachRun(ProgramRef program, Precision precision);
  ~ForeachRun();
  ForeachRun(ForeachRun&&) noexcept;
  void run(std::span<const ForeachInput> inputs, std::span<const std::span<Tensor* const>> outputs);

 private:
  struct Prepared;
  std::unique_ptr<Prepared> prepared_;
};

}  // namespace flambeau
