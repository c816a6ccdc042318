// Special functions in double, for the CPU (special.cpp) and for kernels: rarely used, so plain
// and accurate rather than fast. Whoever includes it defines DEVICE, kInfinity and kNan.

#define kPi 3.14159265358979323846

// B_2k of the Bernoulli numbers, k = 1, 2, ...
DEVICE double bernoulli_number(int k) {
  const double numbers[] = {1.0 / 6,       -1.0 / 30,      1.0 / 42, -1.0 / 30,
                            5.0 / 66,      -691.0 / 2730,  7.0 / 6,  -3617.0 / 510,
                            43867.0 / 798, -174611.0 / 330};
  return numbers[k - 1];
}

// Hurwitz zeta(s, q) = sum over k >= 0 of (q + k)^-s, s > 1, by Euler and Maclaurin's formula.
DEVICE double hurwitz_zeta(double s, double q) {
  if (q <= 0 && q == floor(q)) return kInfinity;
  double sum = 0;
  for (int steps = 0; steps < 12 || q < 12; ++steps, q += 1) {
    if (steps > 100000) return kNan;
    sum += pow(q, -s);
  }
  const double power = pow(q, -s);
  sum += power * q / (s - 1) + power / 2;
  double term = power / q * s;  // s (s+1) ... (s+2k-2) / q^(s+2k-1) / (2k)!, without (2k)!
  double factorial = 2;
  for (int k = 1; k <= 10; ++k) {
    sum += bernoulli_number(k) * term / factorial;
    term *= (s + 2 * k - 1) * (s + 2 * k) / (q * q);
    factorial *= (2 * k + 1) * (2 * k + 2);
  }
  return sum;
}

// A closed-form start (Winitzki 2008), then Halley's method on erfc, which keeps the tails.
DEVICE double erfinv_slow(double x) {
  if (!(fabs(x) <= 1)) return kNan;
  if (fabs(x) == 1) return copysign(static_cast<double>(kInfinity), x);
  if (x == 0) return x;
  const double a = fabs(x), l = log1p(-a * a), b = 2 / (kPi * 0.147) + l / 2;
  double y = sqrt(sqrt(b * b - l / 0.147) - b);
  for (int i = 0; i < 3; ++i) {
    const double error = a < 0.5 ? erf(y) - a : (1 - a) - erfc(y);
    const double step = error / (2 / sqrt(kPi) * exp(-y * y));
    y -= step / (1 + y * step);
  }
  return copysign(y, x);
}

// Recurrence up to 10, then the asymptotic series.
DEVICE double positive_digamma(double x) {
  double sum = 0;
  for (; x < 10; x += 1) sum -= 1 / x;
  const double z = 1 / (x * x);
  double power = z;
  sum += log(x) - 0.5 / x;
  for (int k = 1; k <= 8; ++k, power *= z) sum -= bernoulli_number(k) * power / (2 * k);
  return sum;
}
// Reflection for negative x.
DEVICE double digamma_slow(double x) {
  if (x == 0) return copysign(static_cast<double>(kInfinity), -x);
  if (x - x != 0) return x > 0 ? x : kNan;
  if (x > 0) return positive_digamma(x);
  if (x == floor(x)) return kNan;
  return positive_digamma(1 - x) - kPi / tan(kPi * (x - trunc(x)));
}

DEVICE double polygamma_slow(double n, double x) {
  if (n == 0) return digamma_slow(x);
  if (n == 1 && x < 0) {  // reflection; zeta's sum would take -x steps
    const double s = sin(kPi * (x - floor(x)));
    return kPi * kPi / (s * s) - hurwitz_zeta(2, 1 - x);
  }
  const double sign = fmod(n, 2.0) == 0 ? -1 : 1;
  return sign * tgamma(n + 1) * hurwitz_zeta(n + 1, x);
}
