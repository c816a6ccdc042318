// Programs that a library may compute together with what comes before them.
#pragma once

#include "cuda/cublaslt.h"
#include "program/program.h"

namespace flambeau {

// x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x^3))): GELU by its approximation.
const ProgramRef& gelu_by_tanh();

// The activation that the program is, of its last input; None if it is another one. What a
// GeluGradient is taken at comes first.
cuda::Activation activation_of(const Program& program);

}  // namespace flambeau
