// The public pooling operators: checks and shapes. Pools over one axis are pools over two, the
// first of length 1.
#include <algorithm>

#include "ops/pooling/pooling.h"
#include "ops/reduction.h"
#include "ops/sizes.h"
#include "ops/views.h"

namespace flambeau {
namespace {

// Beyond this, arithmetic on shapes could overflow.
constexpr int64_t kLargest = INT32_MAX;

struct Pool {
  std::string op;
  int axes;
  Dims kernel, stride, padding, dilation;
};

Dims per_axis(const std::string& op, const char* what, const Dims& values, int axes,
              int64_t least) {
  require(values.size() == 1 || values.size() == axes, op, ": expected ", what,
          " to be one number or ", axes, ", got ", values);
  Dims result(axes, values[0]);
  for (int i = 0; i < axes; ++i) {
    if (values.size() == axes) result[i] = values[i];
    require(result[i] >= least && result[i] <= kLargest, op, ": expected ", what, " of at least ",
            least, ", got ", values);
  }
  return result;
}

Pool pool_of(std::string op, int axes, const Dims& kernel, const std::optional<Dims>& stride,
             const Dims& padding, const Dims& dilation) {
  Pool pool{op,
            axes,
            per_axis(op, "kernel_size", kernel, axes, 1),
            {},
            per_axis(op, "padding", padding, axes, 0),
            per_axis(op, "dilation", dilation, axes, 1)};
  // PyTorch takes an empty stride for a missing one.
  bool given = stride && !stride->empty();
  pool.stride = given ? per_axis(op, "stride", *stride, axes, 1) : pool.kernel;
  for (int i = 0; i < axes; ++i) {
    int64_t window = pool.dilation[i] * (pool.kernel[i] - 1) + 1;
    require(pool.padding[i] <= window / 2, op,
            ": expected padding of at most half of the window, got padding ", pool.padding,
            ", kernel_size ", pool.kernel, " and dilation ", pool.dilation);
  }
  return pool;
}

// [N, C, ...] or [C, ...]; only the batch may be empty.
void check_input(const std::string& op, int axes, const Tensor& input) {
  require(input.dim() == axes + 1 || input.dim() == axes + 2, op, ": expected input of ", axes + 1,
          " (unbatched) or ", axes + 2, " (batched) dimensions, got input ", input.shape());
  for (int64_t i = input.dim() - axes - 1; i < input.dim(); ++i) {
    require(input.size(i) > 0 || i == 0, op,
            ": expected input that is empty in the batch at most, ", "got input ", input.shape());
  }
  for (int64_t i = input.dim() - axes; i < input.dim(); ++i) size_decides(input.size(i));
}

Dims output_shape(const Pool& pool, const Tensor& input, bool ceil_mode) {
  Dims shape;
  for (int i = 0; i < pool.axes; ++i) {
    int64_t length = input.size(input.dim() - pool.axes + i), stride = pool.stride[i];
    int64_t window = pool.dilation[i] * (pool.kernel[i] - 1) + 1;
    int64_t room = length + 2 * pool.padding[i] - window + (ceil_mode ? stride - 1 : 0);
    int64_t count = room < 0 ? 0 : room / stride + 1;
    // The last window must begin inside the input or the padding before it.
    if (ceil_mode && (count - 1) * stride >= length + pool.padding[i]) --count;
    require(count > 0, pool.op, ": expected a window that fits the input, got kernel_size ",
            pool.kernel, " with dilation ", pool.dilation, ", input ", input.shape(),
            " with padding ", pool.padding, "; use a smaller kernel_size");
    shape.push_back(count);
  }
  return shape;
}

Attributes attributes_of(const Pool& pool, const Dims& shape) {
  Attributes attributes;
  for (const Dims* values : {&pool.kernel, &pool.stride, &pool.padding, &pool.dilation}) {
    for (int64_t value : *values) attributes.ints.push_back(value);
  }
  attributes.more_ints = shape;
  attributes.scalars[0] = Scalar(int64_t{0});
  return attributes;
}

// Adds an axis of length 1 before the only one.
void widen(Pool& pool, Dims& shape) {
  for (Dims* values : {&pool.kernel, &pool.stride, &pool.dilation}) values->insert(0, 1);
  pool.padding.insert(0, 0);
  shape.insert(0, 1);
}

TensorList pool_max(Pool pool, const TensorRef& input, Dims shape) {
  if (input->dtype() == DType::Bool) {
    fail(ErrorKind::NotImplemented, "\"", pool.op, "\" not implemented for 'Bool'; use ",
         "input.float()");
  }
  if (pool.axes > 1) return max_pool(input, attributes_of(pool, shape));
  widen(pool, shape);
  TensorList results = max_pool(unsqueeze(input, -2), attributes_of(pool, shape));
  return {squeeze(results[0], -2), squeeze(results[1], -2)};
}

TensorRef pool_average(Pool pool, const TensorRef& input, Dims shape, bool count_include_pad,
                       int64_t divisor) {
  require(is_floating(input->dtype()) || input->dtype() == DType::Int64, pool.op,
          ": expected a floating or int64 input, got torch.", dtype_name(input->dtype()),
          "; use input.float()");
  if (pool.axes == 1) widen(pool, shape);
  Attributes attributes = attributes_of(pool, shape);
  attributes.flag = count_include_pad;
  attributes.scalars[0] = Scalar(divisor);
  if (pool.axes > 1) return average_pool(input, std::move(attributes));
  return squeeze(average_pool(unsqueeze(input, -2), std::move(attributes)), -2);
}

template <int Axes>
TensorList max_pool_with_indices(const TensorRef& input, const Dims& kernel_size,
                                 const std::optional<Dims>& stride, const Dims& padding,
                                 const Dims& dilation, bool ceil_mode) {
  std::string op = text("max_pool", Axes, "d");
  check_input(op, Axes, *input);
  Pool pool = pool_of(op, Axes, kernel_size, stride, padding, dilation);
  return pool_max(pool, input, output_shape(pool, *input, ceil_mode));
}

template <int Axes>
Result max_pool_of(const TensorRef& input, const Dims& kernel_size,
                   const std::optional<Dims>& stride, const Dims& padding, const Dims& dilation,
                   bool ceil_mode, bool return_indices) {
  TensorList results =
      max_pool_with_indices<Axes>(input, kernel_size, stride, padding, dilation, ceil_mode);
  if (return_indices) return results;
  return results[0];
}

template <int Axes>
TensorRef avg_pool(const TensorRef& input, const Dims& kernel_size,
                   const std::optional<Dims>& stride, const Dims& padding, bool ceil_mode,
                   bool count_include_pad, std::optional<int64_t> divisor_override) {
  std::string op = text("avg_pool", Axes, "d");
  check_input(op, Axes, *input);
  Pool pool = pool_of(op, Axes, kernel_size, stride, padding, {1});
  require(divisor_override.value_or(1) != 0, op, ": expected a divisor that is not zero");
  return pool_average(pool, input, output_shape(pool, *input, ceil_mode), count_include_pad,
                      divisor_override.value_or(0));
}

// PyTorch's avg_pool1d has no divisor_override.
TensorRef avg_pool_one_axis(const TensorRef& input, const Dims& kernel_size,
                            const std::optional<Dims>& stride, const Dims& padding, bool ceil_mode,
                            bool count_include_pad) {
  return avg_pool<1>(input, kernel_size, stride, padding, ceil_mode, count_include_pad, {});
}

// Windows of kernel 0: chosen from the lengths of input and output.
Pool adaptive_pool(std::string op, int axes, const Tensor& input, const Dims& output_size,
                   Dims& shape) {
  check_input(op, axes, input);
  if (!is_floating(input.dtype())) {
    fail(ErrorKind::NotImplemented, "\"", op, "\" not implemented for torch.",
         dtype_name(input.dtype()), "; use input.float()");
  }
  shape = per_axis(op, "output_size", output_size, axes, 0);
  return {std::move(op), axes, Dims(axes, 0), Dims(axes, 1), Dims(axes, 0), Dims(axes, 1)};
}

template <int Axes>
TensorList adaptive_max_pool(const TensorRef& input, const Dims& output_size) {
  Dims shape;
  Pool pool = adaptive_pool(text("adaptive_max_pool", Axes, "d"), Axes, *input, output_size, shape);
  return pool_max(pool, input, shape);
}

template <int Axes>
TensorRef adaptive_avg_pool(const TensorRef& input, const Dims& output_size) {
  Dims shape;
  Pool pool = adaptive_pool(text("adaptive_avg_pool", Axes, "d"), Axes, *input, output_size, shape);
  if (std::all_of(shape.begin(), shape.end(), [](int64_t length) { return length == 1; })) {
    Dims dims;
    for (int64_t i = 0; i < Axes; ++i) dims.push_back(input->dim() - Axes + i);
    return mean(input, dims, true);
  }
  return pool_average(pool, input, shape, true, 0);
}

constexpr uint32_t kForms = kFunction | kFunctional;

#define MAX_POOL(axes, doc)                                                                  \
  OPERATOR_FORMS(max_pool_of<axes>, "max_pool" #axes "d",                                    \
                 "input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, " \
                 "return_indices=False",                                                     \
                 kForms, doc);                                                               \
  OPERATOR_FORMS(max_pool_with_indices<axes>, "max_pool" #axes "d_with_indices",             \
                 "input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False",  \
                 kForms,                                                                     \
                 "The maximum of every window and its flat position in the input's plane; "  \
                 "see max_pool" #axes "d.")
#define ADAPTIVE_POOLS(axes)                                                                     \
  OPERATOR_FORMS(adaptive_max_pool<axes>, "adaptive_max_pool" #axes "d", "input, output_size",   \
                 kFunction,                                                                      \
                 "Maxima, and their flat positions in the input's plane, over windows spread "   \
                 "evenly so that the result has `output_size` places: place i of n covers "      \
                 "floor(i * L / n) to ceil((i + 1) * L / n) of the L in the input.");            \
  OPERATOR_FORMS(adaptive_avg_pool<axes>, "adaptive_avg_pool" #axes "d", "input, output_size",   \
                 kFunction,                                                                      \
                 "Averages over windows spread evenly so that the result has `output_size` "     \
                 "places: place i of n covers floor(i * L / n) to ceil((i + 1) * L / n) of the " \
                 "L in the input.")

MAX_POOL(1, "The maximum of every window of `input` [N, C, L]; see max_pool2d.");
MAX_POOL(2, R"(The maximum of every window of `input`; a NaN in a window is its maximum.

Args:
    input: [N, C, H, W], or [C, H, W] without a batch; any dtype but bool.
    kernel_size: the window: a number, or one per axis.
    stride: steps between windows; by default kernel_size.
    padding: places of minus infinity on both sides, at most half of the window.
    dilation: steps between the elements of a window.
    ceil_mode: also count a last window that reaches beyond the input.
    return_indices: also return where in its plane (H * W, flat) each maximum was.

Returns:
    Tensor [N, C, (H + 2 * padding - dilation * (KH - 1) - 1) // stride + 1, ...]; with
    return_indices a tuple of it and an int64 tensor of its shape.

Raises:
    RuntimeError: a window that does not fit, or an input of other dimensions.

Example:
    >>> torch.max_pool2d(torch.tensor([[[1.0, 2.0], [3.0, 4.0]]]), 2)
    tensor([[[4.]]])
)");
MAX_POOL(3, "The maximum of every window of `input` [N, C, D, H, W]; see max_pool2d.");

OPERATOR_FORMS(avg_pool_one_axis, "avg_pool1d",
               "input, kernel_size, stride=None, padding=0, ceil_mode=False, "
               "count_include_pad=True",
               kForms, "The average of every window of `input` [N, C, L]; see avg_pool2d.");
OPERATOR_FORMS(avg_pool<2>, "avg_pool2d",
               "input, kernel_size, stride=None, padding=0, ceil_mode=False, "
               "count_include_pad=True, divisor_override=None",
               kForms, R"(The average of every window of `input`.

Args:
    input: [N, C, H, W], or [C, H, W] without a batch; floating or int64.
    kernel_size: the window: a number, or one per axis.
    stride: steps between windows; by default kernel_size.
    padding: zeros on both sides, at most half of the window.
    ceil_mode: also count a last window that reaches beyond the input and its padding.
    count_include_pad: divide by the window's length including padding.
    divisor_override: divide by this instead.

Returns:
    Tensor [N, C, (H + 2 * padding - KH) // stride + 1, ...].

Raises:
    RuntimeError: a window that does not fit, or an input of other dimensions.

Example:
    >>> torch.nn.functional.avg_pool2d(torch.tensor([[[1.0, 2.0], [3.0, 4.0]]]), 2)
    tensor([[[2.5000]]])
)");
OPERATOR_FORMS(avg_pool<3>, "avg_pool3d",
               "input, kernel_size, stride=None, padding=0, ceil_mode=False, "
               "count_include_pad=True, divisor_override=None",
               kForms, "The average of every window of `input` [N, C, D, H, W]; see avg_pool2d.")
    .autocast("float32 on cpu");
ADAPTIVE_POOLS(1);
ADAPTIVE_POOLS(2);
ADAPTIVE_POOLS(3);

}  // namespace
}  // namespace flambeau
