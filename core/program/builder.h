// Builds programs: merges common subexpressions, folds constants, and applies the algebra that is
// exact for every value (NaN, infinities and signed zeros included).
#pragma once

#include <unordered_map>

#include "program/program.h"

namespace flambeau {

const char* name_of(Instruction instruction);
// Instruction by name; Count when there is none.
Instruction instruction_named(const std::string& name);
int cost_of(Instruction instruction);

enum class InstructionKind : uint8_t { Any, Real, Whole, Test, Row, Special };
InstructionKind kind_of(Instruction instruction);

class Builder {
 public:
  // Inputs may be asked for in any order and again.
  int32_t input(int32_t index, Extent extent = Extent::Element);
  int32_t constant(double value);
  int32_t apply(Instruction instruction, int32_t a = -1, int32_t b = -1, int32_t c = -1);
  // Appends another program; `inputs` are the values that stand for its inputs. Returns where
  // each of its values is.
  std::vector<int32_t> inline_program(const Program& program, std::span<const int32_t> inputs);

  const Value& at(int32_t value) const { return values_[value]; }
  int32_t size() const { return static_cast<int32_t>(values_.size()); }
  // The program with these outputs; values that no output needs are left out.
  ProgramRef finish(int input_count, std::span<const int32_t> outputs) const;

 private:
  struct Key {
    uint64_t words[4];
    bool operator==(const Key&) const = default;
  };
  struct KeyHash {
    size_t operator()(const Key& key) const;
  };
  int32_t add(const Value& value);
  int32_t simplify(Instruction instruction, int32_t a, int32_t b, int32_t c);
  bool is_constant(int32_t value, double number) const;

  std::vector<Value> values_;
  std::unordered_map<Key, int32_t, KeyHash> known_;
};

// One instruction on numbers, in double: constant folding and tests.
double evaluate(Instruction instruction, double a, double b, double c);

}  // namespace flambeau
