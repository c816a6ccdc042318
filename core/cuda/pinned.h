// Host memory that the GPU reads and writes by itself, so that copies need not be waited for.
#pragma once

#include <cstddef>

namespace flambeau::cuda {

// Cached; needs a GPU.
void* allocate_pinned(size_t bytes);
// May be called while copies are queued: the memory is reused once they have happened.
void deallocate_pinned(void* pointer);
// Whether an address lies in memory of allocate_pinned.
bool is_pinned(const void* pointer);
// A copy of the device's current stream reads or writes this memory.
void record_pinned_use(const void* pointer, int device);

}  // namespace flambeau::cuda
