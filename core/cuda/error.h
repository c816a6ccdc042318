// Mistakes that only the GPU sees: an index out of bounds, a division of integers by zero.
//
// Note [Errors from kernels]: a kernel that meets one writes it into a slot of mapped host memory
// (the first one counts) and goes on with a harmless value, so the context stays usable. The next
// call that waits for the GPU raises it.
#pragma once

#include <cstdint>

#include "base/error.h"

namespace flambeau::cuda {

// Shared with kernels: cuda/prelude.cuh has its twin.
struct ErrorSlot {
  int state;  // 0: empty, 1: being written, 2: complete
  int site;   // number of an ErrorSite
  long long value;
  long long bound;
};

// Registers a kind of error and returns its number: `op: index VALUE is out of bounds ...`.
int error_site(const char* op, ErrorKind kind);
// The same for an error that is not about an index; `text` is all that it says.
int plain_error_site(const char* text, ErrorKind kind);

// Raises what kernels of the device have reported so far, and empties the slot. Call after waiting.
void raise_reported(int device);

}  // namespace flambeau::cuda
