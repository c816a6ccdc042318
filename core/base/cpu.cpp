#include "base/cpu.h"

#include <cstdlib>
#include <cstring>

namespace flambeau {

static InstructionSet detect() {
#if defined(__x86_64__)
  const char* wish = std::getenv("FLAMBEAU_ISA");
  bool v4 = __builtin_cpu_supports("x86-64-v4"), v3 = __builtin_cpu_supports("x86-64-v3");
  if (wish && !std::strcmp(wish, "v2")) return InstructionSet::V2;
  if (wish && !std::strcmp(wish, "v3")) v4 = false;
  return v4 ? InstructionSet::V4 : v3 ? InstructionSet::V3 : InstructionSet::V2;
#else
  return InstructionSet::Baseline;
#endif
}

InstructionSet instruction_set() {
  static const InstructionSet set = detect();
  return set;
}

}  // namespace flambeau
