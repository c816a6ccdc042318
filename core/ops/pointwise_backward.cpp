// Gradients of pointwise operators: for every set of inputs that need one, the derived program,
// taken apart into pieces that are operators themselves (and so are differentiable again).
#include <algorithm>
#include <memory>
#include <mutex>

#include "ops/creation.h"
#include "ops/pointwise_call.h"
#include "program/builder.h"

namespace flambeau {

// How the gradients of some inputs are computed.
class BackwardPlan {
 public:
  // One operator; its results are the gradients of the inputs `targets`.
  struct Piece {
    std::unique_ptr<Pointwise> op;  // null: the gradient is what read `reads[0]` reads
    std::vector<int> reads;         // of derivative.reads: the operator's operands and parameters
    std::vector<int> targets;
    uint32_t last = 0;  // bit k: no later piece reads what reads[k] does
  };

  BackwardPlan(const Pointwise& forward, uint32_t needs);

  uint32_t needs;
  Derivative derivative;
  Saved saved;
  std::vector<Piece> pieces;
  BackwardPlan* next = nullptr;

 private:
  void add_piece(const Pointwise& forward, std::span<const int> outputs,
                 std::span<const int> targets);
};

namespace {

// How many instructions a result takes.
int instructions_of(const Program& program, int32_t output) {
  std::vector<bool> needed(program.values.size(), false);
  needed[output] = true;
  int count = 0;
  for (int32_t v = output; v >= 0; --v) {
    if (!needed[v]) continue;
    const Value& value = program.values[v];
    count += value.instruction != Instruction::Input && value.instruction != Instruction::Constant;
    for (int32_t operand : value.operands) {
      if (operand >= 0) needed[operand] = true;
    }
  }
  return count;
}

}  // namespace

BackwardPlan::BackwardPlan(const Pointwise& forward, uint32_t needs_)
    : needs(needs_), derivative(differentiate(*forward.program, needs_)) {
  for (const Derivative::Read& read : derivative.reads) {
    if (read.kind == Derivative::Read::Kind::Input && read.index < forward.operand_count) {
      saved.inputs |= 1u << read.index;
    }
    if (read.kind == Derivative::Read::Kind::Output) saved.outputs |= 1u << read.index;
  }
  const Program& program = *derivative.program;
  std::vector<int> outputs, targets;  // of what is computed together
  int position = 0;
  for (int i = 0; i < forward.program->input_count; ++i) {
    if (!(needs >> i & 1) || (derivative.zero >> i & 1)) continue;
    int output = position++;
    // Single instructions run on the direct path; longer ones share what they have in common.
    if (instructions_of(program, program.outputs[output]) <= 1) {
      add_piece(forward, {&output, 1}, {&i, 1});
      continue;
    }
    outputs.push_back(output);
    targets.push_back(i);
    if (outputs.size() == kMaxOutputs) {
      add_piece(forward, outputs, targets);
      outputs.clear();
      targets.clear();
    }
  }
  if (!outputs.empty()) add_piece(forward, outputs, targets);
  std::vector<bool> seen(derivative.reads.size(), false);
  for (size_t p = pieces.size(); p-- > 0;) {
    for (size_t k = 0; k < pieces[p].reads.size() && k < 32; ++k) {
      int read = pieces[p].reads[k];
      if (!seen[read]) pieces[p].last |= 1u << k;
      seen[read] = true;
    }
  }
}

void BackwardPlan::add_piece(const Pointwise& forward, std::span<const int> outputs,
                             std::span<const int> targets) {
  const Program& program = *derivative.program;
  Piece piece;
  piece.targets.assign(targets.begin(), targets.end());
  const Value& first = program.values[program.outputs[outputs[0]]];
  if (first.instruction == Instruction::Input) {
    piece.reads.push_back(first.index);
    pieces.push_back(std::move(piece));
    return;
  }
  // Keep the reads of these results, the operands of a single instruction in its order.
  std::vector<bool> needed(program.values.size(), false);
  for (int output : outputs) needed[program.outputs[output]] = true;
  for (size_t v = program.values.size(); v-- > 0;) {
    if (!needed[v]) continue;
    for (int32_t operand : program.values[v].operands) {
      if (operand >= 0) needed[operand] = true;
    }
  }
  auto keep = [&](int read) {
    if (std::find(piece.reads.begin(), piece.reads.end(), read) == piece.reads.end()) {
      piece.reads.push_back(read);
    }
  };
  bool single = outputs.size() == 1 && instructions_of(program, program.outputs[outputs[0]]) == 1;
  std::vector<Extent> extents(program.input_count, Extent::Element);
  if (single) {
    for (int32_t operand : first.operands) {
      if (operand >= 0 && program.values[operand].instruction == Instruction::Input) {
        keep(program.values[operand].index);
      }
    }
  }
  for (size_t v = 0; v < program.values.size(); ++v) {
    const Value& value = program.values[v];
    if (value.instruction != Instruction::Input) continue;
    extents[value.index] = value.extent;
    if (needed[v]) keep(value.index);
  }
  std::stable_partition(piece.reads.begin(), piece.reads.end(),
                        [&](int read) { return extents[read] != Extent::Uniform; });
  Builder builder;
  std::vector<int32_t> inputs(program.input_count, -1), results;
  int operand_count = 0;
  uint32_t not_promoting = 0;  // a gradient has the type of the gradients that it comes from
  for (size_t k = 0; k < piece.reads.size(); ++k) {
    Extent extent = extents[piece.reads[k]];
    operand_count += extent != Extent::Uniform;
    if (derivative.reads[piece.reads[k]].kind != Derivative::Read::Kind::Gradient) {
      not_promoting |= 1u << k;
    }
    inputs[piece.reads[k]] = builder.input(static_cast<int32_t>(k), extent);
  }
  for (int32_t& input : inputs) {
    if (input < 0) input = builder.constant(0);  // not read by these results
  }
  std::vector<int32_t> places = builder.inline_program(program, inputs);
  for (int output : outputs) results.push_back(places[program.outputs[output]]);
  ProgramRef part = builder.finish(static_cast<int>(piece.reads.size()), results);
  std::string name = single ? name_of(first.instruction) : forward.name_text + "_backward";
  piece.op =
      std::make_unique<Pointwise>(name, std::move(part), Promotion::Common, operand_count,
                                  single ? std::string() : forward.grad_name_text + "Backward0");
  piece.op->not_promoting = not_promoting;
  pieces.push_back(std::move(piece));
}

const BackwardPlan& Pointwise::find_backward(uint32_t needs) const {
  static std::mutex mutex;
  std::atomic<BackwardPlan*>& slot = plans_[std::min<uint32_t>(needs, kPlans - 1)];
  auto find = [&]() -> BackwardPlan* {
    BackwardPlan* plan = slot.load(std::memory_order_acquire);
    while (plan && plan->needs != needs) plan = plan->next;
    return plan;
  };
  if (BackwardPlan* plan = find()) return *plan;
  auto fresh = std::make_unique<BackwardPlan>(*this, needs);
  std::lock_guard lock(mutex);
  if (BackwardPlan* plan = find()) return *plan;
  fresh->next = slot.load();
  slot.store(fresh.get(), std::memory_order_release);
  return *fresh.release();
}

void delete_backward_plans(BackwardPlan* first) {
  while (first) {
    BackwardPlan* next = first->next;
    delete first;
    first = next;
  }
}

Saved pointwise_saves(const Call& call, uint32_t needs) {
  return static_cast<const Pointwise&>(call.primitive).backward(needs).saved;
}

namespace {

// Where a piece finds what it reads.
struct Readable {
  Gradient& gradient;
  const Attributes& attributes;
  int operand_count;

