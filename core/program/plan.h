// What the block machine derives from a program once: which register holds which value.
#pragma once

#include "program/program.h"

namespace flambeau {

class CudaKernel;
class Recipe;
namespace emitter {
struct KernelEntry;
void destroy_kernels(const KernelEntry* entry);
}  // namespace emitter

class Plan {
 public:
  explicit Plan(const Program& program);
  ~Plan();

  int register_count = 0;          // blocks of elements
  int row_value_count = 0;         // values of one number per row
  std::vector<int32_t> registers;  // by value: its block register (Element), or its row register
  std::vector<int32_t> expanded;   // by value: block register of a Row value spread over its row
  std::vector<int32_t> last_use;   // by value: the last value that reads it, or itself
  std::vector<int32_t> inputs;     // values that are inputs
  int cost = 0;                    // of one element, in additions
  mutable std::atomic<const Recipe*> recipes{nullptr};  // a list; see recipe_of
  // Machine code, a list (emitter/cache.h), and the cost of all runs so far, which decides when
  // machine code is worth writing.
  mutable std::atomic<const emitter::KernelEntry*> kernels{nullptr};
  mutable std::atomic<int64_t> work{0};
  // Kernels for GPUs, a list (cuda_kernel.h).
  mutable std::atomic<const CudaKernel*> cuda_kernels{nullptr};
};

// Made at the first call; belongs to the program.
const Plan& plan_of(const Program& program);
// Likewise, by precision, which inputs are numbers, and whether blocks are single rows.
const Recipe& recipe_of(const Program& program, Precision precision, uint64_t numbers,
                        bool single_row);

}  // namespace flambeau
