// The block machine's steps for one program and one way of calling it: which inputs are numbers
// in a run, and whether a block is a single row. Cached by the program's plan.
#pragma once

#include "program/kernels.h"
#include "program/plan.h"

namespace flambeau {

struct Step {
  enum class Kind : uint8_t {
    Elements,  // an instruction on elements
    Rows,      // on one number per row
    Reduce,    // from elements to rows
    Spread,    // from rows to elements
    Fill,      // one number to elements
    FillRows,  // one number to rows
    Store,     // to an output, unless it is computed where it belongs
    StoreRows,
  } kind;
  uint32_t scalars = 0;  // bit i: operand i is one number
  Kernel kernel = nullptr;
  RowKernel reduce = nullptr;
  // Slots: a value, or count + a value for its filled or spread form. `to` of a store: output.
  int32_t to = 0;
  int32_t operands[3] = {0, 0, 0};
};

class Recipe {
 public:
  // Bit i of `numbers`: input i of plan.inputs is one number in this run.
  Recipe(const Program& program, Precision precision, uint64_t numbers, bool single_row);

  const Precision precision;
  const uint64_t numbers;
  const bool single_row;
  std::vector<Step> once;           // on numbers, before all blocks
  std::vector<Step> steps;          // for every block
  std::vector<char> uniform;        // by value: one number in this run
  std::vector<uint64_t> constants;  // by value: the bits of constants
  std::vector<int32_t> row_counts;  // values that are the length of a row
  std::vector<char> placeable;      // by output: may be computed where it belongs
  const Recipe* next = nullptr;

 private:
  bool is_row(int32_t v) const { return program_.values[v].extent == Extent::Row; }
  void push(Step::Kind kind, int32_t to, int32_t operand);
  int32_t filled(int32_t v, Step::Kind kind);
  int32_t element_operand(int32_t v, uint32_t bit, uint32_t* scalars);
  void add_compute(int32_t v);
  void add_stores(int32_t v);

  const Program& program_;
  const int32_t count_;
  std::vector<int32_t> done_;  // slots that are filled or spread already
};

// The bits of a number in a precision's own type.
uint64_t number_bits(Precision precision, Scalar value);
const InstructionKernels& kernels_of(Precision precision);

}  // namespace flambeau
