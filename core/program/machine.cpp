// The block machine: runs a program over memory a block at a time, one precompiled loop per
// instruction, so that everything between loads and stores stays in the first-level cache.
//
// Note [Blocks]: a block is 512 elements, or, for programs with row values, one row or as many
// whole rows as fit into 512 elements. Values that are one number per run are computed once. A
// value of one number per row is an operand of one number when a block is one row, and is spread
// over the row's elements otherwise. Inputs of the precision's own type are read where they are,
// outputs written where they belong; everything else goes through loads and stores.
#include "program/machine.h"

#include <cstring>
#include <memory>

#include "base/allocator.h"
#include "base/thread_pool.h"
#include "program/access.h"
#include "program/builder.h"
#include "program/cuda_run.h"
#include "program/dense.h"
#include "program/emitter.h"
#include "program/emitter/foreach.h"
#include "program/recipe.h"
#include "program/reordered.h"

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

Kernel kernel_of(Instruction instruction, Precision precision) {
  return kernels_of(precision).kernels[static_cast<int>(instruction)];
}

void run_test(Kernel kernel, Precision precision, bool* out, const void* a, const void* b,
              int64_t count, uint32_t scalars) {
  constexpr int64_t kChunk = 512;
  alignas(64) char results[8 * kChunk];
  const int64_t size = precision == Precision::Float32 ? 4 : 8;
  const Store store =
      FLAMBEAU_CHOOSE(transfer_kernels)->stores[static_cast<int>(precision)][0];  // Bool
  for (int64_t i = 0; i < count; i += kChunk) {
    const int64_t length = std::min(kChunk, count - i);
    auto at = [&](const void* operand, uint32_t bit) {
      return static_cast<const char*>(operand) + (scalars & bit ? 0 : i * size);
    };
    kernel(results, at(a, 1), b ? at(b, 2) : nullptr, nullptr, length, scalars);
    store(out + i, 1, results, length);
  }
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

 private:
  bool is_row(int32_t v) const { return program_.values[v].extent == Extent::Row; }
  bool is_uniform(int32_t v) const { return recipe_->uniform[v]; }
  void set_shape(std::span<const ProgramInput> inputs, std::span<Tensor* const> outputs);
  void set_inputs(std::span<const ProgramInput> inputs);
  void set_numbers(std::span<const ProgramInput> inputs);
  void set_outputs(std::span<Tensor* const> outputs);
  bool all_direct() const;
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
  const Recipe* recipe_ = nullptr;
  const Precision precision_;
  const int64_t size_;   // of one number
  const int32_t count_;  // of values
  Dims shape_, row_shape_;
  int64_t rows_ = 0, length_ = 0;  // of row programs; otherwise length_ = elements
  int64_t block_ = kBlock;         // elements, or rows
  int64_t blocks_ = 0;
  int64_t capacity_ = kBlock;          // numbers in a block register
  SmallVector<uint64_t, 48> numbers_;  // of uniform values, by value
  AccessList inputs_, outputs_;        // inputs by position in plan_.inputs
  SmallVector<bool, 8> placed_;        // output j is computed where it belongs
};

