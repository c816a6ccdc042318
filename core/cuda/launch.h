// Starting kernels on the current stream.
#pragma once

#include <span>

#include "cuda/device.h"
#include "cuda/module.h"

namespace flambeau::cuda {

struct Extent3 {
  unsigned x = 1, y = 1, z = 1;
};

// Queues the kernel on the current stream of its device; `arguments` point to the values, which
// are copied. RuntimeError if the launch is refused. Nothing is done for an empty grid.
void launch_with(const Function& function, Extent3 grid, Extent3 block, unsigned shared_bytes,
                 std::span<void*> arguments);

// Arguments by value, of exactly the types of the kernel's parameters.
template <class... Arguments>
void launch(const Function& function, Extent3 grid, Extent3 block, unsigned shared_bytes,
            const Arguments&... arguments) {
  void* pointers[] = {const_cast<void*>(static_cast<const void*>(&arguments))...};
  launch_with(function, grid, block, shared_bytes, pointers);
}

// Blocks of `block` threads for one thread per item, bounded: kernels stride over the rest.
unsigned blocks_for(int64_t items, int block, int device);

// Where kernels report errors of the user (an index out of bounds), see cuda/error.h.
struct ErrorSlot;
ErrorSlot* error_slot(int device);

}  // namespace flambeau::cuda
