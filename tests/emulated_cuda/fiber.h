#pragma once

#include <cstddef>

// Cooperative threads: each has a stack of its own and runs until it gives the processor back.

namespace emulated {

struct Fiber {
  void* stack_pointer = nullptr;  // saved registers lie below it
  char* stack = nullptr;          // the mapping, its lowest page is a guard
  void (*entry)(Fiber*) = nullptr;
};

constexpr size_t kStackBytes = size_t{64} << 10;

// Makes a fiber (with a stack, if it has none yet) that calls entry(fiber) when first resumed.
// `entry` never returns. A suspended fiber may be prepared anew: it forgets what it was doing.
void prepare_fiber(Fiber* fiber, void (*entry)(Fiber*));
// Runs the fiber until it suspends.
void resume_fiber(Fiber* fiber);
// Called on the fiber: returns to whoever resumed it.
void suspend_fiber(Fiber* fiber);

}  // namespace emulated
