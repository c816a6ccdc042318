#include "program/dense.h"

#include "base/allocator.h"
#include "base/thread_pool.h"
#include "program/recipe.h"

namespace flambeau {

namespace {

constexpr int64_t kBlock = 512;
constexpr int64_t kPadding = 64;  // registers a multiple of a page apart would share cache sets
constexpr int64_t kPrefetchBytes = 1 << 20;
constexpr int kMostValues = 48;
constexpr int kMostTensors = 12;  // inputs and outputs, each

// A value that lives in a tensor; load and store are null where the type is the precision's own.
struct Place {
  int32_t value;
  char* base;
  int64_t item_size;
  Load load = nullptr;
  Store store = nullptr;
};

// Memory for registers beyond those on the stack.
struct Scratch {
  explicit Scratch(size_t bytes)
      : bytes(bytes), memory(bytes ? static_cast<char*>(allocate(bytes)) : nullptr) {}
  ~Scratch() {
    if (memory) deallocate(memory, bytes);
  }
  size_t bytes;
  char* memory;
};

struct Dense {
  const Recipe* recipe = nullptr;
  const Plan* plan = nullptr;
  int64_t count = 0;
  int64_t size = 4;
  int value_count = 0;
  int input_count = 0, output_count = 0;
  Place inputs[kMostTensors], outputs[kMostTensors];
  uint64_t numbers[kMostValues];

  void run(int64_t begin, int64_t end, bool prefetch) const;
};

bool fits(const Tensor& tensor, const Tensor& model) {
  return tensor.contiguous() && tensor.shape() == model.shape();
}

Place place_of(int32_t value, const Tensor& tensor, Precision precision, DType own) {
  Place place{value, tensor.data<char>(), item_size(tensor.dtype())};
  if (tensor.dtype() != own) {
    const TransferKernels& transfers = *FLAMBEAU_CHOOSE(transfer_kernels);
    int p = static_cast<int>(precision), d = static_cast<int>(tensor.dtype());
    place.load = transfers.loads[p][d];
    place.store = transfers.stores[p][d];
  }
  return place;
}

void Dense::run(int64_t begin, int64_t end, bool prefetch) const {
  alignas(64) char stack[32 << 10];
  const void* pointers[kMostValues];
  const int64_t stride = kBlock * size + kPadding;
  const size_t bytes = static_cast<size_t>(plan->register_count * stride);
  const Scratch scratch(bytes > sizeof(stack) ? bytes : 0);
  char* memory = scratch.memory ? scratch.memory : stack;
  for (int v = 0; v < value_count; ++v) {
    pointers[v] = recipe->uniform[v] ? static_cast<const void*>(&numbers[v])
                                     : memory + plan->registers[v] * stride;
  }
  for (int64_t first = begin; first < end; first += kBlock) {
    const int64_t length = std::min(kBlock, end - first);
    for (int i = 0; i < input_count; ++i) {
      const Place& input = inputs[i];
      const char* from = input.base + first * input.item_size;
      if (prefetch) {
        for (int64_t b = 0; b < kBlock * input.item_size; b += 64) {
          __builtin_prefetch(from + kBlock * input.item_size + b);
        }
      }
      if (input.load) {
        char* to = memory + plan->registers[input.value] * stride;
        input.load(to, from, 1, length);
        from = to;
      }
      pointers[input.value] = from;
    }
    for (int j = 0; j < output_count; ++j) {
      if (!outputs[j].store) pointers[outputs[j].value] = outputs[j].base + first * size;
    }
    for (const Step& step : recipe->steps) {
      if (step.kind == Step::Kind::Elements) {
        step.kernel(const_cast<void*>(pointers[step.to]), pointers[step.operands[0]],
                    pointers[step.operands[1]], pointers[step.operands[2]], length, step.scalars);
      } else if (const Place& output = outputs[step.to]; output.store) {
        output.store(output.base + first * output.item_size, 1, pointers[step.operands[0]], length);
      }
    }
  }
}

}  // namespace

bool run_dense(const Program& program, Precision precision, std::span<const ProgramInput> inputs,
               std::span<Tensor* const> outputs) {
  const DType dtype = precision == Precision::Float32   ? DType::Float32
                      : precision == Precision::Float64 ? DType::Float64
                                                        : DType::Int64;
  const Tensor& model = *outputs[0];
  if (program.has_rows || program.values.size() > kMostValues || outputs.size() > kMostTensors) {
    return false;
  }
  for (const Tensor* output : outputs) {
    if (!fits(*output, model)) return false;
  }
  Dense dense;
  dense.plan = &plan_of(program);
  if (dense.plan->inputs.size() > kMostTensors) return false;
  uint64_t numbers = 0;
  for (size_t i = 0; i < dense.plan->inputs.size(); ++i) {
    const int32_t v = dense.plan->inputs[i];
    const Tensor* tensor = inputs[program.values[v].index].tensor;
    if (!tensor) {
      numbers |= uint64_t{1} << i;
      continue;
    }
    if (!fits(*tensor, model)) return false;
    for (size_t j = 0; j < outputs.size(); ++j) {
      bool shared = tensor->storage()->data() == outputs[j]->storage()->data();
      if (shared && dense.plan->last_use[v] > program.outputs[j]) return false;
    }
    dense.inputs[dense.input_count++] = place_of(v, *tensor, precision, dtype);
  }
  dense.recipe = &recipe_of(program, precision, numbers, false);
  for (size_t j = 0; j < outputs.size(); ++j) {
    if (!dense.recipe->placeable[j]) return false;
    dense.outputs[dense.output_count++] =
        place_of(program.outputs[j], *outputs[j], precision, dtype);
  }
  dense.count = model.numel();
  dense.size = precision == Precision::Float32 ? 4 : 8;
  dense.value_count = static_cast<int>(program.values.size());
  std::copy(dense.recipe->constants.begin(), dense.recipe->constants.end(), dense.numbers);
  for (int32_t v : dense.plan->inputs) {
    const ProgramInput& input = inputs[program.values[v].index];
    if (!input.tensor) dense.numbers[v] = number_bits(precision, input.scalar);
  }
  for (const Step& step : dense.recipe->once) {
    uint64_t* n = dense.numbers;
    step.kernel(n + step.to, n + step.operands[0], n + step.operands[1], n + step.operands[2], 1,
                0);
  }
  if (dense.count <= kBlock) {
    dense.run(0, dense.count, false);
    return true;
  }
  const bool prefetch = dense.count * dense.size * dense.input_count > kPrefetchBytes;
  const int64_t blocks = (dense.count + kBlock - 1) / kBlock;
  const int64_t grain = std::max<int64_t>(2, 3 * kGrain / (dense.plan->cost + 2) / kBlock);
  parallel_for(blocks, grain, [&](int64_t begin, int64_t end) {
    dense.run(begin * kBlock, std::min(end * kBlock, dense.count), prefetch);
  });
  return true;
}

}  // namespace flambeau
