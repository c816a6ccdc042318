#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <vector>

#include "cuda_types.h"
#include "sixteen_bit.h"

// cuDNN 9's convolutions through its classic interface, computed on the host as work of the
// emulated stream. Only dense tensors of two or three axes, all three row-major or all three with
// channels last (not in double precision: NVIDIA lists no algorithm for that); all else is
// CUDNN_STATUS_NOT_SUPPORTED.

using cudnnStatus_t = int;

EMULATED_API CUresult cuCtxGetCurrent(CUcontext*);
EMULATED_API CUresult emulated_cuda_enqueue(CUstream, int (*run)(void*), void* data,
                                            void (*release)(void*));
EMULATED_API int emulated_cuda_check_range(const char* what, const void* pointer, size_t bytes);

namespace {

constexpr cudnnStatus_t CUDNN_STATUS_SUCCESS = 0, CUDNN_STATUS_NOT_INITIALIZED = 1001;
constexpr cudnnStatus_t CUDNN_STATUS_BAD_PARAM = 2000, CUDNN_STATUS_NOT_SUPPORTED = 3000;
constexpr cudnnStatus_t CUDNN_STATUS_EXECUTION_FAILED = 5000;
enum DataType : int { kFloat = 0, kDouble = 1, kHalf = 2, kBfloat = 9 };
enum MathType : int { kDefaultMath = 0, kTensorMath = 1, kConvertingMath = 2, kFmaMath = 3 };
constexpr size_t kMostDims = 5;

struct Handle {
  CUstream stream = nullptr;
};
struct Layout {  // of a tensor or a filter
  int type = kFloat;
  std::vector<int> sizes;
  bool row_major = true, channels_last = true;  // both where the channels or the pixels are one

  // Where the element of a row-major tensor lies.
  size_t place(size_t index) const {
    if (row_major) return index;
    const auto channels = static_cast<size_t>(sizes[1]);
    const size_t pixels = count() / static_cast<size_t>(sizes[0]) / channels;
    const size_t pixel = index % pixels, channel = index / pixels % channels;
    return (index / pixels / channels * pixels + pixel) * channels + channel;
  }

