#include "cuda/cudnn.h"

#include <algorithm>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "base/recent_table.h"
#include "cuda/device.h"
#include "cuda/graph.h"
#include "cuda/library.h"
#include "cuda/math_settings.h"
#include "cuda/scratch.h"

namespace flambeau::cuda {

namespace {

// --- cuDNN's interface; names and numbers are those of cudnn_graph.h, cudnn_ops.h and cudnn_cnn.h

using Handle = struct cudnnContext*;
using Descriptor = void*;  // of tensors, filters and convolutions

struct Performance {  // cudnnConvolutionFwdAlgoPerf_t and its two likes
  int algorithm;
  int status;
  float milliseconds;
  size_t workspace_bytes;
  int deterministic;
  int math;
  int reserved[3];
};

#define FLAMBEAU_CUDNN_FUNCTIONS(F)                                                                \
  F(create, "cudnnCreate", (Handle * handle))                                                      \
  F(set_stream, "cudnnSetStream", (Handle handle, StreamHandle stream))                            \
  F(tensor_create, "cudnnCreateTensorDescriptor", (Descriptor * tensor))                           \
  F(tensor_set, "cudnnSetTensorNdDescriptor",                                                      \
    (Descriptor tensor, int type, int dims, const int* sizes, const int* strides))                 \
  F(tensor_destroy, "cudnnDestroyTensorDescriptor", (Descriptor tensor))                           \
  F(filter_create, "cudnnCreateFilterDescriptor", (Descriptor * filter))                           \
  F(filter_set, "cudnnSetFilterNdDescriptor",                                                      \
    (Descriptor filter, int type, int format, int dims, const int* sizes))                         \
  F(filter_destroy, "cudnnDestroyFilterDescriptor", (Descriptor filter))                           \
  F(convolution_create, "cudnnCreateConvolutionDescriptor", (Descriptor * convolution))            \
  F(convolution_set, "cudnnSetConvolutionNdDescriptor",                                            \
    (Descriptor convolution, int axes, const int* padding, const int* stride, const int* dilation, \
     int mode, int compute_type))                                                                  \
  F(convolution_set_groups, "cudnnSetConvolutionGroupCount", (Descriptor convolution, int groups)) \
  F(convolution_set_math, "cudnnSetConvolutionMathType", (Descriptor convolution, int math))       \
  F(convolution_destroy, "cudnnDestroyConvolutionDescriptor", (Descriptor convolution))

// The functions for each kind of result have the same parameters: two operands, one result.
#define FLAMBEAU_CUDNN_KINDS(F)                                                                 \
  F(guess,                                                                                      \
    (Handle handle, Descriptor a, Descriptor b, Descriptor convolution, Descriptor result,      \
     int wanted, int* found, Performance* performances),                                        \
    "cudnnGetConvolutionForwardAlgorithm_v7", "cudnnGetConvolutionBackwardDataAlgorithm_v7",    \
    "cudnnGetConvolutionBackwardFilterAlgorithm_v7")                                            \
  F(measure,                                                                                    \
    (Handle handle, Descriptor a_layout, const void* a, Descriptor b_layout, const void* b,     \
     Descriptor convolution, Descriptor result_layout, void* result, int wanted, int* found,    \
     Performance* performances, void* workspace, size_t bytes),                                 \
    "cudnnFindConvolutionForwardAlgorithmEx", "cudnnFindConvolutionBackwardDataAlgorithmEx",    \
    "cudnnFindConvolutionBackwardFilterAlgorithmEx")                                            \
  F(convolve,                                                                                   \
    (Handle handle, const void* alpha, Descriptor a_layout, const void* a, Descriptor b_layout, \
     const void* b, Descriptor convolution, int algorithm, void* workspace, size_t bytes,       \
     const void* beta, Descriptor result_layout, void* result),                                 \
    "cudnnConvolutionForward", "cudnnConvolutionBackwardData", "cudnnConvolutionBackwardFilter")

struct Cudnn {
#define FLAMBEAU_CUDNN_FUNCTION(member, name, parameters) int(*member) parameters = nullptr;
  FLAMBEAU_CUDNN_FUNCTIONS(FLAMBEAU_CUDNN_FUNCTION)
#undef FLAMBEAU_CUDNN_FUNCTION
#define FLAMBEAU_CUDNN_KIND(member, parameters, ...) int(*member[3]) parameters = {};
  FLAMBEAU_CUDNN_KINDS(FLAMBEAU_CUDNN_KIND)
#undef FLAMBEAU_CUDNN_KIND
  bool complete = false;
};

constexpr int kFloat32 = 0, kFloat64 = 1, kFloat16 = 2, kBFloat16 = 9;  // cudnnDataType_t
constexpr int kDefaultMath = 0, kTensorMath = 1, kExactMath = 3;        // cudnnMathType_t
constexpr int kCrossCorrelation = 1, kRowMajor = 0;

const Cudnn& cudnn() {
  static const Cudnn loaded = [] {
    Cudnn functions;
    const Library& found = library(LibraryName::Cudnn);
    if (!found.handle) return functions;
    functions.complete = true;
#define FLAMBEAU_CUDNN_FUNCTION(member, name, parameters)                     \
  functions.member = reinterpret_cast<int(*) parameters>(found.symbol(name)); \
  functions.complete &= functions.member != nullptr;
    FLAMBEAU_CUDNN_FUNCTIONS(FLAMBEAU_CUDNN_FUNCTION)
#undef FLAMBEAU_CUDNN_FUNCTION
#define FLAMBEAU_CUDNN_KIND(member, parameters, ...)                                     \
  {                                                                                      \
    const char* names[] = {__VA_ARGS__};                                                 \
    for (int i = 0; i < 3; ++i) {                                                        \
      functions.member[i] = reinterpret_cast<int(*) parameters>(found.symbol(names[i])); \
      functions.complete &= functions.member[i] != nullptr;                              \
    }                                                                                    \
  }
    FLAMBEAU_CUDNN_KINDS(FLAMBEAU_CUDNN_KIND)
#undef FLAMBEAU_CUDNN_KIND
    return functions;
  }();
  return loaded;
}

// CUDNN_STATUS_NOT_SUPPORTED and its subkinds.
bool is_unsupported(int status) { return status >= 3000 && status < 4000; }

void check_cudnn(int status, const char* what) {
  if (status == 0) return;
  const char* meaning = status >= 5000   ? "the GPU could not execute it"
                        : status >= 4000 ? "an internal error"
                        : status >= 3000 ? "this is not supported"
                        : status >= 2000 ? "an argument is invalid"
                                         : "the library is not usable";
  fail("cuda: ", what, " failed with ", status, ": ", meaning,
       "; torch.backends.cudnn.enabled = False does without cuDNN");
}

// --- plans

struct DescriptorDeleter {
  int (*destroy)(Descriptor);
  void operator()(void* descriptor) const { destroy(descriptor); }
};
using OwnedDescriptor = std::unique_ptr<void, DescriptorDeleter>;

struct Plan {
  OwnedDescriptor x, w, y, convolution;
  // What may compute it, the best one last: one that turns out not to is dropped. None: our own
  // kernels have to.
  std::vector<Performance> algorithms;

