// Loops over rows and elements around the bodies of a lowered program.
#include "program/emitter/machine_code.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "program/emitter/body_writer.h"

namespace flambeau::emitter {

using namespace opcodes;

namespace {

// Additions into one lane of an accumulator before it is added to a wider sum: short enough to
// lose nothing in floats.
constexpr int kChunkAdditions = 64;
// A body with fewer instructions appears twice in its loop.
constexpr int kShortBody = 8;

class KernelWriter {
 public:
  KernelWriter(const Lowered& lowered, Assembler& assembler)
      : lowered_(lowered),
        asm_(assembler),
        frame_{assembler, lowered.element},
        wide_(lowered.element == Element::Float64) {}
  void write();
  int32_t frame_bytes() const { return frame_.bytes; }

 private:
  // A running sum beside its accumulators: one or two vectors of doubles.
  struct Sum {
    int32_t low = 0, high = 0;
  };
  struct Loop {
    std::unique_ptr<BodyWriter> body;
    BodySetting setting;
    std::vector<std::vector<Accumulator>> accumulators;  // by copy of the body
    std::vector<Sum> sums;                               // by reduction; unused for extremes
    const Pass* pass;
    int copies = 1;
    bool has_sums = false;
    uint32_t free_registers = 0;
  };

  void place_tensors();
  void place_invariants();
  void write_prologue();
  void write_steps(size_t tensor);
  void write_rows(const VectorCode& code);
  Loop prepare_loop(const Pass& pass);
  void write_pass(Loop& loop);
  void write_ends(const std::vector<Loop>& loops);
  void place_accumulators(Loop& loop);
  void pin_invariants(Loop& loop, int most);
  void start_reductions(const Loop& loop);
  void reset_accumulators(const Loop& loop, bool sums_only);
  void write_loops(Loop& loop);
  void write_main_loop(Loop& loop);
  void write_copy(Loop& loop, int copy, bool tail);
  void flush(const Loop& loop, bool last);
  int load_accumulator(const Accumulator& accumulator, int spare);
  void finish_reductions(const Loop& loop);
  void finish_sum(const Loop& loop, size_t index);
  void finish_extreme(const Loop& loop, size_t index);
  void keep_result(int reg, int32_t home);
  void halve(int reg, int to, int bits);
  void advance_rows();
  int64_t vector_lanes() const { return frame_.lanes(); }
  static Memory at(int32_t offset) { return KernelFrame::at(offset); }

