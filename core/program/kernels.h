// Tables of the block machine's kernels, one set per instruction set. All work on contiguous
// blocks of a precision's own type; loads and stores convert and gather.
#pragma once

#include "base/cpu.h"
#include "program/coefficients.h"
#include "program/program.h"

namespace flambeau {

inline constexpr int kInstructionCount = static_cast<int>(Instruction::Count);

// Reduces `rows` rows of `length` numbers to one number each.
using RowKernel = void (*)(void* out, const void* in, int64_t rows, int64_t length);
// Steps are in elements; a step of 0 repeats one element.
using Load = void (*)(void* to, const void* from, int64_t step, int64_t count);
using Store = void (*)(void* to, int64_t step, const void* from, int64_t count);

struct InstructionKernels {
  Kernel kernels[kInstructionCount];  // null where the precision does not have it
  RowKernel rows[3];                  // row_sum, row_max, row_min
};
struct TransferKernels {
  Load loads[3][kDTypeCount];  // by precision and dtype
  Store stores[3][kDTypeCount];
};

FLAMBEAU_SIMD(extern const InstructionKernels float_kernels)
FLAMBEAU_SIMD(extern const InstructionKernels double_kernels)
FLAMBEAU_SIMD(extern const InstructionKernels int_kernels)
FLAMBEAU_SIMD(extern const TransferKernels transfer_kernels)

// The integer loops call this when a divisor is zero.
[[noreturn]] void raise_zero_division();

}  // namespace flambeau
