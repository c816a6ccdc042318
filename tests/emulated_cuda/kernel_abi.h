#pragma once

// What a compiled kernel and the driver that runs it know of each other. Included by shim.h (in
// front of every kernel source) and by the driver; therefore it includes nothing itself.

struct EmulatedIndex {
  unsigned x, y, z;
};

// Where the threads of a warp meet; see warp_meeting in grid.cpp.
enum EmulatedWarpKind { kWarpSync, kWarpShuffle, kWarpBallot, kWarpAll };

// Calls from a kernel into the driver, which may switch to another thread of the block.
struct EmulatedRuntime {
  // __syncthreads; returns how many threads gave a true predicate.
  unsigned (*barrier)(int predicate);
  // Meets the other threads of `mask`. Returns the value of `source_lane`, or a vote's result.
  unsigned long long (*warp)(EmulatedWarpKind kind, unsigned mask, unsigned long long value,
                             unsigned source_lane);
};

// The special registers of the thread that is running; one for each module.
struct EmulatedState {
  EmulatedIndex thread, block, block_size, grid;
  unsigned lane;
  void* dynamic_shared;
  const EmulatedRuntime* runtime;
};

struct EmulatedKernel {
  const char* name;
  void (*call)(void** parameters);
  int parameter_count;
  const unsigned* parameter_sizes;
  unsigned max_threads;  // of __launch_bounds__
};

// Exported by each module under the name emulated_module.
struct EmulatedModule {
  EmulatedState* state;
  char *shared_begin, *shared_end;  // all static __shared__ variables
  const EmulatedKernel* kernels;
  int kernel_count;
};