  const Lowered& lowered_;
  Assembler& asm_;
  KernelFrame frame_;
  const int wide_;
  int32_t strides_ = 0, chunk_end_ = 0;
  int32_t ends_[5] = {-1, -1, -1, -1, -1};  // by copies: where the columns that fill them end
};

// --- frame ---------------------------------------------------------------------------------------

void KernelWriter::place_tensors() {
  static constexpr Gpr kBases[] = {Gpr::rbx, Gpr::rdi, Gpr::rsi, Gpr::rdx,
                                   Gpr::rcx, Gpr::r8,  Gpr::r9,  Gpr::r10};
  size_t next = 0;
  for (AccessKind kind : lowered_.tensors) {
    frame_.tensors.push_back({is_bool(kind) ? 1 : bytes_of(lowered_.element)});
  }
  for (int i = 0; i < lowered_.scratch_count; ++i) {
    frame_.tensors.push_back({bytes_of(lowered_.element), true});
  }
  // Bools first: their incomplete vectors need a register without AVX-512.
  for (bool bools : {true, false}) {
    for (TensorPlace& tensor : frame_.tensors) {
      if ((tensor.item_size == 1) == bools && next < std::size(kBases))
        tensor.base = kBases[next++];
    }
  }
  for (TensorPlace& tensor : frame_.tensors) tensor.home = frame_.take(8, 8);
}

void KernelWriter::place_invariants() {
  for (int32_t i = 0; i < lowered_.invariants.size(); ++i) {
    const Invariant& invariant = lowered_.invariants[i];
    const int size = bytes_of(invariant.element);
    Memory memory;
    if (invariant.kind == Invariant::Kind::Constant) {
      memory.pool = asm_.pool_constant(invariant.bits, size, frame_.evex() ? size : 32);
      memory.broadcast = frame_.evex();
    } else if (invariant.kind == Invariant::Kind::Number && frame_.evex()) {
      memory.base = kNumbers;
      memory.displacement = 8 * invariant.index;
      memory.broadcast = true;
    } else {
      memory = at(frame_.take_vector());
    }
    frame_.invariants.push_back(memory);
  }
}

constexpr Gpr kSaved[] = {Gpr::rbx, Gpr::r12, Gpr::r13, Gpr::r14, Gpr::r15};

void KernelWriter::write_prologue() {
  asm_.move(kNumbers, Gpr::rdx);
  asm_.move(kRows, Gpr::rcx);
  asm_.move(kColumns, Gpr::r8);
  asm_.store(at(strides_), Gpr::rsi);
  asm_.move(Gpr::r11, Gpr::rdi);
  for (size_t t = 0; t < frame_.tensors.size(); ++t) {
    const TensorPlace& tensor = frame_.tensors[t];
    const Gpr reg = tensor.base == Gpr::none ? Gpr::rax : tensor.base;
    asm_.load(reg, {Gpr::r11, Gpr::none, 1, static_cast<int32_t>(8 * t)});
    asm_.store(at(tensor.home), reg);
  }
  for (size_t t = 0; t < lowered_.tensors.size(); ++t) {
    if (lowered_.tensors[t] == AccessKind::Strided) write_steps(t);
  }
  if (frame_.evex()) return;
  for (int32_t i = 0; i < lowered_.invariants.size(); ++i) {
    const Invariant& invariant = lowered_.invariants[i];
    if (invariant.kind != Invariant::Kind::Number) continue;
    asm_.vector(kBroadcast[wide_], 0, -1, Memory{kNumbers, Gpr::none, 1, 8 * invariant.index});
    asm_.vector(kStore[wide_], 0, -1, frame_.invariants[i]);
  }
}

// The step of a strided input in bytes, and the offsets of a vector's lanes in elements.
void KernelWriter::write_steps(size_t t) {
  TensorPlace& place = frame_.tensors[t];
  place.step = frame_.take(8, 8);
  place.indices = frame_.take_vector();
  std::vector<uint8_t> lanes(frame_.vector_bytes(), 0);
  for (size_t i = 0; i < lanes.size() / 4; ++i) lanes[4 * i] = static_cast<uint8_t>(i);
  Memory iota;
  iota.pool = asm_.pool_bytes(lanes, frame_.vector_bytes());
  const auto from = static_cast<int32_t>(8 * (kMostTensors + t));
  asm_.load(Gpr::rax, at(strides_));
  asm_.load(Gpr::rax, {Gpr::rax, Gpr::none, 1, from});
  asm_.vector(kFromGeneral, 0, -1, Operand(static_cast<int>(Gpr::rax)), -1, {}, 128);
  asm_.vector(kBroadcastInt, 0, -1, 0);
  asm_.vector(kMulInt, 0, 0, iota);
  asm_.vector(kStore[0], 0, -1, at(place.indices));
  asm_.shift_left(Gpr::rax, wide_ ? 3 : 2);
  asm_.store(at(place.step), Gpr::rax);
}

void KernelWriter::write() {
  place_tensors();
  place_invariants();
  strides_ = frame_.take(8, 8);
  chunk_end_ = frame_.take(8, 8);
  frame_.tail_mask = frame_.take_vector();
  asm_.push(Gpr::rbp);
  asm_.move(Gpr::rbp, Gpr::rsp);
  for (Gpr reg : kSaved) asm_.push(reg);
  const int32_t frame_size = asm_.reserve_frame();
  asm_.bit_and(Gpr::rsp, -64);
  std::vector<Loop> loops;
  for (const Pass& pass : lowered_.passes) loops.push_back(prepare_loop(pass));
  write_prologue();
  write_ends(loops);
  const Label row = asm_.label(), end = asm_.label();
  asm_.bind(row);
  for (Loop& loop : loops) {
    write_rows(loop.pass->before);
    write_pass(loop);
  }
  write_rows(*lowered_.after);
  asm_.subtract(kRows, 1);
  asm_.jump(Condition::Equal, end);
  advance_rows();
  asm_.jump(row);
  asm_.bind(end);
  asm_.address(Gpr::rsp, {Gpr::rbp, Gpr::none, 1, -8 * static_cast<int32_t>(std::size(kSaved))});
  for (size_t i = std::size(kSaved); i-- > 0;) asm_.pop(kSaved[i]);
  asm_.pop(Gpr::rbp);
  asm_.clear_upper_halves();
  asm_.leave();
  write_rare_calls(frame_);
  asm_.set_frame(frame_size, (frame_.bytes + 63) / 64 * 64);
}

void KernelWriter::advance_rows() {
  asm_.load(Gpr::rax, at(strides_));
  for (size_t t = 0; t < frame_.tensors.size(); ++t) {
    const TensorPlace& tensor = frame_.tensors[t];
    if (tensor.scratch) continue;
    asm_.load(Gpr::r11, {Gpr::rax, Gpr::none, 1, static_cast<int32_t>(8 * t)});
    asm_.add(at(tensor.home), Gpr::r11);
    if (tensor.base != Gpr::none) asm_.add(tensor.base, Gpr::r11);
  }
}

// --- passes --------------------------------------------------------------------------------------

void KernelWriter::write_rows(const VectorCode& code) {
  BodyWriter body(frame_, code);
  if (body.empty()) return;
  asm_.comment("once per row");
  body.write(BodySetting{});
}

KernelWriter::Loop KernelWriter::prepare_loop(const Pass& pass) {
  Loop loop{std::make_unique<BodyWriter>(frame_, pass.body)};
  loop.pass = &pass;
  place_accumulators(loop);
  return loop;
}

// What all rows have in common: where whole steps of the loops end, and the lanes of the last,
// incomplete vector.
void KernelWriter::write_ends(const std::vector<Loop>& loops) {
  for (const Loop& loop : loops) {
    for (int copies : {1, loop.copies}) {
      if (ends_[copies] >= 0) continue;
      ends_[copies] = frame_.take(8, 8);
      asm_.move(Gpr::rax, kColumns);
      asm_.bit_and(Gpr::rax, static_cast<int32_t>(-copies * vector_lanes()));
      asm_.store(at(ends_[copies]), Gpr::rax);
    }
  }
  asm_.move(Gpr::rax, kColumns);
  asm_.bit_and(Gpr::rax, static_cast<int32_t>(vector_lanes() - 1));
  if (frame_.evex()) {
    asm_.move(Gpr::r11, int64_t{-1});
    asm_.low_bits(Gpr::r11, Gpr::r11, Gpr::rax);
    asm_.mask_from(kTailMask, Gpr::r11);
    asm_.mask_store(at(frame_.tail_mask), kTailMask);
    return;
  }
  // From a table of ones, then zeros: read at its end, minus the lanes that count.
  std::vector<uint8_t> table(64, 0);
  std::fill(table.begin(), table.begin() + 32, 0xFF);
  Memory middle;
  middle.pool = asm_.pool_bytes(table, 64);
  asm_.address(Gpr::r11, middle);
  asm_.shift_left(Gpr::rax, wide_ ? 3 : 2);
  asm_.subtract(Gpr::r11, Gpr::rax);
  asm_.vector(kMoveAny[wide_], 0, -1, Memory{Gpr::r11, Gpr::none, 1, 32});
  asm_.vector(kStore[wide_], 0, -1, at(frame_.tail_mask));
}

void KernelWriter::write_pass(Loop& loop) {
  BodyWriter& body = *loop.body;
  if (body.empty()) return;
  asm_.comment("pass");
  // Written once to learn how many registers it needs, and thrown away.
  const Assembler::Mark mark = asm_.mark();
  const size_t rare_calls = frame_.rare_calls.size();
  const int32_t bytes = frame_.bytes;
  write_copy(loop, 0, false);
  const int most = body.most_registers();
  asm_.rewind(mark);
  frame_.rare_calls.resize(rare_calls);
  frame_.bytes = bytes;
  frame_.call_places.clear();
  pin_invariants(loop, most);
  start_reductions(loop);
  asm_.move(kIndex, int64_t{0});
  write_loops(loop);
  finish_reductions(loop);
}

// Registers for reductions: several for few reductions, to hide the latency of additions.
void KernelWriter::place_accumulators(Loop& loop) {
  const auto count = static_cast<int>(loop.pass->reductions.size());
  const int limit = frame_.register_count() / 2;
  loop.copies = count == 0   ? (loop.body->size() <= kShortBody ? 2 : 1)
                : count == 1 ? 4
                : count <= 3 ? 2
                             : 1;
  int next = frame_.register_count();
  const int in_registers = std::min(count, limit / loop.copies);
  for (int copy = 0; copy < loop.copies; ++copy) {
    std::vector<Accumulator>& list = loop.accumulators.emplace_back();
    for (int r = 0; r < count; ++r) {
      if (r < in_registers) {
        list.push_back({--next, 0});
      } else {
        list.push_back({-1, frame_.take_vector()});
      }
    }
  }
  for (int r = next; r < frame_.register_count(); ++r) loop.setting.reserved |= 1u << r;
  for (const Reduction& reduction : loop.pass->reductions) {
    Sum& sum = loop.sums.emplace_back();
    if (reduction.op != Op::AddTo) continue;
    loop.has_sums = true;
    sum.low = frame_.take_vector();
    sum.high = wide_ ? sum.low : frame_.take_vector();
  }
}

// Registers that the body leaves free hold the invariants that it uses most.
void KernelWriter::pin_invariants(Loop& loop, int most) {
  constexpr int kSpare = 3;  // for combining accumulators
  const std::vector<int> uses = loop.body->invariant_uses();
  loop.setting.pinned.assign(uses.size(), -1);
  std::vector<int> order;
  for (size_t i = 0; i < uses.size(); ++i) {
    if (uses[i] > 0) order.push_back(static_cast<int>(i));
  }
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return uses[a] > uses[b]; });
  int room =
      frame_.register_count() - std::popcount(loop.setting.reserved) - std::max(most, kSpare);
  int reg = frame_.register_count() - 1;
  for (int invariant : order) {
    if (room-- <= 0) break;
    while (loop.setting.reserved >> reg & 1) --reg;
    loop.setting.reserved |= 1u << reg;
    loop.setting.pinned[invariant] = static_cast<int8_t>(reg);
    Memory memory = frame_.invariants[invariant];
    const int wide = lowered_.invariants[invariant].element == Element::Float64;
    const bool broadcast = memory.broadcast;
    memory.broadcast = false;
    asm_.vector(broadcast ? kBroadcast[wide] : kMove[wide], reg, -1, memory);
  }
}

