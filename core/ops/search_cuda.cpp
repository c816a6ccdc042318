// The GPU's side of search.cpp.
#include "ops/cuda_layout.h"
#include "ops/cuda_runs.h"
#include "ops/reduction.h"
#include "ops/views.h"

namespace flambeau {

using namespace cuda_ops;

void run_search_cuda(Call& call) {
  static const cuda::KernelFile file{"ops/search.cu"};
  Unrecorded scope;
  const bool floating = is_floating(call.input(0).dtype()) || is_floating(call.input(1).dtype());
  const DType dtype = floating ? DType::Float64 : DType::Int64;
  TensorRef sorted = contiguous(to_dtype(call.inputs[0], dtype));
  TensorRef values = contiguous(to_dtype(call.inputs[1], dtype));
  TensorRef order = call.has(2) ? contiguous(call.inputs[2]) : nullptr;
  const int64_t count = values->numel();
  if (count == 0) return;
  const int64_t length = sorted->dim() ? sorted->shape().back() : 1;
  const int64_t per_line = sorted->dim() <= 1 ? count : values->shape().back();
  const Tensor& out = call.output();
  const int device = out.device().index;
  const cuda::Function& kernel = file.get(
      "search", {{"A", cuda::type_name(dtype)}, {"OUT", cuda::type_name(out.dtype())}}, device);
  cuda::launch(kernel, grid_for(count, device), {kThreads}, 0, out.data(), sorted->data(),
               order ? order->data() : nullptr, values->data(), length, per_line,
               static_cast<int>(call.attributes.flag), count);
}

}  // namespace flambeau
