// The loops around the expressions of instructions.def for one type `Number`, and the table of
// them. Included by one *_simd.cpp per type, inside the namespace of the instruction set.

#include "program/mathematics.h"

#define FLAMBEAU_ANY(name, expression)                                        \
  struct name##_op {                                                          \
    template <class T>                                                        \
    FLAMBEAU_SCALAR T call(T a, [[maybe_unused]] T b, [[maybe_unused]] T c) { \
      return T(expression);                                                   \
    }                                                                         \
  };
#define FLAMBEAU_Any FLAMBEAU_ANY
#define FLAMBEAU_Real FLAMBEAU_ANY
#define FLAMBEAU_Whole FLAMBEAU_ANY
#define FLAMBEAU_Test FLAMBEAU_ANY
#define FLAMBEAU_Row(name, expression)
#define FLAMBEAU_Special(name, expression)
// The parentheses keep commas of the expression inside one macro argument.
#define INSTRUCTION(name, arity, kind, cost, expression, ...) FLAMBEAU_##kind(name, (expression))
#include "program/instructions.def"
#undef INSTRUCTION

// Operand i is one number where bit i of kScalars is set. Writing over an operand is allowed.
template <class Op, int kScalars>
static void loop(Number* out, const Number* a, const Number* b, const Number* c, int64_t count) {
  const Number a0 = *a, b0 = *b, c0 = *c;
#pragma GCC ivdep
  for (int64_t i = 0; i < count; ++i) {
    out[i] = Op::template call<Number>(kScalars & 1 ? a0 : a[i], kScalars & 2 ? b0 : b[i],
                                       kScalars & 4 ? c0 : c[i]);
  }
}

// Instructions that need a look at their operands first specialise this; true: all done.
template <class Op>
struct Before {
  static bool run(Number*, const Number*, const Number*, int64_t, uint32_t) { return false; }
};

template <class Op, int kArity>
static void run(void* out_pointer, const void* a_pointer, const void* b_pointer,
                const void* c_pointer, int64_t count, uint32_t scalars) {
  if (count <= 0) return;
  auto* out = static_cast<Number*>(out_pointer);
  auto* a = static_cast<const Number*>(a_pointer);
  auto* b = static_cast<const Number*>(kArity > 1 ? b_pointer : a_pointer);
  auto* c = static_cast<const Number*>(kArity > 2 ? c_pointer : a_pointer);
  if (Before<Op>::run(out, a, b, count, scalars)) return;
  constexpr int kUnused = kArity == 1 ? 6 : kArity == 2 ? 4 : 0;
  switch (scalars) {
    case 0:
      return loop<Op, kUnused>(out, a, b, c, count);
    case 1:
      return loop<Op, kUnused | 1>(out, a, b, c, count);
    default:
      break;
  }
  if constexpr (kArity > 1) {
    if (scalars == 2) return loop<Op, kUnused | 2>(out, a, b, c, count);
    if (scalars == 3) return loop<Op, kUnused | 3>(out, a, b, c, count);
  }
  if constexpr (kArity > 2) {
    if (scalars == 4) return loop<Op, 4>(out, a, b, c, count);
    if (scalars == 5) return loop<Op, 5>(out, a, b, c, count);
    if (scalars == 6) return loop<Op, 6>(out, a, b, c, count);
    return loop<Op, 7>(out, a, b, c, count);
  }
}

// Powers by one common exponent: the usual ones are products and roots.
struct cube_op {
  template <class T>
  FLAMBEAU_SCALAR T call(T a, T, T) {
    return a * a * a;
  }
};
template <>
struct Before<pow_op> {
  static bool run(Number* out, const Number* a, const Number* b, int64_t count, uint32_t scalars) {
    if (scalars != 2) return false;
    const Number exponent = *b;
    if (exponent == 2) return loop<square_op, 6>(out, a, a, a, count), true;
    if (exponent == 3) return loop<cube_op, 6>(out, a, a, a, count), true;
    if (exponent == 1) return loop<stop_op, 6>(out, a, a, a, count), true;
#ifdef FLAMBEAU_FLOATING
    if (exponent == Number(0.5)) return loop<sqrt_op, 6>(out, a, a, a, count), true;
    if (exponent == -1) return loop<reciprocal_op, 6>(out, a, a, a, count), true;
#endif
    return false;
  }
};

#define FLAMBEAU_TABLE(name, arity) &run<name##_op, arity>,
#define FLAMBEAU_NULL(name, arity) nullptr,
#undef FLAMBEAU_Any
#undef FLAMBEAU_Real
#undef FLAMBEAU_Whole
#undef FLAMBEAU_Test
#undef FLAMBEAU_Row
#undef FLAMBEAU_Special
#define FLAMBEAU_Any FLAMBEAU_TABLE
#define FLAMBEAU_Test FLAMBEAU_TABLE
#define FLAMBEAU_Row FLAMBEAU_NULL
#define FLAMBEAU_Special FLAMBEAU_NULL
#ifdef FLAMBEAU_FLOATING
#define FLAMBEAU_Real FLAMBEAU_TABLE
#define FLAMBEAU_Whole FLAMBEAU_NULL
#else
#define FLAMBEAU_Real FLAMBEAU_NULL
#define FLAMBEAU_Whole FLAMBEAU_TABLE
#endif
#define INSTRUCTION(name, arity, kind, ...) FLAMBEAU_##kind(name, arity)
#define FLAMBEAU_INSTRUCTION_TABLE nullptr, nullptr,
