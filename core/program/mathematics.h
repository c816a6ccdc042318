// Scalar mathematics for the expressions in instructions.def: straight-line code that the
// compiler turns into vector code, and the C library where a function is rarely used.
//
// Included inside a namespace of every instruction set (and never twice in one file): nothing
// here may be a symbol that the linker could share between them, hence `static`.
// Coefficients are in program/coefficients.h, to be included before. Worst errors of float found
// over a million floats of all exponents and two million between -10 and 10: exp 1.1 ULP, log 0.9,
// tanh 2.4, erf 1.2, sin and cos 1.5; sigmoid is 0 where exp(-x) overflows (below -88.7).

#define FLAMBEAU_SCALAR static inline __attribute__((always_inline))

template <class To, class From>
FLAMBEAU_SCALAR To bits_as(From value) {
  return __builtin_bit_cast(To, value);
}

// a * b + c, rounded once where the instruction set can: written out, so that the emitter
// (emitter/functions.cpp), which follows the same steps, computes the same bits.
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA)
FLAMBEAU_SCALAR float fused(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
FLAMBEAU_SCALAR double fused(double a, double b, double c) { return __builtin_fma(a, b, c); }
#else
FLAMBEAU_SCALAR float fused(float a, float b, float c) { return a * b + c; }
FLAMBEAU_SCALAR double fused(double a, double b, double c) { return a * b + c; }
#endif

// Adding and subtracting this rounds to the nearest integer, which is then in the low bits.
template <class T>
struct Rounding;
template <>
struct Rounding<float> {
  using Bits = int32_t;
  static constexpr float magic = 12582912.0f;
  static constexpr int32_t magic_bits = 0x4B400000;
  static constexpr int mantissa = 23, bias = 127;
};
template <>
struct Rounding<double> {
  using Bits = int64_t;
  static constexpr double magic = 6755399441055744.0;
  static constexpr int64_t magic_bits = 0x4338000000000000;
  static constexpr int mantissa = 52, bias = 1023;
};

// 2^n for an integral n in the normal range.
template <class T>
FLAMBEAU_SCALAR T power_of_two(T n) {
  using R = Rounding<T>;
  typename R::Bits k = bits_as<typename R::Bits>(n + R::magic) - R::magic_bits;
  return bits_as<T>((k + R::bias) << R::mantissa);
}

// p * 2^n, also where 2^n or the product is not a normal number.
template <class T>
FLAMBEAU_SCALAR T scale(T p, T n) {
  T half = fused(n, T(0.5), Rounding<T>::magic) - Rounding<T>::magic;
  return p * power_of_two(half) * power_of_two(n - half);
}

// The polynomial with these coefficients, highest power first.
template <int k = 1, class T, int n>
FLAMBEAU_SCALAR T horner(T x, const T (&coefficients)[n], T p) {
  if constexpr (k < n) {
    return horner<k + 1>(x, coefficients, fused(p, x, coefficients[k]));
  } else {
    return p;
  }
}
template <class T, int n>
FLAMBEAU_SCALAR T horner(T x, const T (&coefficients)[n]) {
  return horner(x, coefficients, coefficients[0]);
}

// (exp(r) - 1 - r) / r^2 for |r| <= ln(2) / 2.
FLAMBEAU_SCALAR float exp_tail(float r) { return horner(r, kExpTailFloat); }
FLAMBEAU_SCALAR double exp_tail(double r) { return horner(r, kExpTailDouble); }

// x = n ln(2) + r.
FLAMBEAU_SCALAR float reduce_exp(float x, float* n) {
  *n = fused(x, kLog2EFloat, Rounding<float>::magic) - Rounding<float>::magic;
  return fused(-*n, kLn2LowFloat, fused(-*n, kLn2HighFloat, x));
}
FLAMBEAU_SCALAR double reduce_exp(double x, double* n) {
  *n = fused(x, kLog2EDouble, Rounding<double>::magic) - Rounding<double>::magic;
  return fused(-*n, kLn2LowDouble, fused(-*n, kLn2HighDouble, x));
}

// Limits beyond which exp is 0 or infinity in the type.
template <class T>
constexpr T kExpLow = sizeof(T) == 4 ? T(-104) : T(-746);
template <class T>
constexpr T kExpHigh = sizeof(T) == 4 ? T(89) : T(710);

// Comparisons are written so that a NaN stays.
template <class T>
FLAMBEAU_SCALAR T bounded(T x, T low, T high) {
  x = x < low ? low : x;
  return x > high ? high : x;
}

template <class T>
FLAMBEAU_SCALAR T exp(T x) {
  T n, r = reduce_exp(bounded(x, kExpLow<T>, kExpHigh<T>), &n);
  return scale(fused(exp_tail(r) * r, r, r) + 1, n);
}

// The same float for |x| <= kUsualExp, where neither the result nor 2^n leaves the normal numbers.
constexpr float kUsualExp = 87.0f;
FLAMBEAU_SCALAR float usual_exp(float x) {
  // As in reduce_exp; the bits of t end in those of n.
  float t = fused(x, kLog2EFloat, Rounding<float>::magic), n = t - Rounding<float>::magic;
  float r = fused(-n, kLn2LowFloat, fused(-n, kLn2HighFloat, x));
  float p = fused(exp_tail(r) * r, r, r) + 1;
  return bits_as<float>(bits_as<int32_t>(p) + (bits_as<int32_t>(t) << Rounding<float>::mantissa));
}

template <class T>
FLAMBEAU_SCALAR T exp2(T x) {
  T c = bounded(x, T(sizeof(T) == 4 ? -151 : -1076), T(sizeof(T) == 4 ? 129 : 1025));
  T n = (c + Rounding<T>::magic) - Rounding<T>::magic;
  T r = (c - n) * T(0.69314718055994530942);
  return scale(fused(exp_tail(r) * r, r, r) + 1, n);
}

// 2 (s q + (s - 1/2)) with s = 2^(n-1), so that the largest n does not overflow.
template <class T>
FLAMBEAU_SCALAR T expm1_bounded(T x) {
  T n, r = reduce_exp(x, &n);
  T q = fused(exp_tail(r) * r, r, r);
  T s = power_of_two(n - 1);
  return 2 * fused(s, q, s - T(0.5));
}
template <class T>
FLAMBEAU_SCALAR T expm1(T x) {
  T y = expm1_bounded(bounded(x, T(sizeof(T) == 4 ? -18 : -40), kExpHigh<T>));
  return x == 0 ? x : y;
}

FLAMBEAU_SCALAR float absolute(float x) { return __builtin_fabsf(x); }
FLAMBEAU_SCALAR double absolute(double x) { return __builtin_fabs(x); }
FLAMBEAU_SCALAR int64_t absolute(int64_t x) {
  return x < 0 ? static_cast<int64_t>(0 - static_cast<uint64_t>(x)) : x;
}
FLAMBEAU_SCALAR float copysign(float x, float s) { return __builtin_copysignf(x, s); }
FLAMBEAU_SCALAR double copysign(double x, double s) { return __builtin_copysign(x, s); }

template <class T>
FLAMBEAU_SCALAR T tanh(T x) {
  T a = absolute(x);
  T e = expm1_bounded(2 * (a > 20 ? T(20) : a));
  return copysign(e / (e + 2), x);
}
template <class T>
FLAMBEAU_SCALAR T sigmoid(T x) {
  return 1 / (1 + exp(-x));
}

// log(m) for m = 1 + f between sqrt(1/2) and sqrt(2).
FLAMBEAU_SCALAR float log_mantissa(float f) {
  float q = horner(f, kLogMantissaFloat);
  return fused(f * f, fused(f, q, -0.5f), f);
}
// With s = f / (2 + f): log(1 + f) = 2 s + s R(s^2), rearranged to keep f exact.
FLAMBEAU_SCALAR double log_mantissa(double f) {
  double s = f / (2 + f), z = s * s, h = 0.5 * f * f;
  double p = horner(z, kLogMantissaDouble);
  return f - fused(-s, fused(p, z, h), h);
}

// x = 2^k (1 + f) for finite positive x.
FLAMBEAU_SCALAR float split_log(float x, float* k) {
  bool tiny = x < 1.17549435e-38f;
  int32_t u = bits_as<int32_t>(tiny ? x * 8388608.0f : x) + (0x3F800000 - 0x3F3504F3);
  *k = static_cast<float>((u >> 23) - 127) - (tiny ? 23.0f : 0.0f);
  return bits_as<float>((u & 0x7FFFFF) + 0x3F3504F3) - 1;
}
FLAMBEAU_SCALAR double split_log(double x, double* k) {
  bool tiny = x < 2.2250738585072014e-308;
  uint64_t u = bits_as<uint64_t>(tiny ? x * 4503599627370496.0 : x) +
               (0x3FF0000000000000 - 0x3FE6A09E667F3BCD);
  double exponent = bits_as<double>((u >> 52) + 0x4330000000000000) - 4503599627370496.0;
  *k = exponent - (tiny ? 1075.0 : 1023.0);
  return bits_as<double>((u & 0xFFFFFFFFFFFFF) + 0x3FE6A09E667F3BCD) - 1;
}

// The logarithm's values outside of the finite positive numbers.
template <class T>
FLAMBEAU_SCALAR T log_special(T x, T y) {
  y = x == T(__builtin_inf()) ? x : y;
  y = x > 0 ? y : T(__builtin_nan(""));
  return x == 0 ? T(-__builtin_inf()) : y;
}
FLAMBEAU_SCALAR float log_finite(float x) {
  float k, l = log_mantissa(split_log(x, &k));
  return fused(k, kLn2HighFloat, fused(k, kLn2LowFloat, l));
}
FLAMBEAU_SCALAR double log_finite(double x) {
  double k, l = log_mantissa(split_log(x, &k));
  return fused(k, kLn2HighDouble, fused(k, kLn2LowDouble, l));
}
template <class T>
FLAMBEAU_SCALAR T log(T x) {
  return log_special(x, log_finite(x));
}
template <class T>
FLAMBEAU_SCALAR T log2(T x) {
  T k, l = log_mantissa(split_log(x, &k));
  return log_special(x, fused(l, T(1.4426950408889634), k));
}
FLAMBEAU_SCALAR float log10(float x) { return log(x) * 0.434294482f; }
FLAMBEAU_SCALAR double log10(double x) { return __builtin_log10(x); }
// log(u) with u = 1 + x rounded, plus what the rounding lost.
template <class T>
FLAMBEAU_SCALAR T log1p(T x) {
  T u = 1 + x;
  T y = log_finite(u) + (x - (u - 1)) / u;
  y = log_special(u, y);
  return u == 1 ? x : y;
}

FLAMBEAU_SCALAR float square_root(float x) { return __builtin_sqrtf(x); }
FLAMBEAU_SCALAR double square_root(double x) { return __builtin_sqrt(x); }

// x P(x^2) below 0.9, 1 - exp(-x Q(x)) above.
FLAMBEAU_SCALAR float erf(float x) {
  float a = absolute(x), z = x * x;
  float p = horner(z, kErfSmallFloat);
  float c = a > 4 ? 4.0f : a;
  float q = horner(c, kErfLargeFloat);
  float large = copysign(1 - usual_exp(-(c * q)), x);
  return a >= 0.9f ? large : fused(x, p, x);  // so that a NaN stays
}
FLAMBEAU_SCALAR double erf(double x) { return __builtin_erf(x); }

// sin and cos of x for |x| below kTrigonometricLimitFloat: reduced in double with a two-part pi
// / 2.
FLAMBEAU_SCALAR float sine_of(float x, int32_t quarter) {
  double t = fused(static_cast<double>(x), kTwoOverPi, 6755399441055744.0);
  double n = t - 6755399441055744.0;
  int32_t quadrant = static_cast<int32_t>(n) + quarter;
  double high = fused(-n, kHalfPiHigh, static_cast<double>(x));
  float r = static_cast<float>(fused(-n, kHalfPiLow, high));
  float z = r * r;
  float s = fused(horner(z, kSinFloat) * z, r, r);
  float c = fused(-0.5f, z, horner(z, kCosFloat) * z * z) + 1;
  float y = quadrant & 1 ? c : s;
  return quadrant & 2 ? -y : y;
}
FLAMBEAU_SCALAR float sin(float x) {
  float y = sine_of(x, 0);
  return x == 0 ? x : y;  // keeps -0
}
FLAMBEAU_SCALAR float cos(float x) { return sine_of(x, 1); }
FLAMBEAU_SCALAR double sin(double x) { return __builtin_sin(x); }
FLAMBEAU_SCALAR double cos(double x) { return __builtin_cos(x); }

#define FLAMBEAU_LIBRARY(name)                                           \
  FLAMBEAU_SCALAR float name(float x) { return __builtin_##name##f(x); } \
  FLAMBEAU_SCALAR double name(double x) { return __builtin_##name(x); }
FLAMBEAU_LIBRARY(tan)
FLAMBEAU_LIBRARY(asin)
FLAMBEAU_LIBRARY(acos)
FLAMBEAU_LIBRARY(atan)
FLAMBEAU_LIBRARY(sinh)
FLAMBEAU_LIBRARY(cosh)
FLAMBEAU_LIBRARY(asinh)
FLAMBEAU_LIBRARY(acosh)
FLAMBEAU_LIBRARY(atanh)
FLAMBEAU_LIBRARY(erfc)
FLAMBEAU_LIBRARY(floor)
FLAMBEAU_LIBRARY(ceil)
FLAMBEAU_LIBRARY(trunc)
#undef FLAMBEAU_LIBRARY
#define FLAMBEAU_LIBRARY(name)                                                       \
  FLAMBEAU_SCALAR float name(float x, float y) { return __builtin_##name##f(x, y); } \
  FLAMBEAU_SCALAR double name(double x, double y) { return __builtin_##name(x, y); }
FLAMBEAU_LIBRARY(atan2)
FLAMBEAU_LIBRARY(hypot)
FLAMBEAU_LIBRARY(nextafter)
FLAMBEAU_LIBRARY(fmod)
#undef FLAMBEAU_LIBRARY
FLAMBEAU_SCALAR float round_even(float x) { return __builtin_rintf(x); }
FLAMBEAU_SCALAR double round_even(double x) { return __builtin_rint(x); }
FLAMBEAU_SCALAR int64_t round_even(int64_t x) { return x; }
FLAMBEAU_SCALAR int64_t floor(int64_t x) { return x; }
FLAMBEAU_SCALAR int64_t ceil(int64_t x) { return x; }
FLAMBEAU_SCALAR int64_t trunc(int64_t x) { return x; }

template <class T>
FLAMBEAU_SCALAR bool infinite(T x) {
  return absolute(x) == T(__builtin_inf());
}
FLAMBEAU_SCALAR bool infinite(int64_t) { return false; }
FLAMBEAU_SCALAR bool negative(float x) { return bits_as<int32_t>(x) < 0; }
FLAMBEAU_SCALAR bool negative(double x) { return bits_as<int64_t>(x) < 0; }
FLAMBEAU_SCALAR bool negative(int64_t x) { return x < 0; }

// Division rounded down and its remainder, Python's; exact where the quotient is.
template <class T>
FLAMBEAU_SCALAR T remainder(T a, T b) {
  T m = fmod(a, b);
  return (m != 0) & ((b < 0) != (m < 0)) ? m + b : m;
}
template <class T>
FLAMBEAU_SCALAR T floor_divide(T a, T b) {
  if (b == 0) return a / b;
  T m = fmod(a, b), d = (a - m) / b;
  if ((m != 0) & ((b < 0) != (m < 0))) d -= 1;
  if (d == 0) return copysign(T(0), a / b);
  T f = floor(d);
  return d - f > T(0.5) ? f + 1 : f;
}
template <class T>
FLAMBEAU_SCALAR T trunc_divide(T a, T b) {
  return trunc(a / b);
}
// Integers: the loops have refused zero divisors; -1 would trap for the smallest integer.
FLAMBEAU_SCALAR int64_t trunc_divide(int64_t a, int64_t b) {
  return b == -1 ? static_cast<int64_t>(0 - static_cast<uint64_t>(a)) : b == 0 ? 0 : a / b;
}
FLAMBEAU_SCALAR int64_t fmod(int64_t a, int64_t b) { return b == -1 || b == 0 ? 0 : a % b; }
FLAMBEAU_SCALAR int64_t floor_divide(int64_t a, int64_t b) {
  return trunc_divide(a, b) - (fmod(a, b) != 0 && (a < 0) != (b < 0));
}
FLAMBEAU_SCALAR int64_t remainder(int64_t a, int64_t b) {
  int64_t m = fmod(a, b);
  return m != 0 && (m < 0) != (b < 0) ? m + b : m;
}
FLAMBEAU_SCALAR int64_t shift_left(int64_t a, int64_t b) {
  return b < 0 || b > 63 ? 0 : static_cast<int64_t>(static_cast<uint64_t>(a) << b);
}
FLAMBEAU_SCALAR int64_t shift_right(int64_t a, int64_t b) {
  return a >> (b < 0 || b > 63 ? 63 : b);
}

FLAMBEAU_SCALAR float power(float a, float b) { return __builtin_powf(a, b); }
FLAMBEAU_SCALAR double power(double a, double b) { return __builtin_pow(a, b); }
// Wraps around; a negative exponent gives the quotient rounded to zero.
FLAMBEAU_SCALAR int64_t power(int64_t a, int64_t b) {
  if (b < 0) return a == 1 ? 1 : a == -1 ? (b & 1 ? -1 : 1) : 0;
  uint64_t result = 1, base = static_cast<uint64_t>(a);
  for (; b; b >>= 1, base *= base) {
    if (b & 1) result *= base;
  }
  return static_cast<int64_t>(result);
}

// Rarely used (program/special.h): computed in double, element by element.
template <class T>
FLAMBEAU_SCALAR T erfinv(T x) {
  return static_cast<T>(erfinv_slow(x));
}
template <class T>
FLAMBEAU_SCALAR T lgamma(T x) {
  return static_cast<T>(lgamma_slow(x));
}
template <class T>
FLAMBEAU_SCALAR T digamma(T x) {
  return static_cast<T>(digamma_slow(x));
}
template <class T>
FLAMBEAU_SCALAR T polygamma(T n, T x) {
  return static_cast<T>(polygamma_slow(n, x));
}
