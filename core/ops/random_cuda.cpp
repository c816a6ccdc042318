#include "ops/random_cuda.h"

#include <algorithm>
#include <cmath>

#include "cuda/error.h"
#include "cuda/launch.h"
#include "ops/arithmetic.h"
#include "ops/reduction.h"
#include "ops/sort.h"
#include "ops/sort_cuda.h"
#include "ops/views.h"
#include "tensor/copy.h"

namespace flambeau {

namespace {

const cuda::KernelFile kFile{"ops/random.cu"};
constexpr int kBlock = 256;

int device_of(const CudaGenerator& generator) { return generator.device().index; }

// PyTorch's division of `count` elements among threads: at most as many blocks as the GPU holds at
// once, four numbers at a time. The values depend on the number of multiprocessors through it.
struct Division {
  unsigned blocks;
  uint64_t numbers;  // of each thread's stream that may be used

  Division(int device, int64_t count, int lanes) {
    const cuda::Properties& gpu = cuda::properties(device);
    const int64_t most =
        int64_t{gpu.multiprocessors} * std::max(1, gpu.threads_per_multiprocessor / kBlock);
    blocks = static_cast<unsigned>(std::min(most, (count + kBlock - 1) / kBlock));
    const int64_t group = int64_t{kBlock} * blocks * lanes;
    numbers = static_cast<uint64_t>((count - 1) / group + 1) * 4;
  }
};

// Calls launch(first, count, numbers, blocks). What cannot be indexed with 32 bits is halved, after
// numbers for the whole were taken; PyTorch does so, and the next values depend on it.
template <class Launch>
void draw_in_parts(int64_t count, int64_t item_bytes, int lanes, CudaGenerator& generator,
                   Launch launch) {
  if (count == 0) return;
  const int device = device_of(generator);
  const auto narrow = [&](int64_t part) { return 1 + (part - 1) * item_bytes <= INT32_MAX; };
  if (!narrow(count)) generator.take(Division(device, count, lanes).numbers);
  const auto draw = [&](auto& self, int64_t first, int64_t part) -> void {
    if (!narrow(part)) {
      self(self, first, part / 2);
      self(self, first + part / 2, part - part / 2);
      return;
    }
    const Division division(device, part, lanes);
    launch(first, part, generator.take(division.numbers), division.blocks);
  };
  draw(draw, 0, count);
}

void* element(void* data, int64_t place, DType dtype) {
  return static_cast<char*>(data) + place * item_size(dtype);
}

}  // namespace

void draw_numbers(const Distribution& distribution, DType dtype, void* data, int64_t count,
                  double first, double second, CudaGenerator& generator) {
  const int lanes = dtype == DType::Float64 ? 2 : 4;
  draw_in_parts(count, item_size(dtype), lanes, generator,
                [&](int64_t from, int64_t part, const PhiloxNumbers& numbers, unsigned blocks) {
                  const cuda::Function& kernel = kFile.get(
                      "fill", {{"T", cuda::type_name(dtype)}, {"DISTRIBUTION", distribution.name}},
                      device_of(generator));
                  cuda::launch(kernel, {blocks}, {kBlock}, 0, element(data, from, dtype), part,
                               numbers, first, second);
                });
}

// Up to 2^28 the remainder of 32 bits is uniform enough for PyTorch.
WholeNumbers whole_numbers(int64_t base, uint64_t range) {
  return {base, range, range == 0 || range >= uint64_t{1} << 28};
}

WholeNumbers whole_numbers(DType dtype) {
  switch (dtype) {
    case DType::Float16:
      return {0, (1 << 11) + 1, false};
    case DType::BFloat16:
      return {0, (1 << 8) + 1, false};
    case DType::Float32:
      return {0, (1 << 24) + 1, false};
    case DType::Float64:
      return {0, (uint64_t{1} << 53) + 1, true};
    default:
      break;
  }
  const bool with_sign = dtype != DType::Bool && dtype != DType::UInt8;
  const int digits = dtype == DType::Bool ? 1 : static_cast<int>(8 * item_size(dtype)) - with_sign;
  return {0, uint64_t{1} << digits, dtype == DType::Int64};
}

void draw_integers(DType dtype, void* data, int64_t count, const WholeNumbers& numbers,
                   CudaGenerator& generator) {
  draw_in_parts(count, item_size(dtype), numbers.wide ? 2 : 4, generator,
                [&](int64_t from, int64_t part, const PhiloxNumbers& philox, unsigned blocks) {
                  const cuda::Function& kernel = kFile.get(
                      "whole",
                      {{"T", cuda::type_name(dtype)}, {"WHOLE_LANES", numbers.wide ? "2" : "4"}},
                      device_of(generator));
                  cuda::launch(kernel, {blocks}, {kBlock}, 0, element(data, from, dtype), part,
                               philox, numbers.base, numbers.range);
                });
}

// Keys of as many random bits as make equal ones rare enough (a tenth of all calls may have some),
// sorted; equal keys are shuffled afterwards.
void run_permutation_cuda(Call& call) {
  const Unrecorded off;
  const Tensor& output = call.output();
  const int64_t count = output.numel();
  if (count == 0) return;
  CudaGenerator& generator = cuda_generator_of(call);
  const int device = device_of(generator);
  const double n = static_cast<double>(count);
  const double wanted = std::ceil(std::log2(n - (6 * n * n + 1) / (12 * std::log(0.9))));
  const int bits = static_cast<int>(std::min(64.0, wanted));
  const DType key_type = bits <= 32 ? DType::Int32 : DType::Int64;
  const TensorRef drawn = Tensor::empty({count}, key_type, output.device());
  const WholeNumbers all =
      bits <= 32 ? whole_numbers(INT32_MIN, UINT32_MAX) : whole_numbers(INT64_MIN, UINT64_MAX);
  draw_integers(key_type, drawn->data(), count, all, generator);

  const TensorRef keys = dense_copy(*drawn, DType::Int64);
  const unsigned blocks = cuda::blocks_for(count, kBlock, device);
  const bool few = bits < 8 * item_size(key_type);
  const int64_t mask = few ? (int64_t{1} << bits) - 1 : -1;
  if (few) {
    cuda::launch(kFile.get("keep_bits", {{"KEYS", ""}}, device), {blocks}, {kBlock}, 0,
                 keys->data(), count, mask);
  }
  const TensorRef order = few ? cuda_ops::sort_small(keys, mask).positions : argsort(keys, 0);
  constexpr int kRunBlock = 512;
  const auto run_blocks = static_cast<unsigned>((count + kRunBlock - 1) / kRunBlock);
  cuda::launch(kFile.get("shuffle_runs", {{"KEYS", ""}}, device), {run_blocks}, {kRunBlock}, 0,
               keys->data(), order->data(), count, generator.take(static_cast<uint64_t>(count)));
  write_distinct(output, *order);
}

void run_dropout_mask_cuda(Call& call) {
  const Tensor& mask = call.output();
  if (mask.numel() == 0) return;
  CudaGenerator& generator = cuda_generator_of(call);
  const Division division(device_of(generator), mask.numel(), 4);
  fill_in_memory_order(mask, [&](void* data, int64_t count, bool) {
    const int lanes = call.attributes.flag;
    const bool aligned = reinterpret_cast<uintptr_t>(data) % 16 == 0;
    const char* side_by_side = lanes == 2 ? "2" : lanes == 4 ? "4" : lanes == 8 ? "8" : "1";
    if (!aligned || count % std::max(lanes, 1) != 0) side_by_side = "1";
    const cuda::Function& kernel = kFile.get(
        "dropout_mask", {{"T", cuda::type_name(mask.dtype())}, {"MASK_LANES", side_by_side}},
        device_of(generator));
    cuda::launch(kernel, {division.blocks}, {kBlock}, 0, data, count,
                 generator.take(division.numbers), call.attributes.scalars[0].to_double());
  });
}

// PyTorch's order for two operands: a dimension moves inside of another where no stride speaks
// against it.
static Dims order_of_pair(const Tensor& target, const Dims& strides) {
  Dims order;
  for (int64_t d = 0; d < target.dim(); ++d) order.push_back(d);
  for (int64_t i = 0; i < order.size(); ++i) {
    for (int64_t j = i + 1; j < order.size(); ++j) {
      const int64_t a = order[i], b = order[j];
      if (target.size(a) == 1 || target.size(b) == 1) continue;
      const bool against = target.stride(a) > target.stride(b) || strides[a] > strides[b];
      const bool wrong = target.stride(a) < target.stride(b) || strides[a] < strides[b];
      if (wrong && !against) std::swap(order[i], order[j]);
    }
  }
  return order;
}

void draw_bernoulli_cuda(const Tensor& target, const Tensor& probabilities,
                         CudaGenerator& generator) {
  const DType wide = target.dtype() == DType::Float64 ? DType::Float64 : DType::Float32;
  if (target.numel() == 0) return;
  const Dims strides = broadcast_strides(probabilities, target.shape());
  const TensorRef expanded = Tensor::view(probabilities.storage(), target.shape(), strides,
                                          probabilities.offset(), probabilities.dtype());
  const Dims order = order_of_pair(target, strides);
  const TensorRef dense = dense_copy(*reorder(*expanded, order), wide);
  const int device = device_of(generator);
  static const int wrong = cuda::plain_error_site(
      "bernoulli: expects p to be in [0, 1], but a probability lies outside", ErrorKind::Runtime);
  const TensorRef ordered = reorder(target, order);
  const TensorRef drawn = ordered->contiguous()
                              ? ordered
                              : Tensor::empty(ordered->shape(), target.dtype(), target.device());
  constexpr int kThreads = 512, kEach = 4;
  const int64_t count = target.numel();
  const auto blocks = static_cast<unsigned>((count + kThreads * kEach - 1) / (kThreads * kEach));
  const cuda::Function& kernel = kFile.get(
      "bernoulli", {{"T", cuda::type_name(target.dtype())}, {"PROBABILITY", cuda::type_name(wide)}},
      device);
  cuda::launch(kernel, {blocks}, {kThreads}, 0, drawn->data(), dense->data(), count,
               generator.take(10), cuda::error_slot(device), wrong);
  if (drawn.get() != ordered.get()) write_distinct(*ordered, *drawn);
}

// Multinomial ------------------------------------------------------------------------------------

static void check_weights(const Tensor& weights, int64_t rows, int64_t categories, int device) {
  static const int wrong_weight = cuda::plain_error_site(
      "multinomial: probability tensor contains either `inf`, `nan` or element < 0",
      ErrorKind::Runtime);
  static const int empty_row = cuda::plain_error_site(
      "multinomial: invalid multinomial distribution (sum of probabilities <= 0)",
      ErrorKind::Runtime);
  const auto blocks = static_cast<unsigned>(std::min<int64_t>(rows, 65535));
  const cuda::Function& kernel =
      kFile.get("check_weights", {{"WEIGHT", cuda::type_name(weights.dtype())}}, device);
  cuda::launch(kernel, {blocks}, {kBlock}, 0, weights.data(), rows, categories,
               cuda::error_slot(device), wrong_weight, empty_row);
}

// Without replacement (or for one sample): the largest weight / Exp(1), see run_multinomial.
static TensorRef largest_of_ratios(const TensorRef& input, int64_t samples, Generator& generator) {
  Attributes attributes = drawing(input->device(), &generator, 1.0);
  const TensorRef noise = draw_like(kExponential, *input, input->dtype(), std::move(attributes));
  const TensorRef ratios = div(input, noise);
  const int64_t last = input->dim() - 1;
  if (samples == 1) return max_along(ratios, last, true).back();
  return topk(ratios, samples, last).back();
}

void run_multinomial_cuda(Call& call) {
  const Unrecorded off;
  const TensorRef& input = call.inputs[0];
  const int64_t categories = input->shape().back(), samples = call.attributes.ints[0];
  const int64_t rows = input->dim() == 2 ? input->size(0) : 1;
  if (call.output().numel() == 0) return;
  CudaGenerator& generator = cuda_generator_of(call);
  const int device = device_of(generator);
  const DType wide = input->dtype() == DType::Float64 ? DType::Float64 : DType::Float32;
  const TensorRef weights = dense_copy(*input, wide);
  check_weights(*weights, rows, categories, device);
  if (!call.attributes.flag || samples == 1) {
    return copy(call.output(), *largest_of_ratios(input, samples, generator));
  }
  const TensorRef cumulative = cumsum(weights, weights->dim() - 1);
  constexpr unsigned kThreads = 128, kMostRows = 65535;
  const auto columns = static_cast<unsigned>((samples - 1) / kThreads + 1);
  const auto lines = static_cast<unsigned>(std::min<int64_t>(rows, kMostRows));
  const uint64_t each = (static_cast<uint64_t>(rows - 1) / lines + 1) * 4;
  cuda::launch(kFile.get("sample", {{"WEIGHT", cuda::type_name(wide)}}, device), {columns, lines},
               {kThreads}, 0, call.output().data(), weights->data(), cumulative->data(), rows,
               categories, samples, generator.take(each));
}

}  // namespace flambeau
