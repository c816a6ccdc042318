// Copies and fills with a GPU on either side (tensor/copy.h).
#include <cmath>

#include "cuda/device.h"
#include "cuda/geometry.h"
#include "cuda/launch.h"
#include "program/builder.h"
#include "program/cuda_operands.h"
#include "program/cuda_run.h"
#include "program/reordered.h"
#include "tensor/device_memory.h"
#include "tensor/memory_format.h"

namespace flambeau {

namespace {

using cuda_run::Operand;

// One instruction-less program: its output is its input.
const Program& identity(Extent extent) {
  auto make = [](Extent extent) {
    Builder builder;
    const int32_t outputs[] = {builder.input(0, extent)};
    return builder.finish(1, outputs);
  };
  static const ProgramRef of_element = make(Extent::Element);
  static const ProgramRef of_number = make(Extent::Uniform);
  return extent == Extent::Element ? *of_element : *of_number;
}

// Bits are moved as integers: a NaN keeps its payload, and few kernels are needed.
DType bits_of(DType dtype) {
  switch (item_size(dtype)) {
    case 1:
      return DType::UInt8;
    case 2:
      return DType::Int16;
    case 4:
      return DType::Int32;
    default:
      return DType::Int64;
  }
}

// Target and source as matrices that are written along rows and read along columns.
struct Transposition {
  Dims outer, strides[2];
  int64_t rows = 0, columns = 0, to_row = 0, from_column = 0;

