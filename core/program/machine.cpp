// The block machine: runs a program over memory a block at a time, one precompiled loop per
// instruction, so that everything between loads and stores stays in the first-level cache.
//
// Note [Blocks]: a block is 512 elements, or, for programs with row values, one row or as many
// whole rows as fit into 512 elements. Values that are one number per run are computed once. A
// value of one number per row is an operand of one number when a block is one row, and is spread
// over the row's elements otherwise. Inputs of the precision's own type are read where they are,
// outputs written where they belong; everything else goes through loads and stores.
#include <cstring>
#include <memory>

#include "base/allocator.h"
#include "base/thread_pool.h"
#include "program/access.h"
#include "program/builder.h"
#include "program/machine.h"
#include "program/plan.h"

namespace flambeau {

Precision precision_of(DType dtype) {
  if (dtype == DType::Float64) return Precision::Float64;
  return is_floating(dtype) ? Precision::Float32 : Precision::Int64;
}

// Repeats one number of the precision's own type.
static Load fill_of(Precision precision) {
  static const DType own[] = {DType::Float32, DType::Float64, DType::Int64};
  int p = static_cast<int>(precision);
  return FLAMBEAU_CHOOSE(transfer_kernels)->loads[p][static_cast<int>(own[p])];
}

static const InstructionKernels& kernels_of(Precision precision) {
  static const InstructionKernels* const tables[] = {
      FLAMBEAU_CHOOSE(float_kernels), FLAMBEAU_CHOOSE(double_kernels), FLAMBEAU_CHOOSE(int_kernels)};
  return *tables[static_cast<int>(precision)];
}

Kernel kernel_of(Instruction instruction, Precision precision) {
  return kernels_of(precision).kernels[static_cast<int>(instruction)];
}

void raise_zero_division() {
  fail("ZeroDivisionError: an integer was divided by zero; mask the divisor or use floats");
}

double evaluate(Instruction instruction, double a, double b, double c) {
  if (kind_of(instruction) == InstructionKind::Whole) {
    int64_t operands[3] = {static_cast<int64_t>(a), static_cast<int64_t>(b),
                           static_cast<int64_t>(c)};
    int64_t result;
    kernel_of(instruction, Precision::Int64)(&result, &operands[0], &operands[1], &operands[2], 1,
                                             0);
    return static_cast<double>(result);
  }
  double result;
  kernel_of(instruction, Precision::Float64)(&result, &a, &b, &c, 1, 0);
  return result;
}

namespace {

constexpr int64_t kBlock = 512;
// A block when nothing passes through registers: only the loop over blocks costs.
constexpr int64_t kLongBlock = 8192;
// Distance between registers is not a multiple of the page: their lines would share cache sets.
constexpr int64_t kPadding = 64;
// Tensors beyond this are not in the second-level cache: the next block is fetched early.
constexpr int64_t kPrefetchBytes = 1 << 20;

struct Step {
  enum class Kind : uint8_t {
    Elements,    // an instruction on elements
    Rows,        // on one number per row
    Reduce,      // from elements to rows
    Spread,      // from rows to elements
    Fill,        // one number to elements
    FillRows,    // one number to rows
    Store,       // to an output
    StoreRows,
  } kind;
  uint32_t scalars = 0;  // bit i: operand i is one number
  Kernel kernel = nullptr;
  RowKernel reduce = nullptr;
  // Slots: a value, or count + a value for its filled or spread form. `to` of a store: output.
  int32_t to = 0;
  int32_t operands[3] = {0, 0, 0};
};

// Everything about one run that all threads share.
class Run {
 public:
  Run(const Program& program, Precision precision, std::span<const ProgramInput> inputs,
      std::span<Tensor* const> outputs);
  void execute();

  // The same run on the k-th tensors of lists, which are contiguous and as long as one another.
  void rebase(std::span<const ForeachInput> inputs,
              std::span<const std::span<Tensor* const>> outputs, size_t k);
  void execute_blocks(int64_t begin, int64_t end) const;
  int64_t block() const { return block_; }
  int64_t grain() const;
  bool all_direct() const;

