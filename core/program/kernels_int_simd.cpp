// The block machine's kernels for Int64.
#include <utility>

#include "program/kernels.h"
#include "program/special.h"

namespace flambeau::FLAMBEAU_ISA {
namespace {
using Number = int64_t;
using Total = uint64_t;
constexpr Number kHighest = INT64_MAX, kLowest = INT64_MIN;
#include "program/kernel_loops.h"
// Integer division by zero is an error, found before anything is written.
struct RefuseZero {
  static bool run(Number*, const Number*, const Number* b, int64_t count, uint32_t scalars) {
    int64_t divisors = scalars & 2 ? 1 : count;
    int zero = 0;
    for (int64_t i = 0; i < divisors; ++i) zero |= b[i] == 0;
    if (zero) raise_zero_division();
    return false;
  }
};
template <>
struct Before<floor_divide_op> : RefuseZero {};
template <>
struct Before<trunc_divide_op> : RefuseZero {};
template <>
struct Before<remainder_op> : RefuseZero {};
template <>
struct Before<fmod_op> : RefuseZero {};
#include "program/row_loops.h"
}  // namespace

const InstructionKernels int_kernels = {{FLAMBEAU_INSTRUCTION_TABLE
#include "program/instructions.def"
                                        },
                                        {&row_sum, &row_extreme<1>, &row_extreme<-1>}};

}  // namespace flambeau::FLAMBEAU_ISA
