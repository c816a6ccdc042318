#include "program/emitter/instructions.h"

#include <cmath>

#include "program/builder.h"

namespace flambeau::emitter {

Vector Forms::number() {
  if (number_ < 0) {
    const Vector mask{code_, element_, mask_};
    number_ = make(Op::Where, mask, constant_like(mask, 1)).node;
  }
  return {code_, element_, number_};
}
Vector Forms::mask() {
  if (mask_ < 0) mask_ = compare(Predicate::NotEqual, {code_, element_, number_}, 0).node;
  return {code_, element_, mask_};
}

bool has_vector_code(Instruction instruction) {
  const InstructionKind kind = kind_of(instruction);
  return kind != InstructionKind::Whole && kind != InstructionKind::Special;
}

namespace {

using I = Instruction;
using P = Predicate;

struct Operands {
  Forms* const (&forms)[3];
  Vector a() const { return forms[0]->number(); }
  Vector b() const { return forms[1]->number(); }
  Vector c() const { return forms[2]->number(); }
};

Vector larger(Op op, Vector a, Vector b) {  // a when it is NaN
  return choose(compare(P::Unordered, a, a), a, make(op, a, b));
}
Vector other_if_nan(P predicate, Vector a, Vector b) {
  return choose(make(Op::MaskOr, compare(predicate, a, b), compare(P::Unordered, b, b)), a, b);
}
Vector rounded(Vector x, int mode) { return make(Op::Round, x, 8 | mode); }

// A mask, or node -1 when the instruction is no test.
Vector lower_test(I instruction, const Operands& x) {
  auto masks = [&](Op op) { return make(op, x.forms[0]->mask(), x.forms[1]->mask()); };
  switch (instruction) {
    case I::eq:
      return compare(P::Equal, x.a(), x.b());
    case I::ne:
      return compare(P::NotEqual, x.a(), x.b());
    case I::lt:
      return compare(P::Less, x.a(), x.b());
    case I::le:
      return compare(P::LessEqual, x.a(), x.b());
    case I::gt:
      return compare(P::Greater, x.a(), x.b());
    case I::ge:
      return compare(P::GreaterEqual, x.a(), x.b());
    case I::logical_and:
      return masks(Op::MaskAnd);
    case I::logical_or:
      return masks(Op::MaskOr);
    case I::logical_xor:
      return masks(Op::MaskXor);
    case I::logical_not:
      return compare(P::Equal, x.a(), 0);
    case I::isnan:
      return compare(P::Unordered, x.a(), x.a());
    case I::isinf:
      return compare(P::Equal, absolute(x.a()), HUGE_VAL);
    case I::isfinite:
      return compare(P::Less, absolute(x.a()), HUGE_VAL);
    case I::signbit:
      return make(Op::SignMask, x.a());
    default:
      return {x.a().code, x.a().element, -1};
  }
}

// Powers by a constant that are products or roots.
Vector lower_power(Vector a, double exponent) {
  if (exponent == 2) return a * a;
  if (exponent == 3) return a * a * a;
  if (exponent == 1) return a;
  if (exponent == 0.5) return make(Op::Sqrt, a);
  if (exponent == -1) return constant_like(a, 1) / a;
  return {a.code, a.element, -1};
}

Vector lower_arithmetic(I instruction, const Operands& x, double exponent) {
  const Vector a = x.a();
  switch (instruction) {
    case I::add:
      return a + x.b();
    case I::sub:
      return a - x.b();
    case I::mul:
      return a * x.b();
    case I::div:
      return a / x.b();
    case I::fma:
      return fma(a, x.b(), x.c());
    case I::neg:
      return make(Op::Xor, a, sign_bits(a));
    case I::abs:
      return absolute(a);
    case I::sign: {
      const Vector one = constant_like(a, 1);
      return make(Op::Where, compare(P::Greater, a, 0), one) -
             make(Op::Where, compare(P::Less, a, 0), one);
    }
    case I::square:
      return a * a;
    case I::reciprocal:
      return constant_like(a, 1) / a;
    case I::trunc_divide:
      return rounded(a / x.b(), 3);
    case I::maximum:
    case I::clamp_min:
      return larger(Op::Max, a, x.b());
    case I::minimum:
    case I::clamp_max:
      return larger(Op::Min, a, x.b());
    case I::fmax:
      return other_if_nan(P::GreaterEqual, a, x.b());
    case I::fmin:
      return other_if_nan(P::LessEqual, a, x.b());
    case I::relu:
      return make(Op::Max, constant_like(a, 0), a);
    case I::sqrt:
      return make(Op::Sqrt, a);
    case I::rsqrt:
      return constant_like(a, 1) / make(Op::Sqrt, a);
    case I::pow:
      return lower_power(a, exponent);
    case I::floor:
      return rounded(a, 1);
    case I::ceil:
      return rounded(a, 2);
    case I::round:
      return rounded(a, 0);
    case I::trunc:
      return rounded(a, 3);
    case I::copysign:
      return copy_sign(absolute(a), x.b());
    case I::spread:
    case I::stop:
      return a;
    default:
      return expand_function(instruction, a);
  }
}

}  // namespace

void lower_instruction(Instruction instruction, Forms& result, Forms* const (&operands)[3],
                       const double (&constants)[3], VectorCode& code, Element element) {
  const Operands x{operands};
  if (kind_of(instruction) == InstructionKind::Test) {
    result.set_mask(lower_test(instruction, x).node);
    return;
  }
  Vector value = instruction == I::select ? choose(operands[0]->mask(), x.b(), x.c())
                                          : lower_arithmetic(instruction, x, constants[1]);
  if (value.node < 0) {  // the block machine's kernel
    Node call{Op::Call, element, 0, static_cast<int32_t>(instruction)};
    for (int i = 0; i < arity_of(instruction); ++i) {
      call.operands[i] = operands[i]->number().node;
      if (operands[i]->uniform()) call.immediate |= static_cast<uint8_t>(1u << i);
    }
    value.node = code.add(call);
  }
  result.set_number(value.node);
}

}  // namespace flambeau::emitter