  size_t count() const {
    size_t product = 1;
    for (int size : sizes) product *= static_cast<size_t>(size);
    return product;
  }
  size_t bytes() const { return count() * (type == kDouble ? 8 : type == kFloat ? 4 : 2); }
};
struct Convolution {
  std::vector<int> padding, stride, dilation;
  int mode = 1, compute = kFloat, groups = 1, math = kDefaultMath;
};
struct Performance {  // cudnnConvolutionFwdAlgoPerf_t and its likes
  int algorithm;
  cudnnStatus_t status;
  float time;
  size_t memory;
  int deterministic;
  int math;
  int reserved[3];
};
static_assert(sizeof(Performance) == 48);

enum Result { kOutput, kInput, kWeight };

// Everything that a convolution needs when it is executed.
struct Work {
  Result result;
  Layout x, w, y;
  Convolution convolution;
  const void *px, *pw, *py;
  void* workspace;
  size_t workspace_bytes;
};

cudnnStatus_t check(const Layout& x, const Layout& w, const Layout& y, const Convolution& c) {
  const size_t dims = x.sizes.size();
  if (dims < 4 || dims > kMostDims || w.sizes.size() != dims || y.sizes.size() != dims ||
      c.padding.size() != dims - 2) {
    return CUDNN_STATUS_BAD_PARAM;
  }
  const bool row_major = x.row_major && w.row_major && y.row_major;
  const bool channels_last = x.channels_last && w.channels_last && y.channels_last;
  if (!row_major && (!channels_last || x.type == kDouble)) return CUDNN_STATUS_NOT_SUPPORTED;
  if (c.mode != 1) return CUDNN_STATUS_NOT_SUPPORTED;
  if (w.type != x.type || y.type != x.type) return CUDNN_STATUS_NOT_SUPPORTED;
  if (c.compute != (x.type == kDouble ? kDouble : kFloat)) return CUDNN_STATUS_NOT_SUPPORTED;
  bool good = x.sizes[0] == y.sizes[0] && x.sizes[0] > 0 && w.sizes[0] == y.sizes[1] &&
              c.groups > 0 && w.sizes[1] * c.groups == x.sizes[1] && w.sizes[0] % c.groups == 0;
  for (size_t i = 0; i < c.padding.size(); ++i) {
    const int window = c.dilation[i] * (w.sizes[2 + i] - 1) + 1;
    const int room = x.sizes[2 + i] + 2 * c.padding[i] - window;
    good = good && room >= 0 && y.sizes[2 + i] == room / c.stride[i] + 1;
  }
  return good ? CUDNN_STATUS_SUCCESS : CUDNN_STATUS_BAD_PARAM;
}

double load(int type, const void* base, size_t index) {
  switch (type) {
    case kDouble:
      return static_cast<const double*>(base)[index];
    case kFloat:
      return static_cast<const float*>(base)[index];
    case kHalf:
      return emulated_half_to_float(static_cast<const uint16_t*>(base)[index]);
    default:
      return emulated_bfloat_to_float(static_cast<const uint16_t*>(base)[index]);
  }
}

void store(int type, void* base, size_t index, double value) {
  const auto single = static_cast<float>(value);
  switch (type) {
    case kDouble:
      static_cast<double*>(base)[index] = value;
      return;
    case kFloat:
      static_cast<float*>(base)[index] = single;
      return;
    case kHalf:
      static_cast<uint16_t*>(base)[index] = emulated_float_to_half(single);
      return;
    default:
      static_cast<uint16_t*>(base)[index] = emulated_float_to_bfloat(single);
  }
}

// Three axes, missing ones first.
std::array<int, 3> axes_of(const std::vector<int>& values, size_t skipped, int missing) {
  std::array<int, 3> result = {missing, missing, missing};
  const size_t count = values.size() - skipped;
  std::copy(values.begin() + static_cast<long>(skipped), values.end(),
            result.begin() + static_cast<long>(3 - count));
  return result;
}

// Calls visit(place in x, in w, in y) for every product of the convolution.
template <typename Visit>
void each_product(const Work& work, Visit visit) {
  const Convolution& c = work.convolution;
  const auto input = axes_of(work.x.sizes, 2, 1), kernel = axes_of(work.w.sizes, 2, 1);
  const auto output = axes_of(work.y.sizes, 2, 1);
  const auto padding = axes_of(c.padding, 0, 0), stride = axes_of(c.stride, 0, 1);
  const auto dilation = axes_of(c.dilation, 0, 1);
  const int rows = work.w.sizes[0] / c.groups, channels = work.w.sizes[1];
  const int pixels = input[0] * input[1] * input[2], taps = kernel[0] * kernel[1] * kernel[2];
  const int places = output[0] * output[1] * output[2];
  for (int n = 0; n < work.y.sizes[0] * work.y.sizes[1] * places; ++n) {
    const int place = n % places, row = n / places % work.y.sizes[1];
    const int image = n / places / work.y.sizes[1];
    const int o[3] = {place / output[2] / output[1], place / output[2] % output[1],
                      place % output[2]};
    for (int tap = 0; tap < taps; ++tap) {
      const int t[3] = {tap / kernel[2] / kernel[1], tap / kernel[2] % kernel[1], tap % kernel[2]};
      int from = 0;
      bool inside = true;
      for (int i = 0; i < 3; ++i) {
        const int at = o[i] * stride[i] - padding[i] + t[i] * dilation[i];
        inside = inside && at >= 0 && at < input[i];
        from = from * input[i] + at;
      }
      for (int channel = 0; inside && channel < channels; ++channel) {
        const int source = image * work.x.sizes[1] + row / rows * channels + channel;
        visit(work.x.place(static_cast<size_t>(source) * pixels + from),
              work.w.place(static_cast<size_t>(row * channels + channel) * taps + tap),
              work.y.place(static_cast<size_t>(n)));
      }
    }
  }
}

bool check_memory(const Work& work) {
  return emulated_cuda_check_range("cuDNN: x", work.px, work.x.bytes()) != 0 &&
         emulated_cuda_check_range("cuDNN: w", work.pw, work.w.bytes()) != 0 &&
         emulated_cuda_check_range("cuDNN: y", work.py, work.y.bytes()) != 0 &&
         emulated_cuda_check_range("cuDNN: workspace", work.workspace, work.workspace_bytes) != 0;
}

int run_work(void* data) {
  const Work& work = *static_cast<Work*>(data);
  if (!check_memory(work)) return emulated::CUDA_ERROR_ILLEGAL_ADDRESS;
  // Whoever keeps values in the workspace is found out.
  if (work.workspace_bytes != 0) std::memset(work.workspace, 0xFF, work.workspace_bytes);
  const Layout& to = work.result == kOutput ? work.y : work.result == kInput ? work.x : work.w;
  const void* target = work.result == kOutput ? work.py : work.result == kInput ? work.px : work.pw;
  std::vector<double> sums(to.count());
  const int type = to.type;
  each_product(work, [&](size_t x, size_t w, size_t y) {
    if (work.result == kOutput) {
      sums[y] += load(type, work.px, x) * load(type, work.pw, w);
    } else if (work.result == kInput) {
      sums[x] += load(type, work.py, y) * load(type, work.pw, w);
    } else {
      sums[w] += load(type, work.px, x) * load(type, work.py, y);
    }
  });
  for (size_t i = 0; i < sums.size(); ++i) store(type, const_cast<void*>(target), i, sums[i]);
  return emulated::CUDA_SUCCESS;
}

// The fast algorithm adds in any order, the other one needs memory.
constexpr int kFast = 0, kOrdered = 1;
constexpr size_t kOrderedBytes = 4096;
int last_algorithm = -1, last_math = -1, last_channels_last = -1, measured = 0;

cudnnStatus_t propose(const Layout& x, const Layout& w, const Layout& y, const Convolution& c,
                      int wanted, int* found, Performance* performances) {
  if (wanted < 1 || found == nullptr || performances == nullptr) return CUDNN_STATUS_BAD_PARAM;
  *found = 0;
  if (cudnnStatus_t status = check(x, w, y, c)) return status;
  performances[(*found)++] = {kFast, CUDNN_STATUS_SUCCESS, 1, 0, 0, c.math, {}};
  if (wanted > 1) {
    performances[(*found)++] = {kOrdered, CUDNN_STATUS_SUCCESS, 2, kOrderedBytes, 1, c.math, {}};
  }
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t enqueue(Handle* handle, Work work, int algorithm, const void* alpha,
                      const void* beta) {
  if (handle == nullptr || alpha == nullptr || beta == nullptr) return CUDNN_STATUS_BAD_PARAM;
  if (cudnnStatus_t status = check(work.x, work.w, work.y, work.convolution)) return status;
  const int scale = work.x.type == kDouble ? kDouble : kFloat;
  if (load(scale, alpha, 0) != 1 || load(scale, beta, 0) != 0) return CUDNN_STATUS_NOT_SUPPORTED;
  if (algorithm != kFast && algorithm != kOrdered) return CUDNN_STATUS_NOT_SUPPORTED;
  if (algorithm == kOrdered && work.workspace_bytes < kOrderedBytes) return CUDNN_STATUS_BAD_PARAM;
  if (!check_memory(work)) return CUDNN_STATUS_BAD_PARAM;
  last_algorithm = algorithm;
  last_math = work.convolution.math;
  last_channels_last = !work.x.row_major || !work.w.row_major || !work.y.row_major;
  auto release = [](void* data) { delete static_cast<Work*>(data); };
  CUresult error =
      emulated_cuda_enqueue(handle->stream, &run_work, new Work(std::move(work)), release);
  return error == emulated::CUDA_SUCCESS ? CUDNN_STATUS_SUCCESS : CUDNN_STATUS_EXECUTION_FAILED;
}

}  // namespace

#define CUDNN_API EMULATED_API cudnnStatus_t

// For tests: what the last convolution used, and how often algorithms were measured.
EMULATED_API int emulated_cudnn_last_algorithm() { return last_algorithm; }
EMULATED_API int emulated_cudnn_last_math() { return last_math; }
EMULATED_API int emulated_cudnn_last_channels_last() { return last_channels_last; }
EMULATED_API int emulated_cudnn_measured() { return measured; }

EMULATED_API size_t cudnnGetVersion() { return 92800; }

CUDNN_API cudnnCreate(Handle** handle) {
  CUcontext context = nullptr;
  if (handle == nullptr) return CUDNN_STATUS_BAD_PARAM;
  if (cuCtxGetCurrent(&context) != 0 || context == nullptr) return CUDNN_STATUS_NOT_INITIALIZED;
  *handle = new Handle;
  return CUDNN_STATUS_SUCCESS;
}

CUDNN_API cudnnSetStream(Handle* handle, CUstream stream) {
  if (handle == nullptr) return CUDNN_STATUS_BAD_PARAM;
  handle->stream = stream;
  return CUDNN_STATUS_SUCCESS;
}

CUDNN_API cudnnCreateTensorDescriptor(Layout** tensor) {
  *tensor = new Layout;
  return CUDNN_STATUS_SUCCESS;
}
CUDNN_API cudnnDestroyTensorDescriptor(Layout* tensor) {
  delete tensor;
  return CUDNN_STATUS_SUCCESS;
}
CUDNN_API cudnnSetTensorNdDescriptor(Layout* tensor, int type, int dims, const int* sizes,
                                     const int* strides) {
  if (tensor == nullptr || dims < 4 || dims > 8) return CUDNN_STATUS_BAD_PARAM;
  tensor->type = type;
  tensor->sizes.assign(sizes, sizes + dims);
  tensor->row_major = tensor->channels_last = true;
  int step = 1;
  for (int d = dims - 1; d >= 0; step *= sizes[d--]) tensor->row_major &= strides[d] == step;
  tensor->channels_last = strides[1] == 1;
  step = sizes[1];
  for (int d = dims - 1; d >= 0; --d) {
    if (d == 1) continue;
    tensor->channels_last &= strides[d] == step;
    step *= sizes[d];
  }
  return CUDNN_STATUS_SUCCESS;
}

CUDNN_API cudnnCreateFilterDescriptor(Layout** filter) {
  return cudnnCreateTensorDescriptor(filter);
}
CUDNN_API cudnnDestroyFilterDescriptor(Layout* filter) {
  return cudnnDestroyTensorDescriptor(filter);
}
CUDNN_API cudnnSetFilterNdDescriptor(Layout* filter, int type, int format, int dims,
                                     const int* sizes) {
  if (filter == nullptr || dims < 4 || dims > 8) return CUDNN_STATUS_BAD_PARAM;
  if (format != 0 && format != 1) return CUDNN_STATUS_NOT_SUPPORTED;
  filter->type = type;
  filter->sizes.assign(sizes, sizes + dims);
  filter->row_major = format == 0;
  filter->channels_last = format == 1;
  return CUDNN_STATUS_SUCCESS;
}

CUDNN_API cudnnCreateConvolutionDescriptor(Convolution** convolution) {
  *convolution = new Convolution;
  return CUDNN_STATUS_SUCCESS;
}
CUDNN_API cudnnDestroyConvolutionDescriptor(Convolution* convolution) {
  delete convolution;
  return CUDNN_STATUS_SUCCESS;
}
CUDNN_API cudnnSetConvolutionNdDescriptor(Convolution* convolution, int axes, const int* padding,
                                          const int* stride, const int* dilation, int mode,
                                          int compute) {
  if (convolution == nullptr || axes < 2) return CUDNN_STATUS_BAD_PARAM;
  convolution->padding.assign(padding, padding + axes);
  convolution->stride.assign(stride, stride + axes);
  convolution->dilation.assign(dilation, dilation + axes);
  convolution->mode = mode;
  convolution->compute = compute;
  return CUDNN_STATUS_SUCCESS;
}
CUDNN_API cudnnSetConvolutionGroupCount(Convolution* convolution, int groups) {
  convolution->groups = groups;
  return CUDNN_STATUS_SUCCESS;
}
CUDNN_API cudnnSetConvolutionMathType(Convolution* convolution, int math) {
  convolution->math = math;
  return CUDNN_STATUS_SUCCESS;
}

// The three kinds: `x`, `w` and `y` are what the arguments a, b and r stand for.
#define EMULATED_KIND(forward, get, find, kind, X, W, Y, px, pw, py)                               \
  CUDNN_API get(Handle*, Layout* a, Layout* b, Convolution* c, Layout* r, int wanted, int* found,  \
                Performance* performances) {                                                       \
    return propose(*X, *W, *Y, *c, wanted, found, performances);                                   \
  }                                                                                                \
  CUDNN_API find(Handle*, Layout* a, const void*, Layout* b, const void*, Convolution* c,          \
                 Layout* r, void*, int wanted, int* found, Performance* performances, void*,       \
                 size_t) {                                                                         \
    ++measured;                                                                                    \
    return propose(*X, *W, *Y, *c, wanted, found, performances);                                   \
  }                                                                                                \
  CUDNN_API forward(Handle* handle, const void* alpha, Layout* a, const void* pa, Layout* b,       \
                    const void* pb, Convolution* c, int algorithm, void* workspace, size_t bytes,  \
                    const void* beta, Layout* r, void* pr) {                                       \
    return enqueue(handle, {kind, *X, *W, *Y, *c, px, pw, py, workspace, bytes}, algorithm, alpha, \
                   beta);                                                                          \
  }
EMULATED_KIND(cudnnConvolutionForward, cudnnGetConvolutionForwardAlgorithm_v7,
              cudnnFindConvolutionForwardAlgorithmEx, kOutput, a, b, r, pa, pb, pr)
EMULATED_KIND(cudnnConvolutionBackwardData, cudnnGetConvolutionBackwardDataAlgorithm_v7,
              cudnnFindConvolutionBackwardDataAlgorithmEx, kInput, r, a, b, pr, pa, pb)
EMULATED_KIND(cudnnConvolutionBackwardFilter, cudnnGetConvolutionBackwardFilterAlgorithm_v7,
              cudnnFindConvolutionBackwardFilterAlgorithmEx, kWeight, a, r, b, pa, pr, pb)