 private:
  bool is_row(int32_t v) const { return program_.values[v].extent == Extent::Row; }
  // One number in this run; known from the program, or because its operands are.
  bool is_uniform(int32_t v) const { return uniform_[v]; }
  char* number(int32_t v) { return numbers_.data() + 8 * v; }
  const char* number(int32_t v) const { return numbers_.data() + 8 * v; }
  void set_shape(std::span<const ProgramInput> inputs, std::span<Tensor* const> outputs);
  void set_inputs(std::span<const ProgramInput> inputs);
  void set_outputs(std::span<Tensor* const> outputs);
  void set_number(int32_t v, Scalar number);
  void add_steps();
  void add_compute(int32_t v);
  void add_stores(int32_t v);
  int32_t element_operand(int32_t v, uint32_t bit, uint32_t* scalars);
  int32_t filled(int32_t v, Step::Kind kind);
  void push(Step::Kind kind, int32_t to, int32_t operand);
  void set_pointers(const void** pointers, char* memory) const;
  void run_block(int64_t first, int64_t rows, const void** pointers) const;
  int64_t register_bytes() const { return capacity_ * size_ + kPadding; }
  int64_t row_register_bytes() const { return block_ * size_ + kPadding; }
  int64_t memory_bytes() const {
    return (plan_.register_count + 1) * register_bytes() +
           plan_.row_value_count * row_register_bytes();
  }

