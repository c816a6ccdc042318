// Machine code of programs in Python (bind_emitter.cpp).
#pragma once

#include <nanobind/nanobind.h>

namespace flambeau::python {

void bind_emitter(nanobind::module_& module);

}  // namespace flambeau::python
