// The block machine's kernels for Float32.
#include <utility>

#include "program/kernels.h"
#include "program/special.h"

namespace flambeau::FLAMBEAU_ISA {
namespace {
using Number = float;
#define FLAMBEAU_FLOATING
using Total = double;
constexpr Number kHighest = __builtin_inff(), kLowest = -__builtin_inff();
#include "program/kernel_loops.h"
// Arguments too large for the fast reduction: the C library, for them only, so that an element's
// result does not depend on its neighbours.
template <class Op, float (*library)(float)>
static bool run_trigonometric(Number* out, const Number* a, int64_t count) {
  constexpr int64_t kChunk = 256;
  Number given[kChunk];
  for (int64_t i = 0; i < count; i += kChunk) {
    int64_t length = count - i < kChunk ? count - i : kChunk;
    int large = 0;
    for (int64_t j = 0; j < length; ++j) large |= absolute(a[i + j]) > kTrigonometricLimitFloat;
    if (large) __builtin_memcpy(given, a + i, length * sizeof(Number));
    loop<Op, 6>(out + i, a + i, a + i, a + i, length);
    for (int64_t j = 0; large && j < length; ++j) {
      if (absolute(given[j]) > kTrigonometricLimitFloat) out[i + j] = library(given[j]);
    }
  }
  return true;
}
static float library_sin(float x) { return __builtin_sinf(x); }
static float library_cos(float x) { return __builtin_cosf(x); }
template <>
struct Before<sin_op> {
  static bool run(Number* out, const Number* a, const Number*, int64_t count, uint32_t) {
    return run_trigonometric<sin_op, library_sin>(out, a, count);
  }
};
template <>
struct Before<cos_op> {
  static bool run(Number* out, const Number* a, const Number*, int64_t count, uint32_t) {
    return run_trigonometric<cos_op, library_cos>(out, a, count);
  }
};
#include "program/row_loops.h"
#include "program/usual_range.h"
}  // namespace

const InstructionKernels float_kernels = {{FLAMBEAU_INSTRUCTION_TABLE
#include "program/instructions.def"
                                          },
                                          {&row_sum, &row_extreme<1>, &row_extreme<-1>}};

}  // namespace flambeau::FLAMBEAU_ISA
