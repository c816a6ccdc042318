// What the parts of autograd's binding share.
#pragma once

#include "python/common.h"

namespace flambeau::python {

// TypeError naming `op` unless the object is a tensor.
TensorRef tensor_argument(nanobind::handle object, const char* op);
// One tensor, or several.
TensorList tensor_list(nanobind::handle objects, const char* op);
nanobind::object wrap_all(std::span<TensorRef> tensors);  // a tuple

void bind_places();
void bind_modes(nanobind::module_& module);
void bind_custom_functions(nanobind::module_& module);

}  // namespace flambeau::python
