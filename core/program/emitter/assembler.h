// Writes x86-64 instructions: VEX (AVX2, 256 bits) or EVEX (AVX-512) for vectors, and the few
// general instructions that loops need. Knows encodings, nothing about programs.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace flambeau::emitter {

enum class Gpr : int8_t {
  rax,
  rcx,
  rdx,
  rbx,
  rsp,
  rbp,
  rsi,
  rdi,
  r8,
  r9,
  r10,
  r11,
  r12,
  r13,
  r14,
  r15,
  none = -1
};

// How much memory an instruction touches, which scales EVEX's one-byte displacements.
enum class Tuple : uint8_t { Full, Half, Quarter, Eighth, Single, Bytes };

// One vector instruction. `w` and `wide` say what the EVEX and the VEX prefix put into bit W.
struct VectorOpcode {
  const char* name;
  uint8_t map;     // 1: 0F, 2: 0F38, 3: 0F3A
  uint8_t prefix;  // 0: none, 1: 66, 2: F3, 3: F2
  uint8_t byte;
  bool w = false;
  bool vex_w = false;
  Tuple tuple = Tuple::Full;
  int8_t extension = -1;  // opcode extension in the register field; the target is then in vvvv
  bool to_mask = false;   // with EVEX, the target is a mask register
  bool stores = false;    // the register is the source, the last operand the target
};

// Memory: [base + index * scale + displacement], or an entry of the constant pool (base none).
struct Memory {
  Gpr base = Gpr::none;
  Gpr index = Gpr::none;
  uint8_t scale = 1;
  int32_t displacement = 0;
  int32_t pool = -1;
  bool broadcast = false;    // one element for all lanes (EVEX)
  int8_t vector_index = -1;  // gathers: a register with one index per lane, instead of `index`
};

struct Operand {
  Operand(int vector) : vector(static_cast<int8_t>(vector)) {}
  Operand(const Memory& memory) : memory(memory) {}
  int8_t vector = -1;
  Memory memory;
};

// Which lanes an EVEX instruction writes: register k1 to k7, the others are kept or zeroed.
struct Lanes {
  int8_t mask = 0;
  bool zero = false;
};

struct Label {
  int32_t number = -1;
};

enum class Condition : uint8_t {
  Below = 2,
  Equal = 4,
  NotEqual = 5,
  Less = 12,
  GreaterEqual = 13,
  LessEqual = 14,
  Greater = 15
};

class Assembler {
 public:
  // `bits`: 256 encodes with VEX, 512 with EVEX. With a listing, each instruction leaves a line.
  Assembler(int bits, bool listing) : bits_(bits), log_(listing) {}

  int bits() const { return bits_; }
  bool evex() const { return bits_ == 512; }

  // reg (target, or source of a store), second source (-1: none), last operand.
  void vector(const VectorOpcode& op, int reg, int source, const Operand& last, int immediate = -1,
              Lanes lanes = {}, int bits = 0);
  // Operations on the mask registers of AVX-512.
  void mask(const char* name, uint8_t prefix, uint8_t byte, bool wide, bool l, int target,
            int source, int last);
  void mask_load(int target, const Memory& from);
  void mask_store(const Memory& to, int source);
  void mask_from(int target, Gpr from);  // kmovw
  void mask_to(Gpr target, int from);

  void move(Gpr to, Gpr from);
  void move(Gpr to, int64_t value);
  void move_address(Gpr to, const void* address);
  void load(Gpr to, const Memory& from);
  void load_byte(Gpr to, const Memory& from);  // the low byte only
  void store(const Memory& to, Gpr from);
  void store_byte(const Memory& to, Gpr from);
  void address(Gpr to, const Memory& of);
  void add(Gpr to, int32_t value);
  void add(Gpr to, Gpr from);
  void add(const Memory& to, Gpr from);
  void add(Gpr to, const Memory& from);
  void multiply(Gpr to, const Memory& from);
  void subtract(Gpr to, Gpr from);
  void subtract(Gpr to, int32_t value);
  void bit_and(Gpr to, int32_t value);
  void shift_left(Gpr to, int bits);
  void shift_right(Gpr to, int bits);
  void low_bits(Gpr to, Gpr from, Gpr count);  // bzhi
  void compare(Gpr a, Gpr b);
  void compare(Gpr a, const Memory& b);
  void compare(Gpr a, int32_t value);
  void select_less_equal(Gpr to, Gpr from);  // cmovle
  void push(Gpr from);
  void pop(Gpr to);
  void call(Gpr target);
  void clear_upper_halves();  // vzeroupper: the caller may use SSE
  void leave();               // ret

  Label label();
  void bind(Label label);
  void jump(Label to);
  void jump(Condition condition, Label to);
  void align(int bytes);

  // The stack frame's size is known only at the end: a placeholder and its value.
  int32_t reserve_frame();
  void set_frame(int32_t place, int32_t bytes);

  // A constant of `size` bytes, repeated to `bytes`; equal constants share one entry.
  int32_t pool_constant(uint64_t value, int size, int bytes);
  int32_t pool_bytes(const std::vector<uint8_t>& bytes, int alignment);
  void comment(const std::string& text);

  // Where one is, to throw away what was written since (pool entries stay).
  struct Mark {
    size_t code, fixes, labels, jumps, text;
  };
  Mark mark() const {
    return {code_.size(), pool_fixes_.size(), labels_.size(), jumps_.size(), text_.size()};
  }
  void rewind(const Mark& mark);

  // Joins code and pool; the result may be copied to any address.
  std::vector<uint8_t> link();
  const std::string& listing() const { return text_; }

 private:
  struct PoolEntry {
    std::vector<uint8_t> bytes;
    int alignment;
    int32_t offset;
  };
  struct Fix {
    int32_t at;      // of a 32-bit displacement
    int32_t target;  // pool entry or label
    int32_t next;    // end of the instruction
  };
  void byte(int value) { code_.push_back(static_cast<uint8_t>(value)); }
  void word(uint32_t value);
  void address_bytes(int reg, const Memory& memory, int compressed, int after);
  void vex(const VectorOpcode& op, int reg, int source, const Operand& last, int bits);
  void evex(const VectorOpcode& op, int reg, int source, const Operand& last, Lanes lanes,
            int bits);
  void general(int opcode, Gpr reg, const Memory& memory, bool wide = true, int after = 0);
  void general(int opcode, int reg, Gpr rm, bool wide = true);
  void arithmetic(int extension, Gpr to, int32_t value);
  int disp8_unit(const VectorOpcode& op, const Memory& memory, int bits) const;
  void line(const std::string& text);
  std::string memory_text(const Memory& memory, const VectorOpcode* op = nullptr) const;

  const int bits_;
  const bool log_;
  std::vector<uint8_t> code_;
  std::vector<PoolEntry> pool_;
  std::vector<Fix> pool_fixes_, jumps_;
  std::vector<int32_t> labels_;
  std::string text_;
};

}  // namespace flambeau::emitter
