#include "program/emitter/functions.h"

#include <cmath>

#include "program/coefficients.h"

namespace flambeau::emitter {

Vector make(Op op, Vector a, int immediate) {
  return {a.code, a.element,
          a.code->add({op, a.element, static_cast<uint8_t>(immediate), 0, {a.node, -1, -1}})};
}
Vector make(Op op, Vector a, Vector b, int immediate) {
  return {a.code, a.element,
          a.code->add({op, a.element, static_cast<uint8_t>(immediate), 0, {a.node, b.node, -1}})};
}
Vector make(Op op, Vector a, Vector b, Vector c, int immediate) {
  return {
      a.code, b.element,
      a.code->add({op, b.element, static_cast<uint8_t>(immediate), 0, {a.node, b.node, c.node}})};
}
Vector constant_like(Vector x, double value) {
  return {x.code, x.element, x.code->constant(x.element, value)};
}
Vector bits_like(Vector x, uint64_t value) {
  return {x.code, x.element, x.code->bits(x.element, value)};
}
Vector compare(Predicate predicate, Vector a, Vector b) {
  return make(Op::Compare, a, b, static_cast<int>(predicate));
}
Vector sign_bits(Vector x) { return constant_like(x, -0.0); }
Vector absolute(Vector x) {
  return make(Op::And, x, bits_like(x, x.element == Element::Float32 ? 0x7FFFFFFF : ~0ull >> 1));
}
Vector copy_sign(Vector magnitude, Vector sign) {
  return make(Op::Or, magnitude, make(Op::And, sign, sign_bits(sign)));
}

namespace {

bool is_single(Vector x) { return x.element == Element::Float32; }
double pick(Vector x, double single, double full) { return is_single(x) ? single : full; }
int mantissa_bits(Vector x) { return is_single(x) ? 23 : 52; }
double magic(Vector x) { return pick(x, 12582912.0, 6755399441055744.0); }
double infinity() { return HUGE_VAL; }

template <class T, size_t n>
Vector horner(Vector x, const T (&coefficients)[n]) {
  Vector p = constant_like(x, coefficients[0]);
  for (size_t i = 1; i < n; ++i) p = fma(p, x, constant_like(x, coefficients[i]));
  return p;
}

// x < low ? low : x > high ? high : x; a NaN stays.
Vector at_least(Vector x, double low) { return make(Op::Max, constant_like(x, low), x); }
Vector at_most(Vector x, double high) { return make(Op::Min, constant_like(x, high), x); }
Vector bounded(Vector x, double low, double high) { return at_most(at_least(x, low), high); }

// 2^(n + offset) for an integral n in the normal range.
Vector power_of_two(Vector n, int offset = 0) {
  if (n.code->evex()) return make(Op::Scale, constant_like(n, std::ldexp(1.0, offset)), n);
  const int bits = mantissa_bits(n), bias = static_cast<int>(pick(n, 127, 1023));
  return make(Op::AddInt, make(Op::ShiftLeft, n + magic(n), bits),
              bits_like(n, static_cast<uint64_t>(bias + offset) << bits));
}
Vector scale(Vector p, Vector n) {
  if (n.code->evex()) return make(Op::Scale, p, n);
  Vector half = fma(n, constant_like(n, 0.5), constant_like(n, magic(n))) - magic(n);
  return p * power_of_two(half) * power_of_two(n - half);
}
Vector exp_tail(Vector r) {
  return is_single(r) ? horner(r, kExpTailFloat) : horner(r, kExpTailDouble);
}
Vector reduce_exp(Vector x, Vector* n) {
  *n = fma(x, constant_like(x, pick(x, kLog2EFloat, kLog2EDouble)), constant_like(x, magic(x))) -
       magic(x);
  Vector r = fnma(*n, constant_like(x, pick(x, kLn2HighFloat, kLn2HighDouble)), x);
  return fnma(*n, constant_like(x, pick(x, kLn2LowFloat, kLn2LowDouble)), r);
}
Vector exp_of_reduced(Vector r) { return fma(exp_tail(r) * r, r, r) + 1; }

// Where the result is zero, nothing is computed with tiny numbers: an instruction whose result
// underflows takes a hundred times as long, and a masked softmax is full of exp(-inf).
Vector exp(Vector x) {
  Vector zero = compare(Predicate::Less, x, pick(x, -104, -746));
  Vector n, r = reduce_exp(choose(zero, constant_like(x, 0), at_most(x, pick(x, 89, 710))), &n);
  return choose(zero, constant_like(x, 0), scale(exp_of_reduced(r), n));
}
Vector exp2(Vector x) {
  Vector zero = compare(Predicate::Less, x, pick(x, -151, -1076));
  Vector c = choose(zero, constant_like(x, 0), at_most(x, pick(x, 129, 1025)));
  Vector n = (c + magic(x)) - magic(x);
  Vector y = scale(exp_of_reduced((c - n) * 0.69314718055994530942), n);
  return choose(zero, constant_like(x, 0), y);
}

Vector expm1_bounded(Vector x) {
  Vector n, r = reduce_exp(x, &n);
  Vector q = fma(exp_tail(r) * r, r, r);
  Vector s = power_of_two(n, -1);
  Vector half = fma(s, q, s - 0.5);
  return half + half;
}
Vector expm1(Vector x) {
  Vector y = expm1_bounded(bounded(x, pick(x, -18, -40), pick(x, 89, 710)));
  return choose(compare(Predicate::Equal, x, 0), x, y);
}
Vector tanh(Vector x) {
  Vector a = at_most(absolute(x), 20);
  Vector e = expm1_bounded(a + a);
  return copy_sign(e / (e + 2), x);
}
Vector sigmoid(Vector x) {
  Vector e = exp(make(Op::Xor, x, sign_bits(x)));
  return constant_like(x, 1) / (e + 1);
}

// --- logarithms ----------------------------------------------------------------------------------

Vector log_mantissa(Vector f) {
  if (is_single(f)) {
    Vector q = horner(f, kLogMantissaFloat);
    return fma(f * f, make(Op::Fms, f, q, constant_like(f, 0.5)), f);
  }
  Vector s = f / (f + 2), z = s * s, h = (f * 0.5) * f;
  return f - fnma(s, fma(horner(z, kLogMantissaDouble), z, h), h);
}
// x = 2^k (1 + f) for finite positive x.
Vector split_log(Vector x, Vector* k) {
  const bool single = is_single(x);
  const uint64_t root = single ? 0x3F3504F3 : 0x3FE6A09E667F3BCD;  // sqrt(1/2)
  const uint64_t one = single ? 0x3F800000 : 0x3FF0000000000000;
  Vector tiny = compare(Predicate::Less, x, pick(x, 1.17549435e-38, 2.2250738585072014e-308));
  Vector normal = choose(tiny, x * pick(x, 8388608.0, 4503599627370496.0), x);
  Vector u = make(Op::AddInt, normal, bits_like(x, one - root));
  if (single) {
    Vector exponent = make(Op::SubInt, make(Op::ShiftRightSigned, u, 23), bits_like(x, 127));
    *k = make(Op::FromInt, exponent) - make(Op::Where, tiny, constant_like(x, 23));
  } else {
    Vector exponent =
        make(Op::AddInt, make(Op::ShiftRight, u, 52), bits_like(x, 0x4330000000000000)) -
        4503599627370496.0;
    *k = exponent - choose(tiny, constant_like(x, 1075), constant_like(x, 1023));
  }
  Vector mantissa = make(Op::And, u, bits_like(x, single ? 0x7FFFFF : 0xFFFFFFFFFFFFF));
  return make(Op::AddInt, mantissa, bits_like(x, root)) - 1;
}
Vector log_special(Vector x, Vector y) {
  y = choose(compare(Predicate::Equal, x, infinity()), x, y);
  y = choose(compare(Predicate::Greater, x, 0), y, constant_like(x, NAN));
  return choose(compare(Predicate::Equal, x, 0), constant_like(x, -infinity()), y);
}
Vector log_finite(Vector x) {
  Vector k, l = log_mantissa(split_log(x, &k));
  Vector low = fma(k, constant_like(x, pick(x, kLn2LowFloat, kLn2LowDouble)), l);
  return fma(k, constant_like(x, pick(x, kLn2HighFloat, kLn2HighDouble)), low);
}
Vector log(Vector x) { return log_special(x, log_finite(x)); }
Vector log2(Vector x) {
  Vector k, l = log_mantissa(split_log(x, &k));
  return log_special(x, fma(l, constant_like(x, 1.4426950408889634), k));
}
Vector log1p(Vector x) {
  Vector u = x + 1;
  Vector y = log_finite(u) + (x - (u - 1)) / u;
  return choose(compare(Predicate::Equal, u, 1), x, log_special(u, y));
}

// --- error function, sine and cosine of floats ---------------------------------------------------

Vector erf(Vector x) {
  Vector a = absolute(x), z = x * x;
  Vector p = horner(z, kErfSmallFloat);
  Vector c = at_most(a, 4);
  Vector minus = make(Op::Xor, c * horner(c, kErfLargeFloat), sign_bits(x));
  // Between -17 and 0: neither the bounds nor the two steps of scale() are needed.
  Vector n, r = reduce_exp(minus, &n);
  Vector power = exp_of_reduced(r);
  Vector scaled = x.code->evex() ? scale(power, n) : power * power_of_two(n);
  Vector large = constant_like(x, 1) - scaled;
  return choose(compare(Predicate::Less, a, 0.9f), fma(x, p, x), copy_sign(large, x));
}

struct ReducedAngle {
  Vector n, r;  // x = n pi / 2 + r, as doubles
};
ReducedAngle reduce_angle(Vector x) {
  const double magic = 6755399441055744.0;
  Vector n = fma(x, constant_like(x, kTwoOverPi), constant_like(x, magic)) - magic;
  Vector r = fnma(n, constant_like(x, kHalfPiHigh), x);
  return {n, fnma(n, constant_like(x, kHalfPiLow), r)};
}
Vector sine(Vector x, int quarter, Instruction instruction) {
  auto half = [&](Op op) {
    return Vector{x.code, Element::Float64,
                  x.code->add({op, Element::Float64, 0, 0, {x.node, -1, -1}})};
  };
  ReducedAngle low = reduce_angle(half(Op::WidenLow)), high = reduce_angle(half(Op::WidenHigh));
  auto narrow = [&](Vector a, Vector b) {
    return Vector{x.code, Element::Float32,
                  x.code->add({Op::Narrow, Element::Float32, 0, 0, {a.node, b.node, -1}})};
  };
  Vector quadrant = narrow(low.n, high.n) + (12582912.0 + quarter);  // in the low bits
  Vector r = narrow(low.r, high.r), z = r * r;
  Vector s = fma(horner(z, kSinFloat) * z, r, r);
  Vector c = fnma(z, constant_like(x, 0.5), horner(z, kCosFloat) * z * z) + 1;
  Vector odd = make(Op::SignMask, make(Op::ShiftLeft, quadrant, 31));
  Vector sign = make(Op::And, make(Op::ShiftLeft, quadrant, 30), sign_bits(x));
  Vector y = make(Op::Xor, choose(odd, c, s), sign);
  if (quarter == 0) y = choose(compare(Predicate::Equal, x, 0), x, y);  // keeps -0
  Vector large = compare(Predicate::Greater, absolute(x), kTrigonometricLimitFloat);
  return {x.code, x.element,
          x.code->add({Op::CallRarely,
                       x.element,
                       0,
                       static_cast<int32_t>(instruction),
                       {y.node, x.node, large.node}})};
}

}  // namespace

Vector expand_function(Instruction instruction, Vector x) {
  const Vector none{x.code, x.element, -1};
  switch (instruction) {
    case Instruction::exp:
      return exp(x);
    case Instruction::exp2:
      return exp2(x);
    case Instruction::expm1:
      return expm1(x);
    case Instruction::log:
      return log(x);
    case Instruction::log2:
      return log2(x);
    case Instruction::log10:
      return is_single(x) ? log(x) * 0.434294482f : none;
    case Instruction::log1p:
      return log1p(x);
    case Instruction::tanh:
      return tanh(x);
    case Instruction::sigmoid:
      return sigmoid(x);
    case Instruction::erf:
      return is_single(x) ? erf(x) : none;
    case Instruction::sin:
      return is_single(x) ? sine(x, 0, instruction) : none;
    case Instruction::cos:
      return is_single(x) ? sine(x, 1, instruction) : none;
    default:
      return none;
  }
}

}  // namespace flambeau::emitter
