// Special functions of one double; see the instructions of the same names.
#pragma once

namespace flambeau {

double erfinv_slow(double x);
double lgamma_slow(double x);
double digamma_slow(double x);
double polygamma_slow(double n, double x);

}  // namespace flambeau
