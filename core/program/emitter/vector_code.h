// Symbolic vector instructions: what a stretch of machine code computes, before registers and
// encodings. Programs are lowered to it, functions such as exp are written in it.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace flambeau::emitter {

enum class Op : uint8_t {
  Invariant,  // entry `index` of the kernel's invariants: the same for all elements of a row
  // Memory; `index`: of the tensor.
  Load,
  LoadStrided,
  LoadBools,  // a mask
  LoadRow,    // one number, in all lanes
  LoadRowBool,
  // Two operands, element by element. Min and Max yield b when a is NaN or they are equal.
  Add,
  Sub,
  Mul,
  Div,
  Min,
  Max,
  And,
  AndNot,
  Or,
  Xor,
  AddInt,
  SubInt,
  Scale,  // a * 2^b for integral b (AVX-512 only)
  // One operand.
  Sqrt,
  Round,
  ShiftLeft,
  ShiftRight,
  ShiftRightSigned,
  FromInt,  // `immediate`: mode or distance
  WidenLow,
  WidenHigh,  // half of the floats to doubles
  Narrow,     // doubles a (low half) and b to floats
  Fma,
  Fms,
  Fnma,  // a * b + c, a * b - c, c - a * b
  // Masks; `immediate` of Compare is the processor's predicate.
  Compare,
  SignMask,
  MaskAnd,
  MaskOr,
  MaskXor,
  Blend,  // a ? b : c for a mask a
  Where,  // a ? b : 0
  // Calls kernel `index` with operands a, b, c; bit i of `immediate`: operand i is one number.
  Call,
  // The value a, but the result of the kernel on b where a lane of mask c is set (rarely).
  CallRarely,
  // Effects.
  Store,
  StoreBools,
  StoreRow,
  StoreRowBool,
  KeepRow,  // makes a the value of invariant `index`
  AddTo,    // accumulator `index` += a
  AddProductTo,
  LargerTo,
  SmallerTo,  // NaN stays
};

enum class Element : uint8_t { Float32, Float64 };
inline int bytes_of(Element element) { return element == Element::Float32 ? 4 : 8; }

struct Node {
  Op op;
  Element element;
  uint8_t immediate = 0;
  int32_t index = 0;
  std::array<int32_t, 3> operands{-1, -1, -1};
  bool operator==(const Node&) const = default;
};

bool yields_mask(Op op);
bool has_effect(Op op);

// One of the numbers that do not change from element to element.
struct Invariant {
  enum class Kind : uint8_t {
    Constant,  // `bits`
    Number,    // the number of program value `index` in this run
    Row,       // computed once per row, kept in the frame
  } kind;
  Element element;
  uint64_t bits = 0;
  int32_t index = 0;
  bool operator==(const Invariant&) const = default;
};

// The invariants of one kernel, shared by its stretches of code.
class Invariants {
 public:
  int32_t add(const Invariant& invariant);
  const Invariant& operator[](int32_t i) const { return list_[i]; }
  int32_t size() const { return static_cast<int32_t>(list_.size()); }

 private:
  std::vector<Invariant> list_;
};

// Builds a straight-line stretch of code; equal instructions are merged.
class VectorCode {
 public:
  VectorCode(Invariants& invariants, bool wide_registers)
      : invariants_(&invariants), evex_(wide_registers) {}

  int32_t add(const Node& node);
  int32_t invariant(Element element, int32_t index) {
    return add({Op::Invariant, element, 0, index});
  }
  int32_t constant(Element element, double value);
  int32_t bits(Element element, uint64_t value);
  int32_t number(Element element, int32_t value);

  const std::vector<Node>& nodes() const { return nodes_; }
  Invariants& invariants() const { return *invariants_; }
  // Whether this is AVX-512 code, which has instructions that AVX2 lacks.
  bool evex() const { return evex_; }

 private:
  Invariants* invariants_;
  bool evex_;
  std::vector<Node> nodes_;
  std::vector<int32_t> table_;  // hash table of nodes, -1: empty
};

}  // namespace flambeau::emitter
