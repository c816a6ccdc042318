// Programs as Python objects.
#pragma once

#include "program/program.h"

namespace flambeau::python {

// What a formula became: flambeau._core.program.Program.
struct TracedProgram {
  ProgramRef program;
};

}  // namespace flambeau::python