Run::Run(const Program& program, Precision precision, std::span<const ProgramInput> inputs,
         std::span<Tensor* const> outputs)
    : program_(program),
      plan_(plan_of(program)),
      precision_(precision),
      size_(precision == Precision::Float32 ? 4 : 8),
      count_(static_cast<int32_t>(program.values.size())),
      inputs_(plan_.inputs.size()),
      outputs_(outputs.size()) {
  set_shape(inputs, outputs);
  set_inputs(inputs);
  set_numbers(inputs);
  set_outputs(outputs);
  if (program_.has_rows) return;
  // One instruction on direct operands passes through no register: blocks may be long.
  if (recipe_->steps.size() == 2 && outputs_.size() == 1 && placed_[0] && all_direct()) {
    capacity_ = 0;
    block_ = kLongBlock;
  }
  blocks_ = (length_ + block_ - 1) / block_;
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
  if (!whole) {
    for (const ProgramInput& input : inputs) {
      if (input.tensor) include(input.tensor->shape());
    }
  }
  if (!program_.has_rows) {
    length_ = 1;
    for (int64_t size : shape_) length_ *= size;
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

void Run::set_inputs(std::span<const ProgramInput> inputs) {
  int64_t bytes = 0;
  uint64_t numbers = 0;  // bit i: input i is one number in this run
  const bool empty = program_.has_rows ? rows_ * length_ == 0 : length_ == 0;
  for (size_t i = 0; i < plan_.inputs.size(); ++i) {
    const Value& value = program_.values[plan_.inputs[i]];
    const Tensor* tensor = inputs[value.index].tensor;
    if (!tensor) {
      require(i < 64 || value.extent == Extent::Uniform, "program: too many inputs");
      numbers |= i < 64 ? uint64_t{1} << i : 0;
      continue;
    }
    bool row = value.extent == Extent::Row;
    inputs_[i] = Access(*tensor, row ? row_shape_ : shape_, row, precision_);
    if (inputs_[i].constant() && !empty && i < 64) numbers |= uint64_t{1} << i;
    if (!row) bytes += std::max(rows_, int64_t{1}) * length_ * size_;
  }
  if (bytes > kPrefetchBytes) {
    for (size_t i = 0; i < inputs_.size(); ++i) inputs_[i].set_prefetch(true);
  }
  recipe_ = &recipe_of(program_, precision_, numbers, program_.has_rows && block_ == 1);
}

// Everything that is one number per run: constants, parameters, and what follows from them.
void Run::set_numbers(std::span<const ProgramInput> inputs) {
  numbers_.assign(recipe_->constants.data(), recipe_->constants.data() + count_);
  for (size_t i = 0; i < plan_.inputs.size(); ++i) {
    int32_t v = plan_.inputs[i];
    if (!is_uniform(v)) continue;
    const ProgramInput& input = inputs[program_.values[v].index];
    if (!input.tensor) {
      numbers_[v] = number_bits(precision_, input.scalar);
    } else {
      const void* found = inputs_[i].read(0, 1, &numbers_[v]);
      if (found != &numbers_[v]) std::memcpy(&numbers_[v], found, size_);
    }
  }
  for (int32_t v : recipe_->row_counts) numbers_[v] = number_bits(precision_, Scalar(length_));
  for (const Step& step : recipe_->once) {
    step.kernel(&numbers_[step.to], &numbers_[step.operands[0]], &numbers_[step.operands[1]],
                &numbers_[step.operands[2]], 1, 0);
  }
}

void Run::set_outputs(std::span<Tensor* const> outputs) {
  placed_.resize(static_cast<int64_t>(outputs.size()), false);
  for (size_t j = 0; j < outputs.size(); ++j) {
    int32_t v = program_.outputs[j];
    bool row = is_row(v);
    outputs_[j] = Access(*outputs[j], row ? row_shape_ : shape_, row, precision_);
    placed_[j] = recipe_->placeable[j] && outputs_[j].direct();
    // An input in the same memory that is read after this output is written needs a copy.
    for (size_t i = 0; i < inputs_.size(); ++i) {
      int32_t input = plan_.inputs[i];
      if (plan_.last_use[input] > v && !is_uniform(input) && inputs_[i].overlaps(outputs_[j])) {
        inputs_[i].use_direct(false);
      }
    }
  }
}

bool Run::all_direct() const {
  for (size_t i = 0; i < inputs_.size(); ++i) {
    if (!is_uniform(plan_.inputs[i]) && !inputs_[i].direct()) return false;
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
    pointers[v] = is_uniform(v) ? reinterpret_cast<const char*>(&numbers_[v]) : place;
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
  for (const Step& step : recipe_->steps) {
    const bool store = step.kind >= Step::Kind::Store;
    if (store && placed_[step.to]) continue;
    void* to = store ? nullptr : const_cast<void*>(pointers[step.to]);
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

void run_blocks(const Program& program, Precision precision, std::span<const ProgramInput> inputs,
                std::span<Tensor* const> outputs) {
  if (run_dense(program, precision, inputs, outputs)) return;
  Run(program, precision, inputs, outputs).execute();
}

static void run_lists(const Program& program, Precision precision,
                      std::span<const ForeachInput> inputs,
                      std::span<const std::span<Tensor* const>> outputs) {
  const size_t count = outputs[0].size();
  if (count > 0 && !outputs[0][0]->device().is_cpu()) {
    return run_foreach_cuda(program, precision, inputs, outputs);
  }
  auto outputs_at = [&](size_t k) {
    std::vector<Tensor*> result;
    for (const auto& output : outputs) result.push_back(output[k]);
    return result;
  };
  std::vector<size_t> members;
  for (size_t k = 0; k < count; ++k) {
    if (!program.has_rows && conforms(inputs, outputs, k)) {
      members.push_back(k);
    } else {
      run_program(program, precision, inputs_at(inputs, k), outputs_at(k));
    }
  }
  if (members.empty()) return;
  emitter::ForeachLayout layout;
  if (layout.find(program, precision, inputs, outputs, members)) {
    layout.run(program, inputs, outputs);
    return;
  }
  const Run run(program, precision, inputs_at(inputs, members[0]), outputs_at(members[0]));
  std::vector<int64_t> starts{0};  // in blocks
  for (size_t k : members) {
    starts.push_back(starts.back() + (outputs[0][k]->numel() + run.block() - 1) / run.block());
  }
  parallel_for(starts.back(), run.grain(), [&](int64_t begin, int64_t end) {
    Run mine = run;
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

void run_foreach(const Program& program, Precision precision, std::span<const ForeachInput> inputs,
                 std::span<const std::span<Tensor* const>> outputs) {
  if (const Lines lines(inputs, outputs); lines.any() && !program.has_rows) {
    return run_lists(program, precision, lines.inputs(), lines.outputs());
  }
  run_lists(program, precision, inputs, outputs);
}

// The seam for other executors of the same programs.
Executor program_executor = &run_adaptively;

static void run_where_it_lies(const Program& program, Precision precision,
                              std::span<const ProgramInput> inputs,
                              std::span<Tensor* const> outputs) {
  if (!outputs[0]->device().is_cpu()) [[unlikely]] {
    return run_program_cuda(program, precision, inputs, outputs);
  }
  program_executor(program, precision, inputs, outputs);
}

void run_program(const Program& program, Precision precision, std::span<const ProgramInput> inputs,
                 std::span<Tensor* const> outputs) {
  if (!outputs[0]->contiguous() && !program.has_rows) [[unlikely]] {
    const Dims order = memory_order(outputs[0]->shape(), outputs[0]->strides());
    if (!order.empty()) {
      const Reordered reordered(order, inputs, outputs);
      return run_where_it_lies(program, precision, reordered.inputs(), reordered.outputs());
    }
  }
  run_where_it_lies(program, precision, inputs, outputs);
}

}  // namespace flambeau