void KernelWriter::write_copy(Loop& loop, int copy, bool tail) {
  loop.setting.accumulators = loop.accumulators[copy];
  loop.setting.offset = static_cast<int>(copy * vector_lanes());
  loop.setting.tail = tail;
  loop.body->write(loop.setting);
}

void KernelWriter::write_loops(Loop& loop) {
  const auto lanes = static_cast<int32_t>(vector_lanes());
  const Label tail = asm_.label(), done = asm_.label();
  write_main_loop(loop);
  if (loop.copies > 1) {  // vectors that are left, one at a time
    const Label again = asm_.label();
    asm_.compare(kIndex, at(ends_[1]));
    asm_.jump(Condition::GreaterEqual, tail);
    asm_.bind(again);
    write_copy(loop, 0, false);
    asm_.add(kIndex, lanes);
    asm_.compare(kIndex, at(ends_[1]));
    asm_.jump(Condition::Less, again);
  }
  asm_.bind(tail);
  asm_.compare(kIndex, kColumns);
  asm_.jump(Condition::GreaterEqual, done);
  asm_.comment("the last, incomplete vector");
  write_copy(loop, 0, true);
  asm_.bind(done);
}

void KernelWriter::write_main_loop(Loop& loop) {
  const auto step = static_cast<int32_t>(loop.copies * vector_lanes());
  const Memory main_end = at(ends_[loop.copies]);
  const Label again = asm_.label(), end = asm_.label(), chunk = asm_.label();
  asm_.compare(kIndex, main_end);
  asm_.jump(Condition::GreaterEqual, end);
  if (loop.has_sums) {
    asm_.bind(chunk);
    asm_.address(Gpr::rax, {kIndex, Gpr::none, 1, kChunkAdditions * step});
    asm_.load(Gpr::r11, main_end);
    asm_.compare(Gpr::r11, Gpr::rax);
    asm_.select_less_equal(Gpr::rax, Gpr::r11);
    asm_.store(at(chunk_end_), Gpr::rax);
  }
  asm_.align(32);
  asm_.bind(again);
  for (int copy = 0; copy < loop.copies; ++copy) write_copy(loop, copy, false);
  asm_.add(kIndex, step);
  asm_.compare(kIndex, loop.has_sums ? at(chunk_end_) : main_end);
  asm_.jump(Condition::Less, again);
  if (loop.has_sums) {
    asm_.compare(kIndex, main_end);
    asm_.jump(Condition::GreaterEqual, end);
    flush(loop, false);
    asm_.jump(chunk);
  }
  asm_.bind(end);
}

