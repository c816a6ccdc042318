#include "program/emitter/lowering.h"

#include <cmath>

#include "program/builder.h"
#include "program/emitter/instructions.h"
#include "program/plan.h"
#include "program/recipe.h"

namespace flambeau::emitter {

namespace {

// How often a value changes.
enum class Change : uint8_t { PerRun, PerRow, PerElement };

bool is_reduction(const Value& value) { return kind_of(value.instruction) == InstructionKind::Row; }

// Recomputing what costs more than this is worse than keeping it in memory.
constexpr int kCheap = 5;

class Lowering {
 public:
  Lowering(const Program& program, const KernelKey& key, const Recipe& recipe, bool wide_registers)
      : program_(program),
        values_(program.values),
        count_(static_cast<int32_t>(values_.size())),
        key_(key),
        plan_(plan_of(program)),
        recipe_(recipe),
        wide_registers_(wide_registers),
        lowered_(std::make_unique<Lowered>()) {}

  std::unique_ptr<Lowered> run();

 private:
  void classify();
  void find_uses();
  void choose_passes();
  void lower_pass(int pass);
  void lower_rows(VectorCode& code, int level);
  void store_rows(VectorCode& code);
  void lower_value(int32_t v, VectorCode& code, bool rows);
  bool lower_contracted(int32_t v, VectorCode& code);
  Forms& form(int32_t v, VectorCode& code);
  void accumulate(int32_t reduction, VectorCode& code, Pass& pass);
  VectorCode new_code() { return VectorCode(lowered_->invariants, wide_registers_); }

