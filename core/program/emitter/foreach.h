// Machine code over lists of tensors, all k in one parallel loop (run_foreach).
#pragma once

#include "program/emitter/emitted.h"
#include "program/machine.h"

namespace flambeau::emitter {

struct ForeachLayout {
  std::vector<size_t> members;  // positions in the lists
  std::vector<int64_t> starts;  // of each member, in units of elements
  Emitted emitted;

  // False when there is no machine code, or, but for `at_once`, no use for it yet. The members'
  // tensors are contiguous and of the types of the first of them.
  bool find(const Program& program, Precision precision, std::span<const ForeachInput> inputs,
            std::span<const std::span<Tensor* const>> outputs, std::span<const size_t> wanted,
            bool at_once = false);
  void run(const Program& program, std::span<const ForeachInput> inputs,
           std::span<const std::span<Tensor* const>> outputs) const;
};

}  // namespace flambeau::emitter
