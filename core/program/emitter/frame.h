// What all parts of one kernel's code share: where tensors, invariants and temporaries are.
//
// Note [Registers of emitted code]: r15 is the index of the present element, r14 the number of
// columns, r13 points to the run's numbers, r12 counts rows, rbp keeps the caller's stack. rax and
// r11 are for anything short-lived, the other general registers hold the addresses of tensors (of
// the present row); all addresses are in the frame as well, at rsp. With AVX-512, k7 masks the
// lanes of the last, incomplete vector and k6 is for anything short-lived; with AVX2 a vector in
// the frame does.
#pragma once

#include "program/emitter/assembler.h"
#include "program/emitter/vector_code.h"

namespace flambeau::emitter {

inline constexpr Gpr kIndex = Gpr::r15, kColumns = Gpr::r14, kNumbers = Gpr::r13, kRows = Gpr::r12;
inline constexpr int kTailMask = 7, kScratchMask = 6;

struct TensorPlace {
  int item_size = 4;
  bool scratch = false;  // the same memory for every row
  Gpr base = Gpr::none;  // none: only in the frame
  int32_t home = 0;      // offset in the frame
  int32_t step = -1;     // of a strided input: where its bytes from column to column are,
  int32_t indices = 0;   // and the offsets of the lanes' elements
};

// Code that is needed rarely and lies behind the kernel: a call that keeps every register.
struct RareCall {
  Label start, back;
  const void* kernel;
  int target, operand;              // registers
  std::vector<int> vectors, masks;  // registers that must survive
};

struct KernelFrame {
  Assembler& assembler;
  Element element;
  std::vector<TensorPlace> tensors;
  std::vector<Memory> invariants;  // where each is in memory
  int32_t bytes = 0;               // of the stack frame so far
  int32_t tail_mask = -1;          // where the lanes of an incomplete vector are kept
  std::vector<RareCall> rare_calls;
  std::vector<int32_t> call_places;  // by register: where a call keeps it

  bool evex() const { return assembler.evex(); }
  int vector_bytes() const { return assembler.bits() / 8; }
  int lanes() const { return vector_bytes() / bytes_of(element); }
  int register_count() const { return evex() ? 32 : 16; }
  int32_t take(int32_t size, int32_t alignment) {
    bytes = (bytes + alignment - 1) / alignment * alignment + size;
    return bytes - size;
  }
  int32_t take_vector() { return take(vector_bytes(), vector_bytes()); }
  int32_t call_place(int number) {
    if (call_places.empty()) call_places.assign(register_count(), -1);
    if (call_places[number] < 0) call_places[number] = take_vector();
    return call_places[number];
  }
  static Memory at(int32_t offset) {
    Memory memory;
    memory.base = Gpr::rsp;
    memory.displacement = offset;
    return memory;
  }
  // The address of tensor t's present row; may overwrite rax.
  Gpr base_of(int t) {
    if (tensors[t].base != Gpr::none) return tensors[t].base;
    assembler.load(Gpr::rax, at(tensors[t].home));
    return Gpr::rax;
  }
  // Element kIndex + offset of tensor t.
  Memory element_of(int t, int offset) {
    const TensorPlace& place = tensors[t];
    return {base_of(t), kIndex, static_cast<uint8_t>(place.item_size), offset * place.item_size};
  }
  Memory row_of(int t) { return {base_of(t)}; }
};

// The code of frame.rare_calls.
void write_rare_calls(KernelFrame& frame);

}  // namespace flambeau::emitter
