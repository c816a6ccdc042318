// Reverse-mode differentiation of programs.
#include <algorithm>
#include <string_view>

#include "program/symbol.h"

namespace flambeau {

using symbolic::Symbol;

namespace {

constexpr double kLn2 = 0.69314718055994530942;
constexpr double kLn10 = 2.30258509299404568402;
constexpr double kTwoOverSqrtPi = 1.12837916709551257390;
constexpr double none = 0;  // in the table: a derivative that is zero everywhere

// The derivative's inputs while it is built: the program's inputs, then its outputs, then the
// incoming gradients. finish() keeps those that are read.
class Differentiator {
 public:
  Differentiator(const Program& program, uint32_t wanted) : program_(program), wanted_(wanted) {}

  Derivative run() {
    std::vector<Extent> extents = input_extents();
    for (int i = 0; i < program_.input_count; ++i) {
      inputs_.push_back(builder_.input(i, extents[i]));
    }
    for (size_t j = 0; j < program_.outputs.size(); ++j) {
      outputs_.push_back(builder_.input(first_output() + j, output_extent(j)));
    }
    for (size_t j = 0; j < program_.outputs.size(); ++j) {
      gradients_.push_back(builder_.input(first_gradient() + j, output_extent(j)));
    }
    std::vector<int32_t> results = program_.derivative ? named_results() : derived_results();
    return finish(results);
  }

 private:
  int first_output() const { return program_.input_count; }
  int first_gradient() const {
    return program_.input_count + static_cast<int>(program_.outputs.size());
  }
  // A tensor operand of one number per run is not known here, so an output has at least a row's.
  Extent output_extent(size_t j) const {
    Extent extent = program_.values[program_.outputs[j]].extent;
    return extent == Extent::Uniform ? Extent::Element : extent;
  }
  std::vector<Extent> input_extents() const {
    std::vector<Extent> extents(program_.input_count, Extent::Element);
    for (const Value& value : program_.values) {
      if (value.instruction == Instruction::Input) extents[value.index] = value.extent;
    }
    return extents;
  }

  // The operator's own formula.
  std::vector<int32_t> named_results() {
    const Program& formula = *program_.derivative;
    std::vector<int32_t> operands = inputs_;
    operands.insert(operands.end(), outputs_.begin(), outputs_.end());
    operands.insert(operands.end(), gradients_.begin(), gradients_.end());
    std::vector<int32_t> places = builder_.inline_program(formula, operands);
    std::vector<int32_t> results(program_.input_count, -1);
    for (size_t i = 0; i < formula.outputs.size(); ++i) results[i] = places[formula.outputs[i]];
    return results;
  }

  std::vector<int32_t> derived_results() {
    const size_t count = program_.values.size();
    forward_ = builder_.inline_program(program_, inputs_);
    active_.assign(count, false);
    adjoints_.assign(count, -1);
    for (size_t v = 0; v < count; ++v) {
      const Value& value = program_.values[v];
      if (value.instruction == Instruction::Input) active_[v] = wanted_ >> value.index & 1;
      for (int32_t operand : value.operands) {
        if (operand >= 0 && active_[operand]) active_[v] = true;
      }
      active_[v] = active_[v] && value.extent != Extent::Uniform;
    }
    for (size_t j = 0; j < program_.outputs.size(); ++j) {
      accumulate(program_.outputs[j], Symbol(builder_, gradients_[j]));
    }
    for (size_t v = count; v-- > 0;) {
      if (active_[v] && adjoints_[v] >= 0) propagate(v);
    }
    std::vector<int32_t> results(program_.input_count, -1);
    for (size_t v = 0; v < count; ++v) {
      const Value& value = program_.values[v];
      if (value.instruction == Instruction::Input) results[value.index] = adjoints_[v];
    }
    return results;
  }

  void accumulate(int32_t value, const Symbol& contribution) {
    if (!active_[value]) return;
    int32_t term = contribution.in(builder_);
    int32_t& sum = adjoints_[value];
    sum = sum < 0 ? term : builder_.apply(Instruction::add, sum, term);
  }

  // Adds a contribution of the user of `operand`; a row value collects those of its elements.
  void contribute(const Value& user, int32_t operand, const Symbol& contribution) {
    bool collects =
        user.extent == Extent::Element && program_.values[operand].extent == Extent::Row;
    accumulate(operand, collects ? row_sum(contribution) : contribution);
  }

