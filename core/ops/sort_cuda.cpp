// The GPU's side of sort.cpp and order_statistics.cpp: lines of up to 2048 elements are sorted in
// shared memory, longer ones by digits.
#include "ops/sort_cuda.h"

#include <bit>

#include "ops/cuda_layout.h"
#include "ops/cuda_runs.h"
#include "ops/reduction.h"
#include "ops/scan_cuda.h"
#include "ops/sort.h"
#include "ops/views.h"
#include "tensor/copy.h"

namespace flambeau {

using namespace cuda_ops;

namespace {

const cuda::KernelFile kFile{"ops/sort_lines.cu"};
const cuda::KernelFile kRadixFile{"ops/radix_sort.cu"};

constexpr int64_t kShort = 2048, kTile = 2048, kDigits = 16;

// Twin of Wanted in sort_lines.cu.
struct Wanted {
  int64_t first, count;
  int median = 0;
};

struct Keys {
  const char* name;
  DType dtype;  // of the same width
  int bits;
};
Keys keys_of(DType dtype) {
  if (item_size(dtype) == 8) return {"uint64", DType::Int64, 64};
  return {"unsigned", DType::Int32, 32};
}

// How many low bits the keys of a type differ in: small integers need fewer passes.
int key_bits(DType dtype) {
  if (dtype == DType::Bool) return 4;
  if (dtype == DType::UInt8) return 8;
  return keys_of(dtype).bits;
}

const cuda::Function& line_kernel(const char* entry, const Tensor& x) {
  return kFile.get(entry, {{"T", cuda::type_name(x.dtype())}, {"KEY", keys_of(x.dtype()).name}},
                   x.device().index);
}

void sort_short(const Lines& lines, bool descending, const Wanted& wanted, const Sorted& results) {
  const Tensor& x = *lines.x;
  int padded = 2;
  while (padded < lines.length) padded *= 2;
  const int together = std::max(1, 2 * kThreads / padded);
  const unsigned blocks = blocks_of((lines.count + together - 1) / together);
  const unsigned shared = together * padded * (keys_of(x.dtype()).bits / 8 + sizeof(unsigned));
  cuda::launch(line_kernel("sort_lines", x), {blocks},
               {static_cast<unsigned>(together * padded / 2)}, shared, results.values->data(),
               results.positions->data(), x.data(), lines.count, static_cast<int>(lines.length),
               padded, together, static_cast<int>(descending), wanted);
}

// By the `bits` lower ones of the keys, which the others do not differ in.
void sort_long(const Lines& lines, bool descending, const Wanted& wanted, int bits,
               const Sorted& results) {
  const Tensor& x = *lines.x;
  const Keys type = keys_of(x.dtype());
  const Device device = x.device();
  const int64_t count = x.numel(), tiles = (lines.length + kTile - 1) / kTile;
  TensorRef keys = Tensor::empty({count}, type.dtype, device),
            other_keys = Tensor::empty({count}, type.dtype, device);
  TensorRef places = Tensor::empty({count}, DType::Int32, device),
            other_places = Tensor::empty({count}, DType::Int32, device);
  TensorRef counts = Tensor::empty({lines.count, kDigits * tiles}, DType::Int64, device);
  cuda::launch(line_kernel("make_keys", x), grid_for(count, device.index), {kThreads}, 0,
               keys->data(), places->data(), x.data(), lines.length, static_cast<int>(descending),
               count);
  const unsigned blocks = blocks_of(lines.count * tiles);
  for (int shift = 0; shift < bits; shift += 4) {
    const struct {  // twin of Lines in radix_sort.cu
      int64_t length, tiles;
      int shift;
    } parameter{lines.length, tiles, shift};
    cuda::launch(kRadixFile.get("count_digits", {{"KEY", type.name}}, device.index), {blocks},
                 {kThreads}, 0, counts->data(), keys->data(), parameter);
    scan_lines(*counts, nullptr, *counts, kDigits * tiles, Scan::Sum);
    cuda::launch(kRadixFile.get("place_items", {{"KEY", type.name}}, device.index), {blocks},
                 {kThreads}, 0, other_keys->data(), other_places->data(), keys->data(),
                 places->data(), counts->data(), parameter);
    std::swap(keys, other_keys);
    std::swap(places, other_places);
  }
  const int64_t taken = lines.count * wanted.count;
  cuda::launch(line_kernel("take_sorted", x), grid_for(taken, device.index), {kThreads}, 0,
               results.values->data(), results.positions->data(), x.data(), keys->data(),
               places->data(), lines.count, lines.length, wanted);
}

// Sorts the lines of x along `dim` and leaves what is wanted of each in the call's outputs.
void sort_into(Call& call, const TensorRef& x, int64_t dim, bool descending, const Wanted& wanted,
               bool keeps_dim) {
  Lines lines(x, dim);
  if (lines.count == 0 || wanted.count == 0) return;
  // Where the results of a line lie side by side, they need no copy.
  const bool direct = !keeps_dim || x->dim() == 0 || dim == x->dim() - 1;
  Sorted results{call.outputs[0], call.outputs[1]};
  if (!direct) {
    const Dims shape = lines_shape(x->shape(), dim, wanted.count);
    results = {Tensor::empty(shape, x->dtype(), x->device()),
               Tensor::empty(shape, DType::Int64, x->device())};
  }
  if (lines.length <= kShort) {
    sort_short(lines, descending, wanted, results);
  } else {
    sort_long(lines, descending, wanted, key_bits(x->dtype()), results);
  }
  if (direct) return;
  store_lines(call.output(0), results.values, dim);
  store_lines(call.output(1), results.positions, dim);
}

void run_median_along(Call& call, int median) {
  Unrecorded scope;
  sort_into(call, call.inputs[0], call.attributes.ints[0], false, {0, 1, median}, false);
}

void run_median_of_all(Call& call, int median) {
  Unrecorded scope;
  TensorRef x = reshape(call.inputs[0], {-1});
  if (x->numel() == 0) return fill(call.output(), std::numeric_limits<double>::quiet_NaN());
  TensorRef inputs[] = {x};
  Call along(call.primitive, inputs);
  along.outputs = {call.outputs[0], Tensor::empty({}, DType::Int64, x->device())};
  sort_into(along, x, 0, false, {0, 1, median}, false);
}

}  // namespace

Sorted cuda_ops::sort_small(const TensorRef& x, int64_t largest) {
  Unrecorded scope;
  Lines lines(x, 0);
  const Wanted all{0, lines.length};
  Sorted results{Tensor::empty(x->shape(), x->dtype(), x->device()),
                 Tensor::empty(x->shape(), DType::Int64, x->device())};
  if (lines.length <= kShort) {
    sort_short(lines, false, all, results);
  } else {
    sort_long(lines, false, all, std::bit_width(static_cast<uint64_t>(largest)), results);
  }
  return results;
}

void run_sort_cuda(Call& call) {
  Unrecorded scope;
  const TensorRef& x = call.inputs[0];
  const Dims& ints = call.attributes.ints;
  const int64_t length = x->dim() ? x->size(ints[0]) : 1;
  sort_into(call, x, ints[0], ints[1] != 0, {0, length}, true);
}

void run_topk_cuda(Call& call) {
  Unrecorded scope;
  const Dims& ints = call.attributes.ints;
  sort_into(call, call.inputs[0], ints[0], ints[1] != 0, {0, ints[2]}, true);
}

void run_kthvalue_cuda(Call& call) {
  Unrecorded scope;
  const Dims& ints = call.attributes.ints;
  sort_into(call, call.inputs[0], ints[0], false, {ints[1] - 1, 1}, false);
}

void run_mode_cuda(Call& call) {
  static const cuda::KernelFile file{"ops/mode.cu"};
  Unrecorded scope;
  const Tensor& out = call.output();
  if (out.numel() == 0) return;
  Lines lines(call.inputs[0], call.attributes.ints[0]);
  TensorList sorted = sort(lines.x, -1);
  const cuda::Function& kernel =
      file.get("find_mode", {{"T", cuda::type_name(out.dtype())}}, out.device().index);
  cuda::launch(kernel, {blocks_of(lines.count)}, {kThreads}, 0, out.data(), call.output(1).data(),
               sorted[0]->data(), sorted[1]->data(), lines.length);
}

void run_median_cuda(Call& call) { run_median_along(call, 1); }
void run_nanmedian_cuda(Call& call) { run_median_along(call, 2); }
void run_median_all_cuda(Call& call) { run_median_of_all(call, 1); }
void run_nanmedian_all_cuda(Call& call) { run_median_of_all(call, 2); }

}  // namespace flambeau