  const Program& program_;
  const std::vector<Value>& values_;
  const int32_t count_;
  const KernelKey& key_;
  const Plan& plan_;
  const Recipe& recipe_;
  const bool wide_registers_;
  std::unique_ptr<Lowered> lowered_;
  std::vector<Change> change_;
  std::vector<int> level_;          // reductions in a chain before the value
  std::vector<int> uses_;           // how many values and outputs read the value
  std::vector<char> only_summed_;   // nothing but sums depends on the value
  std::vector<char> needs_home_;    // a row's value that other stretches of code read
  std::vector<int32_t> home_;       // the invariant of a row's value
  std::vector<AccessKind> access_;  // by value, of inputs
  std::vector<int32_t> tensor_;     // by value, of inputs
  std::vector<int32_t> output_tensor_;
  int last_pass_ = 0;
  std::vector<std::vector<char>> wanted_;  // by pass and value: computed there
  std::vector<int> computed_in_;           // the first pass that computes the value
  std::vector<int32_t> scratch_;           // by value: its stream, -1 if it is not kept
  std::vector<Forms> forms_;
};

void Lowering::classify() {
  change_.assign(count_, Change::PerElement);
  level_.assign(count_, 0);
  access_.assign(count_, AccessKind::Number);
  tensor_.assign(count_, -1);
  for (size_t i = 0; i < plan_.inputs.size(); ++i) {
    const int32_t v = plan_.inputs[i];
    access_[v] = key_.inputs[i];
    if (access_[v] == AccessKind::Number) continue;
    tensor_[v] = static_cast<int32_t>(lowered_->tensors.size());
    lowered_->tensors.push_back(access_[v]);
  }
  for (AccessKind output : key_.outputs) {
    output_tensor_.push_back(static_cast<int32_t>(lowered_->tensors.size()));
    lowered_->tensors.push_back(output);
  }
  for (int32_t v = 0; v < count_; ++v) {
    const Value& value = values_[v];
    Change change = Change::PerRun;
    for (int32_t operand : value.operands) {
      if (operand < 0) continue;
      change = std::max(change, change_[operand]);
      level_[v] = std::max(level_[v], level_[operand]);
    }
    if (recipe_.uniform[v]) {
      change = Change::PerRun;
    } else if (value.instruction == Instruction::Input) {
      const bool row = access_[v] == AccessKind::Row || access_[v] == AccessKind::RowBool;
      change = row ? Change::PerRow : Change::PerElement;
    } else if (is_reduction(value)) {
      change = Change::PerRow;
      ++level_[v];
      last_pass_ = std::max(last_pass_, level_[v] - 1);
    }
    change_[v] = change;
  }
  for (size_t j = 0; j < program_.outputs.size(); ++j) {
    const bool row = key_.outputs[j] == AccessKind::Row || key_.outputs[j] == AccessKind::RowBool;
    if (!row) last_pass_ = std::max(last_pass_, level_[program_.outputs[j]]);
  }
}

// Which values of rows are read outside of the stretch of code that computes them.
void Lowering::find_uses() {
  uses_.assign(count_, 0);
  needs_home_.assign(count_, false);
  home_.assign(count_, -1);
  for (int32_t v = 0; v < count_; ++v) {
    for (int32_t operand : values_[v].operands) {
      if (operand < 0) continue;
      ++uses_[operand];
      if (change_[operand] != Change::PerRow) continue;
      const bool same =
          change_[v] == Change::PerRow && !is_reduction(values_[v]) && level_[v] == level_[operand];
      if (!same) needs_home_[operand] = true;
    }
  }
  for (int32_t output : program_.outputs) {
    ++uses_[output];
    needs_home_[output] = true;
  }
  only_summed_.assign(count_, true);
  for (int32_t output : program_.outputs) only_summed_[output] = false;
  for (int32_t v = count_ - 1; v >= 0; --v) {
    const Value& value = values_[v];
    const bool summed = value.instruction == Instruction::row_sum ||
                        (change_[v] == Change::PerElement && only_summed_[v]);
    for (int32_t operand : value.operands) {
      if (operand >= 0 && !summed) only_summed_[operand] = false;
    }
  }
  for (int32_t v = 0; v < count_; ++v) {
    if (change_[v] != Change::PerRow || !(needs_home_[v] || is_reduction(values_[v]))) continue;
    home_[v] = lowered_->invariants.add({Invariant::Kind::Row, lowered_->element});
  }
}

// Which values every pass computes, and which it finds in scratch memory.
void Lowering::choose_passes() {
  computed_in_.assign(count_, -1);
  scratch_.assign(count_, -1);
  for (int pass = 0; pass <= last_pass_; ++pass) {
    std::vector<char>& wanted = wanted_.emplace_back(count_, false);
    for (int32_t v = 0; v < count_; ++v) {
      if (is_reduction(values_[v]) && level_[v] == pass + 1) wanted[values_[v].operands[0]] = true;
    }
    for (size_t j = 0; j < program_.outputs.size(); ++j) {
      const AccessKind kind = key_.outputs[j];
      const bool stream = kind == AccessKind::Stream || kind == AccessKind::StreamBool;
      if (pass == last_pass_ && stream) wanted[program_.outputs[j]] = true;
    }
    for (int32_t v = count_ - 1; v >= 0; --v) {
      if (!wanted[v] || change_[v] != Change::PerElement) continue;
      if (computed_in_[v] >= 0 && cost_of(values_[v].instruction) > kCheap) {
        if (scratch_[v] < 0) scratch_[v] = lowered_->scratch_count++;
        continue;
      }
      if (computed_in_[v] < 0) computed_in_[v] = pass;
      for (int32_t operand : values_[v].operands) {
        if (operand >= 0) wanted[operand] = true;
      }
    }
  }
}

// The forms of an operand; those from outside of the stretch of code are made when asked for.
Forms& Lowering::form(int32_t v, VectorCode& code) {
  Forms& forms = forms_[v];
  if (forms.known()) return forms;
  const Element element = lowered_->element;
  if (change_[v] == Change::PerRun) {
    const bool constant = values_[v].instruction == Instruction::Constant;
    forms.set_number(constant ? code.bits(element, recipe_.constants[v]) : code.number(element, v));
    forms.set_uniform(true);
  } else {  // of the row
    forms.set_number(code.invariant(element, home_[v]));
  }
  return forms;
}

// Adds or subtracts a product without rounding it. Results of elements stay bit for bit what the
// instructions say; sums, which are rounded in an order of their own anyway, need not.
bool Lowering::lower_contracted(int32_t v, VectorCode& code) {
  const Value& value = values_[v];
  const bool sub = value.instruction == Instruction::sub;
  if (!only_summed_[v] || (!sub && value.instruction != Instruction::add)) return false;
  for (int i : {0, 1}) {
    const int32_t product = value.operands[i];
    const bool square = values_[product].instruction == Instruction::square;
    if (!square && values_[product].instruction != Instruction::mul) continue;
    if (uses_[product] != 1 || change_[product] != Change::PerElement) continue;
    const int32_t a = values_[product].operands[0];
    const int32_t b = square ? a : values_[product].operands[1];
    const Op op = !sub ? Op::Fma : i == 0 ? Op::Fms : Op::Fnma;
    forms_[v].set_number(code.add({op,
                                   lowered_->element,
                                   0,
                                   0,
                                   {form(a, code).number().node, form(b, code).number().node,
                                    form(value.operands[1 - i], code).number().node}}));
    return true;
  }
  return false;
}

void Lowering::lower_value(int32_t v, VectorCode& code, bool rows) {
  const Value& value = values_[v];
  Forms& result = forms_[v];
  const Element element = lowered_->element;
  if (value.instruction == Instruction::Input) {
    if (is_bool(access_[v])) {
      result.set_mask(code.add({rows ? Op::LoadRowBool : Op::LoadBools, element, 0, tensor_[v]}));
    } else {
      const Op load = rows                                ? Op::LoadRow
                      : access_[v] == AccessKind::Strided ? Op::LoadStrided
                                                          : Op::Load;
      result.set_number(code.add({load, element, 0, tensor_[v]}));
    }
    return;
  }
  if (!rows && lower_contracted(v, code)) return;
  Forms* operands[3] = {nullptr, nullptr, nullptr};
  double constants[3] = {NAN, NAN, NAN};
  for (int i = 0; i < 3; ++i) {
    const int32_t operand = value.operands[i];
    if (operand < 0) continue;
    operands[i] = &form(operand, code);
    if (values_[operand].instruction == Instruction::Constant) {
      constants[i] = values_[operand].constant;
    }
  }
  lower_instruction(value.instruction, result, operands, constants, code, element);
}

// What is one number per row and depends on `level` reductions in a chain.
void Lowering::lower_rows(VectorCode& code, int level) {
  forms_.assign(count_, Forms(code, lowered_->element));
  for (int32_t v = 0; v < count_; ++v) {
    if (change_[v] != Change::PerRow || level_[v] != level || is_reduction(values_[v])) continue;
    lower_value(v, code, true);
    if (!needs_home_[v]) continue;
    code.add({Op::KeepRow, lowered_->element, 0, home_[v], {forms_[v].number().node, -1, -1}});
  }
}

void Lowering::store_rows(VectorCode& code) {
  for (size_t j = 0; j < program_.outputs.size(); ++j) {
    const AccessKind kind = key_.outputs[j];
    if (kind != AccessKind::Row && kind != AccessKind::RowBool) continue;
    const int32_t v = program_.outputs[j];
    Forms& forms = form(v, code);
    const Vector from = is_bool(kind) ? forms.mask() : forms.number();
    code.add({is_bool(kind) ? Op::StoreRowBool : Op::StoreRow,
              lowered_->element,
              0,
              output_tensor_[j],
              {from.node, -1, -1}});
  }
}

void Lowering::accumulate(int32_t reduction, VectorCode& code, Pass& pass) {
  const Value& value = values_[reduction];
  const int32_t v = value.operands[0];
  const auto index = static_cast<int32_t>(pass.reductions.size());
  const Element element = lowered_->element;
  const bool sum = value.instruction == Instruction::row_sum;
  const Instruction instruction = values_[v].instruction;
  const bool product = instruction == Instruction::mul || instruction == Instruction::square;
  // A product that nothing else reads is added without being rounded.
  if (sum && product && uses_[v] == 1 && change_[v] == Change::PerElement) {
    const int32_t a = values_[v].operands[0];
    const int32_t b = instruction == Instruction::mul ? values_[v].operands[1] : a;
    code.add({Op::AddProductTo,
              element,
              0,
              index,
              {form(a, code).number().node, form(b, code).number().node, -1}});
    pass.reductions.push_back({Op::AddTo, home_[reduction]});
    return;
  }
  const Op op = sum                                         ? Op::AddTo
                : value.instruction == Instruction::row_max ? Op::LargerTo
                                                            : Op::SmallerTo;
  code.add({op, element, 0, index, {form(v, code).number().node, -1, -1}});
  pass.reductions.push_back({op, home_[reduction]});
}

void Lowering::lower_pass(int index) {
  Pass pass{new_code(), new_code(), {}};
  lower_rows(pass.before, index);
  VectorCode& code = pass.body;
  const Element element = lowered_->element;
  forms_.assign(count_, Forms(code, element));
  const auto tensors = static_cast<int32_t>(lowered_->tensors.size());
  std::vector<std::pair<int32_t, int32_t>> kept;
  for (int32_t v = 0; v < count_; ++v) {
    if (!wanted_[index][v] || change_[v] != Change::PerElement) continue;
    if (scratch_[v] >= 0 && computed_in_[v] < index) {
      forms_[v].set_number(code.add({Op::Load, element, 0, tensors + scratch_[v]}));
      continue;
    }
    lower_value(v, code, false);
    if (scratch_[v] >= 0) kept.push_back({v, tensors + scratch_[v]});
  }
  for (int32_t v = 0; v < count_; ++v) {
    if (is_reduction(values_[v]) && level_[v] == index + 1) accumulate(v, code, pass);
  }
  for (auto [v, stream] : kept) {
    code.add({Op::Store, element, 0, stream, {forms_[v].number().node, -1, -1}});
  }
  for (size_t j = 0; index == last_pass_ && j < program_.outputs.size(); ++j) {
    const AccessKind kind = key_.outputs[j];
    if (kind != AccessKind::Stream && kind != AccessKind::StreamBool) continue;
    Forms& forms = form(program_.outputs[j], code);
    const Vector from = is_bool(kind) ? forms.mask() : forms.number();
    code.add({is_bool(kind) ? Op::StoreBools : Op::Store,
              element,
              0,
              output_tensor_[j],
              {from.node, -1, -1}});
  }
  lowered_->passes.push_back(std::move(pass));
}

std::unique_ptr<Lowered> Lowering::run() {
  lowered_->element = key_.precision == Precision::Float32 ? Element::Float32 : Element::Float64;
  classify();
  find_uses();
  choose_passes();
  for (int pass = 0; pass <= last_pass_; ++pass) lower_pass(pass);
  lowered_->after = std::make_unique<VectorCode>(new_code());
  lower_rows(*lowered_->after, last_pass_ + 1);
  store_rows(*lowered_->after);
  return std::move(lowered_);
}

}  // namespace

std::unique_ptr<Lowered> lower(const Program& program, const KernelKey& key, bool wide_registers) {
  if (key.precision == Precision::Int64) return nullptr;
  for (const Value& value : program.values) {
    const bool plain = value.instruction == Instruction::Input ||
                       value.instruction == Instruction::Constant ||
                       value.instruction == Instruction::row_count;
    if (!plain && !has_vector_code(value.instruction)) return nullptr;
  }
  uint64_t numbers = 0;
  for (int64_t i = 0; i < key.inputs.size() && i < 64; ++i) {
    if (key.inputs[i] == AccessKind::Number) numbers |= uint64_t{1} << i;
  }
  const Recipe& recipe = recipe_of(program, key.precision, numbers, false);
  return Lowering(program, key, recipe, wide_registers).run();
}

}  // namespace flambeau::emitter
