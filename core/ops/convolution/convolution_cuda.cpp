#include "ops/convolution/convolution_cuda.h"

#include <algorithm>
#include <array>

#include "cuda/cudnn_convolution.h"
#include "cuda/geometry.h"
#include "cuda/launch.h"
#include "cuda/scratch.h"

namespace flambeau {

namespace {

constexpr cuda::KernelFile kFile{"ops/convolution/convolution.cu", "ops/tiles.cuh"};
constexpr int64_t kTile = 64;
constexpr int kThreads = 256;
// Groups of fewer rows than this are computed element by element.
constexpr int64_t kFewestRows = 5;

template <class Index>
struct KernelGeometry {
  Index batch, groups, in_channels, out_channels;
  Index input[3], kernel[3], output[3], stride[3], padding[3], dilation[3];

  explicit KernelGeometry(const ConvolutionGeometry& from)
      : batch(static_cast<Index>(from.batch)),
        groups(static_cast<Index>(from.groups)),
        in_channels(static_cast<Index>(from.in_channels)),
        out_channels(static_cast<Index>(from.out_channels)) {
    for (int i = 0; i < 3; ++i) {
      input[i] = static_cast<Index>(from.input[i]);
      kernel[i] = static_cast<Index>(from.kernel[i]);
      output[i] = static_cast<Index>(from.output[i]);
      stride[i] = static_cast<Index>(from.stride[i]);
      padding[i] = static_cast<Index>(from.padding[i]);
      dilation[i] = static_cast<Index>(from.dilation[i]);
    }
  }
};

int64_t volume(const int64_t (&lengths)[3]) { return lengths[0] * lengths[1] * lengths[2]; }

// One run of a kernel of ops/convolution/convolution.cu.
struct Run {
  const ConvolutionGeometry& geometry;
  DType dtype;
  int device;
  bool wide;  // places exceed what 32 bits index