  // The operands and the result of the functions for a kind.
  std::array<Descriptor, 3> order(ConvolutionResult result) const {
    if (result == ConvolutionResult::Output) return {x.get(), w.get(), y.get()};
    if (result == ConvolutionResult::Input) return {w.get(), y.get(), x.get()};
    return {x.get(), y.get(), w.get()};
  }
};
std::array<void*, 3> order(const CudnnConvolution& c) {
  if (c.result == ConvolutionResult::Output) return {c.x, c.w, c.y};
  if (c.result == ConvolutionResult::Input) return {c.w, c.y, c.x};
  return {c.x, c.y, c.w};
}

int data_type(DType dtype) {
  return dtype == DType::Float64    ? kFloat64
         : dtype == DType::Float16  ? kFloat16
         : dtype == DType::BFloat16 ? kBFloat16
                                    : kFloat32;
}

// cuDNN takes two or three axes; a first axis that does nothing is left out.
int first_axis(const CudnnConvolution& c) {
  return c.input[0] == 1 && c.kernel[0] == 1 && c.output[0] == 1 && c.padding[0] == 0 ? 1 : 0;
}
std::vector<int> from_axis(const std::array<int64_t, 3>& values, int first) {
  return std::vector<int>(values.begin() + first, values.end());
}

std::vector<int> sizes_of(int64_t outer, int64_t channels, const std::array<int64_t, 3>& spatial,
                          int first) {
  std::vector<int> sizes = from_axis(spatial, first);
  sizes.insert(sizes.begin(), {static_cast<int>(outer), static_cast<int>(channels)});
  return sizes;
}

OwnedDescriptor make_tensor(DType dtype, const std::vector<int>& sizes) {
  const Cudnn& functions = cudnn();
  Descriptor tensor = nullptr;
  check_cudnn(functions.tensor_create(&tensor), "cudnnCreateTensorDescriptor");
  OwnedDescriptor owned(tensor, {functions.tensor_destroy});
  std::vector<int> strides(sizes.size(), 1);
  for (size_t d = sizes.size() - 1; d > 0; --d) strides[d - 1] = strides[d] * sizes[d];
  check_cudnn(functions.tensor_set(tensor, data_type(dtype), static_cast<int>(sizes.size()),
                                   sizes.data(), strides.data()),
              "cudnnSetTensorNdDescriptor");
  return owned;
}

OwnedDescriptor make_filter(DType dtype, const std::vector<int>& sizes) {
  const Cudnn& functions = cudnn();
  Descriptor filter = nullptr;
  check_cudnn(functions.filter_create(&filter), "cudnnCreateFilterDescriptor");
  OwnedDescriptor owned(filter, {functions.filter_destroy});
  check_cudnn(functions.filter_set(filter, data_type(dtype), kRowMajor,
                                   static_cast<int>(sizes.size()), sizes.data()),
              "cudnnSetFilterNdDescriptor");
  return owned;
}

OwnedDescriptor make_convolution(const CudnnConvolution& c, int first, bool tf32) {
  const Cudnn& functions = cudnn();
  Descriptor convolution = nullptr;
  check_cudnn(functions.convolution_create(&convolution), "cudnnCreateConvolutionDescriptor");
  OwnedDescriptor owned(convolution, {functions.convolution_destroy});
  const int compute = c.dtype == DType::Float64 ? kFloat64 : kFloat32;
  check_cudnn(
      functions.convolution_set(convolution, 3 - first, from_axis(c.padding, first).data(),
                                from_axis(c.stride, first).data(),
                                from_axis(c.dilation, first).data(), kCrossCorrelation, compute),
      "cudnnSetConvolutionNdDescriptor");
  check_cudnn(functions.convolution_set_groups(convolution, static_cast<int>(c.groups)),
              "cudnnSetConvolutionGroupCount");
  const bool narrow = c.dtype == DType::Float16 || c.dtype == DType::BFloat16;
  const int math = narrow                               ? kTensorMath
                   : c.dtype == DType::Float32 && !tf32 ? kExactMath
                                                        : kDefaultMath;
  check_cudnn(functions.convolution_set_math(convolution, math), "cudnnSetConvolutionMathType");
  return owned;
}

constexpr int kAlgorithms = 8;  // at most, of any kind
constexpr size_t kWorkspaceLimit = size_t{1} << 30;
// While algorithms are measured, unless the GPU has less.
constexpr size_t kMeasuringBytes = size_t{256} << 20;

// What cuDNN proposes, fastest first.
std::vector<Performance> proposals(const CudnnConvolution& c, Handle handle, const Plan& plan,
                                   bool measure) {
  const Cudnn& functions = cudnn();
  const int kind = static_cast<int>(c.result);
  const std::array<Descriptor, 3> layouts = plan.order(c.result);
  const std::array<void*, 3> data = order(c);
  std::vector<Performance> found(kAlgorithms);
  int count = 0, status;
  if (measure) {
    const size_t bytes = std::min(kMeasuringBytes, memory_info(c.device).first / 2);
    const Scratch workspace(bytes, c.device);
    status = functions.measure[kind](handle, layouts[0], data[0], layouts[1], data[1],
                                     plan.convolution.get(), layouts[2], data[2], kAlgorithms,
                                     &count, found.data(), workspace.data(), bytes);
  } else {
    status = functions.guess[kind](handle, layouts[0], layouts[1], plan.convolution.get(),
                                   layouts[2], kAlgorithms, &count, found.data());
  }
  if (is_unsupported(status)) return {};
  check_cudnn(status, "choosing cuDNN's algorithm for a convolution");
  found.resize(count);
  return found;
}

struct Options {
  bool tf32, deterministic, measure;
};

Plan make_plan(const CudnnConvolution& c, Handle handle, Options options) {
  const int first = first_axis(c);
  Plan plan;
  plan.x = make_tensor(c.dtype, sizes_of(c.batch, c.in_channels, c.input, first));
  plan.y = make_tensor(c.dtype, sizes_of(c.batch, c.out_channels, c.output, first));
  plan.w =
      make_filter(c.dtype, sizes_of(c.out_channels, c.in_channels / c.groups, c.kernel, first));
  plan.convolution = make_convolution(c, first, options.tf32);
  for (Performance proposal : proposals(c, handle, plan, options.measure)) {
    if (proposal.status != 0 || proposal.workspace_bytes > kWorkspaceLimit) continue;
    if (options.deterministic && !proposal.deterministic) continue;
    // Its own default may be TF32.
    if (c.dtype == DType::Float32 && !options.tf32) proposal.math = kExactMath;
    plan.algorithms.insert(plan.algorithms.begin(), proposal);
  }
  return plan;
}

using PlanKey = std::array<int64_t, 26>;

PlanKey key_of(const CudnnConvolution& c, Options options) {
  PlanKey key{static_cast<int64_t>(c.result),
              static_cast<int64_t>(c.dtype),
              c.device,
              c.batch,
              c.groups,
              c.in_channels,
              c.out_channels,
              options.tf32 | options.deterministic << 1 | options.measure << 2};
  auto at = key.begin() + 8;
  for (const auto* values : {&c.input, &c.kernel, &c.output, &c.stride, &c.padding, &c.dilation}) {
    at = std::copy(values->begin(), values->end(), at);
  }
  return key;
}

struct Plans {
  std::mutex mutex;  // a handle serves one call at a time
  std::map<int, Handle> handles;
  RecentTable<PlanKey, Plan, WordsHash> table{kConvolutionPlans};
};
Plans& plans() {
  static auto* const all = new Plans;  // outlives the library's own statics
  return *all;
}

// Whether cuDNN can describe it: padding is the same on both sides, nothing is empty, numbers have
// 32 bits.
bool is_describable(const CudnnConvolution& c) {
  int64_t inputs = c.batch * c.in_channels, outputs = c.batch * c.out_channels;
  int64_t weights = c.out_channels * (c.in_channels / c.groups);
  for (int i = 0; i < 3; ++i) {
    const int64_t window = c.dilation[i] * (c.kernel[i] - 1) + 1;
    const int64_t room = c.input[i] + 2 * c.padding[i] - window;
    if (room < 0 || room / c.stride[i] + 1 != c.output[i] || room > INT32_MAX) return false;
    inputs *= c.input[i];
    outputs *= c.output[i];
    weights *= c.kernel[i];
  }
  return std::max({inputs, outputs, weights}) <= INT32_MAX &&
         std::min({inputs, outputs, weights}) > 0;
}

// The status of the convolution, queued.
int run(const CudnnConvolution& c, const Plan& plan, const Performance& algorithm, Handle handle) {
  check_cudnn(cudnn().convolution_set_math(plan.convolution.get(), algorithm.math),
              "cudnnSetConvolutionMathType");
  const Scratch workspace(algorithm.workspace_bytes, c.device);
  const std::array<Descriptor, 3> layouts = plan.order(c.result);
  const std::array<void*, 3> data = order(c);
  const double wide_scales[] = {1, 0};
  const float scales[] = {1, 0};
  const bool wide = c.dtype == DType::Float64;
  const void* alpha = wide ? static_cast<const void*>(&wide_scales[0]) : &scales[0];
  const void* beta = wide ? static_cast<const void*>(&wide_scales[1]) : &scales[1];
  return cudnn().convolve[static_cast<int>(c.result)](
      handle, alpha, layouts[0], data[0], layouts[1], data[1], plan.convolution.get(),
      algorithm.algorithm, workspace.data(), algorithm.workspace_bytes, beta, layouts[2], data[2]);
}

}  // namespace

bool cudnn_convolve(const CudnnConvolution& convolution) {
  const bool usable = is_floating(convolution.dtype) && math_settings.cudnn;
  if (!usable || !is_describable(convolution) || !cudnn().complete) return false;
  const Options options{math_settings.cudnn_tf32, math_settings.cudnn_deterministic,
                        math_settings.cudnn_benchmark && !capturing()};
  use(convolution.device);
  Plans& all = plans();
  std::lock_guard lock(all.mutex);
  Handle& handle = all.handles[convolution.device];
  if (!handle) check_cudnn(cudnn().create(&handle), "cudnnCreate");
  check_cudnn(cudnn().set_stream(handle, current_stream(convolution.device)), "cudnnSetStream");
  const PlanKey key = key_of(convolution, options);
  Plan* plan = all.table.find(key);
  if (!plan) plan = &all.table.add(key, make_plan(convolution, handle, options));
  for (; !plan->algorithms.empty(); plan->algorithms.pop_back()) {
    const int status = run(convolution, *plan, plan->algorithms.back(), handle);
    if (is_unsupported(status)) continue;
    check_cudnn(status, "a convolution of cuDNN");
    return true;
  }
  return false;
}

size_t convolution_plan_count() {
  std::lock_guard lock(plans().mutex);
  return plans().table.size();
}

}  // namespace flambeau::cuda
