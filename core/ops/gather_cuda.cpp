// The GPU's side of gather.cpp.
#include "cuda/error.h"
#include "ops/cuda_layout.h"
#include "ops/cuda_runs.h"
#include "ops/indexing_cuda.h"
#include "ops/reduction.h"
#include "tensor/copy.h"

namespace flambeau {

using namespace cuda_ops;

namespace {

const cuda::KernelFile kFile{"ops/gather.cu"};

// Twin of Along in gather.cu.
struct Along {
  const int64_t* index;
  int64_t bound, step;
  int site;
  cuda::ErrorSlot* slot;
};

struct Walked {
  TensorRef index;
  Layout layout;
  Along along;
};

// x is walked with the index' shape; `source` (or none) as well.
Walked walk(const Call& call, const Tensor& x, const Tensor* source, const char* op,
            ErrorKind kind) {
  const int64_t dim = call.attributes.ints[0];
  const int64_t bound = x.dim() ? x.size(dim) : 1, step = x.dim() ? x.stride(dim) : 1;
  TensorRef index = dense_index(call.inputs[1], call.primitive.name);
  if (bound == 0 && index->numel()) {
    fail(kind, op, "(): index is out of bounds for a dimension of size 0");
  }
  Dims shape = index->shape();
  if (shape.empty()) shape = {1};
  Dims strides = x.dim() && index->dim() ? x.strides() : Dims(shape.size(), 0);
  strides[index->dim() ? dim : 0] = 0;
  Dims others = source && source->dim() && index->dim() ? source->strides() : Dims(shape.size(), 0);
  const int device = x.device().index;
  return {
      index,
      Layout(shape, {strides, others}),
      {index->data<int64_t>(), bound, step, cuda::error_site(op, kind), cuda::error_slot(device)}};
}

}  // namespace

void run_gather_cuda(Call& call) {
  Unrecorded scope;
  const Tensor& x = call.input(0);
  const IndexRule rule = gather_rule(call);
  Walked walked = walk(call, x, nullptr, rule.op, rule.kind);
  const int device = x.device().index;
  const int64_t count = walked.layout.count();
  if (count == 0) return;
  const cuda::Function& kernel = kFile.get("gather",
                                           {{"T", unit_name(item_size(x.dtype()))},
                                            {"INDEX", walked.layout.index()},
                                            {"DIMS", walked.layout.dims()},
                                            {"HOW", "-1"}},
                                           device);
  cuda::launch(kernel, grid_for(count, device), {kThreads}, 0, call.output().data(), x.data(),
               walked.layout.parameter(), walked.along, count);
}

void run_scatter_cuda(Call& call) {
  if (call.input(1).numel() == 0) return;
  Unrecorded scope;
  const Tensor& out = call.output();
  TensorRef source = call.has(2) ? call.inputs[2] : nullptr;
  if (source && source->storage() == out.storage()) source = dense_copy(*source, source->dtype());
  Walked walked = walk(call, out, source.get(), call.primitive.name, ErrorKind::Runtime);
  const int device = out.device().index;
  const int64_t count = walked.layout.count(), how = call.attributes.more_ints[0];
  const bool moves = how == 0;
  const char* type = moves ? unit_name(item_size(out.dtype())) : cuda::type_name(out.dtype());
  const std::string way = std::to_string(how);
  const cuda::Function& kernel = kFile.get(
      "scatter",
      {{"T", type}, {"INDEX", walked.layout.index()}, {"DIMS", walked.layout.dims()}, {"HOW", way}},
      device);
  cuda::launch(kernel, grid_for(count, device), {kThreads}, 0, out.data(),
               source ? source->data() : nullptr,
               element_of(call.attributes.scalars[0], out.dtype()), walked.layout.parameter(),
               walked.along, count);
}

}  // namespace flambeau