  const Program& program_;
  const Plan& plan_;
  const Precision precision_;
  const int64_t size_;   // of one number
  const int32_t count_;  // of values
  Dims shape_, row_shape_;
  int64_t rows_ = 0, length_ = 0;  // of row programs; otherwise length_ = elements
  int64_t block_ = kBlock;         // elements, or rows
  int64_t blocks_ = 0;
  int64_t capacity_ = kBlock;  // numbers in a block register
  SmallVector<bool, 64> uniform_;
  SmallVector<char, 256> numbers_;  // of uniform values, eight bytes each
  SmallVector<Step, 16> steps_;
  SmallVector<int32_t, 8> done_;          // slots that are filled or spread already
  std::vector<Access> inputs_, outputs_;  // inputs by position in plan_.inputs
  SmallVector<bool, 8> placed_;           // output j is computed where it belongs
};

Run::Run(const Program& program, Precision precision, std::span<const ProgramInput> inputs,
         std::span<Tensor* const> outputs)
    : program_(program),
      plan_(plan_of(program)),
      precision_(precision),
      size_(precision == Precision::Float32 ? 4 : 8),
      count_(static_cast<int32_t>(program.values.size())),
      uniform_(count_, false),
      numbers_(8 * count_) {
  set_shape(inputs, outputs);
  set_inputs(inputs);
  set_outputs(outputs);
  add_steps();
}

// The broadcast shape of everything that is one number per element.
void Run::set_shape(std::span<const ProgramInput> inputs, std::span<Tensor* const> outputs) {
  auto include = [this](const Dims& shape) {
    while (shape_.size() < shape.size()) shape_.insert(0, 1);
    int64_t lead = shape_.size() - shape.size();
    for (int64_t d = 0; d < shape.size(); ++d) {
      if (shape_[lead + d] == 1) shape_[lead + d] = shape[d];
    }
  };
  bool whole = false;
  for (size_t j = 0; j < outputs.size(); ++j) {
    whole |= program_.values[program_.outputs[j]].extent != Extent::Row;
    include(outputs[j]->shape());
  }
  if (!whole || outputs.empty()) {
    for (const ProgramInput& input : inputs) {
      if (input.tensor) include(input.tensor->shape());
    }
  }
  if (!program_.has_rows) {
    length_ = 1;
    for (int64_t size : shape_) length_ *= size;
    blocks_ = 0;
    return;
  }
  if (shape_.empty()) shape_.push_back(1);
  row_shape_ = shape_;
  row_shape_.pop_back();
  length_ = shape_.back();
  rows_ = 1;
  for (int64_t size : row_shape_) rows_ *= size;
  block_ = std::clamp<int64_t>(length_ ? kBlock / length_ : kBlock, 1, kBlock);
  capacity_ = std::max(kBlock, length_);
  blocks_ = (rows_ + block_ - 1) / block_;
}

void Run::set_number(int32_t v, Scalar value) {
  if (precision_ == Precision::Float32) {
    auto single = static_cast<float>(value.to_double());
    std::memcpy(number(v), &single, 4);
  } else if (precision_ == Precision::Float64) {
    double full = value.to_double();
    std::memcpy(number(v), &full, 8);
  } else {
    int64_t whole = value.to_int();
    std::memcpy(number(v), &whole, 8);
  }
}

void Run::set_inputs(std::span<const ProgramInput> inputs) {
  int64_t bytes = 0;
  inputs_.resize(plan_.inputs.size());
  for (size_t i = 0; i < plan_.inputs.size(); ++i) {
    int32_t v = plan_.inputs[i];
    const Value& value = program_.values[v];
    const ProgramInput& input = inputs[value.index];
    if (!input.tensor) {
      uniform_[v] = true;
      set_number(v, input.scalar);
      continue;
    }
    bool row = value.extent == Extent::Row;
    inputs_[i] = Access(*input.tensor, row ? row_shape_ : shape_, row, precision_);
    if (inputs_[i].constant() && (rows_ | length_)) {
      uniform_[v] = true;
      const void* found = inputs_[i].read(0, 1, number(v));
      if (found != number(v)) std::memcpy(number(v), found, size_);
    } else if (!row) {
      bytes += std::max(rows_, int64_t{1}) * length_ * size_;
    }
  }
  for (Access& access : inputs_) access.set_prefetch(bytes > kPrefetchBytes);
}

void Run::set_outputs(std::span<Tensor* const> outputs) {
  outputs_.resize(outputs.size());
  for (size_t j = 0; j < outputs.size(); ++j) {
    int32_t v = program_.outputs[j];
    bool row = program_.values[v].extent == Extent::Row;
    outputs_[j] = Access(*outputs[j], row ? row_shape_ : shape_, row, precision_);
    // An input in the same memory that is read after this output is written needs a copy.
    for (size_t i = 0; i < inputs_.size(); ++i) {
      int32_t input = plan_.inputs[i];
      if (plan_.last_use[input] > v && !is_uniform(input) && inputs_[i].overlaps(outputs_[j])) {
        inputs_[i].use_direct(false);
      }
    }
  }
}

void Run::push(Step::Kind kind, int32_t to, int32_t operand) {
  Step step{kind};
  step.to = to;
  step.operands[0] = operand;
  steps_.push_back(step);
}

// The slot of a value's filled or spread form, made when first asked for.
int32_t Run::filled(int32_t v, Step::Kind kind) {
  int32_t slot = v + count_;
  if (std::find(done_.begin(), done_.end(), slot) == done_.end()) {
    push(kind, slot, v);
    done_.push_back(slot);
  }
  return slot;
}

// How a step over elements names an operand: one number, a spread row, or a block.
int32_t Run::element_operand(int32_t v, uint32_t bit, uint32_t* scalars) {
  if (is_uniform(v) || (is_row(v) && block_ == 1)) {
    *scalars |= bit;
    return v;
  }
  return is_row(v) ? filled(v, Step::Kind::Spread) : v;
}

void Run::add_compute(int32_t v) {
  const Value& value = program_.values[v];
  const InstructionKernels& kernels = kernels_of(precision_);
  const int arity = arity_of(value.instruction);
  Step step{Step::Kind::Elements};
  step.to = v;
  if (kind_of(value.instruction) == InstructionKind::Row) {
    int32_t operand = value.operands[0];
    step.kind = Step::Kind::Reduce;
    step.reduce = kernels.rows[static_cast<int>(value.instruction) -
                               static_cast<int>(Instruction::row_sum)];
    step.operands[0] = is_uniform(operand) ? filled(operand, Step::Kind::Fill) : operand;
    steps_.push_back(step);
    return;
  }
  step.kernel = kernels.kernels[static_cast<int>(value.instruction)];
  require(step.kernel, name_of(value.instruction), ": not defined for ",
          precision_ == Precision::Int64 ? "integers; convert them with .float()"
                                         : "floating numbers; convert them to an integer type");
  bool uniform = true;
  for (int i = 0; i < arity; ++i) uniform = uniform && is_uniform(value.operands[i]);
  if (uniform) {
    uniform_[v] = true;
    const void* operands[3] = {};
    for (int i = 0; i < arity; ++i) operands[i] = number(value.operands[i]);
    step.kernel(number(v), operands[0], operands[1], operands[2], 1, 0);
    return;
  }
  if (is_row(v)) step.kind = Step::Kind::Rows;
  for (int i = 0; i < arity; ++i) {
    int32_t operand = value.operands[i];
    if (step.kind == Step::Kind::Elements) {
      step.operands[i] = element_operand(operand, 1u << i, &step.scalars);
    } else {
      step.operands[i] = operand;
      step.scalars |= is_uniform(operand) ? 1u << i : 0;
    }
  }
  steps_.push_back(step);
}

void Run::add_stores(int32_t v) {
  bool placed = is_uniform(v) || program_.values[v].instruction == Instruction::Input;
  for (size_t j = 0; j < outputs_.size(); ++j) {
    if (program_.outputs[j] != v) continue;
    if (!placed && outputs_[j].direct()) {
      placed_[j] = placed = true;
      continue;
    }
    int32_t from = v;
    if (is_uniform(v)) from = filled(v, is_row(v) ? Step::Kind::FillRows : Step::Kind::Fill);
    push(is_row(v) ? Step::Kind::StoreRows : Step::Kind::Store, static_cast<int32_t>(j), from);
  }
}

void Run::add_steps() {
  placed_.resize(outputs_.size(), false);
  for (int32_t v = 0; v < count_; ++v) {
    const Value& value = program_.values[v];
    if (value.instruction == Instruction::Constant) {
      uniform_[v] = true;
      set_number(v, Scalar(value.constant));
    } else if (value.instruction == Instruction::row_count) {
      uniform_[v] = true;
      set_number(v, Scalar(length_));
    } else if (value.instruction != Instruction::Input) {
      add_compute(v);
    }
    add_stores(v);
  }
  if (program_.has_rows) return;
  // One instruction on direct operands passes through no register: blocks may be long.
  if (steps_.size() == 1 && all_direct()) capacity_ = 0, block_ = kLongBlock;
  blocks_ = (length_ + block_ - 1) / block_;
}

bool Run::all_direct() const {
  for (size_t i = 0; i < inputs_.size(); ++i) {
    if (!is_uniform(plan_.inputs[i]) && !inputs_[i].direct()) return false;
  }
  for (const Access& output : outputs_) {
    if (!output.direct()) return false;
  }
  return true;
}

int64_t Run::grain() const {
  int64_t elements = std::max<int64_t>(1024, 3 * kGrain / (plan_.cost + 2));
  int64_t block = program_.has_rows ? std::max<int64_t>(1, block_ * length_) : block_;
  return std::max<int64_t>(1, elements / block);
}

void Run::rebase(std::span<const ForeachInput> inputs,
                 std::span<const std::span<Tensor* const>> outputs, size_t k) {
  length_ = outputs[0][k]->numel();
  bool large = length_ * size_ * static_cast<int64_t>(inputs_.size()) > kPrefetchBytes;
  for (size_t i = 0; i < inputs_.size(); ++i) {
    const ForeachInput& input = inputs[program_.values[plan_.inputs[i]].index];
    if (input.tensors.empty()) continue;
    inputs_[i].set_base(input.tensors[k]->data());
    inputs_[i].set_prefetch(large);
  }
  for (size_t j = 0; j < outputs_.size(); ++j) outputs_[j].set_base(outputs[j][k]->data());
}

// Where every slot's numbers are as long as no block says otherwise.
void Run::set_pointers(const void** pointers, char* memory) const {
  char* rows = memory + (plan_.register_count + 1) * register_bytes();
  auto block = [&](int32_t number) { return memory + number * register_bytes(); };
  for (int32_t v = 0; v < count_; ++v) {
    int32_t own = plan_.registers[v], spare = plan_.register_count;
    const char* place = block(own < 0 ? spare : own);
    if (is_row(v)) place = rows + own * row_register_bytes();
    pointers[v] = is_uniform(v) ? number(v) : place;
    bool spread = is_row(v) && !is_uniform(v) && plan_.expanded[v] >= 0;
    pointers[v + count_] = spread ? block(plan_.expanded[v]) : place;
  }
}

void Run::run_block(int64_t first, int64_t rows, const void** pointers) const {
  const bool by_rows = program_.has_rows;
  const int64_t begin = by_rows ? first * length_ : first, count = by_rows ? rows * length_ : rows;
  const Load fill = fill_of(precision_);
  for (size_t j = 0; j < outputs_.size(); ++j) {
    int32_t v = program_.outputs[j];
    if (placed_[j]) pointers[v] = outputs_[j].place(is_row(v) ? first : begin);
  }
  for (const Step& step : steps_) {
    void* to = const_cast<void*>(pointers[step.to]);
    const void *a = pointers[step.operands[0]], *b = pointers[step.operands[1]],
               *c = pointers[step.operands[2]];
    switch (step.kind) {
      case Step::Kind::Elements:
        step.kernel(to, a, b, c, count, step.scalars);
        break;
      case Step::Kind::Rows:
        step.kernel(to, a, b, c, rows, step.scalars);
        break;
      case Step::Kind::Reduce:
        step.reduce(to, a, rows, length_);
        break;
      case Step::Kind::Spread:
        for (int64_t r = 0; r < rows; ++r) {
          fill(static_cast<char*>(to) + r * length_ * size_,
               static_cast<const char*>(a) + r * size_, 0, length_);
        }
        break;
      case Step::Kind::Fill:
        fill(to, a, 0, count);
        break;
      case Step::Kind::FillRows:
        fill(to, a, 0, rows);
        break;
      case Step::Kind::Store:
        outputs_[step.to].store(begin, count, a);
        break;
      case Step::Kind::StoreRows:
        outputs_[step.to].store(first, rows, a);
        break;
    }
  }
}

// Registers live on the stack when they fit, as they do for all but long rows.
void Run::execute_blocks(int64_t begin, int64_t end) const {
  alignas(64) char stack[48 << 10];
  const void* few_pointers[128];
  std::unique_ptr<const void*[]> more_pointers;
  const void** pointers = few_pointers;
  if (2 * count_ > 128) {
    more_pointers.reset(new const void*[2 * count_]);
    pointers = more_pointers.get();
  }
  const size_t bytes = capacity_ ? static_cast<size_t>(memory_bytes()) : 0;
  char* memory = bytes > sizeof(stack) ? static_cast<char*>(allocate(bytes)) : stack;
  auto release = [&](char* block) {
    if (block != stack) deallocate(block, bytes);
  };
  std::unique_ptr<char, decltype(release)> guard(memory, release);
  set_pointers(pointers, memory);
  SmallVector<const void*, 16> scratch(static_cast<int64_t>(inputs_.size()));
  for (size_t i = 0; i < inputs_.size(); ++i) scratch[i] = pointers[plan_.inputs[i]];
  const int64_t total = program_.has_rows ? rows_ : length_;
  for (int64_t index = begin; index < end; ++index) {
    int64_t first = index * block_, rows = std::min(block_, total - first);
    for (size_t i = 0; i < inputs_.size(); ++i) {
      int32_t v = plan_.inputs[i];
      if (is_uniform(v)) continue;
      void* place = const_cast<void*>(scratch[i]);
      bool elements = program_.has_rows && !is_row(v);
      pointers[v] = elements ? inputs_[i].read(first * length_, rows * length_, place)
                             : inputs_[i].read(first, rows, place);
    }
    run_block(first, rows, pointers);
  }
}

void Run::execute() {
  if (blocks_ == 1) {
    execute_blocks(0, 1);
  } else {
    parallel_for(blocks_, grain(), [&](int64_t begin, int64_t end) { execute_blocks(begin, end); });
  }
}

void run_blocks(const Program& program, Precision precision, std::span<const ProgramInput> inputs,
                std::span<Tensor* const> outputs) {
  Run(program, precision, inputs, outputs).execute();
}

// Whether the k-th tensors differ from the first only in their length.
bool conforms(std::span<const ForeachInput> inputs,
              std::span<const std::span<Tensor* const>> outputs, size_t k) {
  const Tensor& first = *outputs[0][k];
  auto fits = [&](const Tensor& tensor, const Tensor& model) {
    return tensor.contiguous() && tensor.shape() == first.shape() &&
           tensor.dtype() == model.dtype();
  };
  for (const ForeachInput& input : inputs) {
    if (!input.tensors.empty() && !fits(*input.tensors[k], *input.tensors[0])) return false;
  }
  for (const auto& output : outputs) {
    if (!fits(*output[k], *output[0])) return false;
  }
  return true;
}

std::vector<ProgramInput> inputs_at(std::span<const ForeachInput> inputs, size_t k) {
  std::vector<ProgramInput> result;
  for (const ForeachInput& input : inputs) {
    result.push_back({input.tensors.empty() ? nullptr : input.tensors[k], input.number});
  }
  return result;
}

}  // namespace

void run_foreach(const Program& program, Precision precision, std::span<const ForeachInput> inputs,
                 std::span<const std::span<Tensor* const>> outputs) {
  const size_t count = outputs[0].size();
  auto outputs_at = [&](size_t k) {
    std::vector<Tensor*> result;
    for (const auto& output : outputs) result.push_back(output[k]);
    return result;
  };
  std::vector<size_t> members;
  std::vector<int64_t> starts{0};  // in blocks
  std::unique_ptr<Run> run;
  for (size_t k = 0; k < count; ++k) {
    if (!program.has_rows && conforms(inputs, outputs, k)) {
      if (!run) run = std::make_unique<Run>(program, precision, inputs_at(inputs, k), outputs_at(k));
      members.push_back(k);
      starts.push_back(starts.back() + (outputs[0][k]->numel() + run->block() - 1) / run->block());
    } else {
      run_program(program, precision, inputs_at(inputs, k), outputs_at(k));
    }
  }
  if (!run) return;
  parallel_for(starts.back(), run->grain(), [&](int64_t begin, int64_t end) {
    Run mine = *run;
    auto at = std::upper_bound(starts.begin(), starts.end(), begin) - starts.begin() - 1;
    for (; begin < end; ++at) {
      int64_t stop = std::min(end, starts[at + 1]);
      if (stop <= begin) continue;
      mine.rebase(inputs, outputs, members[at]);
      mine.execute_blocks(begin - starts[at], stop - starts[at]);
      begin = stop;
    }
  });
}

// The seam for other executors of the same programs, such as one that writes machine code.
Executor program_executor = &run_blocks;

void run_program(const Program& program, Precision precision, std::span<const ProgramInput> inputs,
                 std::span<Tensor* const> outputs) {
  program_executor(program, precision, inputs, outputs);
}

}  // namespace flambeau
