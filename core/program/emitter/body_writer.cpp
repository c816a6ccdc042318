#include "program/emitter/body_writer.h"

#include "program/emitter/functions.h"

namespace flambeau::emitter {

using namespace opcodes;

static int is_wide(const Node& node) { return node.element == Element::Float64; }

BodyWriter::BodyWriter(KernelFrame& frame, const VectorCode& code)
    : frame_(frame),
      asm_(frame.assembler),
      code_(code),
      needed_(code.nodes().size(), false),
      next_uses_(code.nodes().size()),
      first_use_(code.nodes().size(), kNever) {
  for (auto i = static_cast<int32_t>(code.nodes().size()) - 1; i >= 0; --i) {
    const Node& node = code.nodes()[i];
    if (has_effect(node.op)) {
      needed_[i] = true;
      ++effects_;
    }
    if (!needed_[i]) continue;
    for (int k = 0; k < 3; ++k) {
      const int32_t operand = node.operands[k];
      if (operand < 0) continue;
      needed_[operand] = true;
      next_uses_[i][k] = first_use_[operand];
    }
    for (int32_t operand : node.operands) {
      if (operand >= 0) first_use_[operand] = i;
    }
  }
}

std::vector<int> BodyWriter::invariant_uses() const {
  std::vector<int> uses(frame_.invariants.size());
  for (size_t i = 0; i < code_.nodes().size(); ++i) {
    if (!needed_[i]) continue;
    for (int32_t operand : node_at(static_cast<int32_t>(i)).operands) {
      if (operand >= 0 && node_at(operand).op == Op::Invariant) ++uses[node_at(operand).index];
    }
  }
  return uses;
}

// --- registers -----------------------------------------------------------------------------------

constexpr int32_t kNobody = -1, kTemporary = -2, kReserved = -3;

void BodyWriter::prepare(const BodySetting& setting) {
  setting_ = &setting;
  where_.assign(code_.nodes().size(), {});
  const uint32_t all = frame_.evex() ? ~0u : 0xFFFF;
  vectors_ = {};
  vectors_.available = all & ~setting.reserved;
  masks_ = {};
  masks_.available = 0x3E;  // k1 to k5
  for (int r = 0; r < 32; ++r) {
    vectors_.holder[r] = vectors_.available >> r & 1 ? kNobody : kReserved;
    masks_.holder[r] = masks_.available >> r & 1 ? kNobody : kReserved;
  }
  free_places_[0].clear();
  free_places_[1].clear();
  for (size_t i = 0; i < where_.size(); ++i) {
    where_[i].next = first_use_[i];
    const Node& node = code_.nodes()[i];
    if (node.op == Op::Invariant && !setting.pinned.empty()) {
      where_[i].target = setting.pinned[node.index];
    }
  }
}

int BodyWriter::allocate(int32_t node) {
  File& file = node < 0 ? vectors_ : file_of(node);
  if (!file.available) evict(file);
  const int number = std::countr_zero(file.available);
  file.available &= file.available - 1;
  file.holder[number] = node < 0 ? kTemporary : node;
  if (node >= 0) where_[node].target = static_cast<int8_t>(number);
  file.locked |= 1u << number;
  file.most = std::max(file.most, ++file.used);
  return number;
}

int BodyWriter::temporary() {
  const int number = allocate(-1);
  temporaries_ |= 1u << number;
  return number;
}

void BodyWriter::evict(File& file) {
  int best = -1;
  int32_t furthest = -1;
  for (int r = 0; r < 32; ++r) {
    if (file.holder[r] < 0 || file.locked >> r & 1) continue;
    if (where_[file.holder[r]].next > furthest) {
      furthest = where_[file.holder[r]].next;
      best = r;
    }
  }
  const int32_t node = file.holder[best];
  if (furthest != kNever) save(node);
  where_[node].target = -1;
  file.holder[best] = kNobody;
  file.available |= 1u << best;
  --file.used;
}

// Makes sure that the value is in memory.
void BodyWriter::save(int32_t node) {
  Location& place = where_[node];
  if (place.offset >= 0 || node_at(node).op == Op::Invariant) return;
  const bool mask = in_mask_file(node);
  std::vector<int32_t>& free = free_places_[mask];
  if (free.empty()) {
    place.offset = mask ? frame_.take(8, 8) : frame_.take_vector();
  } else {
    place.offset = free.back();
    free.pop_back();
  }
  if (mask) {
    asm_.mask_store(KernelFrame::at(place.offset), place.target);
  } else {
    asm_.vector(kStore[is_wide(node_at(node))], place.target, -1, KernelFrame::at(place.offset));
  }
}

bool BodyWriter::dies(int32_t node) const {
  const Location& place = where_[node];
  return place.next == kNever && place.target >= 0 &&
         (in_mask_file(node) ? masks_ : vectors_).holder[place.target] == node;
}

void BodyWriter::release(int32_t node) {
  if (!dies(node)) return;
  File& file = file_of(node);
  const int number = where_[node].target;
  file.available |= 1u << number;
  file.holder[number] = kNobody;
  file.locked &= ~(1u << number);
  --file.used;
  where_[node].target = -1;
}

int BodyWriter::target(int32_t node) {
  for (int32_t operand : node_at(node).operands) {
    if (operand >= 0) release(operand);
  }
  return allocate(node);
}

// Where a value that is not in a register can be read; a broadcast number is not a whole vector.
std::optional<Memory> BodyWriter::memory_of(int32_t node, bool whole_vector) const {
  if (where_[node].offset >= 0) return KernelFrame::at(where_[node].offset);
  if (node_at(node).op != Op::Invariant) return std::nullopt;
  const Memory& memory = frame_.invariants[node_at(node).index];
  if (memory.broadcast && whole_vector) return std::nullopt;
  return memory;
}

int BodyWriter::ensure(int32_t node) {
  if (in_register(node)) {
    lock(node);
    return where_[node].target;
  }
  Memory memory = *memory_of(node, false);
  const int number = allocate(node);
  const int wide = is_wide(node_at(node));
  if (in_mask_file(node)) {
    asm_.mask_load(number, memory);
  } else if (node_at(node).op == Op::Invariant &&
             code_.invariants()[node_at(node).index] ==
                 Invariant{Invariant::Kind::Constant, node_at(node).element}) {
    asm_.vector(kXor[0], number, number, number);
  } else if (memory.broadcast) {
    memory.broadcast = false;
    asm_.vector(kBroadcast[wide], number, -1, memory);
  } else {
    asm_.vector(kMove[wide], number, -1, memory);
  }
  return number;
}

Operand BodyWriter::operand(int32_t node, bool whole_vector) {
  if (!in_register(node)) {
    if (auto memory = memory_of(node, whole_vector)) return *memory;
  }
  return ensure(node);
}

// --- the walk ------------------------------------------------------------------------------------

void BodyWriter::write(const BodySetting& setting) {
  prepare(setting);
  for (int32_t i = 0; i < static_cast<int32_t>(code_.nodes().size()); ++i) {
    const Node& node = node_at(i);
    if (!needed_[i] || node.op == Op::Invariant) continue;
    for (int k = 0; k < 3; ++k) {
      const int32_t operand = node.operands[k];
      if (operand < 0) continue;
      where_[operand].next = next_uses_[i][k];
      if (in_register(operand)) lock(operand);
    }
    write_node(i);
    for (; temporaries_; temporaries_ &= temporaries_ - 1) {
      const int number = std::countr_zero(temporaries_);
      vectors_.holder[number] = kNobody;
      vectors_.available |= 1u << number;
      --vectors_.used;
    }
    for (int32_t operand : node.operands) {
      if (operand < 0) continue;
      release(operand);
      Location& place = where_[operand];
      if (place.next == kNever && place.offset >= 0) {
        free_places_[in_mask_file(operand)].push_back(place.offset);
        place.offset = -1;
      }
    }
    vectors_.locked = masks_.locked = 0;
  }
}

namespace {

// What one instruction of the processor does.
struct SimpleOp {
  Op op;
  const Pair& opcodes;
  bool commutes = false;
};
constexpr SimpleOp kBinary[] = {
    {Op::Add, kAdd, true},
    {Op::Sub, kSub},
    {Op::Mul, kMul, true},
    {Op::Div, kDiv},
    {Op::Min, kMin},
    {Op::Max, kMax},
    {Op::And, kAnd, true},
    {Op::AndNot, kAndNot},
    {Op::Or, kOr, true},
    {Op::Xor, kXor, true},
    {Op::AddInt, kAddInt, true},
    {Op::SubInt, kSubInt},
    {Op::Scale, kScale},
};
constexpr SimpleOp kUnary[] = {{Op::Sqrt, kSqrt},
                               {Op::Round, kRound},
                               {Op::ShiftLeft, kShiftLeft},
                               {Op::ShiftRight, kShiftRight},
                               {Op::ShiftRightSigned, kShiftRightSigned},
                               {Op::FromInt, kFromInt}};

}  // namespace

void BodyWriter::write_node(int32_t i) {
  const Node& node = node_at(i);
  const int wide = is_wide(node);
  for (const SimpleOp& simple : kBinary) {
    if (simple.op == node.op) return write_binary(i, simple.opcodes[wide], simple.commutes);
  }
  for (const SimpleOp& simple : kUnary) {
    const bool takes_immediate = node.op != Op::Sqrt && node.op != Op::FromInt;
    if (simple.op == node.op) {
      return write_unary(i, simple.opcodes[wide], takes_immediate ? node.immediate : -1);
    }
  }
  switch (node.op) {
    case Op::Fma:
      return write_multiply_add(i, kFmadd);
    case Op::Fms:
      return write_multiply_add(i, kFmsub);
    case Op::Fnma:
      return write_multiply_add(i, kFnmadd);
    case Op::Blend:
    case Op::Where:
      return write_choice(i);
    case Op::Compare:
    case Op::SignMask:
    case Op::MaskAnd:
    case Op::MaskOr:
    case Op::MaskXor:
      return write_mask(i);
    case Op::WidenLow:
    case Op::WidenHigh:
    case Op::Narrow:
      return write_halves(i);
    case Op::Call:
      return write_call(i);
    case Op::CallRarely:
      return write_rare_call(i);
    case Op::AddTo:
    case Op::AddProductTo:
    case Op::LargerTo:
    case Op::SmallerTo:
      return write_accumulate(i);
    default:
      return write_memory(i);
  }
}

// --- arithmetic ----------------------------------------------------------------------------------

void BodyWriter::write_binary(int32_t node, const VectorOpcode& op, bool commutes) {
  int32_t a = node_at(node).operands[0], b = node_at(node).operands[1];
  if (commutes && !in_register(a) && in_register(b)) std::swap(a, b);
  const int first = ensure(a);
  const Operand second = operand(b);
  asm_.vector(op, target(node), first, second);
}

void BodyWriter::write_unary(int32_t node, const VectorOpcode& op, int immediate) {
  const int from = ensure(node_at(node).operands[0]);
  asm_.vector(op, target(node), -1, from, immediate);
}

// The processor's instruction overwrites one of its operands: one that is not needed any more, or
// a copy. Form 132: a = a * c + b, 213: a = b * a + c, 231: a = b * c + a, c may be in memory.
void BodyWriter::write_multiply_add(int32_t node, MultiplyAdd kind) {
  enum Form { k132, k213, k231 };
  auto [a, b, c] = node_at(node).operands;
  const int wide = is_wide(node_at(node));
  auto in_memory = [&] { return !in_register(a) + !in_register(b) + !in_register(c); };
  for (int32_t operand : {c, a, b}) {
    if (in_memory() > 1 && !in_register(operand)) ensure(operand);
  }
  auto take_over = [&](int32_t operand) {
    const int number = where_[operand].target;
    where_[operand].target = -1;
    where_[node].target = static_cast<int8_t>(number);
    vectors_.holder[number] = node;
    return number;
  };
  auto emit = [&](Form form, int to, int32_t second, int32_t third) {
    asm_.vector(kMultiplyAdd[kind][form][wide], to, second < 0 ? to : where_[second].target,
                third < 0 ? Operand(to) : operand(third));
  };
  if (!in_register(a)) std::swap(a, b);  // a is in a register, b or c may not be
  auto after = [&](int32_t taken, int32_t operand) { return operand == taken ? -1 : operand; };
  for (int32_t taken : {c, a, b}) {
    if (!dies(taken)) continue;
    const int32_t other = taken == a ? b : a;
    if (taken == c) {
      const int to = take_over(c);
      return emit(k231, to, after(c, a), after(c, b));
    }
    const bool swapped = !in_register(other);  // the other factor is in memory
    const int to = take_over(taken);
    return swapped ? emit(k132, to, after(taken, c), other)
                   : emit(k213, to, after(taken, other), after(taken, c));
  }
  const int to = allocate(node);
  auto copy = [&](int32_t operand) {
    Memory memory = in_register(operand) ? Memory() : *memory_of(operand, false);
    if (in_register(operand)) {
      asm_.vector(kMove[wide], to, -1, where_[operand].target);
    } else if (memory.broadcast) {
      memory.broadcast = false;
      asm_.vector(kBroadcast[wide], to, -1, memory);
    } else {
      asm_.vector(kMove[wide], to, -1, memory);
    }
  };
  if (!in_register(b)) {
    copy(b);
    return emit(k213, to, a, c);
  }
  copy(c);
  emit(k231, to, a, b);
}

void BodyWriter::write_halves(int32_t node) {
  const auto [a, b, unused] = node_at(node).operands;
  const VectorOpcode& extract = frame_.evex() ? kExtractHalf : kExtractQuarter;
  const VectorOpcode& insert = frame_.evex() ? kInsertHalf : kInsertQuarter;
  const int first = ensure(a);
  if (node_at(node).op == Op::Narrow) {
    const int second = ensure(b), low = temporary();
    const int to = target(node);
    asm_.vector(kNarrow, low, -1, first);
    asm_.vector(kNarrow, to, -1, second);
    asm_.vector(insert, to, low, to, 1);
    return;
  }
  int from = first;
  const int to = target(node);
  if (node_at(node).op == Op::WidenHigh) {
    asm_.vector(extract, from, -1, to, 1);
    from = to;
  }
  asm_.vector(kWiden, to, -1, from);
}

// --- masks ---------------------------------------------------------------------------------------

void BodyWriter::write_mask(int32_t node) {
  const auto [a, b, unused] = node_at(node).operands;
  const Op op = node_at(node).op;
  const int wide = is_wide(node_at(node));
  if (op == Op::Compare) {
    const int first = ensure(a);
    const Operand second = operand(b);
    asm_.vector(kCompare[wide], target(node), first, second, node_at(node).immediate);
    return;
  }
  const int first = ensure(a);
  if (op == Op::SignMask) {
    const int to = target(node);
    if (frame_.evex()) {
      asm_.vector(kSignsToMask[wide], to, -1, first);
    } else {
      asm_.vector(kShiftRightSigned[0], to, -1, first, 31);
      if (wide) asm_.vector(kShuffleInts, to, -1, to, 0xF5);  // the upper half of every double
    }
    return;
  }
  const int second = ensure(b);
  const int to = target(node);
  const int kind = op == Op::MaskAnd ? 0 : op == Op::MaskOr ? 1 : 2;
  if (frame_.evex()) {
    static const char* const names[] = {"kandw", "korw", "kxorw"};
    static const uint8_t bytes[] = {0x41, 0x45, 0x47};
    asm_.mask(names[kind], 0, bytes[kind], false, true, to, first, second);
  } else {
    static const Pair* const ops[] = {&kAnd, &kOr, &kXor};
    asm_.vector((*ops[kind])[0], to, first, second);
  }
}

void BodyWriter::write_choice(int32_t node) {
  const auto [mask, b, c] = node_at(node).operands;
  const int wide = is_wide(node_at(node));
  const int chosen = ensure(mask);
  if (node_at(node).op == Op::Blend) {
    const int otherwise = ensure(c);
    const Operand first = operand(b);
    const int to = target(node);
    if (frame_.evex()) {
      asm_.vector(kBlendMask[wide], to, otherwise, first, -1, {static_cast<int8_t>(chosen)});
    } else {
      asm_.vector(kBlend[wide], to, otherwise, first, chosen << 4);
    }
    return;
  }
  Operand first = operand(b);
  const int to = target(node);
  if (!frame_.evex()) {
    asm_.vector(kAnd[wide], to, chosen, first);
    return;
  }
  const bool one = first.vector < 0 && first.memory.broadcast;
  first.memory.broadcast = false;
  asm_.vector(one ? kBroadcast[wide] : kMove[wide], to, -1, first, -1,
              {static_cast<int8_t>(chosen), true});
}

}  // namespace flambeau::emitter
