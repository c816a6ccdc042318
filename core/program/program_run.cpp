// The executor that chooses between machine code and the block machine: emitter.h.
#include <cstdlib>
#include <cstring>

#include "base/thread_pool.h"
#include "program/builder.h"
#include "program/emitter.h"
#include "program/emitter/cache.h"
#include "program/emitter/geometry.h"
#include "program/machine.h"
#include "program/recipe.h"

namespace flambeau {

using emitter::AccessKind;
using emitter::Geometry;
using emitter::kMostTensors;
using emitter::MachineCode;
using emitter::OperandView;

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
// Elements below which setting up a run costs more than its arithmetic.
constexpr int64_t kFew = 128;

// Everything about a kernel but the operands' addresses.
struct Emitted {
  const Program* program = nullptr;
  const Plan* plan = nullptr;
  const Recipe* recipe = nullptr;
  const MachineCode* kernel = nullptr;
  Geometry geometry;
  bool has_numbers = false;

  bool find(const Program& of, Precision precision, std::span<const OperandView> inputs,
            std::span<const OperandView> outputs, InstructionSet instruction_set);
  // Calls body(numbers) with the table of numbers, which may be null; `number(v, place)` puts the
  // number of input value v there, in the precision's own type.
  template <class Body, class Number>
  void with_numbers(Body&& body, Number&& number) const;
  template <class Number>
  void run(void* const* tensors, Number&& number) const {
    with_numbers(
        [&](const uint64_t* numbers) { run_kernel(*kernel, geometry, tensors, numbers, *plan); },
        number);
  }
};

bool Emitted::find(const Program& of, Precision precision, std::span<const OperandView> inputs,
                   std::span<const OperandView> outputs, InstructionSet instruction_set) {
  program = &of;
  if (!find_geometry(of, precision, inputs, outputs, geometry)) return false;
  kernel = kernel_of_program(of, geometry.key, instruction_set);
  if (!kernel) return false;
  plan = &plan_of(of);
  uint64_t numbers = 0;
  for (int64_t i = 0; i < geometry.key.inputs.size(); ++i) {
    if (geometry.key.inputs[i] == AccessKind::Number && i < 64) numbers |= uint64_t{1} << i;
  }
  recipe = &recipe_of(of, precision, numbers, false);
  has_numbers = numbers || !recipe->row_counts.empty() || !recipe->once.empty();
  return true;
}

template <class Body, class Number>
void Emitted::with_numbers(Body&& body, Number&& number) const {
  if (!has_numbers) {
    body(nullptr);
    return;
  }
  SmallVector<uint64_t, 64> table;
  table.assign(recipe->constants.data(), recipe->constants.data() + recipe->constants.size());
  for (size_t i = 0; i < plan->inputs.size(); ++i) {
    const int32_t v = plan->inputs[i];
    if (geometry.key.inputs[i] == AccessKind::Number) number(v, &table[v]);
  }
  for (int32_t v : recipe->row_counts) {
    table[v] = number_bits(geometry.key.precision, Scalar(geometry.columns));
  }
  for (const Step& step : recipe->once) {
    step.kernel(&table[step.to], &table[step.operands[0]], &table[step.operands[1]],
                &table[step.operands[2]], 1, 0);
  }
  body(table.data());
}

// The first number of a tensor of any type.
void read_number(Precision precision, DType dtype, const void* from, uint64_t* place) {
  static const TransferKernels& transfers = *FLAMBEAU_CHOOSE(transfer_kernels);
  transfers.loads[static_cast<int>(precision)][static_cast<int>(dtype)](place, from, 1, 1);
}

}  // namespace

EmitterUse emitter_use() { return use(); }
void set_emitter_use(EmitterUse wish) { use() = wish; }

// --- run_program
// ----------------------------------------------------------------------------------

// Whether machine code has a chance to pay: not for the first runs of small programs, and not for
// one instruction on plain memory, which is a compiled loop already.
static bool worthwhile(const Program& program, std::span<const ProgramInput> inputs,
                       std::span<Tensor* const> outputs) {
  if (emitter_use() != EmitterUse::WhenWorthwhile) return emitter_use() == EmitterUse::Always;
  const Plan& plan = plan_of(program);
  int64_t elements = outputs[0]->numel();
  for (const ProgramInput& input : inputs) {
    if (input.tensor && program.has_rows) elements = std::max(elements, input.tensor->numel());
  }
  if (elements < kFew && !program.has_rows) return false;
  const int64_t cost = kCostOfRun + elements * (plan.cost + 1);
  return plan.work.fetch_add(cost, std::memory_order_relaxed) + cost > kWorthwhile;
}

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
  if (precision != Precision::Int64 && worthwhile(program, inputs, outputs) &&
      run_emitted(program, precision, inputs, outputs)) {
    return;
  }
  run_blocks(program, precision, inputs, outputs);
}

// --- run_foreach
// ----------------------------------------------------------------------------------

