// The public convolutions: checks in PyTorch's order, then the primitives.
#include <algorithm>

#include "ops/convolution/convolution.h"
#include "ops/registry.h"
#include "ops/sizes.h"
#include "ops/views.h"

namespace flambeau {
namespace {

// Beyond this, arithmetic on shapes could overflow.
constexpr int64_t kLargest = INT32_MAX;

// One number for all axes, or one per axis.
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

struct Settings {
  std::string op;
  int axes;
  Dims stride, padding, dilation;
  int64_t groups;

  Attributes attributes(const Dims& spatial_shape) const {
    Attributes result;
    for (const Dims* values : {&stride, &padding, &dilation}) {
      for (int64_t value : *values) result.ints.push_back(value);
    }
    result.ints.push_back(groups);
    result.more_ints = spatial_shape;
    return result;
  }
};

void check_dtypes(const Settings& settings, const Tensor& input, const Tensor& weight,
                  const TensorRef& bias) {
  DType dtype = input.dtype();
  if (dtype == DType::Bool) {
    fail(ErrorKind::NotImplemented, "\"", settings.op, "\" not implemented for 'Bool'; use ",
         "input.float()");
  }
  require(weight.dtype() == dtype && (!bias || bias->dtype() == dtype), settings.op,
          ": expected input, weight and bias of one dtype, got input torch.", dtype_name(dtype),
          ", weight torch.", dtype_name(weight.dtype()), bias ? ", bias torch." : "",
          bias ? dtype_name(bias->dtype()) : "", "; convert with .to(dtype)");
}

// `in` and `out` are the channels of input and result that the weight's shape asks for.
void check_shapes(const Settings& settings, const Tensor& input, const Tensor& weight,
                  const TensorRef& bias, int64_t in, int64_t out) {
  const std::string& op = settings.op;
  for (int64_t i = 0; i < weight.dim(); ++i) {
    require(weight.size(i) > 0 || i == 1, op, ": expected a weight without empty dimensions, got ",
            "weight ", weight.shape());
  }
  require(weight.size(0) % settings.groups == 0, op,
          ": expected weight to be divisible by groups=", settings.groups,
          " at dimension 0, got weight ", weight.shape());
  require(input.size(1) == in, op, ": expected input with ", in,
          " channels because weight has shape ", weight.shape(), " and groups=", settings.groups,
          ", got input ", input.shape(),
          "; the channels are dimension 1 of a batched input and 0 of an unbatched one");
  require(!bias || (bias->dim() == 1 && bias->size(0) == out), op, ": expected bias of shape [",
          out, "] because weight has shape ", weight.shape(), ", got bias ",
          bias ? bias->shape() : Dims{});
}

Settings settings_of(std::string op, int axes, const Dims& stride, const Dims& padding,
                     const Dims& dilation, int64_t groups) {
  require(groups > 0 && groups <= kLargest, op, ": expected groups of at least 1, got ", groups);
  Dims strides = per_axis(op, "stride", stride, axes, 1);
  Dims paddings = per_axis(op, "padding", padding, axes, 0);
  Dims dilations = per_axis(op, "dilation", dilation, axes, 1);
  return {std::move(op), axes, strides, paddings, dilations, groups};
}

// Applies `body` to the input with a batch dimension, and takes that away again.
template <class Body>
TensorRef batched(const std::string& op, int axes, const TensorRef& input, const TensorRef& weight,
                  Body body) {
  require(weight->dim() == axes + 2, op, ": expected weight of ", axes + 2,
          " dimensions, got weight ", weight->shape());
  require(input->dim() == axes + 1 || input->dim() == axes + 2, op, ": expected input of ",
          axes + 1, " (unbatched) or ", axes + 2, " (batched) dimensions, got input ",
          input->shape());
  for (int64_t i = input->dim() - axes; i < input->dim(); ++i) size_decides(input->size(i));
  if (input->dim() == axes + 2) return body(input);
  return squeeze(body(unsqueeze(input, 0)), 0);
}

TensorRef convolve(const Settings& settings, const TensorRef& x, const TensorRef& weight,
                   const TensorRef& bias, const Dims* same_shape) {
  check_dtypes(settings, *x, *weight, bias);
  check_shapes(settings, *x, *weight, bias, weight->size(1) * settings.groups, weight->size(0));
  Dims out(settings.axes, 0);
  for (int i = 0; i < settings.axes; ++i) {
    int64_t window = settings.dilation[i] * (weight->size(2 + i) - 1) + 1;
    int64_t room = x->size(2 + i) + 2 * settings.padding[i] - window;
    require(same_shape || room >= 0, settings.op, ": expected a kernel that fits the input, got ",
            "weight ", weight->shape(), " with dilation ", settings.dilation, ", input ",
            x->shape(), " with padding ", settings.padding, "; enlarge the padding");
    out[i] = same_shape ? (*same_shape)[i] : room / settings.stride[i] + 1;
  }
  return convolution(x, weight, bias, settings.attributes(out));
}

template <int Axes>
TensorRef conv(const TensorRef& input, const TensorRef& weight,
               const std::optional<TensorRef>& bias, const Dims& stride, const Dims& padding,
               const Dims& dilation, int64_t groups) {
  std::string op = text("conv", Axes, "d");
  return batched(op, Axes, input, weight, [&](const TensorRef& x) {
    Settings settings = settings_of(op, Axes, stride, padding, dilation, groups);
    return convolve(settings, x, weight, bias.value_or(nullptr), nullptr);
  });
}

template <int Axes>
TensorRef conv_named_padding(const TensorRef& input, const TensorRef& weight,
                             const std::optional<TensorRef>& bias, const Dims& stride,
                             const std::string& padding, const Dims& dilation, int64_t groups) {
  std::string op = text("conv", Axes, "d");
  require(padding == "same" || padding == "valid", op,
          ": expected padding to be a number, 'same' or 'valid', got '", padding, "'");
  return batched(op, Axes, input, weight, [&](const TensorRef& x) {
    Settings settings = settings_of(op, Axes, stride, {0}, dilation, groups);
    if (padding == "valid") {
      return convolve(settings, x, weight, bias.value_or(nullptr), nullptr);
    }
    Dims shape;
    for (int i = 0; i < Axes; ++i) {
      require(settings.stride[i] == 1, op, ": padding='same' needs stride 1, got stride ", stride,
              "; give the padding in numbers");
      // Of an odd total the smaller part comes first.
      settings.padding[i] = settings.dilation[i] * (weight->size(2 + i) - 1) / 2;
      shape.push_back(x->size(2 + i));
    }
    return convolve(settings, x, weight, bias.value_or(nullptr), &shape);
  });
}

template <int Axes>
TensorRef conv_transpose(const TensorRef& input, const TensorRef& weight,
                         const std::optional<TensorRef>& bias, const Dims& stride,
                         const Dims& padding, const Dims& output_padding, int64_t groups,
                         const Dims& dilation) {
  std::string op = text("conv_transpose", Axes, "d");
  return batched(op, Axes, input, weight, [&](const TensorRef& y) {
    Settings settings = settings_of(op, Axes, stride, padding, dilation, groups);
    Dims extra = per_axis(op, "output_padding", output_padding, Axes, 0);
    TensorRef added = bias.value_or(nullptr);
    check_dtypes(settings, *y, *weight, added);
    check_shapes(settings, *y, *weight, added, weight->size(0), weight->size(1) * groups);
    Dims out(Axes, 0);
    for (int i = 0; i < Axes; ++i) {
      require(extra[i] < std::max(settings.stride[i], settings.dilation[i]), op,
              ": expected output_padding smaller than stride or dilation, got output_padding ",
              extra, ", stride ", settings.stride, ", dilation ", settings.dilation);
      out[i] = (y->size(2 + i) - 1) * settings.stride[i] - 2 * settings.padding[i] +
               settings.dilation[i] * (weight->size(2 + i) - 1) + extra[i] + 1;
      require(out[i] > 0 && y->size(2 + i) > 0, op,
              ": expected an input large enough for an output, got input ", y->shape(), ", weight ",
              weight->shape(), " and padding ", settings.padding);
    }
    return convolution_transpose(y, weight, added, settings.attributes(out));
  });
}

constexpr uint32_t kForms = kFunction | kFunctional;
#define CONVOLUTION(axes, doc)                                                                  \
  OPERATOR_FORMS(conv<axes>, "conv" #axes "d",                                                  \
                 "input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1", kForms, \
                 doc)                                                                           \
      .autocast("lower");                                                                       \
  OPERATOR_FORMS(conv_named_padding<axes>, "conv" #axes "d",                                    \
                 "input, weight, bias=None, stride=1, padding='valid', dilation=1, groups=1",   \
                 kForms, doc)                                                                   \
      .autocast("lower")
#define TRANSPOSED(axes, doc)                                                                  \
  OPERATOR_FORMS(conv_transpose<axes>, "conv_transpose" #axes "d",                             \
                 "input, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, " \
                 "dilation=1",                                                                 \
                 kForms, doc)                                                                  \
      .autocast("lower")

CONVOLUTION(1, "Convolves `input` [N, C, L] with `weight` [M, C / groups, K]; see conv2d.");
CONVOLUTION(2, R"(Convolves `input` with `weight` (without flipping it) and adds `bias`.

out[n, m, i, j] = bias[m] + sum over c, k, l of
    weight[m, c, k, l] * input[n, c, i * stride + k * dilation - padding, ...].

Args:
    input: [N, C, H, W], or [C, H, W] without a batch.
    weight: [M, C / groups, KH, KW], of the dtype of `input`.
    bias: [M], or None.
    stride, dilation: a number, or one per axis.
    padding: zeros on both sides of each axis, 'valid' for none, or 'same' for an output as large
        as the input (stride 1 only).
    groups: blocks of channels that are convolved separately.

Returns:
    Tensor [N, M, (H + 2 * padding - dilation * (KH - 1) - 1) // stride + 1, ...].

Raises:
    RuntimeError: shapes or dtypes that do not fit each other.

Source: Dumoulin and Visin, "A guide to convolution arithmetic for deep learning", 2016.

Example:
    >>> torch.conv2d(torch.ones(1, 1, 3, 3), torch.ones(1, 1, 2, 2))
    tensor([[[[4., 4.],
              [4., 4.]]]])
)");
CONVOLUTION(3,
            "Convolves `input` [N, C, D, H, W] with `weight` [M, C / groups, KD, KH, KW]; see "
            "conv2d.");
TRANSPOSED(1, "The transpose of conv1d for `input` [N, C, L]; see conv_transpose2d.");
TRANSPOSED(2, R"(The transpose of conv2d: what conv2d's gradient does to its output, plus `bias`.

Args:
    input: [N, C, H, W], or [C, H, W] without a batch.
    weight: [C, M / groups, KH, KW], of the dtype of `input`.
    bias: [M], or None.
    stride, padding, dilation, groups: those of the convolution that is transposed.
    output_padding: rows and columns added at the end of the output, fewer than stride or dilation.

Returns:
    Tensor [N, M, (H - 1) * stride - 2 * padding + dilation * (KH - 1) + output_padding + 1, ...].

Raises:
    RuntimeError: shapes or dtypes that do not fit each other.

Source: Dumoulin and Visin, "A guide to convolution arithmetic for deep learning", 2016.

Example:
    >>> torch.conv_transpose2d(torch.ones(1, 1, 1, 1), torch.ones(1, 1, 2, 2))
    tensor([[[[1., 1.],
              [1., 1.]]]])
)");
TRANSPOSED(3, "The transpose of conv3d for `input` [N, C, D, H, W]; see conv_transpose2d.");

}  // namespace
}  // namespace flambeau
