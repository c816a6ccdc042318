#include "ops/pooling/pooling_cuda.h"

#include <algorithm>

#include "cuda/geometry.h"
#include "cuda/launch.h"
#include "tensor/copy.h"
#include "tensor/memory_format.h"

namespace flambeau {

namespace {

constexpr cuda::KernelFile kFile{"ops/pooling/pooling.cu"};
constexpr int kThreads = 256;

template <class Index>
struct KernelGeometry {
  struct Axis {
    Index input, output, kernel, stride, padding, dilation;
  } axis[3];
  Index include_padding, divisor, channels;

  explicit KernelGeometry(const PoolGeometry& from)
      : include_padding(from.include_padding),
        divisor(static_cast<Index>(from.divisor)),
        channels(static_cast<Index>(from.channels)) {
    for (int i = 0; i < 3; ++i) {
      const PoolAxis& a = from.axis[i];
      axis[i] = {static_cast<Index>(a.input),   static_cast<Index>(a.output),
                 static_cast<Index>(a.kernel),  static_cast<Index>(a.stride),
                 static_cast<Index>(a.padding), static_cast<Index>(a.dilation)};
    }
  }
};

const cuda::Function& kernel(const char* entry, const Tensor& tensor, bool wide) {
  return kFile.get(entry,
                   {{"T", cuda::type_name(tensor.dtype())}, {"INDEX", wide ? "int64" : "int"}},
                   tensor.device().index);
}

cuda::Extent3 grid_of(const Tensor& result) {
  return {cuda::blocks_for(result.numel(), kThreads, result.device().index)};
}

// A thread for every element of `result`.
template <class... Arguments>
void launch_windows(const char* entry, const PoolGeometry& geometry, const Tensor& result,
                    const Arguments&... arguments) {
  bool wide = std::max(geometry.input_size(), result.numel()) >= cuda::kNarrowLimit ||
              geometry.channels >= cuda::kNarrowLimit ||
              std::abs(geometry.divisor) >= cuda::kNarrowLimit;
  for (const PoolAxis& axis : geometry.axis) {
    wide |= axis.output * axis.stride + axis.kernel * axis.dilation + axis.padding >=
            cuda::kNarrowLimit;
  }
  const cuda::Function& function = kernel(entry, result, wide);
  if (wide) {
    cuda::launch(function, grid_of(result), {kThreads}, 0, KernelGeometry<int64_t>(geometry),
                 result.numel(), arguments...);
  } else {
    cuda::launch(function, grid_of(result), {kThreads}, 0, KernelGeometry<int>(geometry),
                 result.numel(), arguments...);
  }
}

}  // namespace

void max_pool_on_gpu(const PoolGeometry& geometry, const Tensor& x, const Tensor& out,
                     const Tensor& indices) {
  launch_windows("max_pool", geometry, out, x.data(), out.data(), indices.data());
}

void average_pool_on_gpu(const PoolGeometry& geometry, const Tensor& x, const Tensor& out) {
  launch_windows("average_pool", geometry, out, x.data(), out.data());
}

void spread_on_gpu(const PoolGeometry& geometry, const Tensor& g, const Tensor& x) {
  launch_windows("spread", geometry, x, g.data(), x.data());
}

void pool_scatter_on_gpu(const Tensor& values, const Tensor& indices, int64_t large, int64_t small,
                         int64_t channels, const Tensor& out) {
  // Sums are taken in the type that averages are computed in.
  const DType narrow = out.dtype();
  const DType dtype = !is_floating(narrow)       ? DType::Int64
                      : narrow == DType::Float64 ? DType::Float64
                                                 : DType::Float32;
  TensorRef sums = dtype == narrow ? TensorRef::share(const_cast<Tensor*>(&out))
                                   : empty_as(out, dtype, out.device());
  fill(*sums, 0);
  if (values.numel() > 0) {
    const bool wide = values.numel() >= cuda::kNarrowLimit;
    cuda::launch(kernel("pool_scatter", values, wide), grid_of(values), {kThreads}, 0,
                 values.data(), indices.data(), values.numel(), large, small, channels,
                 sums->data());
  }
  if (sums.get() != &out) copy(out, *sums);
}

void pool_gather_on_gpu(const Tensor& values, const Tensor& indices, int64_t large, int64_t small,
                        int64_t channels, const Tensor& out) {
  const bool wide = out.numel() >= cuda::kNarrowLimit;
  cuda::launch(kernel("pool_gather", out, wide), grid_of(out), {kThreads}, 0, values.data(),
               indices.data(), out.numel(), large, small, channels, out.data());
}

}  // namespace flambeau