  bool is_tensor(int input) const {
    return input < operand_count && (static_cast<uint32_t>(attributes.flag) >> input & 1);
  }
  // The numbers of the forward call are kept without the tensors between them.
  Scalar number(int input) const {
    int position = 0;
    for (int i = 0; i < input; ++i) position += !is_tensor(i);
    return PointwiseNumbers(attributes).at(position);
  }
  // `last`: nothing else reads it afterwards.
  void load(const Derivative::Read& read, bool last, Operand& to) const {
    switch (read.kind) {
      case Derivative::Read::Kind::Gradient:
        to.tensor = last ? gradient.take(read.index) : gradient.g(read.index);
        if (!to.tensor) to.scalar = Scalar(0.0);
        break;
      case Derivative::Read::Kind::Output:
        to.tensor = gradient.output(read.index);
        break;
      default:
        if (is_tensor(read.index)) {
          to.tensor = gradient.input(read.index);
        } else {
          to.scalar = number(read.index);
        }
    }
  }
};

}  // namespace

void pointwise_gradient(Gradient& gradient) {
  const auto& op = static_cast<const Pointwise&>(gradient.primitive());
  uint32_t needs = 0;
  for (int i = 0; i < op.operand_count; ++i) {
    if (gradient.needs(i)) needs |= 1u << i;
  }
  const BackwardPlan& plan = op.backward(needs);
  for (int i = 0; i < op.operand_count; ++i) {
    if (!(plan.derivative.zero >> i & 1)) continue;
    gradient.set(i, zeros(gradient.input_shape(i), gradient.input_dtype(i), gradient.device()));
  }
  const Readable readable{gradient, gradient.attributes(), op.operand_count};
  const Dims& axes = readable.attributes.ints;
  const int64_t axis = axes.empty() ? -1 : axes[0];
  for (const BackwardPlan::Piece& piece : plan.pieces) {
    InlineArray<Operand, 4> operands(static_cast<int>(piece.reads.size()));
    bool any = false;
    for (size_t k = 0; k < piece.reads.size(); ++k) {
      bool last = k < 32 && (piece.last >> k & 1);
      readable.load(plan.derivative.reads[piece.reads[k]], last, operands[k]);
      any |= static_cast<bool>(operands[k].tensor);
    }
    if (!any) continue;  // no gradient flowed into the output that this piece comes from
    if (!piece.op) {
      gradient.set(piece.targets[0], std::move(operands[0].tensor));
    } else if (piece.targets.size() == 1) {
      gradient.set(piece.targets[0], axis < 0 ? pointwise_overwriting(*piece.op, operands)
                                              : pointwise_rows(*piece.op, operands, axis));
    } else {
      TensorList results = pointwise_outputs(*piece.op, operands, axis);
      for (size_t k = 0; k < results.size(); ++k) {
        gradient.set(piece.targets[k], std::move(results[k]));
      }
    }
  }
}

}  // namespace flambeau
