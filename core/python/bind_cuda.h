// Shared by the bindings of GPUs.
#pragma once

#include "cuda/device.h"
#include "python/common.h"

namespace flambeau::python {

// The number of a GPU, -1 for the current one; RuntimeError if there is no such GPU.
int checked_gpu(int device);
// The number as it is kept; RuntimeError if it cannot be one.
int8_t checked_index(int device);
// TypeError if the object is no tensor.
TensorRef tensor_in(const char* function, nanobind::handle object);

void bind_cuda_streams(nanobind::module_& module);

}  // namespace flambeau::python
