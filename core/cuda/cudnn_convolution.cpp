#include "cuda/cudnn_convolution.h"

#include <algorithm>
#include <vector>

#include "base/recent_table.h"
#include "cuda/cudnn_graph.h"
#include "cuda/graph.h"
#include "cuda/math_settings.h"

namespace flambeau::cuda {

namespace {

// cudnnBackendAttributeName_t
constexpr int kComputeType = 100, kMode = 101, kDilation = 102, kStride = 103;
constexpr int kPaddingAfter = 104, kPaddingBefore = 105, kAxes = 106;
// alpha; beta, the convolution, w, x and y follow. For each kind of result.
constexpr std::array<int, 3> kFirstAttribute = {700, 706, 712};
constexpr std::array<std::array<int, 3>, 3> kOperands = {
    {{704, 703, 705}, {710, 709, 711}, {716, 715, 717}}};  // x, w, y
constexpr std::array<CudnnKind, 3> kKinds = {CudnnKind::ConvolutionForward,
                                             CudnnKind::ConvolutionBackwardData,
                                             CudnnKind::ConvolutionBackwardFilter};
constexpr int kConvolutionMode = 7, kFloat = 4, kDouble = 5;  // cudnnBackendAttributeType_t
constexpr int kCrossCorrelation = 1;
constexpr int64_t kIds[] = {1, 2, 3};  // of x, w and y

using Axes = std::array<int64_t, 3>;

// cuDNN takes two or three axes; a first axis that does nothing is left out.
int first_axis(const CudnnConvolution& c) {
  return c.input[0] == 1 && c.kernel[0] == 1 && c.output[0] == 1 && c.padding[0] == 0 ? 1 : 0;
}
std::span<const int64_t> from_axis(const Axes& values, int first) {
  return std::span(values).subspan(first);
}

// Zeros that a window may reach beyond the end, as the sizes have it; negative where the input
// reaches further than any window.
Axes padding_after(const CudnnConvolution& c) {
  Axes after;
  for (int i = 0; i < 3; ++i) {
    const int64_t window = c.dilation[i] * (c.kernel[i] - 1) + 1;
    const int64_t reach = (c.output[i] - 1) * c.stride[i] + window - c.padding[i] - c.input[i];
    // A few pixels that no window reaches are padded like the front: it is what everybody does.
    const bool usual = reach <= c.padding[i] && reach + c.stride[i] > c.padding[i];
    after[i] = usual ? c.padding[i] : reach;
  }
  return after;
}

CudnnDescriptor tensor_of(const CudnnConvolution& c, int64_t id, int64_t outer, int64_t channels,
                          const Axes& spatial, const void* data) {
  std::vector<int64_t> sizes = {outer, channels};
  const auto axes = from_axis(spatial, first_axis(c));
  sizes.insert(sizes.end(), axes.begin(), axes.end());
  // From the innermost dimension outwards.
  std::vector<size_t> order;
  if (c.channels_last) order.push_back(1);
  for (size_t d = sizes.size() - 1; d >= 2; --d) order.push_back(d);
  if (!c.channels_last) order.push_back(1);
  std::vector<int64_t> strides(sizes.size());
  int64_t step = 1;
  for (size_t d : order) step *= (strides[d] = step, sizes[d]);
  strides[0] = step;
  return cudnn_tensor(id, c.dtype, sizes, strides, alignment_of(data));
}

std::vector<CudnnDescriptor> describe(const CudnnConvolution& c) {
  const int first = first_axis(c), kind = static_cast<int>(c.result);
  const bool wide = c.dtype == DType::Float64;
  const Axes after = padding_after(c);
  std::vector<CudnnDescriptor> parts;
  parts.push_back(tensor_of(c, kIds[0], c.batch, c.in_channels, c.input, c.x));
  parts.push_back(tensor_of(c, kIds[1], c.out_channels, c.in_channels / c.groups, c.kernel, c.w));
  parts.push_back(tensor_of(c, kIds[2], c.batch, c.out_channels, c.output, c.y));
  CudnnDescriptor convolution(CudnnKind::Convolution);
  convolution.set(kAxes, int64_t{3 - first});
  convolution.set(kComputeType, wide ? DType::Float64 : DType::Float32);
  convolution.set_value(kMode, kConvolutionMode, &kCrossCorrelation);
  convolution.set(kPaddingBefore, from_axis(c.padding, first));
  convolution.set(kPaddingAfter, from_axis(after, first));
  convolution.set(kStride, from_axis(c.stride, first));
  convolution.set(kDilation, from_axis(c.dilation, first));
  parts.push_back(std::move(convolution).finalize());
  const float scales[] = {1, 0};
  const double wide_scales[] = {1, 0};
  CudnnDescriptor operation(kKinds[kind]);
  for (int i = 0; i < 2; ++i) {
    const void* scale = wide ? static_cast<const void*>(&wide_scales[i]) : &scales[i];
    operation.set_value(kFirstAttribute[kind] + i, wide ? kDouble : kFloat, scale);
  }
  operation.set(kFirstAttribute[kind] + 2, parts[3]);
  for (int i = 0; i < 3; ++i) operation.set(kOperands[kind][i], parts[i]);
  parts.push_back(std::move(operation).finalize());
  return parts;
}

struct Options {
  bool tf32, deterministic, measure;
};

using PlanKey = std::array<int64_t, 29>;

PlanKey key_of(const CudnnConvolution& c, Options options) {
  PlanKey key{
      static_cast<int64_t>(c.result),
      static_cast<int64_t>(c.dtype),
      c.device,
      c.batch,
      c.groups,
      c.in_channels,
      c.out_channels,
      options.tf32 | options.deterministic << 1 | options.measure << 2 | c.channels_last << 3,
      alignment_of(c.x),
      alignment_of(c.w),
      alignment_of(c.y)};
  auto at = key.begin() + 11;
  for (const auto* values : {&c.input, &c.kernel, &c.output, &c.stride, &c.padding, &c.dilation}) {
    at = std::copy(values->begin(), values->end(), at);
  }
  return key;
}

using Plans = RecentTable<PlanKey, CudnnPlan, WordsHash>;
// Used under cudnn_lock().
Plans& plans() {
  static auto* const all = new Plans(kConvolutionPlans);  // outlives the library's own statics
  return *all;
}

// Whether cuDNN can describe it: nothing is empty or cut off, numbers have 32 bits.
bool is_describable(const CudnnConvolution& c) {
  int64_t inputs = c.batch * c.in_channels, outputs = c.batch * c.out_channels;
  int64_t weights = c.out_channels * (c.in_channels / c.groups);
  const Axes after = padding_after(c);
  for (int i = 0; i < 3; ++i) {
    if (after[i] < 0 || c.padding[i] < 0) return false;
    inputs *= c.input[i];
    outputs *= c.output[i];
    weights *= c.kernel[i];
  }
  return std::max({inputs, outputs, weights}) <= INT32_MAX &&
         std::min({inputs, outputs, weights}) > 0;
}

CudnnPlan make_plan(const CudnnConvolution& c, CudnnHandle handle, Options options) {
  const CudnnDemands demands{c.dtype == DType::Float32 && !options.tf32, options.deterministic};
  return CudnnPlan::of([&] { return describe(c); }, handle, demands);
}

}  // namespace

bool cudnn_convolve(const CudnnConvolution& c) {
  if (!is_floating(c.dtype) || !is_describable(c) || !cudnn_usable()) return false;
  const Options options{math_settings.cudnn_tf32, math_settings.cudnn_in_one_order(),
                        math_settings.cudnn_benchmark && !capturing()};
  const CudnnSession session(c.device);
  void* const data[] = {c.x, c.w, c.y};
  const PlanKey key = key_of(c, options);
  CudnnPlan* plan = plans().find(key);
  if (!plan) {
    plan = &plans().add(key, make_plan(c, session.handle, options));
    if (options.measure) plan->measure(session.handle, kIds, data, c.device);
  }
  return plan->execute(session.handle, kIds, data, c.device);
}

size_t convolution_plan_count() {
  const auto lock = cudnn_lock();
  return plans().size();
}

}  // namespace flambeau::cuda
