// What this process may use of the machine: processors and memory, as limited by the scheduler's
// affinity mask and by control groups (containers).
#pragma once

#include <cstddef>

namespace flambeau {

// FLAMBEAU_NUM_THREADS or OMP_NUM_THREADS if set; else the physical cores in the affinity mask, or
// the quota of the control group (rounded up) where that is less.
int usable_processors();

// RAM and swap, or the control group's limit where that is less.
size_t usable_memory();

}  // namespace flambeau