// --- reductions ----------------------------------------------------------------------------------

void KernelWriter::reset_accumulators(const Loop& loop, bool sums_only) {
  const int spare = std::countr_zero(~loop.setting.reserved);
  for (size_t r = 0; r < loop.pass->reductions.size(); ++r) {
    const Op op = loop.pass->reductions[r].op;
    if (sums_only && op != Op::AddTo) continue;
    const double infinity = __builtin_inf(), start = op == Op::LargerTo ? -infinity : infinity;
    Memory limit;
    if (op != Op::AddTo) {
      const uint64_t bits = wide_ ? std::bit_cast<uint64_t>(start)
                                  : std::bit_cast<uint32_t>(static_cast<float>(start));
      const int size = bytes_of(lowered_.element);
      limit.pool = asm_.pool_constant(bits, size, frame_.evex() ? size : 32);
    }
    for (const auto& copy : loop.accumulators) {
      const int reg = copy[r].target < 0 ? spare : copy[r].target;
      if (op == Op::AddTo) {
        asm_.vector(kXor[0], reg, reg, reg);
      } else {
        asm_.vector(frame_.evex() ? kBroadcast[wide_] : kMove[wide_], reg, -1, limit);
      }
      if (copy[r].target < 0) asm_.vector(kStore[wide_], reg, -1, at(copy[r].offset));
    }
  }
}

