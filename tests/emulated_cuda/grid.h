#pragma once

#include <string>

#include "cuda_types.h"
#include "kernel_abi.h"

namespace emulated {

struct Launch {
  const EmulatedModule* module = nullptr;
  const EmulatedKernel* kernel = nullptr;
  EmulatedIndex grid{}, block{};
  size_t dynamic_shared = 0;
};

// Runs all blocks of a launch on the calling thread, with the driver's lock held. An error is
// also explained on stderr.
CUresult run_grid(const Launch& launch, void** parameters);

// Given to each module when it is loaded.
extern const EmulatedRuntime runtime;

}  // namespace emulated
