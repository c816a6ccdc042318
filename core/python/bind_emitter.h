// What programs become, in Python: machine code (bind_emitter.cpp) and CUDA C
// (bind_cuda_program.cpp).
#pragma once

#include <nanobind/nanobind.h>

namespace flambeau::python {

void bind_emitter(nanobind::module_& module);
void bind_cuda_program(nanobind::module_& module);

}  // namespace flambeau::python