void KernelWriter::start_reductions(const Loop& loop) {
  if (loop.pass->reductions.empty()) return;
  reset_accumulators(loop, false);
  if (!loop.has_sums) return;
  const int zero = std::countr_zero(~loop.setting.reserved);
  asm_.vector(kXor[0], zero, zero, zero);
  for (size_t r = 0; r < loop.sums.size(); ++r) {
    if (loop.pass->reductions[r].op != Op::AddTo) continue;
    asm_.vector(kStore[1], zero, -1, at(loop.sums[r].low));
    if (!wide_) asm_.vector(kStore[1], zero, -1, at(loop.sums[r].high));
  }
}

int KernelWriter::load_accumulator(const Accumulator& accumulator, int spare) {
  if (accumulator.target >= 0) return accumulator.target;
  asm_.vector(kMove[wide_], spare, -1, at(accumulator.offset));
  return spare;
}

// Adds the accumulators of sums to the sums in the frame; starts them again but after the last.
void KernelWriter::flush(const Loop& loop, bool last) {
  const uint32_t free = ~loop.setting.reserved;
  const int total = std::countr_zero(free), part = std::countr_zero(free & (free - 1));
  for (size_t r = 0; r < loop.sums.size(); ++r) {
    if (loop.pass->reductions[r].op != Op::AddTo) continue;
    const int first = load_accumulator(loop.accumulators[0][r], total);
    if (first != total) asm_.vector(kMove[wide_], total, -1, first);
    for (int copy = 1; copy < loop.copies; ++copy) {
      asm_.vector(kAdd[wide_], total, total, load_accumulator(loop.accumulators[copy][r], part));
    }
    const Sum& sum = loop.sums[r];
    if (wide_) {
      asm_.vector(kAdd[1], total, total, at(sum.low));
      asm_.vector(kStore[1], total, -1, at(sum.low));
      continue;
    }
    asm_.vector(kWiden, part, -1, total);
    asm_.vector(kAdd[1], part, part, at(sum.low));
    asm_.vector(kStore[1], part, -1, at(sum.low));
    asm_.vector(frame_.evex() ? kExtractHalf : kExtractQuarter, total, -1, total, 1);
    asm_.vector(kWiden, part, -1, total);
    asm_.vector(kAdd[1], part, part, at(sum.high));
    asm_.vector(kStore[1], part, -1, at(sum.high));
  }
  if (!last) reset_accumulators(loop, true);
}

void KernelWriter::finish_reductions(const Loop& loop) {
  if (loop.has_sums) flush(loop, true);
  for (size_t r = 0; r < loop.pass->reductions.size(); ++r) {
    if (loop.pass->reductions[r].op == Op::AddTo) {
      finish_sum(loop, r);
    } else {
      finish_extreme(loop, r);
    }
  }
}

