// Programs as Python objects, and what graphs are described with.
#pragma once

#include "program/program.h"
#include "python/common.h"

namespace flambeau::python {

// What a formula became: flambeau._core.program.Program.
struct TracedProgram {
  ProgramRef program;
};

// What describes a value of a graph; TypeError for anything else.
inline Dims dims_of(nanobind::handle object) {
  Dims dims;
  if (!as_dims(object.ptr(), dims)) fail(ErrorKind::Type, "a tuple of whole numbers is required");
  return dims;
}
inline DType dtype_of(nanobind::handle object) {
  DType dtype;
  if (!as_dtype(object.ptr(), dtype)) fail(ErrorKind::Type, "a dtype is required");
  return dtype;
}

}  // namespace flambeau::python