  bool find(const Operand& to, const Operand& from);
};

bool Transposition::find(const Operand& to, const Operand& from) {
  constexpr int64_t kLeast = 8;  // rows and columns; below, tiles are mostly empty
  outer = *to.shape;
  strides[0] = *to.strides;
  strides[1] = *from.strides;
  for (int64_t i = 1; i < outer.size(); ++i) {  // the target's longest stride first
    for (int64_t j = i; j > 0 && strides[0][j - 1] < strides[0][j]; --j) {
      std::swap(outer[j - 1], outer[j]);
      for (Dims& own : strides) std::swap(own[j - 1], own[j]);
    }
  }
  merge_dimensions(outer, strides);
  const int64_t last = outer.size() - 1;
  if (last < 1 || strides[0][last] != 1 || strides[1][last] <= 1) return false;
  int64_t row = last - 1;
  while (row >= 0 && strides[1][row] != 1) --row;
  if (row < 0 || outer[row] < kLeast || outer[last] < kLeast) return false;
  rows = outer[row];
  columns = outer[last];
  to_row = strides[0][row];
  from_column = strides[1][last];
  auto drop = [&](Dims& dims) {
    dims.pop_back();
    for (int64_t d = row; d + 1 < dims.size(); ++d) dims[d] = dims[d + 1];
    dims.pop_back();
  };
  drop(outer);
  drop(strides[0]);
  drop(strides[1]);
  if (outer.empty()) {
    outer.push_back(1);
    strides[0].push_back(0);
    strides[1].push_back(0);
  }
  return true;
}

void transpose(const Operand& to, const Operand& from, const Transposition& tiles) {
  static constexpr cuda::KernelFile kFile{"program/transpose.cu"};
  const std::string dims = std::to_string(tiles.outer.size());
  int64_t outer = 1;
  for (int64_t size : tiles.outer) outer *= size;
  const int64_t blocks = outer * ((tiles.rows + 31) / 32) * ((tiles.columns + 31) / 32);
  const cuda::Function& function =
      kFile.get("transpose",
                {{"TO", cuda::type_name(to.dtype)},
                 {"FROM", cuda::type_name(from.dtype)},
                 {"INDEX", blocks < cuda::kNarrowLimit ? "int" : "int64"},
                 {"DIMS", dims}},
                to.device);
  SmallVector<int64_t, 32> parameters{reinterpret_cast<int64_t>(to.data),
                                      reinterpret_cast<int64_t>(from.data),
                                      tiles.rows,
                                      tiles.columns,
                                      outer,
                                      tiles.to_row,
                                      tiles.from_column};
  for (const Dims& list : {tiles.outer, tiles.strides[0], tiles.strides[1]}) {
    for (int64_t number : list) parameters.push_back(number);
  }
  void* arguments[] = {parameters.data()};
  cuda::launch_with(function, {cuda::blocks_for(blocks * 256, 256, to.device)}, {256}, 0,
                    arguments);
}

// Both on one GPU.
void copy_there(const Tensor& target, const Tensor& source) {
  Operand to = Operand::of(target), from = Operand::of(source);
  const bool same = target.dtype() == source.dtype();
  if (same && to.contiguous && from.contiguous && to.numel == from.numel) {
    if (to.data == from.data) return;
    return device_memory.copy_bytes(to.data, target.device(), from.data, source.device(),
                                    to.numel * item_size(to.dtype), true);
  }
  if (same) to.dtype = from.dtype = bits_of(to.dtype);
  Dims shape = target.shape(), to_strides = target.strides();
  Dims from_strides = broadcast_strides(source, shape);
  const Dims order = memory_order(shape, to_strides);
  from.contiguous = from.contiguous && source.shape() == target.shape() && order.empty();
  for (Dims* dims : {&shape, &to_strides, &from_strides}) *dims = in_order(order, *dims);
  to.shape = from.shape = &shape;
  to.strides = &to_strides;
  from.strides = &from_strides;
  Transposition tiles;
  if (tiles.find(to, from)) return transpose(to, from, tiles);
  cuda_run::run(identity(Extent::Element), precision_of(from.dtype), {&from, 1}, {&to, 1});
}

bool same_place(Device a, Device b) {
  return a.is_cpu() ? b.is_cpu() : !b.is_cpu() && a.index == b.index;
}

void copy_across(const Tensor& target, const Tensor& source, bool wait) {
  const bool direct = target.contiguous() && source.contiguous() &&
                      target.dtype() == source.dtype() && target.numel() == source.numel();
  if (direct) {
    return device_memory.copy_bytes(target.data(), target.device(), source.data(), source.device(),
                                    target.numel() * item_size(target.dtype()), wait);
  }
  // Dense memory of the smaller type travels.
  const bool narrower = item_size(target.dtype()) < item_size(source.dtype());
  const DType dtype = narrower ? target.dtype() : source.dtype();
  TensorRef packed = source.contiguous() && source.dtype() == dtype
                         ? TensorRef::share(const_cast<Tensor*>(&source))
                         : dense_copy(source, dtype);
  TensorRef arrived = Tensor::empty(source.shape(), dtype, target.device());
  // What follows reads it, so on the CPU it must have arrived; the driver reads temporary memory of
  // the CPU, which is not pinned, before it returns.
  device_memory.copy_bytes(arrived->data(), target.device(), packed->data(), source.device(),
                           packed->numel() * item_size(dtype), wait || target.device().is_cpu());
  copy(target, *arrived, wait);
}

bool install() {
  device_memory.copy = copy_cuda;
  device_memory.fill = fill_cuda;
  return true;
}
const bool installed = install();

}  // namespace

void copy_cuda(const Tensor& target, const Tensor& source, bool wait) {
  if (target.numel() == 0) return;
  broadcast_strides(source, target.shape());  // raises where it cannot be
  if (!target.contiguous() && same_order(target, source) && is_dense(target)) {
    return copy_cuda(*flattened(target), *flattened(source), wait);
  }
  if (same_place(target.device(), source.device())) {
    copy_there(target, source);
  } else {
    copy_across(target, source, wait);
  }
}

void fill_cuda(const Tensor& target, Scalar value) {
  if (target.numel() == 0) return;
  if (!target.contiguous() && is_dense(target)) return fill_cuda(*flattened(target), value);
  Operand to = Operand::of(target);
  const Operand number = Operand::of(value);
  const bool zero =
      value.is_float() ? value.floating == 0 && !std::signbit(value.floating) : value.integer == 0;
  if (zero && to.contiguous) {
    const int device = target.device().index;
    cuda::use(device);
    cuda::check(cuda::driver().set_bytes(reinterpret_cast<cuda::DevicePointer>(to.data), 0,
                                         static_cast<size_t>(to.numel) * item_size(to.dtype),
                                         cuda::current_stream(device)),
                "cuMemsetD8Async");
    return;
  }
  const Precision precision = value.is_float() ? Precision::Float64 : Precision::Int64;
  cuda_run::run(identity(Extent::Uniform), precision, {&number, 1}, {&to, 1});
}

}  // namespace flambeau
