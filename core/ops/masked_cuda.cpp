// The GPU's side of masked.cpp: a running count of the mask says where each element goes. How many
// there are is read by the host, once per call.
#include "ops/cuda_layout.h"
#include "ops/cuda_runs.h"
#include "ops/reduction.h"
#include "ops/scan_cuda.h"
#include "ops/views.h"
#include "tensor/copy.h"

namespace flambeau {

using namespace cuda_ops;

namespace {

const cuda::KernelFile kFile{"ops/masked.cu"};

struct Counted {
  TensorRef mask, ends;  // dense
  int64_t total = 0;
};

Counted count_true(const TensorRef& truth) {
  Counted counted;
  counted.mask = contiguous(to_dtype(truth, DType::Bool));
  const int64_t count = counted.mask->numel();
  counted.ends = Tensor::empty({count}, DType::Int64, truth->device());
  if (count == 0) return counted;
  scan_lines(*counted.ends, nullptr, *counted.mask, count, Scan::Sum);
  counted.total = read_integer(*select(counted.ends, 0, count - 1));
  return counted;
}

const cuda::Function& kernel(const char* entry, const Tensor& x, const Layout& layout) {
  return kFile.get(
      entry,
      {{"T", unit_name(item_size(x.dtype()))}, {"INDEX", layout.index()}, {"DIMS", layout.dims()}},
      x.device().index);
}

// A walk over all elements of a dense tensor.
Layout flat_layout(const Tensor& x) { return Layout({x.numel()}, {{1}}); }

}  // namespace

void run_nonzero_cuda(Call& call) {
  Unrecorded scope;
  Counted counted = count_true(call.inputs[0]);
  const Tensor& mask = *counted.mask;
  TensorRef out = Tensor::empty({counted.total, mask.dim()}, DType::Int64, mask.device());
  call.outputs[0] = out;
  if (out->numel() == 0) return;
  Layout layout(mask.shape(), {contiguous_strides(mask.shape())}, false);
  const int device = mask.device().index;
  cuda::launch(kernel("write_positions", mask, layout), grid_for(mask.numel(), device), {kThreads},
               0, out->data(), mask.data(), counted.ends->data(), layout.parameter(), mask.numel());
}

void run_masked_select_cuda(Call& call) {
  Unrecorded scope;
  TensorRef x = contiguous(call.inputs[0]);
  Counted counted = count_true(call.inputs[1]);
  TensorRef out = Tensor::empty({counted.total}, x->dtype(), x->device());
  call.outputs[0] = out;
  if (counted.total == 0) return;
  const int device = x->device().index;
  cuda::launch(kernel("select_masked", *x, flat_layout(*x)), grid_for(x->numel(), device),
               {kThreads}, 0, out->data(), x->data(), counted.mask->data(), counted.ends->data(),
               x->numel());
}

void run_masked_scatter_cuda(Call& call) {
  Unrecorded scope;
  const TensorRef& out = call.outputs[0];
  Counted counted = count_true(call.inputs[1]);
  TensorRef source = contiguous(call.inputs[2]), target = contiguous(out);
  if (source->storage() == target->storage()) source = dense_copy(*source, source->dtype());
  require(counted.total <= source->numel(),
          "masked_scatter: Number of elements of source < number of ones in mask: ",
          source->numel(), " < ", counted.total, "; give as many as the mask has ones");
  if (counted.total == 0) return;
  const int device = target->device().index;
  cuda::launch(kernel("scatter_masked", *target, flat_layout(*target)),
               grid_for(target->numel(), device), {kThreads}, 0, target->data(), source->data(),
               counted.mask->data(), counted.ends->data(), target->numel());
  if (target != out) copy(*out, *target);
}

}  // namespace flambeau