  Symbol forward(int32_t value) { return {builder_, value < 0 ? -1 : forward_[value]}; }

  // The result of an instruction: the saved output if it is one, else computed again.
  Symbol result(size_t value) {
    for (size_t j = 0; j < program_.outputs.size(); ++j) {
      if (program_.outputs[j] == static_cast<int32_t>(value)) return {builder_, outputs_[j]};
    }
    return forward(static_cast<int32_t>(value));
  }

  void propagate(size_t v);

  Derivative finish(const std::vector<int32_t>& results);

  const Program& program_;
  uint32_t wanted_;
  Builder builder_;
  std::vector<int32_t> inputs_, outputs_, gradients_;
  std::vector<int32_t> forward_, adjoints_;
  std::vector<bool> active_;
};

void Differentiator::propagate(size_t v) {
  using namespace symbolic;
  const Value& value = program_.values[v];
  const Symbol g(builder_, adjoints_[v]);
  [[maybe_unused]] const Symbol a = forward(value.operands[0]), b = forward(value.operands[1]),
                                c = forward(value.operands[2]), out = result(v);
  auto wants = [&](int i) { return active_[value.operands[i]]; };
#define FLAMBEAU_IS_NONE(...) (std::string_view(#__VA_ARGS__) == "none")
#define FLAMBEAU_BY(i, ...)                                            \
  if constexpr (!FLAMBEAU_IS_NONE(__VA_ARGS__)) {                      \
    if (wants(i)) contribute(value, value.operands[i], (__VA_ARGS__)); \
  }
#define FLAMBEAU_BY_0(...)
#define FLAMBEAU_BY_1(by_a) FLAMBEAU_BY(0, by_a)
#define FLAMBEAU_BY_2(by_a, by_b) FLAMBEAU_BY(0, by_a) FLAMBEAU_BY(1, by_b)
#define FLAMBEAU_BY_3(by_a, by_b, by_c) \
  FLAMBEAU_BY(0, by_a) FLAMBEAU_BY(1, by_b) FLAMBEAU_BY(2, by_c)
#define INSTRUCTION(name, arity, kind, cost, expression, ...) \
  case Instruction::name: {                                   \
    FLAMBEAU_BY_##arity(__VA_ARGS__) break;                   \
  }
  switch (value.instruction) {
#include "program/instructions.def"
    default:
      break;
  }
#undef INSTRUCTION
}

Derivative Differentiator::finish(const std::vector<int32_t>& results) {
  Derivative derivative;
  std::vector<int32_t> outputs;
  for (int i = 0; i < program_.input_count; ++i) {
    if (!(wanted_ >> i & 1)) continue;
    if (results[i] < 0) {
      derivative.zero |= 1u << i;
    } else {
      bool spread = builder_.at(inputs_[i]).extent == Extent::Element;
      outputs.push_back(spread ? builder_.apply(Instruction::spread, results[i]) : results[i]);
    }
  }
  // Number the inputs that are read: gradients, operands, outputs, numbers.
  ProgramRef draft = builder_.finish(0, outputs);
  std::vector<int32_t> order(first_gradient() + gradients_.size(), -1);
  for (const Value& value : draft->values) {
    if (value.instruction == Instruction::Input) order[value.index] = 0;
  }
  auto read = [&](Derivative::Read::Kind kind, int first, int count, bool numbers) {
    for (int i = 0; i < count; ++i) {
      bool number = kind == Derivative::Read::Kind::Input &&
                    builder_.at(inputs_[i]).extent == Extent::Uniform;
      if (order[first + i] < 0 || number != numbers) continue;
      order[first + i] = static_cast<int32_t>(derivative.reads.size());
      derivative.reads.push_back({kind, i});
    }
  };
  int output_count = static_cast<int>(program_.outputs.size());
  read(Derivative::Read::Kind::Gradient, first_gradient(), output_count, false);
  read(Derivative::Read::Kind::Input, 0, program_.input_count, false);
  read(Derivative::Read::Kind::Output, first_output(), output_count, false);
  read(Derivative::Read::Kind::Input, 0, program_.input_count, true);
  for (Value& value : draft->values) {
    if (value.instruction == Instruction::Input) value.index = order[value.index];
  }
  draft->input_count = static_cast<int>(derivative.reads.size());
  derivative.program = std::move(draft);
  return derivative;
}

}  // namespace

Derivative differentiate(const Program& program, uint32_t wanted) {
  return Differentiator(program, wanted).run();
}

}  // namespace flambeau
