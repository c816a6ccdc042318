// The executor that chooses between machine code and the block machine: emitter.h.
#include <cstdlib>
#include <cstring>

#include "program/emitter.h"
#include "program/emitter/emitted.h"
#include "program/machine.h"
#include "program/reordered.h"

namespace flambeau {

using emitter::AccessKind;
using emitter::Emitted;
using emitter::Geometry;
using emitter::kMostTensors;
using emitter::MachineCode;
using emitter::OperandView;
using emitter::Parts;
using emitter::read_number;

namespace {

EmitterUse wish_of_environment() {
  const char* wish = std::getenv("FLAMBEAU_EMITTER");
  if (wish && !std::strcmp(wish, "0")) return EmitterUse::Never;
  if (wish && !std::strcmp(wish, "always")) return EmitterUse::Always;
  return EmitterUse::WhenWorthwhile;
}
std::atomic<EmitterUse>& use() {
  static std::atomic<EmitterUse> value{wish_of_environment()};
  return value;
}

// Writing machine code takes the time of about this many additions in cache; it is done once a
// program has worked that long, but not for its first few runs.
constexpr int64_t kWorthwhile = 300000;
constexpr int64_t kCostOfRun = 200;
// Rows: their sums have an order of additions in each executor, so the choice must not depend on
// how often a program has run: equal calls give equal bits. It is made by the work of one run.
constexpr int64_t kWorthwhileRows = 16384;
// Elements below which setting up a run costs more than its arithmetic.
constexpr int64_t kFew = 128;

}  // namespace

EmitterUse emitter_use() { return use(); }
void set_emitter_use(EmitterUse wish) { use() = wish; }

// --- run_program ---------------------------------------------------------------------------------

bool worthwhile(const Program& program, int64_t elements) {
  if (emitter_use() != EmitterUse::WhenWorthwhile) return emitter_use() == EmitterUse::Always;
  const Plan& plan = plan_of(program);
  const int64_t cost = kCostOfRun + elements * (plan.cost + 1);
  if (program.has_rows) return cost > kWorthwhileRows;
  return plan.work.fetch_add(cost, std::memory_order_relaxed) + cost > kWorthwhile;
}

// Elements that a run goes through, or none where setting it up would cost more than they do.
static int64_t elements_of(const Program& program, std::span<const ProgramInput> inputs,
                           std::span<Tensor* const> outputs) {
  int64_t elements = outputs[0]->numel();
  for (const ProgramInput& input : inputs) {
    if (input.tensor && program.has_rows) elements = std::max(elements, input.tensor->numel());
  }
  return elements < kFew && !program.has_rows ? 0 : elements;
}

// One instruction on plain memory is a compiled loop already.
static bool is_plain(const Program& program, const Geometry& geometry) {
  int instructions = 0;
  for (const Value& value : program.values) {
    instructions += value.instruction != Instruction::Input &&
                    value.instruction != Instruction::Constant &&
                    value.instruction != Instruction::stop;
  }
  return instructions <= 1 && geometry.rows == 1 && !program.has_rows;
}

static bool run_emitted(const Program& program, Precision precision,
                        std::span<const ProgramInput> inputs, std::span<Tensor* const> outputs) {
  SmallVector<OperandView, 12> input_views, output_views;
  for (const ProgramInput& input : inputs) input_views.push_back(OperandView::of(input));
  for (const Tensor* output : outputs) output_views.push_back(OperandView::of(*output));
  Emitted emitted;
  if (!emitted.find(program, precision, input_views, output_views, instruction_set())) return false;
  if (emitter_use() != EmitterUse::Always && is_plain(program, emitted.geometry)) return false;
  void* tensors[kMostTensors];
  int count = 0;
  for (size_t i = 0; i < emitted.plan->inputs.size(); ++i) {
    if (emitted.geometry.key.inputs[i] == AccessKind::Number) continue;
    const Value& value = program.values[emitted.plan->inputs[i]];
    tensors[count++] = inputs[value.index].tensor->data();
  }
  for (const Tensor* output : outputs) tensors[count++] = output->data();
  emitted.run(tensors, [&](int32_t v, uint64_t* place) {
    const ProgramInput& input = inputs[program.values[v].index];
    if (input.tensor) {
      read_number(precision, input.tensor->dtype(), input.tensor->data(), place);
    } else {
      *place = number_bits(precision, input.scalar);
    }
  });
  return true;
}

void run_adaptively(const Program& program, Precision precision,
                    std::span<const ProgramInput> inputs, std::span<Tensor* const> outputs) {
  const int64_t elements = elements_of(program, inputs, outputs);
  const bool some = elements > 0 || emitter_use() == EmitterUse::Always;
  if (precision != Precision::Int64 && some && worthwhile(program, elements) &&
      run_emitted(program, precision, inputs, outputs)) {
    return;
  }
  run_blocks(program, precision, inputs, outputs);
}

// --- ProgramRun ----------------------------------------------------------------------------------

struct ProgramRun::Prepared {
  ProgramRef program;
  Precision precision;
  std::vector<ProgramOperand> inputs, outputs;
  InstructionSet instruction_set;
  Emitted emitted;
  bool has_kernel = false;
  Parts parts;
  bool has_parts = false;
  std::vector<int32_t> slots;  // by program input: its place among the tensors or the numbers

