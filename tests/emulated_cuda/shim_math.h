#pragma once

// CUDA's mathematical functions, by the C library's. Included by shim.h.

#define EMULATED_UNARY(name)       \
  extern "C" double name(double);  \
  extern "C" float name##f(float); \
  inline float name(float x) { return name##f(x); }
#define EMULATED_BINARY(name)             \
  extern "C" double name(double, double); \
  extern "C" float name##f(float, float); \
  inline float name(float x, float y) { return name##f(x, y); }
#define EMULATED_PLAIN(name)      \
  extern "C" double name(double); \
  extern "C" float name##f(float);

EMULATED_UNARY(sqrt)
EMULATED_UNARY(cbrt)
EMULATED_UNARY(exp)
EMULATED_UNARY(exp2)
EMULATED_UNARY(exp10)
EMULATED_UNARY(expm1)
EMULATED_UNARY(log)
EMULATED_UNARY(log2)
EMULATED_UNARY(log10)
EMULATED_UNARY(log1p)
EMULATED_UNARY(logb)
EMULATED_UNARY(sin)
EMULATED_UNARY(cos)
EMULATED_UNARY(tan)
EMULATED_UNARY(asin)
EMULATED_UNARY(acos)
EMULATED_UNARY(atan)
EMULATED_UNARY(sinh)
EMULATED_UNARY(cosh)
EMULATED_UNARY(tanh)
EMULATED_UNARY(asinh)
EMULATED_UNARY(acosh)
EMULATED_UNARY(atanh)
EMULATED_UNARY(erf)
EMULATED_UNARY(erfc)
EMULATED_UNARY(lgamma)
EMULATED_UNARY(tgamma)
EMULATED_UNARY(floor)
EMULATED_UNARY(ceil)
EMULATED_UNARY(trunc)
EMULATED_UNARY(round)
EMULATED_UNARY(rint)
EMULATED_UNARY(nearbyint)
EMULATED_UNARY(fabs)
EMULATED_PLAIN(j0)
EMULATED_PLAIN(j1)
EMULATED_PLAIN(y0)
EMULATED_PLAIN(y1)
EMULATED_BINARY(pow)
EMULATED_BINARY(fmod)
EMULATED_BINARY(remainder)
EMULATED_BINARY(atan2)
EMULATED_BINARY(hypot)
EMULATED_BINARY(fmin)
EMULATED_BINARY(fmax)
EMULATED_BINARY(fdim)
EMULATED_BINARY(copysign)
EMULATED_BINARY(nextafter)

extern "C" {
double fma(double, double, double);
float fmaf(float, float, float);
double ldexp(double, int);
float ldexpf(float, int);
double frexp(double, int*);
float frexpf(float, int*);
double modf(double, double*);
float modff(float, float*);
int ilogb(double);
int ilogbf(float);
long lrint(double);
long lrintf(float);
long long llrint(double);
long long llrintf(float);
long lround(double);
long lroundf(float);
long long llround(double);
long long llroundf(float);
void sincos(double, double*, double*);
void sincosf(float, float*, float*);
int abs(int);
long labs(long);
long long llabs(long long);
}
inline float fma(float x, float y, float z) { return fmaf(x, y, z); }
inline float ldexp(float x, int exponent) { return ldexpf(x, exponent); }
inline float frexp(float x, int* exponent) { return frexpf(x, exponent); }
inline float modf(float x, float* whole) { return modff(x, whole); }
inline void sincos(float x, float* s, float* c) { sincosf(x, s, c); }
inline long abs(long x) { return labs(x); }
inline long long abs(long long x) { return llabs(x); }
inline float abs(float x) { return fabsf(x); }
inline double abs(double x) { return fabs(x); }

#define EMULATED_CLASSIFY(type)                                  \
  inline bool isnan(type x) { return __builtin_isnan(x); }       \
  inline bool isinf(type x) { return __builtin_isinf(x); }       \
  inline bool isfinite(type x) { return __builtin_isfinite(x); } \
  inline bool signbit(type x) { return __builtin_signbit(x); }
EMULATED_CLASSIFY(float)
EMULATED_CLASSIFY(double)

#define EMULATED_EXTREMES(type)                             \
  inline type min(type x, type y) { return y < x ? y : x; } \
  inline type max(type x, type y) { return x < y ? y : x; }
EMULATED_EXTREMES(int)
EMULATED_EXTREMES(unsigned)
EMULATED_EXTREMES(long)
EMULATED_EXTREMES(unsigned long)
EMULATED_EXTREMES(long long)
EMULATED_EXTREMES(unsigned long long)
inline float min(float x, float y) { return fminf(x, y); }
inline float max(float x, float y) { return fmaxf(x, y); }
inline double min(double x, double y) { return fmin(x, y); }
inline double max(double x, double y) { return fmax(x, y); }

// ---- Functions that the C library lacks.

inline double rsqrt(double x) { return 1.0 / sqrt(x); }
inline float rsqrtf(float x) { return static_cast<float>(1.0 / sqrt(static_cast<double>(x))); }
inline float rsqrt(float x) { return rsqrtf(x); }
inline double rcbrt(double x) { return 1.0 / cbrt(x); }
inline float rcbrtf(float x) { return static_cast<float>(rcbrt(static_cast<double>(x))); }

// sin(pi x): exact reduction to [-1/2, 1/2] first.
inline double sinpi(double x) {
  double r = remainder(x, 2.0);
  if (r > 0.5) r = 1.0 - r;
  if (r < -0.5) r = -1.0 - r;
  return copysign(sin(3.14159265358979323846 * r), r == 0 ? x : r);
}
inline double cospi(double x) {
  double r = fabs(remainder(x, 2.0));
  return r == 0.5 ? 0.0 : cos(3.14159265358979323846 * r);
}
inline void sincospi(double x, double* s, double* c) {
  *s = sinpi(x);
  *c = cospi(x);
}
inline float sinpif(float x) { return static_cast<float>(sinpi(static_cast<double>(x))); }
inline float cospif(float x) { return static_cast<float>(cospi(static_cast<double>(x))); }

inline double normcdf(double x) { return 0.5 * erfc(-0.70710678118654752440 * x); }
inline float normcdff(float x) { return static_cast<float>(normcdf(static_cast<double>(x))); }

// erfc(y) = q for 0 < q <= 1: a start that is right to some per cent, then Halley's steps.
inline double emulated_inverse_erfc(double q) {
  double t = sqrt(-2.0 * log(0.5 * q));
  double y =
      0.70710678118654752440 * (t - (2.30753 + t * 0.27061) / (1.0 + t * (0.99229 + t * 0.04481)));
  for (int step = 0; step < 4; ++step) {
    double error = erfc(y) - q;
    double slope = -1.12837916709551257390 * exp(-y * y);
    double newton = error / slope;
    y -= newton / (1.0 + y * newton);
  }
  return y;
}
inline double erfcinv(double q) {
  if (!(q >= 0.0 && q <= 2.0)) return __builtin_nan("");
  if (q == 0.0) return __builtin_inf();
  if (q == 2.0) return -__builtin_inf();
  return q <= 1.0 ? emulated_inverse_erfc(q) : -emulated_inverse_erfc(2.0 - q);
}
inline double erfinv(double x) {
  if (!(fabs(x) <= 1.0)) return __builtin_nan("");
  if (fabs(x) == 1.0) return copysign(__builtin_inf(), x);
  if (fabs(x) > 0.5) return copysign(emulated_inverse_erfc(1.0 - fabs(x)), x);
  double y = 0.88622692545275801365 * x;
  for (int step = 0; step < 5; ++step) {
    double newton = (erf(y) - x) / (1.12837916709551257390 * exp(-y * y));
    y -= newton / (1.0 + y * newton);
  }
  return y;
}
inline float erfinvf(float x) { return static_cast<float>(erfinv(static_cast<double>(x))); }
inline float erfcinvf(float x) { return static_cast<float>(erfcinv(static_cast<double>(x))); }

// ---- Intrinsics: as exact as the functions, which a device's are not.

inline float __expf(float x) { return expf(x); }
inline float __exp10f(float x) { return exp10f(x); }
inline float __logf(float x) { return logf(x); }
inline float __log2f(float x) { return log2f(x); }
inline float __log10f(float x) { return log10f(x); }
inline float __sinf(float x) { return sinf(x); }
inline float __cosf(float x) { return cosf(x); }
inline float __tanf(float x) { return tanf(x); }
inline float __powf(float x, float y) { return powf(x, y); }
inline float __fdividef(float x, float y) { return x / y; }
inline float __saturatef(float x) { return fminf(fmaxf(x, 0.0f), 1.0f); }
inline float __fadd_rn(float x, float y) { return x + y; }
inline float __fsub_rn(float x, float y) { return x - y; }
inline float __fmul_rn(float x, float y) { return x * y; }
inline float __fdiv_rn(float x, float y) { return x / y; }
inline float __fsqrt_rn(float x) { return sqrtf(x); }
inline float __frcp_rn(float x) { return 1.0f / x; }
inline float __frsqrt_rn(float x) { return rsqrtf(x); }
inline float __fmaf_rn(float x, float y, float z) { return fmaf(x, y, z); }
inline double __dadd_rn(double x, double y) { return x + y; }
inline double __dsub_rn(double x, double y) { return x - y; }
inline double __dmul_rn(double x, double y) { return x * y; }
inline double __ddiv_rn(double x, double y) { return x / y; }
inline double __dsqrt_rn(double x) { return sqrt(x); }
inline double __fma_rn(double x, double y, double z) { return fma(x, y, z); }

// Conversions saturate on the device; on the host they would be undefined.
template <typename Whole, typename Real>
inline Whole emulated_saturate(Real x, Whole lowest, Whole greatest) {
  if (x != x) return 0;
  if (x <= static_cast<Real>(lowest)) return lowest;
  return x >= static_cast<Real>(greatest) ? greatest : static_cast<Whole>(x);
}
inline int __float2int_rn(float x) {
  return emulated_saturate<int>(rintf(x), -__INT_MAX__ - 1, __INT_MAX__);
}
inline int __float2int_rz(float x) {
  return emulated_saturate<int>(truncf(x), -__INT_MAX__ - 1, __INT_MAX__);
}
inline int __float2int_rd(float x) {
  return emulated_saturate<int>(floorf(x), -__INT_MAX__ - 1, __INT_MAX__);
}
inline long long __float2ll_rz(float x) {
  return emulated_saturate<long long>(truncf(x), -__LONG_LONG_MAX__ - 1, __LONG_LONG_MAX__);
}
inline long long __double2ll_rz(double x) {
  return emulated_saturate<long long>(trunc(x), -__LONG_LONG_MAX__ - 1, __LONG_LONG_MAX__);
}
inline int __double2int_rz(double x) {
  return emulated_saturate<int>(trunc(x), -__INT_MAX__ - 1, __INT_MAX__);
}
inline float __int2float_rn(int x) { return static_cast<float>(x); }
inline float __uint2float_rn(unsigned x) { return static_cast<float>(x); }
inline float __ll2float_rn(long long x) { return static_cast<float>(x); }
inline float __double2float_rn(double x) { return static_cast<float>(x); }
