// What a C++ programmer would write by hand for the programs of benchmarks/emitter: one fused loop
// each, compiled for this processor by measure.py, with the same exp and tanh as the programs.
#include <chrono>
#include <cstdint>

#include "program/coefficients.h"
#include "program/special.h"

namespace flambeau {
double erfinv_slow(double x) { return x; }  // not used here
double lgamma_slow(double x) { return x; }
double digamma_slow(double x) { return x; }
double polygamma_slow(double, double x) { return x; }

namespace {
#include "program/mathematics.h"

void chain(float* const* p, int64_t n) {
  const float *a = p[0], *b = p[1], *c = p[2];
  float* out = p[3];
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i) out[i] = tanh(a[i] * b[i] + c[i]) * sigmoid(a[i]);
}

void cheap(float* const* p, int64_t n) {
  const float *a = p[0], *b = p[1], *c = p[2];
  float* out = p[3];
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i) out[i] = (a[i] * b[i] + c[i]) * a[i] - b[i];
}

// One step of a cubic fit: p = x, y, the four coefficients, loss.
void cubic(float* const* p, int64_t n) {
  const float *x = p[0], *y = p[1];
  const float a = *p[2], b = *p[3], c = *p[4], d = *p[5];
  float loss = 0, ga = 0, gb = 0, gc = 0, gd = 0;
#pragma omp simd reduction(+ : loss, ga, gb, gc, gd)
  for (int64_t i = 0; i < n; ++i) {
    const float x2 = x[i] * x[i], x3 = x2 * x[i];
    const float error = a + b * x[i] + c * x2 + d * x3 - y[i];
    const float g = 2 * error;
    loss += error * error;
    ga += g;
    gb += g * x[i];
    gc += g * x2;
    gd += g * x3;
  }
  *p[2] = a - 1e-6f * ga;
  *p[3] = b - 1e-6f * gb;
  *p[4] = c - 1e-6f * gc;
  *p[5] = d - 1e-6f * gd;
  *p[6] = loss;
}

// p = parameter, gradient, both moments, all in place.
void adam(float* const* p, int64_t n) {
  float *parameter = p[0], *m = p[2], *v = p[3];
  const float* gradient = p[1];
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i) {
    const float g = gradient[i];
    m[i] = m[i] * 0.9f + g * 0.1f;
    v[i] = v[i] * 0.999f + g * g * 0.001f;
    parameter[i] -= 1e-3f * (m[i] * 1.2f) / (square_root(v[i] * 1.3f) + 1e-8f);
  }
}

}  // namespace
}  // namespace flambeau

// Seconds that `count` calls of loop number `which` take.
extern "C" double repeat(int which, float* const* tensors, int64_t n, int count) {
  static void (*const loops[])(float* const*, int64_t) = {flambeau::chain, flambeau::cheap,
                                                           flambeau::cubic, flambeau::adam};
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < count; ++i) loops[which](tensors, n);
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}
