// The machine code of one program for one way of calling it.
#pragma once

#include <string>

#include "base/cpu.h"
#include "program/emitter/executable_memory.h"
#include "program/emitter/lowering.h"

namespace flambeau::emitter {

// Runs `rows` rows of `columns` elements. By tensor (inputs that are not numbers, outputs, scratch
// streams): the address of its first element, and the bytes from row to row; kMostTensors places
// later, the elements from column to column of strided inputs. `numbers`: by value, eight bytes
// each, those that are one number per run.
inline constexpr int kMostTensors = 40;  // of a kernel, scratch included
using KernelFunction = void (*)(void* const* tensors, const int64_t* strides, const void* numbers,
                                int64_t rows, int64_t columns);

class MachineCode {
 public:
  // Null when the program cannot be emitted for this instruction set, or the system refuses.
  static std::unique_ptr<MachineCode> write(const Program& program, const KernelKey& key,
                                            InstructionSet instruction_set, bool listing = false);

  void run(void* const* tensors, const int64_t* strides, const void* numbers, int64_t rows,
           int64_t columns) const {
    function_(tensors, strides, numbers, rows, columns);
  }
  int tensor_count() const { return tensor_count_; }
  int scratch_count() const { return scratch_count_; }
  const std::string& listing() const { return listing_; }
  std::span<const uint8_t> bytes() const { return memory_.bytes(); }

 private:
  ExecutableMemory memory_;
  KernelFunction function_ = nullptr;
  int tensor_count_ = 0, scratch_count_ = 0;
  std::string listing_;
};

}  // namespace flambeau::emitter