bool run_foreach_emitted(const Program& program, Precision precision,
                         std::span<const ForeachInput> inputs,
                         std::span<const std::span<Tensor* const>> outputs,
                         std::span<const size_t> members) {
  if (precision == Precision::Int64 || emitter_use() == EmitterUse::Never) return false;
  const Plan& plan = plan_of(program);
  constexpr int64_t kUnit = 64;  // elements
  SmallVector<int64_t, 32> starts;
  starts.push_back(0);
  for (size_t k : members) {
    starts.push_back(starts.back() + (outputs[0][k]->numel() + kUnit - 1) / kUnit);
  }
  const int64_t cost = kCostOfRun + starts.back() * kUnit * (plan.cost + 1);
  const int64_t work = plan.work.fetch_add(cost, std::memory_order_relaxed) + cost;
  if (emitter_use() != EmitterUse::Always && work <= kWorthwhile) return false;
  // All tensors lie alike: the kernel of a row is the kernel of all.
  const Dims length{1 << 20}, step{1};
  SmallVector<OperandView, 12> input_views, output_views;
  for (const ForeachInput& input : inputs) {
    const bool tensors = !input.tensors.empty();
    input_views.push_back(
        {tensors, tensors ? input.tensors[members[0]]->dtype() : DType::Float32, &length, &step});
  }
  for (const auto& output : outputs) {
    output_views.push_back({true, output[members[0]]->dtype(), &length, &step});
  }
  Emitted emitted;
  if (!emitted.find(program, precision, input_views, output_views, instruction_set())) return false;
  SmallVector<std::span<Tensor* const>, 12> lists;
  for (int32_t v : plan.inputs) {
    const auto& tensors = inputs[program.values[v].index].tensors;
    if (!tensors.empty()) lists.push_back(tensors);
  }
  for (const auto& output : outputs) lists.push_back(output);
  auto run = [&](const uint64_t* numbers) {
    const int64_t grain = std::max<int64_t>(1, emitter::element_grain(plan) / kUnit);
    parallel_for(starts.back(), grain, [&](int64_t begin, int64_t end) {
      auto at = std::upper_bound(starts.begin(), starts.end(), begin) - starts.begin() - 1;
      for (; begin < end; ++at) {
        const int64_t stop = std::min(end, starts[at + 1]),
                      numel = outputs[0][members[at]]->numel();
        if (stop <= begin) continue;
        const int64_t first = (begin - starts[at]) * kUnit;
        void* places[kMostTensors];
        for (int64_t t = 0; t < lists.size(); ++t) {
          const Tensor& tensor = *lists[t][members[at]];
          places[t] = tensor.data<char>() + first * item_size(tensor.dtype());
        }
        emitted.kernel->run(places, emitted.geometry.row_strides, numbers, 1,
                            std::min((stop - starts[at]) * kUnit, numel) - first);
        begin = stop;
      }
    });
  };
  emitted.with_numbers(run, [&](int32_t v, uint64_t* place) {
    *place = number_bits(precision, inputs[program.values[v].index].number);
  });
  return true;
}

// --- ProgramRun
// -----------------------------------------------------------------------------------

struct ProgramRun::Prepared {
  ProgramRef program;
  Precision precision;
  std::vector<ProgramOperand> inputs, outputs;
  InstructionSet instruction_set;
  Emitted emitted;
  bool has_kernel = false;
  std::vector<int32_t> slots;  // by program input: its place among the tensors or the numbers

  void find();
  void run_machine(std::span<void* const> inputs, std::span<const Scalar> numbers,
                   std::span<void* const> outputs) const;
};

void ProgramRun::Prepared::find() {
  int32_t tensors = 0, numbers = 0;
  for (const ProgramOperand& input : inputs) {
    slots.push_back(input.is_tensor ? tensors++ : numbers++);
  }
  if (emitter_use() == EmitterUse::Never) return;
  std::vector<OperandView> input_views, output_views;
  auto view = [](const ProgramOperand& operand) {
    return OperandView{operand.is_tensor, operand.dtype, &operand.shape, &operand.strides};
  };
  for (const ProgramOperand& input : inputs) input_views.push_back(view(input));
  for (const ProgramOperand& output : outputs) output_views.push_back(view(output));
  has_kernel = emitted.find(*program, precision, input_views, output_views, instruction_set);
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

void ProgramRun::run(std::span<void* const> inputs, std::span<const Scalar> numbers,
                     std::span<void* const> outputs) const {
  const Prepared& my = *prepared_;
  if (!my.has_kernel) {
    my.run_machine(inputs, numbers, outputs);
    return;
  }
  const Emitted& emitted = my.emitted;
  void* tensors[kMostTensors];
  int count = 0;
  for (size_t i = 0; i < emitted.plan->inputs.size(); ++i) {
    if (emitted.geometry.key.inputs[i] == AccessKind::Number) continue;
    tensors[count++] = inputs[my.slots[my.program->values[emitted.plan->inputs[i]].index]];
  }
  for (void* output : outputs) tensors[count++] = output;
  emitted.run(tensors, [&](int32_t v, uint64_t* place) {
    const int32_t index = my.program->values[v].index;
    const ProgramOperand& input = my.inputs[index];
    if (input.is_tensor) {
      read_number(my.precision, input.dtype, inputs[my.slots[index]], place);
    } else {
      *place = number_bits(my.precision, numbers[my.slots[index]]);
    }
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
