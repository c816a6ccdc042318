// The block machine's kernels for Float64.
#include <utility>

#include "program/kernels.h"
#include "program/special.h"

namespace flambeau::FLAMBEAU_ISA {
namespace {
using Number = double;
#define FLAMBEAU_FLOATING
using Total = double;
constexpr Number kHighest = __builtin_inf(), kLowest = -__builtin_inf();
#include "program/kernel_loops.h"
#include "program/row_loops.h"
}  // namespace

const InstructionKernels double_kernels = {{FLAMBEAU_INSTRUCTION_TABLE
#include "program/instructions.def"
                                           },
                                           {&row_sum, &row_extreme<1>, &row_extreme<-1>}};

}  // namespace flambeau::FLAMBEAU_ISA
