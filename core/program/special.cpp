#include "program/special.h"

#include <cmath>
#include <limits>

namespace flambeau {

namespace {
namespace slow {
constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
#define DEVICE inline
#include "program/special.cuh"
}  // namespace slow
}  // namespace

double erfinv_slow(double x) { return slow::erfinv_slow(x); }
double lgamma_slow(double x) {
  int sign;
  return ::lgamma_r(x, &sign);
}
double digamma_slow(double x) { return slow::digamma_slow(x); }
double polygamma_slow(double n, double x) { return slow::polygamma_slow(n, x); }

}  // namespace flambeau
