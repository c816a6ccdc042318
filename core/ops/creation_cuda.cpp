// The GPU's side of creation.cpp.
#include "ops/cuda_layout.h"
#include "ops/cuda_runs.h"

namespace flambeau {

using namespace cuda_ops;

namespace {

const cuda::Function& kernel(const char* entry, const Tensor& x) {
  static const cuda::KernelFile file{"ops/creation.cu"};
  // float32 values are stepped in float32, integers in double.
  const char* step = x.dtype() == DType::Float32 ? "float" : "double";
  return file.get(entry, {{"T", cuda::type_name(x.dtype())}, {"C", step}}, x.device().index);
}

}  // namespace

void count_up_cuda(const Tensor& x, Scalar start, Scalar step, bool integers) {
  if (x.numel() == 0) return;
  cuda::launch(kernel("count_up", x), grid_for(x.numel(), x.device().index), {kThreads}, 0,
               x.data(), start.to_double(), step.to_double(), start.to_int(), step.to_int(),
               static_cast<int>(integers), x.numel());
}

void space_cuda(const Tensor& x, double start, double end, std::optional<double> base) {
  if (x.numel() == 0) return;
  cuda::launch(kernel("space", x), grid_for(x.numel(), x.device().index), {kThreads}, 0, x.data(),
               start, end, base.value_or(0), static_cast<int>(base.has_value()), x.numel());
}

}  // namespace flambeau
