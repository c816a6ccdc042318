// A program as stretches of vector code: what is done once per row, and what in passes over it.
//
// Note [Passes]: a reduction needs a pass over its row before anything that reads it. Pass p
// computes what depends on p reductions in a chain; all outputs are written in the last pass, so
// that they may lie in the memory of inputs. Values that several passes need are computed again,
// or, if they cost much, kept in scratch memory.
#pragma once

#include <memory>

#include "program/emitter/vector_code.h"
#include "program/program.h"

namespace flambeau::emitter {

// How a kernel reads an input, or writes an output.
enum class AccessKind : uint8_t {
  Number,      // in the table of numbers
  Stream,      // element by element, of the precision's own type
  StreamBool,  // likewise, of type Bool
  Strided,     // an input with another step than one
  Row,         // one for the whole row
  RowBool
};
inline bool is_bool(AccessKind kind) {
  return kind == AccessKind::StreamBool || kind == AccessKind::RowBool;
}

// What the code of a program depends on besides the program.
struct KernelKey {
  Precision precision = Precision::Float32;
  SmallVector<AccessKind, 8> inputs;   // by position in plan_of(program).inputs
  SmallVector<AccessKind, 8> outputs;  // by output
  bool operator==(const KernelKey&) const = default;
};

struct Reduction {
  Op op;             // of the accumulation
  int32_t home = 0;  // the invariant that receives the result
};
struct Pass {
  VectorCode before;  // once per row
  VectorCode body;
  std::vector<Reduction> reductions;
};

struct Lowered {
  Element element = Element::Float32;
  Invariants invariants;
  std::vector<Pass> passes;
  std::unique_ptr<VectorCode> after;  // once per row, after the last pass
  std::vector<AccessKind> tensors;    // inputs that are not numbers, then outputs
  int scratch_count = 0;              // further streams
};

// Null when the program has instructions that no machine code is written for.
std::unique_ptr<Lowered> lower(const Program& program, const KernelKey& key, bool wide_registers);

}  // namespace flambeau::emitter
