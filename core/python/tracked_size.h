// Sizes that know that they are sizes, while a compiled function is recorded.
//
// Note [Tracked sizes]: a recording that may become recordings of other batch sizes hands out
// lengths as objects of flambeau.compiler's SizeNumber, which leave a step for everything that
// Python does with them (Note [Sizes in recordings]). They pass for int, but are none: what reads
// an int in C asks them for a plain one, so no use goes unseen.
#pragma once

#include "python/common.h"

namespace flambeau::python {

extern PyTypeObject* tracked_size_type;  // null until flambeau.compiler is imported

inline bool is_tracked(PyObject* object) { return Py_TYPE(object) == tracked_size_type; }
// The number in a tracked size, which becomes a length or a number of what is recorded.
bool tracked_scalar(PyObject* object, Scalar& result, SizeOp becomes);
// A length as Python sees it: tracked, or an int.
PyObject* wrap_length(int64_t length);
PyObject* wrap_numel(const Tensor& x);
// Python gets an int, and nobody will see what it does with it.
int64_t untracked(int64_t length);

}  // namespace flambeau::python
