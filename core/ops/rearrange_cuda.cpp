// The GPU's side of rearrange.cpp, and strided_sum of views.cpp.
#include "ops/cuda_layout.h"
#include "ops/cuda_runs.h"
#include "ops/reduction.h"
#include "ops/views.h"
#include "tensor/copy.h"

namespace flambeau {

using namespace cuda_ops;

namespace {

const cuda::KernelFile kFile{"ops/rearrange.cu"};

const cuda::Function& kernel(const char* entry, const Tensor& x, int64_t dims) {
  const bool wide = x.numel() >= cuda::kNarrowLimit;
  const std::string count = std::to_string(dims);
  return kFile.get(
      entry,
      {{"T", unit_name(item_size(x.dtype()))}, {"INDEX", wide ? "int64" : "int"}, {"DIMS", count}},
      x.device().index);
}

// Dimension d of the output comes from `shifts[d]` places further, or from the other end.
void rearrange(Call& call, const Dims& shifts, const Dims& mirrored) {
  const Tensor& x = call.input(0);
  if (x.numel() == 0) return;
  if (x.dim() == 0) return copy(call.output(), x);
  struct {  // twin of Source in rearrange.cu
    struct {
      int64_t length, stride, shift;
      int mirrored;
    } of[64];
  } source = {};
  for (int64_t d = 0; d < x.dim(); ++d) {
    source.of[d] = {x.size(d), x.stride(d), shifts[d], static_cast<int>(mirrored[d])};
  }
  cuda::launch(kernel("rearrange", x, x.dim()), grid_for(x.numel(), x.device().index), {kThreads},
               0, call.output().data(), x.data(), source, x.numel());
}

void keep_triangle(Call& call, bool lower) {
  Unrecorded scope;
  TensorRef x = contiguous(call.inputs[0]);
  if (x->numel() == 0) return;
  const int64_t rows = x->size(x->dim() - 2), columns = x->shape().back();
  cuda::launch(kernel("keep_triangle", *x, 1), grid_for(x->numel(), x->device().index), {kThreads},
               0, call.output().data(), x->data(), rows, columns, call.attributes.ints[0],
               static_cast<int>(lower), x->numel());
}

}  // namespace

void run_flip_cuda(Call& call) {
  Dims none(call.input(0).dim(), 0), mirrored = none;
  for (int64_t d : call.attributes.ints) mirrored[d] = 1;
  rearrange(call, none, mirrored);
}

void run_roll_cuda(Call& call) {
  const Tensor& x = call.input(0);
  if (x.numel() == 0) return;
  Dims none(x.dim(), 0), shifts = none;
  const Dims &by = call.attributes.ints, &dims = call.attributes.more_ints;
  for (int64_t i = 0; i < dims.size() && x.dim(); ++i) {
    const int64_t length = x.size(dims[i]);
    shifts[dims[i]] = (shifts[dims[i]] + length - by[i] % length) % length;
  }
  rearrange(call, shifts, none);
}

void run_tril_cuda(Call& call) { keep_triangle(call, true); }
void run_triu_cuda(Call& call) { keep_triangle(call, false); }

void run_strided_sum_cuda(Call& call) {
  static const cuda::KernelFile file{"ops/strided_sum.cu"};
  const Tensor &x = call.input(0), &out = call.output();
  fill(out, Scalar(0));
  if (x.numel() == 0) return;
  const Dims& to = call.attributes.more_ints;
  const int64_t offset = call.attributes.ints[1];
  auto target = Tensor::view(out.storage(), x.shape(), to, out.offset() + offset, x.dtype());
  if (!call.attributes.flag) return copy(*target, x);  // no two elements meet
  Layout layout(x.shape(), {to, x.strides()});
  const int device = x.device().index;
  const cuda::Function& kernel = file.get(
      "strided_sum",
      {{"T", cuda::type_name(x.dtype())}, {"INDEX", layout.index()}, {"DIMS", layout.dims()}},
      device);
  cuda::launch(kernel, grid_for(x.numel(), device), {kThreads}, 0, target->data(), x.data(),
               layout.parameter(), x.numel());
}

}  // namespace flambeau
