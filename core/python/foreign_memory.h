// Tensors over memory that another library has made, in host memory or on a GPU.
#pragma once

#include "python/common.h"

namespace flambeau::python {

// False once Python has ended, and while it ends for all threads but the one that ends it: waiting
// for its lock would never return then.
bool python_lock_can_be_had();

struct ForeignMemory {
  const char* op;   // what texts of errors begin with
  ErrorKind error;  // of a layout that is not possible
  void* data = nullptr;
  Device device;
  DType dtype = DType::Float32;
  Dims shape;
  Dims strides;  // in elements
};

// A tensor over the memory; release(owner) is called when nothing uses it any more, not if this
// raises: for a layout that tensors cannot have, and for an address that is not in the memory of
// the device.
TensorRef tensor_over(const ForeignMemory& memory, void* owner, void (*release)(void*));

}  // namespace flambeau::python
