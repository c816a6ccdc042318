// Special functions in double: rarely used, so plain and accurate rather than fast.
#include "program/special.h"

#include <cmath>
#include <limits>

namespace flambeau {

namespace {
constexpr double kPi = 3.14159265358979323846;
constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

// B_2k of the Bernoulli numbers, k = 1, 2, ...
constexpr double kBernoulli[] = {1.0 / 6,       -1.0 / 30,      1.0 / 42, -1.0 / 30,
                                 5.0 / 66,      -691.0 / 2730,  7.0 / 6,  -3617.0 / 510,
                                 43867.0 / 798, -174611.0 / 330};

// Hurwitz zeta(s, q) = sum over k >= 0 of (q + k)^-s, s > 1, by Euler and Maclaurin's formula.
double hurwitz_zeta(double s, double q) {
  if (q <= 0 && q == std::floor(q)) return kInfinity;
  double sum = 0;
  for (int steps = 0; steps < 12 || q < 12; ++steps, q += 1) {
    if (steps > 100000) return kNan;
    sum += std::pow(q, -s);
  }
  double power = std::pow(q, -s);
  sum += power * q / (s - 1) + power / 2;
  double term = power / q * s;  // s (s+1) ... (s+2k-2) / q^(s+2k-1) / (2k)!, without (2k)!
  double factorial = 2;
  for (int k = 1; k <= 10; ++k) {
    sum += kBernoulli[k - 1] * term / factorial;
    term *= (s + 2 * k - 1) * (s + 2 * k) / (q * q);
    factorial *= (2 * k + 1) * (2 * k + 2);
  }
  return sum;
}
}  // namespace

// A closed-form start (Winitzki 2008), then Halley's method on erfc, which keeps the tails.
double erfinv_slow(double x) {
  if (!(std::fabs(x) <= 1)) return kNan;
  if (std::fabs(x) == 1) return std::copysign(kInfinity, x);
  if (x == 0) return x;
  double a = std::fabs(x), l = std::log1p(-a * a), b = 2 / (kPi * 0.147) + l / 2;
  double y = std::sqrt(std::sqrt(b * b - l / 0.147) - b);
  for (int i = 0; i < 3; ++i) {
    double error = a < 0.5 ? std::erf(y) - a : (1 - a) - std::erfc(y);
    double step = error / (2 / std::sqrt(kPi) * std::exp(-y * y));
    y -= step / (1 + y * step);
  }
  return std::copysign(y, x);
}

double lgamma_slow(double x) {
  int sign;
  return ::lgamma_r(x, &sign);
}

// Recurrence up to 10, then the asymptotic series; reflection for negative x.
double digamma_slow(double x) {
  if (x == 0) return std::copysign(kInfinity, -x);
  if (std::isinf(x)) return x > 0 ? x : kNan;
  if (x < 0) {
    if (x == std::floor(x)) return kNan;
    double fraction = x - std::trunc(x);
    return digamma_slow(1 - x) - kPi / std::tan(kPi * fraction);
  }
  double sum = 0;
  for (; x < 10; x += 1) sum -= 1 / x;
  double z = 1 / (x * x), power = z;
  sum += std::log(x) - 0.5 / x;
  for (int k = 1; k <= 8; ++k, power *= z) sum -= kBernoulli[k - 1] * power / (2 * k);
  return sum;
}

double polygamma_slow(double n, double x) {
  if (n == 0) return digamma_slow(x);
  if (n == 1 && x < 0) {  // reflection; zeta's sum would take -x steps
    double s = std::sin(kPi * (x - std::floor(x)));
    return kPi * kPi / (s * s) - polygamma_slow(1, 1 - x);
  }
  double sign = std::fmod(n, 2) == 0 ? -1 : 1;
  return sign * std::tgamma(n + 1) * hurwitz_zeta(n + 1, x);
}

}  // namespace flambeau