// The upper half of the low `bits` of a register.
void KernelWriter::halve(int reg, int to, int bits) {
  if (bits == 512) {
    asm_.vector(kExtractHalf, reg, -1, to, 1);
  } else if (bits == 256) {
    asm_.vector(kExtractQuarter, reg, -1, to, 1, {}, 256);
  } else {
    asm_.vector(kPermute[1], to, -1, reg, 1, {}, 128);
  }
}

void KernelWriter::finish_sum(const Loop& loop, size_t index) {
  const uint32_t free = ~loop.setting.reserved;
  const int total = std::countr_zero(free), part = std::countr_zero(free & (free - 1));
  const Sum& sum = loop.sums[index];
  asm_.vector(kMove[1], total, -1, at(sum.low));
  if (!wide_) asm_.vector(kAdd[1], total, total, at(sum.high));
  for (int bits = asm_.bits(); bits >= 128; bits /= 2) {
    halve(total, part, bits);
    asm_.vector(kAdd[1], total, total, part, -1, {}, std::max(bits / 2, 128));
  }
  if (!wide_) asm_.vector(kNarrowOne, total, total, total, -1, {}, 128);
  keep_result(total, loop.pass->reductions[index].home);
}

void KernelWriter::finish_extreme(const Loop& loop, size_t index) {
  const uint32_t free = ~loop.setting.reserved, rest = free & (free - 1);
  const int best = std::countr_zero(free), other = std::countr_zero(rest),
            spare = std::countr_zero(rest & (rest - 1));
  const Reduction& reduction = loop.pass->reductions[index];
  const bool larger = reduction.op == Op::LargerTo;
  auto combine = [&](int with, int bits) {
    write_extreme(frame_, lowered_.element, larger, best, with, spare, 0, bits);
  };
  const int first = load_accumulator(loop.accumulators[0][index], best);
  if (first != best) asm_.vector(kMove[wide_], best, -1, first);
  for (int copy = 1; copy < loop.copies; ++copy) {
    combine(load_accumulator(loop.accumulators[copy][index], other), asm_.bits());
  }
  for (int bits = asm_.bits(); bits >= 128; bits /= 2) {
    halve(best, other, bits);
    combine(other, std::max(bits / 2, 128));
  }
  if (!wide_) {
    asm_.vector(kPermute[0], other, -1, best, 1, {}, 128);
    combine(other, 128);
  }
  keep_result(best, reduction.home);
}

void KernelWriter::keep_result(int reg, int32_t home) {
  asm_.vector(kBroadcast[wide_], reg, -1, reg);
  asm_.vector(kStore[wide_], reg, -1, frame_.invariants[home]);
}

}  // namespace

// Bodies so long that the processor's instruction cache suffers are no gain.
constexpr size_t kMostCodeBytes = size_t{256} << 10;
constexpr int32_t kMostFrameBytes = 128 << 10;
constexpr size_t kMostValues = 2000;

std::unique_ptr<MachineCode> MachineCode::write(const Program& program, const KernelKey& key,
                                                InstructionSet instruction_set, bool listing) {
#if defined(__x86_64__)
  const bool evex = instruction_set == InstructionSet::V4;
  if (!evex && instruction_set != InstructionSet::V3) return nullptr;
  if (program.values.size() > kMostValues) return nullptr;
  const std::unique_ptr<Lowered> lowered = lower(program, key, evex);
  if (!lowered) return nullptr;
  int bools = 0;
  for (AccessKind kind : lowered->tensors) bools += is_bool(kind);
  const auto tensors = static_cast<int>(lowered->tensors.size());
  if (tensors + lowered->scratch_count > kMostTensors || bools > 8) return nullptr;
  Assembler assembler(evex ? 512 : 256, listing);
  KernelWriter writer(*lowered, assembler);
  writer.write();
  const std::vector<uint8_t> code = assembler.link();
  if (code.size() > kMostCodeBytes || writer.frame_bytes() > kMostFrameBytes) return nullptr;
  ExecutableMemory memory(code);
  if (!memory) return nullptr;
  auto kernel = std::make_unique<MachineCode>();
  kernel->function_ = reinterpret_cast<KernelFunction>(const_cast<void*>(memory.entry()));
  kernel->memory_ = std::move(memory);
  kernel->tensor_count_ = tensors;
  kernel->scratch_count_ = lowered->scratch_count;
  kernel->listing_ = assembler.listing();
  return kernel;
#else
  return nullptr;
#endif
}

}  // namespace flambeau::emitter