  Run(const ConvolutionGeometry& geometry, const Tensor& x, const Tensor& w, const Tensor& y)
      : geometry(geometry), dtype(x.dtype()), device(x.device().index) {
    wide = std::max({x.numel(), w.numel(), y.numel()}) >= cuda::kNarrowLimit;
    for (int i = 0; i < 3; ++i) {
      wide |= geometry.output[i] * geometry.stride[i] + geometry.kernel[i] * geometry.dilation[i] +
                  geometry.padding[i] >=
              cuda::kNarrowLimit;
    }
  }
  template <class... Arguments>
  void launch(const char* entry, int64_t blocks, const Arguments&... arguments) const {
    const cuda::Function& function = kFile.get(
        entry, {{"T", cuda::type_name(dtype)}, {"INDEX", wide ? "int64" : "int"}}, device);
    const cuda::Extent3 grid{static_cast<unsigned>(std::min<int64_t>(blocks, INT32_MAX))};
    if (wide) {
      cuda::launch(function, grid, {kThreads}, 0, KernelGeometry<int64_t>(geometry), arguments...);
    } else {
      cuda::launch(function, grid, {kThreads}, 0, KernelGeometry<int>(geometry), arguments...);
    }
  }
  int64_t tiles(int64_t rows, int64_t columns) const {
    return (rows + kTile - 1) / kTile * ((columns + kTile - 1) / kTile) * geometry.groups;
  }
};

// `places`: of the result in one image and channel.
void product_on_gpu(const Run& run, const char* by_tiles, const char* directly, int64_t channels,
                    int64_t places, const void* a, const void* w, const Tensor* bias,
                    const Tensor& out) {
  const void* added = bias ? bias->data() : nullptr;
  const int64_t rows = channels / run.geometry.groups;
  if (rows < kFewestRows) {
    run.launch(directly, cuda::blocks_for(out.numel(), kThreads, run.device), a, w, added,
               out.data());
  } else {
    const int64_t tiles = run.tiles(rows, run.geometry.batch * places);
    run.launch(by_tiles, tiles, a, w, added, out.data(), tiles);
  }
}

// Whether cuDNN has done it. The bias is added afterwards.
bool by_cudnn(cuda::ConvolutionResult result, const Run& run, const Tensor& x, const Tensor& w,
              const Tensor& y) {
  const ConvolutionGeometry& geometry = run.geometry;
  cuda::CudnnConvolution convolution;
  convolution.result = result;
  convolution.dtype = run.dtype;
  convolution.device = run.device;
  convolution.channels_last = geometry.channels_last;
  convolution.batch = geometry.batch;
  convolution.groups = geometry.groups;
  convolution.in_channels = geometry.in_channels;
  convolution.out_channels = geometry.out_channels;
  convolution.input = std::to_array(geometry.input);
  convolution.kernel = std::to_array(geometry.kernel);
  convolution.output = std::to_array(geometry.output);
  convolution.stride = std::to_array(geometry.stride);
  convolution.padding = std::to_array(geometry.padding);
  convolution.dilation = std::to_array(geometry.dilation);
  convolution.x = x.data();
  convolution.w = w.data();
  convolution.y = y.data();
  return cuda::cudnn_convolve(convolution);
}

void add_bias(const Run& run, const Tensor* bias, int64_t places, const Tensor& out) {
  if (!bias) return;
  if (run.geometry.channels_last) places = 1;
  const cuda::Function& function = kFile.get(
      "add_bias", {{"T", cuda::type_name(run.dtype)}, {"INDEX", run.wide ? "int64" : "int"}},
      run.device);
  cuda::launch(function, {cuda::blocks_for(out.numel(), kThreads, run.device)}, {kThreads}, 0,
               bias->data(), bias->numel(), places, out.numel(), out.data());
}

}  // namespace

bool convolution_on_gpu(const ConvolutionGeometry& geometry, const Tensor& x, const Tensor& w,
                        const Tensor* bias, const Tensor& y) {
  const Run run(geometry, x, w, y);
  const int64_t places = volume(geometry.output);
  if (by_cudnn(cuda::ConvolutionResult::Output, run, x, w, y)) {
    add_bias(run, bias, places, y);
  } else if (geometry.channels_last) {
    return false;
  } else {
    product_on_gpu(run, "forward", "direct_forward", geometry.out_channels, places, x.data(),
                   w.data(), bias, y);
  }
  return true;
}

bool input_gradient_on_gpu(const ConvolutionGeometry& geometry, const Tensor& y, const Tensor& w,
                           const Tensor* bias, const Tensor& x) {
  const Run run(geometry, x, w, y);
  const int64_t places = volume(geometry.input);
  if (by_cudnn(cuda::ConvolutionResult::Input, run, x, w, y)) {
    add_bias(run, bias, places, x);
  } else if (geometry.channels_last) {
    return false;
  } else {
    product_on_gpu(run, "input_gradient", "direct_input_gradient", geometry.in_channels, places,
                   y.data(), w.data(), bias, x);
  }
  return true;
}

bool weight_gradient_on_gpu(const ConvolutionGeometry& geometry, const Tensor& x, const Tensor& y,
                            const Tensor& w) {
  const Run run(geometry, x, w, y);
  if (by_cudnn(cuda::ConvolutionResult::Weight, run, x, w, y)) return true;
  if (geometry.channels_last) return false;
  const int64_t rows = geometry.out_channels / geometry.groups;
  if (rows < kFewestRows) {
    run.launch("direct_weight_gradient", w.numel(), x.data(), y.data(), w.data());
    return true;
  }
  // Enough parts to fill the GPU a few times, but none too short to be worth its sum.
  const int64_t inner = geometry.batch * volume(geometry.output);
  const int64_t tiles = run.tiles(rows, w.numel() / geometry.out_channels);
  const int64_t wanted = 4 * cuda::properties(run.device).multiprocessors / tiles + 1;
  const int64_t length = std::max<int64_t>((inner + wanted - 1) / wanted, 1024);
  const int64_t parts = std::max<int64_t>((inner + length - 1) / length, 1);
  const size_t item = is_floating(run.dtype) && run.dtype != DType::Float64 ? 4 : 8;
  const cuda::Scratch sums(parts * w.numel() * item, run.device);
  if (run.wide) {
    run.launch("weight_gradient", tiles * parts, x.data(), y.data(), sums.data(), length,
               tiles * parts);
  } else {
    run.launch("weight_gradient", tiles * parts, x.data(), y.data(), sums.data(),
               static_cast<int>(length), tiles * parts);
  }
  const cuda::Function& total = kFile.get(
      "weight_total", {{"T", cuda::type_name(run.dtype)}, {"INDEX", "int64"}}, run.device);
  cuda::launch(total, {cuda::blocks_for(w.numel(), kThreads, run.device)}, {kThreads}, 0,
               sums.data(), static_cast<int>(parts), w.numel(), w.data());
  return true;
}

}  // namespace flambeau