  void find();
  // Calls body(tensors, numbers) with what a kernel needs.
  template <class Body>
  void with_operands(std::span<void* const> inputs, std::span<const Scalar> numbers,
                     std::span<void* const> outputs, Body&& body) const;
  void run_machine(std::span<void* const> inputs, std::span<const Scalar> numbers,
                   std::span<void* const> outputs) const;
};

void ProgramRun::Prepared::find() {
  int32_t tensors = 0, numbers = 0;
  for (const ProgramOperand& input : inputs) {
    slots.push_back(input.is_tensor ? tensors++ : numbers++);
  }
  const Dims order =
      program->has_rows ? Dims() : memory_order(outputs[0].shape, outputs[0].strides);
  if (!order.empty()) {
    for (ProgramOperand& input : inputs) reorder(order, input);
    for (ProgramOperand& output : outputs) reorder(order, output);
  }
  if (emitter_use() == EmitterUse::Never) return;
  std::vector<OperandView> input_views, output_views;
  auto view = [](const ProgramOperand& operand) {
    return OperandView{operand.is_tensor, operand.dtype, &operand.shape, &operand.strides};
  };
  for (const ProgramOperand& input : inputs) input_views.push_back(view(input));
  for (const ProgramOperand& output : outputs) output_views.push_back(view(output));
  has_kernel = emitted.find(*program, precision, input_views, output_views, instruction_set);
  const Dims& shape = outputs[0].shape;
  // (Parts are those of a matrix as it was given.)
  has_parts = has_kernel && shape.size() == 2 && order.empty() &&
              parts.find(*emitted.kernel, emitted.geometry, shape[0], shape[1]);
}

ProgramRun::ProgramRun(ProgramRef program, Precision precision,
                       std::span<const ProgramOperand> inputs,
                       std::span<const ProgramOperand> outputs, InstructionSet instruction_set)
    : prepared_(new Prepared{std::move(program),
                             precision,
                             {inputs.begin(), inputs.end()},
                             {outputs.begin(), outputs.end()},
                             instruction_set}) {
  require(static_cast<int>(inputs.size()) == prepared_->program->input_count, "program: takes ",
          prepared_->program->input_count, " operands, got ", inputs.size());
  require(outputs.size() == prepared_->program->outputs.size(), "program: has ",
          prepared_->program->outputs.size(), " outputs, got ", outputs.size());
  prepared_->find();
}
ProgramRun::~ProgramRun() = default;
ProgramRun::ProgramRun(ProgramRun&&) noexcept = default;

template <class Body>
void ProgramRun::Prepared::with_operands(std::span<void* const> addresses,
                                         std::span<const Scalar> numbers,
                                         std::span<void* const> output_addresses,
                                         Body&& body) const {
  void* tensors[kMostTensors];
  int count = 0;
  for (size_t i = 0; i < emitted.plan->inputs.size(); ++i) {
    if (emitted.geometry.key.inputs[i] == AccessKind::Number) continue;
    tensors[count++] = addresses[slots[program->values[emitted.plan->inputs[i]].index]];
  }
  for (void* output : output_addresses) tensors[count++] = output;
  emitted.with_numbers([&](const uint64_t* table) { body(tensors, table); },
                       [&](int32_t v, uint64_t* place) {
                         const int32_t index = program->values[v].index;
                         const ProgramOperand& input = inputs[index];
                         if (input.is_tensor) {
                           read_number(precision, input.dtype, addresses[slots[index]], place);
                         } else {
                           *place = number_bits(precision, numbers[slots[index]]);
                         }
                       });
}

void ProgramRun::run(std::span<void* const> inputs, std::span<const Scalar> numbers,
                     std::span<void* const> outputs) const {
  const Prepared& my = *prepared_;
  if (!my.has_kernel) {
    my.run_machine(inputs, numbers, outputs);
    return;
  }
  my.with_operands(inputs, numbers, outputs, [&](void* const* tensors, const uint64_t* table) {
    run_kernel(*my.emitted.kernel, my.emitted.geometry, tensors, table, *my.emitted.plan);
  });
}

bool ProgramRun::has_parts() const { return prepared_->has_parts; }

void ProgramRun::run_in_parts(std::span<void* const> inputs, std::span<const Scalar> numbers,
                              std::span<void* const> outputs, FunctionRef<void(Part)> body) const {
  const Prepared& my = *prepared_;
  my.with_operands(inputs, numbers, outputs, [&](void* const* tensors, const uint64_t* table) {
    auto part = [&](int64_t row_begin, int64_t row_end, int64_t column_begin, int64_t column_end) {
      my.parts.run(*my.emitted.kernel, my.emitted.geometry, tensors, table, row_begin, row_end,
                   column_begin, column_end);
    };
    body(part);
  });
}

// A tensor over memory that the caller keeps alive.
static TensorRef borrowed(const ProgramOperand& operand, void* data) {
  int64_t last = 0;
  for (int64_t d = 0; d < operand.shape.size(); ++d) {
    last += std::max<int64_t>(0, operand.shape[d] - 1) * operand.strides[d];
  }
  const auto bytes = static_cast<size_t>((last + 1) * item_size(operand.dtype));
  return Tensor::view(Storage::wrap(data, bytes, nullptr, [](void*) {}), operand.shape,
                      operand.strides, 0, operand.dtype);
}

void ProgramRun::Prepared::run_machine(std::span<void* const> addresses,
                                       std::span<const Scalar> numbers,
                                       std::span<void* const> output_addresses) const {
  std::vector<TensorRef> tensors;
  std::vector<ProgramInput> operands;
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (inputs[i].is_tensor) {
      tensors.push_back(borrowed(inputs[i], addresses[slots[i]]));
      operands.push_back({tensors.back().get(), {}});
    } else {
      operands.push_back({nullptr, numbers[slots[i]]});
    }
  }
  std::vector<Tensor*> results;
  for (size_t j = 0; j < outputs.size(); ++j) {
    tensors.push_back(borrowed(outputs[j], output_addresses[j]));
    results.push_back(tensors.back().get());
  }
  run_blocks(*program, precision, operands, results);
}

bool ProgramRun::emitted() const { return prepared_->has_kernel; }
std::span<const uint8_t> ProgramRun::code() const {
  return emitted() ? prepared_->emitted.kernel->bytes() : std::span<const uint8_t>();
}

std::string ProgramRun::listing() const {
  const Prepared& my = *prepared_;
  if (!my.has_kernel) return {};
  const auto kernel =
      MachineCode::write(*my.program, my.emitted.geometry.key, my.instruction_set, true);
  return kernel ? kernel->listing() : std::string();
}

}  // namespace flambeau
