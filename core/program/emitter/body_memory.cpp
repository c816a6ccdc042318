// The body writer's instructions that touch memory: loads, stores, reductions, calls.
#include "program/emitter/body_writer.h"
#include "program/emitter/functions.h"
#include "program/kernels.h"

namespace flambeau::emitter {

using namespace opcodes;

static Operand general(Gpr reg) { return static_cast<int>(reg); }

void BodyWriter::write_memory(int32_t i) {
  const Node& node = node_at(i);
  switch (node.op) {
    case Op::Load:
      return write_load(i);
    case Op::LoadStrided:
      return write_load_strided(i);
    case Op::LoadBools:
      return write_load_bools(i);
    case Op::LoadRow: {
      const Memory from = frame_.row_of(node.index);
      asm_.vector(kBroadcast[node.element == Element::Float64], target(i), -1, from);
      return;
    }
    case Op::LoadRowBool:
      return write_load_row_bool(i);
    case Op::Store:
      return write_store(i);
    case Op::StoreBools:
      return write_store_bools(i);
    case Op::StoreRow: {
      const int from = ensure(node.operands[0]);
      asm_.vector(kStoreOne[node.element == Element::Float64], from, -1, frame_.row_of(node.index),
                  -1, {}, 128);
      return;
    }
    case Op::StoreRowBool:
      return write_store_row_bool(i);
    case Op::KeepRow: {
      Memory to = frame_.invariants[node.index];
      asm_.vector(kStore[0], ensure(node.operands[0]), -1, to);
      return;
    }
    default:
      return;
  }
}

void BodyWriter::write_load(int32_t i) {
  const Node& node = node_at(i);
  const int wide = node.element == Element::Float64;
  const int to = target(i);
  const Memory from = frame_.element_of(node.index, setting_->offset);
  if (!setting_->tail) {
    asm_.vector(kMoveAny[wide], to, -1, from);
  } else if (frame_.evex()) {
    asm_.vector(kMoveAny[wide], to, -1, from, -1, {kTailMask, true});
  } else {
    asm_.vector(kMove[wide], to, -1, KernelFrame::at(frame_.tail_mask));
    asm_.vector(kMaskedLoad[wide], to, to, from);
  }
}

// A gather: the lanes' offsets are the same everywhere, the address of the first lane is in rax.
void BodyWriter::write_load_strided(int32_t i) {
  const Node& node = node_at(i);
  const int wide = node.element == Element::Float64;
  const TensorPlace& place = frame_.tensors[node.index];
  const int indices = temporary(), to = target(i);
  asm_.address(Gpr::rax, {kIndex, Gpr::none, 1, setting_->offset});
  asm_.multiply(Gpr::rax, KernelFrame::at(place.step));
  asm_.add(Gpr::rax, KernelFrame::at(place.home));
  asm_.vector(kMove[0], indices, -1, KernelFrame::at(place.indices));
  asm_.vector(kXor[0], to, to, to);
  Memory from{Gpr::rax, Gpr::none, static_cast<uint8_t>(place.item_size)};
  from.vector_index = static_cast<int8_t>(indices);
  if (frame_.evex()) {  // the mask is cleared by the gather
    if (setting_->tail) {
      asm_.mask("kmovw", 0, 0x90, false, false, kScratchMask, -1, kTailMask);
    } else {
      asm_.mask("kxnorw", 0, 0x46, false, true, kScratchMask, kScratchMask, kScratchMask);
    }
    asm_.vector(kGather[wide], to, -1, from, -1, {kScratchMask});
    return;
  }
  const int mask = temporary();
  if (setting_->tail) {
    asm_.vector(kMove[wide], mask, -1, KernelFrame::at(frame_.tail_mask));
  } else {
    asm_.vector(kEqualInt, mask, mask, mask);
  }
  asm_.vector(kGather[wide], to, mask, from);
}

void BodyWriter::write_store(int32_t i) {
  const Node& node = node_at(i);
  const int wide = node.element == Element::Float64;
  const int from = ensure(node.operands[0]);
  if (!setting_->tail) {
    asm_.vector(kStoreAny[wide], from, -1, frame_.element_of(node.index, setting_->offset));
  } else if (frame_.evex()) {
    asm_.vector(kStoreAny[wide], from, -1, frame_.element_of(node.index, setting_->offset), -1,
                {kTailMask});
  } else {
    const int mask = temporary();
    asm_.vector(kMove[wide], mask, -1, KernelFrame::at(frame_.tail_mask));
    asm_.vector(kMaskedStore[wide], from, mask, frame_.element_of(node.index, setting_->offset));
  }
}

// --- bools ---------------------------------------------------------------------------------------

static Memory zeros(Assembler& assembler) {
  Memory memory;
  memory.pool = assembler.pool_constant(0, 4, 32);
  return memory;
}

void BodyWriter::write_load_bools(int32_t i) {
  const int tensor = node_at(i).index;
  const int wide = node_at(i).element == Element::Float64;
  if (frame_.evex()) {
    const int bytes = temporary();
    const Memory from = frame_.element_of(tensor, setting_->offset);
    if (setting_->tail) {
      asm_.vector(kLoadBytes, bytes, -1, from, -1, {kTailMask, true}, 128);
    } else {
      asm_.vector(wide ? kLoadQuad : kLoadBytes, bytes, -1, from, -1, {}, 128);
    }
    asm_.vector(kTestBytes, target(i), bytes, bytes, -1, {}, 128);
    return;
  }
  const int to = target(i);
  if (setting_->tail) {
    load_tail_bytes(tensor, to);
    asm_.vector(kWidenBytes[wide], to, -1, to);
  } else {
    asm_.vector(kWidenBytes[wide], to, -1, frame_.element_of(tensor, setting_->offset));
  }
  asm_.vector(kCompareGreaterInt[wide], to, to, zeros(asm_));
}

// The bytes from the index to the end of the row, fewer than eight, by way of rax.
void BodyWriter::load_tail_bytes(int tensor, int to) {
  const Gpr base = frame_.tensors[tensor].base;
  const Label again = asm_.label();
  asm_.move(Gpr::rax, int64_t{0});
  asm_.move(Gpr::r11, kColumns);
  asm_.bind(again);
  asm_.subtract(Gpr::r11, 1);
  asm_.shift_left(Gpr::rax, 8);
  asm_.load_byte(Gpr::rax, {base, Gpr::r11});
  asm_.compare(Gpr::r11, kIndex);
  asm_.jump(Condition::Greater, again);
  asm_.vector(kFromGeneral, to, -1, general(Gpr::rax), -1, {}, 128);
}

void BodyWriter::write_load_row_bool(int32_t i) {
  const int wide = node_at(i).element == Element::Float64;
  const int bytes = temporary();
  asm_.vector(kBroadcastByte, bytes, -1, frame_.row_of(node_at(i).index), -1, {}, 128);
  const int to = target(i);
  if (frame_.evex()) {
    asm_.vector(kTestBytes, to, bytes, bytes, -1, {}, 128);
  } else {
    asm_.vector(kWidenBytes[wide], to, -1, bytes);
    asm_.vector(kCompareGreaterInt[wide], to, to, zeros(asm_));
  }
}

// A mask as bytes of ones and zeros in the low part of a vector register.
void BodyWriter::bytes_of_mask(int mask, int to) {
  Memory ones;
  ones.pool = asm_.pool_constant(1, 1, 16);
  if (frame_.evex()) {
    asm_.vector(kLoadBytes, to, -1, ones, -1, {static_cast<int8_t>(mask), true}, 128);
    return;
  }
  asm_.vector(kExtractQuarter, mask, -1, to, 1);
  if (frame_.element == Element::Float64) {
    asm_.vector(kShuffle, to, mask, to, 0x88, {}, 128);
    asm_.vector(kPackInts, to, to, to, -1, {}, 128);
  } else {
    asm_.vector(kPackInts, to, mask, to, -1, {}, 128);
  }
  asm_.vector(kPackShorts, to, to, to, -1, {}, 128);
  asm_.vector(kAnd[0], to, to, ones, -1, {}, 128);
}

void BodyWriter::write_store_bools(int32_t i) {
  const int tensor = node_at(i).index;
  const int mask = ensure(node_at(i).operands[0]), bytes = temporary();
  bytes_of_mask(mask, bytes);
  if (frame_.evex() && setting_->tail) {
    asm_.vector(kStoreBytes, bytes, -1, frame_.element_of(tensor, setting_->offset), -1,
                {kTailMask}, 128);
  } else if (!setting_->tail) {
    const VectorOpcode& store = frame_.lanes() == 16  ? kStoreBytes
                                : frame_.lanes() == 8 ? kStoreQuad
                                                      : kStoreInt;
    asm_.vector(store, bytes, -1, frame_.element_of(tensor, setting_->offset), -1, {}, 128);
  } else {
    const Label again = asm_.label();
    asm_.vector(kToGeneral, bytes, -1, general(Gpr::rax), -1, {}, 128);
    asm_.move(Gpr::r11, kIndex);
    asm_.bind(again);
    asm_.store_byte({frame_.tensors[tensor].base, Gpr::r11}, Gpr::rax);
    asm_.shift_right(Gpr::rax, 8);
    asm_.add(Gpr::r11, 1);
    asm_.compare(Gpr::r11, kColumns);
    asm_.jump(Condition::Less, again);
  }
}

void BodyWriter::write_store_row_bool(int32_t i) {
  const int mask = ensure(node_at(i).operands[0]);
  if (frame_.evex()) {
    asm_.mask_to(Gpr::r11, mask);
  } else {
    asm_.vector(kToGeneral, mask, -1, general(Gpr::r11), -1, {}, 128);
  }
  asm_.bit_and(Gpr::r11, 1);
  asm_.store_byte(frame_.row_of(node_at(i).index), Gpr::r11);
}

// --- reductions ----------------------------------------------------------------------------------

void BodyWriter::write_accumulate(int32_t i) {
  const Node& node = node_at(i);
  const int wide = node.element == Element::Float64;
  const Accumulator& accumulator = setting_->accumulators[node.index];
  const bool in_frame = accumulator.target < 0;
  const bool vex_tail = setting_->tail && !frame_.evex();
  const Lanes lanes{static_cast<int8_t>(setting_->tail && frame_.evex() ? kTailMask : 0)};
  const int acc = in_frame ? temporary() : accumulator.target;
  if (in_frame) asm_.vector(kMove[wide], acc, -1, KernelFrame::at(accumulator.offset));
  if (node.op == Op::AddTo || node.op == Op::AddProductTo) {
    const bool product = node.op == Op::AddProductTo;
    const int32_t a = node.operands[0], b = node.operands[1];
    if (vex_tail) {
      const int term = temporary(), first = ensure(a);
      if (product) asm_.vector(kMul[wide], term, first, operand(b));
      asm_.vector(kAnd[wide], term, product ? term : first, KernelFrame::at(frame_.tail_mask));
      asm_.vector(kAdd[wide], acc, acc, term);
    } else if (product) {
      const int first = ensure(a);
      asm_.vector(kMultiplyAdd[kFmadd][2][wide], acc, first, operand(b), -1, lanes);
    } else {
      asm_.vector(kAdd[wide], acc, acc, operand(a), -1, lanes);
    }
  } else {
    const int spare = temporary();
    int x = ensure(node.operands[0]);
    if (vex_tail) {  // lanes beyond the end repeat the accumulator
      const int kept = temporary();
      asm_.vector(kMove[wide], spare, -1, KernelFrame::at(frame_.tail_mask));
      asm_.vector(kBlend[wide], kept, acc, x, spare << 4);
      x = kept;
    }
    write_extreme(frame_, node.element, node.op == Op::LargerTo, acc, x, spare, lanes.mask,
                  asm_.bits());
  }
  if (in_frame) asm_.vector(kStore[wide], acc, -1, KernelFrame::at(accumulator.offset));
}

// The processor's maximum yields its second operand when one is NaN, here the accumulator: a NaN
// stays there, and one of x is put in.
void write_extreme(KernelFrame& frame, Element element, bool larger, int acc, int x, int spare,
                   int lanes, int bits) {
  Assembler& assembler = frame.assembler;
  const int wide = element == Element::Float64;
  const Pair& extreme = larger ? kMax : kMin;
  const auto unordered = static_cast<int>(Predicate::Unordered);
  const auto mask = static_cast<int8_t>(lanes);
  if (frame.evex()) {
    assembler.vector(kCompare[wide], kScratchMask, x, x, unordered, {mask}, bits);
    assembler.vector(extreme[wide], acc, x, acc, -1, {mask}, bits);
    assembler.vector(kMove[wide], acc, -1, x, -1, {kScratchMask}, bits);
  } else {
    assembler.vector(kCompare[wide], spare, x, x, unordered, {}, bits);
    assembler.vector(extreme[wide], acc, x, acc, -1, {}, bits);
    assembler.vector(kBlend[wide], acc, acc, x, spare << 4, {}, bits);
  }
}

// --- calls ---------------------------------------------------------------------------------------

namespace {

constexpr Gpr kArguments[] = {Gpr::rdi, Gpr::rsi, Gpr::rdx, Gpr::rcx};

void write_kernel_call(KernelFrame& frame, const void* kernel, const Memory (&places)[4],
                       int scalars) {
  Assembler& assembler = frame.assembler;
  for (int i = 0; i < 4; ++i) assembler.address(kArguments[i], places[i]);
  assembler.move(Gpr::r8, static_cast<int64_t>(frame.lanes()));
  assembler.move(Gpr::r9, static_cast<int64_t>(scalars));
  assembler.clear_upper_halves();
  assembler.move_address(Gpr::rax, kernel);
  assembler.call(Gpr::rax);
  if (frame.evex()) assembler.mask_load(kTailMask, KernelFrame::at(frame.tail_mask));
  for (const TensorPlace& tensor : frame.tensors) {
    if (tensor.base != Gpr::none && tensor.base != Gpr::rbx) {
      assembler.load(tensor.base, KernelFrame::at(tensor.home));
    }
  }
}

const void* kernel_address(const KernelFrame& frame, int32_t instruction) {
  const Precision precision =
      frame.element == Element::Float32 ? Precision::Float32 : Precision::Float64;
  return reinterpret_cast<const void*>(kernel_of(static_cast<Instruction>(instruction), precision));
}

}  // namespace

// Everything that is needed later goes to memory: the callee may use any register.
void BodyWriter::write_call(int32_t i) {
  const Node& node = node_at(i);
  Memory places[4];
  int last = 0;
  for (int k = 0; k < 3; ++k) {
    const int32_t operand = node.operands[k];
    if (operand < 0) {
      places[k + 1] = places[last + 1];
      continue;
    }
    last = k;
    if (node_at(operand).op != Op::Invariant) save(operand);
    places[k + 1] = *memory_of(operand, false);
  }
  std::vector<int> kept;  // registers of other owners
  for (int r = 0; r < frame_.register_count(); ++r) {
    if (setting_->reserved >> r & 1) kept.push_back(r);
  }
  for (int r : kept) {
    asm_.vector(kStore[0], r, -1, KernelFrame::at(frame_.call_place(r)));
  }
  for (File* file : {&vectors_, &masks_}) {
    for (int r = 0; r < 32; ++r) {
      const int32_t holder = file->holder[r];
      if (holder < 0) continue;
      if (where_[holder].next != kNever) save(holder);
      where_[holder].target = -1;
      file->holder[r] = -1;
      file->available |= 1u << r;
      --file->used;
    }
    file->locked = 0;
  }
  where_[i].offset = frame_.take_vector();
  places[0] = KernelFrame::at(where_[i].offset);
  write_kernel_call(frame_, kernel_address(frame_, node.index), places, node.immediate);
  for (int r : kept) asm_.vector(kMove[0], r, -1, KernelFrame::at(frame_.call_place(r)));
}

void BodyWriter::write_rare_call(int32_t i) {
  const auto [fast, x, mask] = node_at(i).operands;
  const int value = ensure(fast), argument = ensure(x), lanes = ensure(mask);
  RareCall rare;
  rare.start = asm_.label();
  rare.back = asm_.label();
  rare.kernel = kernel_address(frame_, node_at(i).index);
  const int to = allocate(i);
  asm_.vector(kMove[0], to, -1, value);
  if (frame_.evex()) {
    asm_.mask("kortestw", 0, 0x98, false, false, lanes, -1, lanes);
  } else {
    asm_.vector(kMoveSigns, static_cast<int>(Gpr::rax), -1, lanes);
    asm_.compare(Gpr::rax, 0);
  }
  asm_.jump(Condition::NotEqual, rare.start);
  asm_.bind(rare.back);
  rare.target = to;
  rare.operand = argument;
  for (int r = 0; r < frame_.register_count(); ++r) {
    const bool held = vectors_.holder[r] >= 0 || setting_->reserved >> r & 1;
    if (held && r != to) rare.vectors.push_back(r);
  }
  for (int r = 1; r < kTailMask; ++r) {
    if (masks_.holder[r] >= 0) rare.masks.push_back(r);
  }
  frame_.rare_calls.push_back(std::move(rare));
}

void write_rare_calls(KernelFrame& frame) {
  Assembler& assembler = frame.assembler;
  const int32_t argument = frame.take_vector(), result = frame.take_vector();
  std::vector<int32_t> masks;  // places by position in the lists
  for (const RareCall& rare : frame.rare_calls) {
    assembler.bind(rare.start);
    while (masks.size() < rare.masks.size()) masks.push_back(frame.take(8, 8));
    for (int r : rare.vectors) {
      assembler.vector(kStore[0], r, -1, KernelFrame::at(frame.call_place(r)));
    }
    for (size_t k = 0; k < rare.masks.size(); ++k) {
      assembler.mask_store(KernelFrame::at(masks[k]), rare.masks[k]);
    }
    assembler.vector(kStore[0], rare.operand, -1, KernelFrame::at(argument));
    const Memory from = KernelFrame::at(argument);
    write_kernel_call(frame, rare.kernel, {KernelFrame::at(result), from, from, from}, 0);
    for (int r : rare.vectors) {
      assembler.vector(kMove[0], r, -1, KernelFrame::at(frame.call_place(r)));
    }
    for (size_t k = 0; k < rare.masks.size(); ++k) {
      assembler.mask_load(rare.masks[k], KernelFrame::at(masks[k]));
    }
    assembler.vector(kMove[0], rare.target, -1, KernelFrame::at(result));
    assembler.jump(rare.back);
  }
}

}  // namespace flambeau::emitter
