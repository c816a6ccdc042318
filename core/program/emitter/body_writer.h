// Turns one stretch of vector code into instructions: chooses registers and encodings.
#pragma once

#include <optional>

#include "program/emitter/frame.h"
#include "program/emitter/opcodes.h"

namespace flambeau::emitter {

// Where the running result of a reduction is: a register, or (-1) a vector of the frame.
struct Accumulator {
  int target = -1;
  int32_t offset = 0;
};

// One copy of a body: a loop may hold several, and a last one for an incomplete vector.
struct BodySetting {
  std::vector<int8_t> pinned;             // by invariant: the register that holds it, or -1
  uint32_t reserved = 0;                  // registers that are not the body's
  std::vector<Accumulator> accumulators;  // by reduction
  int offset = 0;                         // in elements, from the index
  bool tail = false;
};

// Note [Registers of a body]: a body is straight-line code, so the register to give up is the one
// whose value is needed last (Belady). A value that is needed again is kept in the frame;
// invariants are in memory anyway.
class BodyWriter {
 public:
  BodyWriter(KernelFrame& frame, const VectorCode& code);
  void write(const BodySetting& setting);
  // The most vector registers that were in use at once, when last written.
  int most_registers() const { return vectors_.most; }
  // How often the code uses each invariant.
  std::vector<int> invariant_uses() const;
  bool empty() const { return effects_ == 0; }
  int size() const { return static_cast<int>(code_.nodes().size()); }

 private:
  enum { kNever = INT32_MAX };
  struct Location {
    int8_t target = -1;   // register
    int32_t offset = -1;  // place in the frame
    int32_t next = 0;     // the next node that uses the value
  };
  // One kind of registers: vectors, or AVX-512's masks.
  struct File {
    uint32_t available = 0;
    uint32_t locked = 0;  // operands of the present node
    int32_t holder[32];
    int used = 0, most = 0;
  };

  bool in_mask_file(int32_t node) const {
    return frame_.evex() && yields_mask(code_.nodes()[node].op);
  }
  File& file_of(int32_t node) { return in_mask_file(node) ? masks_ : vectors_; }
  const Node& node_at(int32_t node) const { return code_.nodes()[node]; }
  void prepare(const BodySetting& setting);
  int allocate(int32_t node);
  int temporary();  // a vector register until the end of the present node
  void evict(File& file);
  void save(int32_t node);
  void release(int32_t node);
  void lock(int32_t node) { file_of(node).locked |= 1u << where_[node].target; }
  int ensure(int32_t node);
  Operand operand(int32_t node, bool whole_vector = false);
  std::optional<Memory> memory_of(int32_t node, bool whole_vector) const;
  bool in_register(int32_t node) const { return where_[node].target >= 0; }
  bool dies(int32_t node) const;
  // After the operands are in place: frees the dead ones and finds a register for the result.
  int target(int32_t node);

  void write_node(int32_t node);
  void write_binary(int32_t node, const VectorOpcode& op, bool commutes);
  void write_unary(int32_t node, const VectorOpcode& op, int immediate = -1);
  void write_multiply_add(int32_t node, opcodes::MultiplyAdd kind);
  void write_halves(int32_t node);
  void write_mask(int32_t node);
  void write_choice(int32_t node);
  // body_memory.cpp: memory, reductions and calls.
  void write_memory(int32_t node);
  void write_load(int32_t node);
  void write_load_strided(int32_t node);
  void write_load_bools(int32_t node);
  void write_load_row_bool(int32_t node);
  void write_store(int32_t node);
  void write_store_bools(int32_t node);
  void write_store_row_bool(int32_t node);
  void write_accumulate(int32_t node);
  void write_call(int32_t node);
  void write_rare_call(int32_t node);
  void bytes_of_mask(int mask, int to);
  void load_tail_bytes(int tensor, int to);

  KernelFrame& frame_;
  Assembler& asm_;
  const VectorCode& code_;
  int effects_ = 0;
  std::vector<char> needed_;
  std::vector<std::array<int32_t, 3>> next_uses_;  // of each operand after the node
  std::vector<int32_t> first_use_;
  const BodySetting* setting_ = nullptr;
  std::vector<Location> where_;
  std::vector<int32_t> free_places_[2];  // frame places of vectors and of masks
  File vectors_, masks_;
  uint32_t temporaries_ = 0;
};

// Keeps the larger (or smaller) of acc and x in acc, a NaN first; overwrites kScratchMask or the
// vector register `spare`. `lanes`: a mask register, only these lanes (AVX-512).
void write_extreme(KernelFrame& frame, Element element, bool larger, int acc, int x, int spare,
                   int lanes, int bits);

}  // namespace flambeau::emitter
