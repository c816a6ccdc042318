// The functions that the expressions of program/instructions.def are made of, for kernels: the
// same values as program/mathematics.h gives on the CPU, float functions within a few ULP (those of
// special.cuh are in program/program.cuh). In a namespace, since some names are CUDA's own.

namespace mathematics {

DEVICE float absolute(float x) { return fabsf(x); }
DEVICE double absolute(double x) { return fabs(x); }
DEVICE int64 absolute(int64 x) {
  return x < 0 ? static_cast<int64>(0 - static_cast<uint64>(x)) : x;
}

#define LIBRARY(name)                                   \
  DEVICE float name(float x) { return ::name##f(x); } \
  DEVICE double name(double x) { return ::name(x); }
LIBRARY(exp)
LIBRARY(exp2)
LIBRARY(expm1)
LIBRARY(log)
LIBRARY(log2)
LIBRARY(log10)
LIBRARY(log1p)
LIBRARY(sin)
LIBRARY(cos)
LIBRARY(tan)
LIBRARY(asin)
LIBRARY(acos)
LIBRARY(atan)
LIBRARY(sinh)
LIBRARY(cosh)
LIBRARY(tanh)
LIBRARY(asinh)
LIBRARY(acosh)
LIBRARY(atanh)
LIBRARY(erf)
LIBRARY(erfc)
LIBRARY(floor)
LIBRARY(ceil)
LIBRARY(trunc)
#undef LIBRARY
#define LIBRARY(name)                                              \
  DEVICE float name(float x, float y) { return ::name##f(x, y); } \
  DEVICE double name(double x, double y) { return ::name(x, y); }
LIBRARY(atan2)
LIBRARY(hypot)
LIBRARY(nextafter)
LIBRARY(copysign)
LIBRARY(fmod)
#undef LIBRARY

DEVICE float square_root(float x) { return sqrtf(x); }
DEVICE double square_root(double x) { return sqrt(x); }
template <class T>
DEVICE T sigmoid(T x) {
  return 1 / (1 + exp(-x));
}
DEVICE float power(float a, float b) { return powf(a, b); }
DEVICE double power(double a, double b) { return pow(a, b); }
// Wraps around; a negative exponent gives the quotient rounded to zero.
DEVICE int64 power(int64 a, int64 b) {
  if (b < 0) return a == 1 ? 1 : a == -1 ? (b & 1 ? -1 : 1) : 0;
  uint64 result = 1, base = static_cast<uint64>(a);
  for (; b; b >>= 1, base *= base) {
    if (b & 1) result *= base;
  }
  return static_cast<int64>(result);
}

// By one common exponent: the usual ones are products and roots.
template <class T>
DEVICE T power_by(T a, T exponent) {
  if (exponent == 2) return a * a;
  if (exponent == 3) return a * a * a;
  if (exponent == 1) return a;
  if constexpr (Is<T>::floating) {
    if (exponent == T(0.5)) return square_root(a);
    if (exponent == -1) return 1 / a;
  }
  return power(a, exponent);
}

DEVICE float round_even(float x) { return rintf(x); }
DEVICE double round_even(double x) { return rint(x); }
DEVICE int64 round_even(int64 x) { return x; }
DEVICE int64 floor(int64 x) { return x; }
DEVICE int64 ceil(int64 x) { return x; }
DEVICE int64 trunc(int64 x) { return x; }

template <class T>
DEVICE bool infinite(T x) {
  return absolute(x) == T(kInfinity);
}
DEVICE bool infinite(int64) { return false; }
DEVICE bool negative(float x) { return __float_as_int(x) < 0; }
DEVICE bool negative(double x) { return __double_as_longlong(x) < 0; }
DEVICE bool negative(int64 x) { return x < 0; }

// Division rounded down and its remainder, Python's; exact where the quotient is.
template <class T>
DEVICE T remainder(T a, T b) {
  const T m = fmod(a, b);
  return (m != 0) & ((b < 0) != (m < 0)) ? m + b : m;
}
template <class T>
DEVICE T floor_divide(T a, T b) {
  if (b == 0) return a / b;
  const T m = fmod(a, b);
  T d = (a - m) / b;
  if ((m != 0) & ((b < 0) != (m < 0))) d -= 1;
  if (d == 0) return copysign(T(0), a / b);
  const T f = floor(d);
  return d - f > T(0.5) ? f + 1 : f;
}
template <class T>
DEVICE T trunc_divide(T a, T b) {
  return trunc(a / b);
}
// Integers: a quotient by zero is 0. -1 would overflow for the smallest integer.
DEVICE int64 trunc_divide(int64 a, int64 b) {
  return b == -1 ? static_cast<int64>(0 - static_cast<uint64>(a)) : b == 0 ? 0 : a / b;
}
DEVICE int64 fmod(int64 a, int64 b) { return b == -1 || b == 0 ? 0 : a % b; }
DEVICE int64 floor_divide(int64 a, int64 b) {
  return trunc_divide(a, b) - (fmod(a, b) != 0 && (a < 0) != (b < 0));
}
DEVICE int64 remainder(int64 a, int64 b) {
  const int64 m = fmod(a, b);
  return m != 0 && (m < 0) != (b < 0) ? m + b : m;
}
DEVICE int64 shift_left(int64 a, int64 b) {
  return b < 0 || b > 63 ? 0 : static_cast<int64>(static_cast<uint64>(a) << b);
}
DEVICE int64 shift_right(int64 a, int64 b) { return a >> (b < 0 || b > 63 ? 63 : b); }

}  // namespace mathematics
