// The GPU's side of joining.cpp.
#include <vector>

#include "ops/cuda_layout.h"
#include "ops/cuda_runs.h"
#include "ops/reduction.h"
#include "ops/views.h"
#include "tensor/copy.h"

namespace flambeau {

using namespace cuda_ops;

void run_cat_cuda(Call& call) {
  static const cuda::KernelFile file{"ops/joining.cu"};
  constexpr size_t kTogether = 64;
  struct Part {  // twin of Part in joining.cu
    const void* from;
    int64_t length, start;
  };
  Unrecorded scope;
  const Tensor& out = call.output();
  if (out.numel() == 0) return;
  const int64_t dim = call.attributes.ints[0];
  const int item = item_size(out.dtype());
  int64_t rows = 1, inner = item;  // bytes
  for (int64_t d = 0; d < out.dim(); ++d) {
    if (d < dim) rows *= out.size(d);
    if (d > dim) inner *= out.size(d);
  }
  std::vector<TensorRef> kept;  // copies live until the launch
  std::vector<Part> parts;
  auto lengths = static_cast<uint64_t>(inner * out.size(dim));
  auto addresses = reinterpret_cast<uint64_t>(out.data());
  int64_t at = 0, longest = 0;
  for (const TensorRef& x : call.inputs) {
    if (x->numel() == 0) continue;
    TensorRef dense = contiguous(to_dtype(x, out.dtype()));
    const int64_t length = inner * x->size(dim);
    parts.push_back({dense->data(), length, at});
    lengths |= length;
    addresses |= reinterpret_cast<uint64_t>(dense->data());
    at += length;
    longest = std::max(longest, length);
    if (dense != x) kept.push_back(dense);
  }
  const int unit = unit_of(lengths, 0, addresses, item);
  const int device = out.device().index;
  const bool wide = out.numel() >= cuda::kNarrowLimit;
  const cuda::Function& kernel =
      file.get("join", {{"T", unit_name(unit)}, {"INDEX", wide ? "int64" : "int"}}, device);
  for (Part& part : parts) {
    part.length /= unit;
    part.start /= unit;
  }
  for (size_t begin = 0; begin < parts.size(); begin += kTogether) {
    const size_t count = std::min(kTogether, parts.size() - begin);
    struct {
      Part of[kTogether];
    } parameter = {};
    std::copy_n(parts.begin() + begin, count, parameter.of);
    cuda::Extent3 grid = grid_for(rows * longest / unit, device);
    grid.y = static_cast<unsigned>(count);
    cuda::launch(kernel, grid, {kThreads}, 0, out.data(), parameter, rows,
                 inner * out.size(dim) / unit);
  }
}

}  // namespace flambeau
