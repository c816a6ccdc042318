// What tensors need of a device other than the CPU. Set once, when the module is loaded, by the
// layers above (core/cuda, core/program), so that tensors need not know them.
#pragma once

#include "tensor/tensor.h"

namespace flambeau {

struct DeviceMemory {
  // The device with its number filled in; raises if there is none.
  Device (*concrete)(Device device) = nullptr;
  void* (*allocate)(size_t bytes, Device device) = nullptr;
  void (*deallocate)(void* pointer, Device device) = nullptr;
  // Copies bytes between the memories of any two devices, in order with other work. `wait` as for
  // copy() of tensor/copy.h.
  void (*copy_bytes)(void* to, Device to_device, const void* from, Device from_device, size_t bytes,
                     bool wait) = nullptr;
  // copy() and fill() of tensor/copy.h where a tensor is not on the CPU.
  void (*copy)(const Tensor& target, const Tensor& source, bool wait) = nullptr;
  void (*fill)(const Tensor& target, Scalar value) = nullptr;
};
extern DeviceMemory device_memory;

}  // namespace flambeau
