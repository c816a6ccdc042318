#include "program/emitter/cache.h"

namespace flambeau::emitter {

// One way of calling a program; kernel null: there is no machine code for it.
struct KernelEntry {
  KernelKey key;
  InstructionSet instruction_set;
  std::unique_ptr<MachineCode> kernel;
  const KernelEntry* next;
};

void destroy_kernels(const KernelEntry* entry) {
  while (entry) delete std::exchange(entry, entry->next);
}

// Ways of calling one program that get machine code; others run on the block machine.
constexpr int kMostWays = 24;

const MachineCode* kernel_of_program(const Program& program, const KernelKey& key,
                                     InstructionSet instruction_set) {
  const Plan& plan = plan_of(program);
  auto find = [&](int* count) -> const KernelEntry* {
    const KernelEntry* entry = plan.kernels.load(std::memory_order_acquire);
    for (; entry; entry = entry->next, ++*count) {
      if (entry->instruction_set == instruction_set && entry->key == key) return entry;
    }
    return nullptr;
  };
  int count = 0;
  if (const KernelEntry* entry = find(&count)) return entry->kernel.get();
  std::lock_guard lock(writing_mutex());
  count = 0;
  if (const KernelEntry* entry = find(&count)) return entry->kernel.get();
  if (count >= kMostWays) return nullptr;
  auto entry = std::make_unique<KernelEntry>();
  entry->key = key;
  entry->instruction_set = instruction_set;
  entry->kernel = MachineCode::write(program, key, instruction_set);
  entry->next = plan.kernels.load();
  const MachineCode* kernel = entry->kernel.get();
  plan.kernels.store(entry.release(), std::memory_order_release);
  return kernel;
}

}  // namespace flambeau::emitter
