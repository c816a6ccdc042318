// Encodings after Intel's Software Developer's Manual, volume 2, sections 2.1 to 2.7.
#include "program/emitter/assembler.h"

#include <cstdio>
#include <cstring>

namespace flambeau::emitter {

namespace {

// The number in the index field of a memory operand, general or vector.
int index_of(const Memory& memory) {
  if (memory.vector_index >= 0) return memory.vector_index;
  return memory.index == Gpr::none ? 0 : static_cast<int>(memory.index);
}

const char* const kGprNames[] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                 "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};
std::string name(Gpr reg) { return kGprNames[static_cast<int>(reg)]; }
int number(Gpr reg) { return static_cast<int>(reg); }

std::string vector_name(int reg, int bits) {
  return (bits == 512 ? "zmm" : bits == 256 ? "ymm" : "xmm") + std::to_string(reg);
}

const char* condition_name(Condition condition) {
  switch (condition) {
    case Condition::Below:
      return "jb";
    case Condition::Equal:
      return "je";
    case Condition::NotEqual:
      return "jne";
    case Condition::Less:
      return "jl";
    case Condition::GreaterEqual:
      return "jge";
    case Condition::LessEqual:
      return "jle";
    default:
      return "jg";
  }
}

}  // namespace

void Assembler::word(uint32_t value) {
  for (int i = 0; i < 4; ++i) byte(static_cast<int>(value >> (8 * i)));
}

void Assembler::line(const std::string& text) { text_ += "  " + text + "\n"; }
void Assembler::comment(const std::string& text) {
  if (log_) text_ += "; " + text + "\n";
}

// --- operands ------------------------------------------------------------------------------------

// ModRM, SIB and displacement. `compressed`: unit of an EVEX one-byte displacement; `after`: bytes
// of the instruction that follow the displacement.
void Assembler::address_bytes(int reg, const Memory& memory, int compressed, int after) {
  reg = (reg & 7) << 3;
  if (memory.pool >= 0) {
    byte(reg | 5);
    pool_fixes_.push_back({static_cast<int32_t>(code_.size()), memory.pool,
                           static_cast<int32_t>(code_.size()) + 4 + after});
    word(static_cast<uint32_t>(memory.displacement));
    return;
  }
  const int base = number(memory.base) & 7;
  const bool sib = memory.index != Gpr::none || memory.vector_index >= 0 || base == 4;
  const bool divisible = memory.displacement % compressed == 0;
  const int small = memory.displacement / compressed;
  int mode = 2;
  if (memory.displacement == 0 && base != 5) {
    mode = 0;
  } else if (divisible && small >= -128 && small <= 127) {
    mode = 1;
  }
  byte(mode << 6 | reg | (sib ? 4 : base));
  if (sib) {
    const int scale = memory.scale == 8 ? 3 : memory.scale == 4 ? 2 : memory.scale == 2 ? 1 : 0;
    const int index = memory.vector_index >= 0    ? memory.vector_index & 7
                      : memory.index == Gpr::none ? 4
                                                  : number(memory.index) & 7;
    byte(scale << 6 | index << 3 | base);
  }
  if (mode == 1) byte(small);
  if (mode == 2) word(static_cast<uint32_t>(memory.displacement));
}

int Assembler::disp8_unit(const VectorOpcode& op, const Memory& memory, int bits) const {
  const int element = op.w ? 8 : 4;
  if (memory.broadcast) return element;
  switch (op.tuple) {
    case Tuple::Half:
      return bits / 16;
    case Tuple::Quarter:
      return bits / 32;
    case Tuple::Eighth:
      return bits / 64;
    case Tuple::Single:
      return element;
    case Tuple::Bytes:
      return 1;
    default:
      return bits / 8;
  }
}

// --- vector instructions -------------------------------------------------------------------------

void Assembler::vex(const VectorOpcode& op, int reg, int source, const Operand& last, int bits) {
  const bool memory = last.vector < 0;
  const int index = memory ? index_of(last.memory) : 0;
  const int base = !memory                         ? last.vector
                   : last.memory.base != Gpr::none ? number(last.memory.base)
                                                   : 0;
  const int r = ~reg >> 3 & 1, x = ~index >> 3 & 1, b = ~base >> 3 & 1;
  const int length = bits == 256 ? 4 : 0, vvvv = (~(source < 0 ? 0 : source) & 15) << 3;
  if (x && b && op.map == 1 && !op.vex_w) {
    byte(0xC5);
    byte(r << 7 | vvvv | length | op.prefix);
  } else {
    byte(0xC4);
    byte(r << 7 | x << 6 | b << 5 | op.map);
    byte((op.vex_w ? 0x80 : 0) | vvvv | length | op.prefix);
  }
  byte(op.byte);
}

void Assembler::evex(const VectorOpcode& op, int reg, int source, const Operand& last, Lanes lanes,
                     int bits) {
  const bool memory = last.vector < 0;
  const int index = memory ? index_of(last.memory) : 0;
  const int base = !memory                         ? last.vector & 15
                   : last.memory.base != Gpr::none ? number(last.memory.base)
                                                   : 0;
  const int x = memory ? ~index >> 3 & 1 : ~last.vector >> 4 & 1;
  const int second = source < 0 ? 0 : source;
  // A gather's index may be one of 32 registers; its fifth bit is where a source's would be.
  const int fifth = memory && last.memory.vector_index >= 0 ? index : second;
  byte(0x62);
  byte((~reg >> 3 & 1) << 7 | x << 6 | (~base >> 3 & 1) << 5 | (~reg >> 4 & 1) << 4 | op.map);
  byte((op.w ? 0x80 : 0) | (~second & 15) << 3 | 4 | op.prefix);
  const int length = bits == 512 ? 2 : bits == 256 ? 1 : 0;
  byte((lanes.zero ? 0x80 : 0) | length << 5 | (memory && last.memory.broadcast ? 0x10 : 0) |
       (~fifth >> 4 & 1) << 3 | lanes.mask);
  byte(op.byte);
}

void Assembler::vector(const VectorOpcode& op, int reg, int source, const Operand& last,
                       int immediate, Lanes lanes, int bits) {
  if (!bits) bits = bits_;
  const int target = op.extension >= 0 ? op.extension : reg;
  const int second = op.extension >= 0 ? reg : source;
  if (evex()) {
    evex(op, target, second, last, lanes, bits);
  } else {
    vex(op, target, second, last, bits);
  }
  if (last.vector >= 0) {
    byte(0xC0 | (target & 7) << 3 | (last.vector & 7));
  } else {
    address_bytes(target, last.memory, evex() ? disp8_unit(op, last.memory, bits) : 1,
                  immediate >= 0);
  }
  if (immediate >= 0) byte(immediate);
  if (!log_) return;
  const bool to_mask = op.to_mask && evex();
  const std::string own = to_mask ? "k" + std::to_string(reg) : vector_name(reg, bits);
  const std::string other =
      last.vector >= 0 ? vector_name(last.vector, bits) : memory_text(last.memory, &op);
  std::string text = std::string(op.name) + " " + (op.stores ? other : own);
  if (lanes.mask) text += "{k" + std::to_string(lanes.mask) + "}" + (lanes.zero ? "{z}" : "");
  if (source >= 0) text += ", " + vector_name(source, bits);
  text += ", " + (op.stores ? own : other);
  if (immediate >= 0) text += ", " + std::to_string(immediate);
  line(text);
}

// --- mask instructions ---------------------------------------------------------------------------

void Assembler::mask(const char* name, uint8_t prefix, uint8_t opcode, bool wide, bool l,
                     int target, int source, int last) {
  const int vvvv = (~(source < 0 ? 0 : source) & 15) << 3;
  if (wide) {
    byte(0xC4);
    byte(0xE1);
    byte(0x80 | vvvv | (l ? 4 : 0) | prefix);
  } else {
    byte(0xC5);
    byte(0x80 | vvvv | (l ? 4 : 0) | prefix);
  }
  byte(opcode);
  byte(0xC0 | target << 3 | last);
  if (!log_) return;
  std::string text = std::string(name) + " k" + std::to_string(target);
  if (source >= 0) text += ", k" + std::to_string(source);
  line(text + ", k" + std::to_string(last));
}

void Assembler::mask_load(int target, const Memory& from) {
  byte(0xC5);
  byte(0xF8);
  byte(0x90);
  address_bytes(target, from, 1, 0);
  if (log_) line("kmovw k" + std::to_string(target) + ", " + memory_text(from));
}
void Assembler::mask_store(const Memory& to, int source) {
  byte(0xC5);
  byte(0xF8);
  byte(0x91);
  address_bytes(source, to, 1, 0);
  if (log_) line("kmovw " + memory_text(to) + ", k" + std::to_string(source));
}
void Assembler::mask_from(int target, Gpr from) {
  byte(0xC4);
  byte(0xC1 | (number(from) < 8 ? 0x20 : 0));
  byte(0x78);
  byte(0x92);
  byte(0xC0 | target << 3 | (number(from) & 7));
  if (log_) line("kmovw k" + std::to_string(target) + ", " + name(from));
}
void Assembler::mask_to(Gpr target, int from) {
  byte(0xC4);
  byte(0x61 | (number(target) < 8 ? 0x80 : 0));
  byte(0x78);
  byte(0x93);
  byte(0xC0 | (number(target) & 7) << 3 | from);
  if (log_) line("kmovw " + name(target) + ", k" + std::to_string(from));
}

// --- general instructions ------------------------------------------------------------------------

void Assembler::general(int opcode, Gpr reg, const Memory& memory, bool wide, int after) {
  const int index = memory.index == Gpr::none ? 0 : number(memory.index);
  const int base = memory.base == Gpr::none ? 0 : number(memory.base);
  byte(0x40 | (wide ? 8 : 0) | (number(reg) >> 3) << 2 | (index >> 3) << 1 | base >> 3);
  if (opcode > 0xFF) byte(opcode >> 8);
  byte(opcode & 0xFF);
  address_bytes(number(reg), memory, 1, after);
}
void Assembler::general(int opcode, int reg, Gpr rm, bool wide) {
  byte(0x40 | (wide ? 8 : 0) | (reg >> 3) << 2 | number(rm) >> 3);
  if (opcode > 0xFF) byte(opcode >> 8);
  byte(opcode & 0xFF);
  byte(0xC0 | (reg & 7) << 3 | (number(rm) & 7));
}
void Assembler::arithmetic(int extension, Gpr to, int32_t value) {
  const bool small = value >= -128 && value <= 127;
  general(small ? 0x83 : 0x81, extension, to);
  small ? byte(value) : word(static_cast<uint32_t>(value));
}

void Assembler::move(Gpr to, Gpr from) {
  general(0x89, number(from), to);
  if (log_) line("mov " + name(to) + ", " + name(from));
}
void Assembler::move(Gpr to, int64_t value) {
  general(0xC7, 0, to);
  word(static_cast<uint32_t>(value));
  if (log_) line("mov " + name(to) + ", " + std::to_string(value));
}
void Assembler::move_address(Gpr to, const void* address) {
  const auto value = reinterpret_cast<uint64_t>(address);
  byte(0x48 | number(to) >> 3);
  byte(0xB8 | (number(to) & 7));
  word(static_cast<uint32_t>(value));
  word(static_cast<uint32_t>(value >> 32));
  // Addresses differ from process to process; a listing must not.
  if (log_) line("mov " + name(to) + ", kernel");
}
void Assembler::load(Gpr to, const Memory& from) {
  general(0x8B, to, from);
  if (log_) line("mov " + name(to) + ", " + memory_text(from));
}
void Assembler::load_byte(Gpr to, const Memory& from) {
  general(0x8A, to, from, false);
  if (log_) line("mov " + name(to) + "b, " + memory_text(from));
}
void Assembler::store(const Memory& to, Gpr from) {
  general(0x89, from, to);
  if (log_) line("mov " + memory_text(to) + ", " + name(from));
}
void Assembler::store_byte(const Memory& to, Gpr from) {
  general(0x88, from, to, false);
  if (log_) line("mov " + memory_text(to) + ", " + name(from) + "b");
}
void Assembler::address(Gpr to, const Memory& of) {
  general(0x8D, to, of);
  if (log_) line("lea " + name(to) + ", " + memory_text(of));
}
void Assembler::add(Gpr to, int32_t value) {
  arithmetic(0, to, value);
  if (log_) line("add " + name(to) + ", " + std::to_string(value));
}
void Assembler::add(Gpr to, Gpr from) {
  general(0x01, number(from), to);
  if (log_) line("add " + name(to) + ", " + name(from));
}
void Assembler::add(Gpr to, const Memory& from) {
  general(0x03, to, from);
  if (log_) line("add " + name(to) + ", " + memory_text(from));
}
void Assembler::multiply(Gpr to, const Memory& from) {
  general(0x0FAF, to, from);
  if (log_) line("imul " + name(to) + ", " + memory_text(from));
}
void Assembler::add(const Memory& to, Gpr from) {
  general(0x01, from, to);
  if (log_) line("add " + memory_text(to) + ", " + name(from));
}
void Assembler::subtract(Gpr to, Gpr from) {
  general(0x29, number(from), to);
  if (log_) line("sub " + name(to) + ", " + name(from));
}
void Assembler::subtract(Gpr to, int32_t value) {
  arithmetic(5, to, value);
  if (log_) line("sub " + name(to) + ", " + std::to_string(value));
}
void Assembler::bit_and(Gpr to, int32_t value) {
  arithmetic(4, to, value);
  if (log_) line("and " + name(to) + ", " + std::to_string(value));
}
void Assembler::shift_left(Gpr to, int bits) {
  general(0xC1, 4, to);
  byte(bits);
  if (log_) line("shl " + name(to) + ", " + std::to_string(bits));
}
void Assembler::shift_right(Gpr to, int bits) {
  general(0xC1, 5, to);
  byte(bits);
  if (log_) line("shr " + name(to) + ", " + std::to_string(bits));
}
void Assembler::low_bits(Gpr to, Gpr from, Gpr count) {
  byte(0xC4);
  byte((~number(to) >> 3 & 1) << 7 | 0x40 | (~number(from) >> 3 & 1) << 5 | 2);
  byte(0x80 | (~number(count) & 15) << 3);
  byte(0xF5);
  byte(0xC0 | (number(to) & 7) << 3 | (number(from) & 7));
  if (log_) line("bzhi " + name(to) + ", " + name(from) + ", " + name(count));
}
void Assembler::compare(Gpr a, Gpr b) {
  general(0x39, number(b), a);
  if (log_) line("cmp " + name(a) + ", " + name(b));
}
void Assembler::compare(Gpr a, const Memory& b) {
  general(0x3B, a, b);
  if (log_) line("cmp " + name(a) + ", " + memory_text(b));
}
void Assembler::compare(Gpr a, int32_t value) {
  arithmetic(7, a, value);
  if (log_) line("cmp " + name(a) + ", " + std::to_string(value));
}
void Assembler::select_less_equal(Gpr to, Gpr from) {
  general(0x0F4E, number(to), from);
  if (log_) line("cmovle " + name(to) + ", " + name(from));
}
void Assembler::push(Gpr from) {
  if (number(from) >= 8) byte(0x41);
  byte(0x50 | (number(from) & 7));
  if (log_) line("push " + name(from));
}
void Assembler::pop(Gpr to) {
  if (number(to) >= 8) byte(0x41);
  byte(0x58 | (number(to) & 7));
  if (log_) line("pop " + name(to));
}
void Assembler::call(Gpr target) {
  if (number(target) >= 8) byte(0x41);
  byte(0xFF);
  byte(0xD0 | (number(target) & 7));
  if (log_) line("call " + name(target));
}
void Assembler::clear_upper_halves() {
  for (int b : {0xC5, 0xF8, 0x77}) byte(b);
  if (log_) line("vzeroupper");
}
void Assembler::leave() {
  byte(0xC3);
  if (log_) line("ret");
}

int32_t Assembler::reserve_frame() {
  general(0x81, 5, Gpr::rsp);
  word(0);
  if (log_) line("sub rsp, frame");
  return static_cast<int32_t>(code_.size()) - 4;
}
void Assembler::set_frame(int32_t place, int32_t bytes) { std::memcpy(&code_[place], &bytes, 4); }

// --- labels --------------------------------------------------------------------------------------

Label Assembler::label() {
  labels_.push_back(-1);
  return {static_cast<int32_t>(labels_.size()) - 1};
}
void Assembler::bind(Label label) {
  labels_[label.number] = static_cast<int32_t>(code_.size());
  if (log_) text_ += "L" + std::to_string(label.number) + ":\n";
}
void Assembler::jump(Label to) {
  byte(0xE9);
  jumps_.push_back({static_cast<int32_t>(code_.size()), to.number, 0});
  word(0);
  if (log_) line("jmp L" + std::to_string(to.number));
}
void Assembler::jump(Condition condition, Label to) {
  byte(0x0F);
  byte(0x80 | static_cast<int>(condition));
  jumps_.push_back({static_cast<int32_t>(code_.size()), to.number, 0});
  word(0);
  if (log_) line(std::string(condition_name(condition)) + " L" + std::to_string(to.number));
}
// With no-operations of up to seven bytes.
void Assembler::align(int bytes) {
  static const uint8_t kNops[7][7] = {{0x90},
                                      {0x66, 0x90},
                                      {0x0F, 0x1F, 0x00},
                                      {0x0F, 0x1F, 0x40, 0x00},
                                      {0x0F, 0x1F, 0x44, 0x00, 0x00},
                                      {0x66, 0x0F, 0x1F, 0x44, 0x00, 0x00},
                                      {0x0F, 0x1F, 0x80, 0x00, 0x00, 0x00, 0x00}};
  int rest = -static_cast<int>(code_.size()) & (bytes - 1);
  while (rest > 0) {
    const int length = rest < 7 ? rest : 7;
    code_.insert(code_.end(), kNops[length - 1], kNops[length - 1] + length);
    rest -= length;
  }
}

void Assembler::rewind(const Mark& mark) {
  code_.resize(mark.code);
  pool_fixes_.resize(mark.fixes);
  labels_.resize(mark.labels);
  jumps_.resize(mark.jumps);
  text_.resize(mark.text);
}

// --- constants -----------------------------------------------------------------------------------

int32_t Assembler::pool_bytes(const std::vector<uint8_t>& bytes, int alignment) {
  for (size_t i = 0; i < pool_.size(); ++i) {
    if (pool_[i].bytes == bytes) return static_cast<int32_t>(i);
  }
  pool_.push_back({bytes, alignment, 0});
  return static_cast<int32_t>(pool_.size()) - 1;
}

int32_t Assembler::pool_constant(uint64_t value, int size, int bytes) {
  std::vector<uint8_t> repeated(bytes);
  for (int i = 0; i < bytes; i += size) std::memcpy(&repeated[i], &value, size);
  return pool_bytes(repeated, bytes);
}

std::vector<uint8_t> Assembler::link() {
  for (const Fix& jump : jumps_) {
    const int32_t distance = labels_[jump.target] - (jump.at + 4);
    std::memcpy(&code_[jump.at], &distance, 4);
  }
  std::vector<uint8_t> result = code_;
  for (int alignment : {64, 32, 16, 8, 4, 2, 1}) {  // no gaps between entries
    for (PoolEntry& entry : pool_) {
      if (entry.alignment != alignment) continue;
      result.resize((result.size() + alignment - 1) / alignment * alignment, 0xCC);
      entry.offset = static_cast<int32_t>(result.size());
      result.insert(result.end(), entry.bytes.begin(), entry.bytes.end());
    }
  }
  for (const Fix& fix : pool_fixes_) {
    int32_t displacement;
    std::memcpy(&displacement, &result[fix.at], 4);
    displacement += pool_[fix.target].offset - fix.next;
    std::memcpy(&result[fix.at], &displacement, 4);
  }
  return result;
}

// --- listing -------------------------------------------------------------------------------------

std::string Assembler::memory_text(const Memory& memory, const VectorOpcode* op) const {
  std::string text = "[";
  if (memory.pool >= 0) {
    const std::vector<uint8_t>& bytes = pool_[memory.pool].bytes;
    char number[40];
    if (!op) {
      std::snprintf(number, sizeof(number), "constant %d", static_cast<int>(memory.pool));
    } else if (op->w || bytes.size() == 8) {
      double value;
      std::memcpy(&value, bytes.data(), 8);
      std::snprintf(number, sizeof(number), "= %.17g", value);
    } else {
      float value;
      std::memcpy(&value, bytes.data(), 4);
      std::snprintf(number, sizeof(number), "= %.9g", static_cast<double>(value));
    }
    text += number;
  } else {
    text += name(memory.base);
    if (memory.index != Gpr::none || memory.vector_index >= 0) {
      text += "+" + (memory.vector_index >= 0 ? vector_name(memory.vector_index, bits_)
                                              : name(memory.index));
      if (memory.scale > 1) text += "*" + std::to_string(memory.scale);
    }
    if (memory.displacement) {
      text += (memory.displacement > 0 ? "+" : "") + std::to_string(memory.displacement);
    }
  }
  text += "]";
  return memory.broadcast ? text + "{all}" : text;
}

}  // namespace flambeau::emitter
