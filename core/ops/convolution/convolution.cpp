// Convolution as three bilinear primitives whose gradients are each other.
//
// Of input x, weight w and output y, each primitive computes one from the other two:
//   convolution            y from x and w
//   convolution_transpose  x from y and w (conv_transpose, and the gradient of the input)
//   convolution_weight     w from x and y (the gradient of the weight)
// Attributes::ints holds stride, padding and dilation of every axis and then the groups;
// more_ints the spatial shape of what is computed, which the other two do not always determine.
// flag is 1 where results have channels last, for gradients as for the result itself.
#include "ops/convolution/convolution.h"

#include <array>

#include "ops/convolution/convolution_cuda.h"
#include "ops/convolution/convolution_kernels.h"
#include "ops/portable.h"
#include "ops/reduction.h"
#include "ops/views.h"
#include "tensor/copy.h"

namespace flambeau {
namespace {

extern const Primitive kConvolution, kTransposed, kWeight;

ConvolutionGeometry geometry_of(const Attributes& attributes, const Dims& x, const Dims& w,
                                const Dims& y) {
  const Dims& ints = attributes.ints;
  int axes = static_cast<int>(ints.size() / 3), missing = 3 - axes;
  ConvolutionGeometry geometry{x[0],      ints.back(), x[1],      y[1],      {1, 1, 1},
                               {1, 1, 1}, {1, 1, 1},   {1, 1, 1}, {0, 0, 0}, {1, 1, 1}};
  for (int i = 0; i < axes; ++i) {
    geometry.input[missing + i] = x[2 + i];
    geometry.kernel[missing + i] = w[2 + i];
    geometry.output[missing + i] = y[2 + i];
    geometry.stride[missing + i] = ints[i];
    geometry.padding[missing + i] = ints[axes + i];
    geometry.dilation[missing + i] = ints[2 * axes + i];
  }
  return geometry;
}

Dims spatial(const Dims& shape) { return Dims(shape.begin() + 2, shape.end()); }
Dims with_spatial(int64_t first, int64_t second, const Dims& spatial_shape) {
  Dims shape{first, second};
  for (int64_t length : spatial_shape) shape.push_back(length);
  return shape;
}

// 16-bit floats are computed in float, integers in int64.
DType compute_type(DType dtype) {
  if (!is_floating(dtype)) return DType::Int64;
  return dtype == DType::Float64 ? DType::Float64 : DType::Float32;
}

TensorRef contiguous_copy(const TensorRef& x) {
  return x->contiguous() ? x : dense_copy(*x, x->dtype());
}

using Dense = std::array<TensorRef, 3>;

// Calls body.template operator()<T>(inputs, output) with dense memory of the computing type.
template <class Body>
void with_dense(Call& call, Body body) {
  DType dtype = compute_type(call.output().dtype());
  Dense dense;
  for (size_t i = 0; i < call.inputs.size(); ++i) {
    const TensorRef& input = call.inputs[i];
    if (!input) continue;
    bool usable = input->contiguous() && input->dtype() == dtype;
    dense[i] = usable ? input : dense_copy(*input, dtype);
  }
  TensorRef out = call.outputs[0];
  if (out->dtype() != dtype || !out->contiguous()) out = Tensor::empty(out->shape(), dtype);
  if (dtype == DType::Float32) {
    body.template operator()<float>(dense, *out);
  } else if (dtype == DType::Float64) {
    body.template operator()<double>(dense, *out);
  } else {
    body.template operator()<int64_t>(dense, *out);
  }
  if (out != call.outputs[0]) copy(call.output(), *out);
}

MemoryFormat result_format(const Call& call) {
  if (call.attributes.flag == 0) return MemoryFormat::Contiguous;
  return call.input(0).dim() == 4 ? MemoryFormat::ChannelsLast : MemoryFormat::ChannelsLast3d;
}
void expect_result(Call& call, const Dims& shape) {
  call.expect(0, shape, call.input(0).dtype());
  if (call.attributes.flag) call.specs[0].strides = strides_of(result_format(call), shape);
}

void infer_convolution(Call& call) {
  const Tensor& x = call.input(0);
  expect_result(call, with_spatial(x.size(0), call.input(1).size(0), call.attributes.more_ints));
}
void infer_transposed(Call& call) {
  const Tensor& y = call.input(0);
  int64_t channels = call.input(1).size(1) * call.attributes.ints.back();
  expect_result(call, with_spatial(y.size(0), channels, call.attributes.more_ints));
}
void infer_weight(Call& call) {
  const Tensor& x = call.input(0);
  int64_t channels = x.size(1) / call.attributes.ints.back();
  expect_result(call, with_spatial(call.input(1).size(1), channels, call.attributes.more_ints));
}

// Shapes of input, weight and output of the convolution that a call is part of.
template <class Kernel>
void run_product(Call& call, const Dims& x, const Dims& w, const Dims& y, Kernel kernel) {
  if (call.output().numel() == 0) return;
  ConvolutionGeometry geometry = geometry_of(call.attributes, x, w, y);
  with_dense(call, [&]<class T>(const Dense& inputs, Tensor& out) {
    const T* bias = inputs[2] ? inputs[2]->data<T>() : nullptr;
    kernel(geometry, inputs[0]->data<T>(), inputs[1]->data<T>(), bias, out.data<T>());
  });
}

void run_convolution(Call& call) {
  run_product(call, call.input(0).shape(), call.input(1).shape(), call.output().shape(),
              [](const ConvolutionGeometry& geometry, auto* x, auto* w, auto* bias, auto* y) {
                convolution_forward(geometry, x, w, bias, y);
              });
}
void run_transposed(Call& call) {
  run_product(call, call.output().shape(), call.input(1).shape(), call.input(0).shape(),
              [](const ConvolutionGeometry& geometry, auto* y, auto* w, auto* bias, auto* x) {
                convolution_input_gradient(geometry, y, w, bias, x);
              });
}
void run_weight(Call& call) {
  run_product(call, call.input(0).shape(), call.output().shape(), call.input(1).shape(),
              [](const ConvolutionGeometry& geometry, auto* x, auto* y, auto*, auto* w) {
                convolution_weight_gradient(geometry, x, y, w);
              });
}

// An operand as the kernel wants it; a bias is a line in every format.
TensorRef in_format(const TensorRef& x, MemoryFormat format) {
  if (!x || lies_as(*x, format)) return x;
  if (x->dim() == 1) return contiguous_copy(x);
  TensorRef made =
      empty_strided(x->shape(), strides_of(format, x->shape()), x->dtype(), x->device());
  copy(*made, *x);
  return made;
}

// The same on a GPU. `kernel` gets the geometry, the dense operands and the result, in the order of
// the result where there is a kernel for that.
template <class Kernel>
void run_product_cuda(Call& call, const Dims& x, const Dims& w, const Dims& y, Kernel kernel) {
  if (call.output().numel() == 0) return;
  ConvolutionGeometry geometry = geometry_of(call.attributes, x, w, y);
  auto run = [&](MemoryFormat format) {
    geometry.channels_last = format != MemoryFormat::Contiguous;
    TensorRef dense[3];
    for (size_t i = 0; i < call.inputs.size(); ++i) dense[i] = in_format(call.inputs[i], format);
    TensorRef out = call.outputs[0];
    if (!lies_as(*out, format)) {
      out = empty_strided(out->shape(), strides_of(format, out->shape()), out->dtype(),
                          out->device());
    }
    if (!kernel(geometry, *dense[0], *dense[1], dense[2].get(), *out)) return false;
    if (out != call.outputs[0]) copy(call.output(), *out);
    return true;
  };
  if (call.attributes.flag && run(result_format(call))) return;
  run(MemoryFormat::Contiguous);
}

void run_convolution_cuda(Call& call) {
  run_product_cuda(call, call.input(0).shape(), call.input(1).shape(), call.output().shape(),
                   convolution_on_gpu);
}
void run_transposed_cuda(Call& call) {
  run_product_cuda(call, call.output().shape(), call.input(1).shape(), call.input(0).shape(),
                   input_gradient_on_gpu);
}
void run_weight_cuda(Call& call) {
  run_product_cuda(
      call, call.input(0).shape(), call.output().shape(), call.input(1).shape(),
      [](const ConvolutionGeometry& geometry, const Tensor& x, const Tensor& y, const Tensor*,
         const Tensor& w) { return weight_gradient_on_gpu(geometry, x, y, w); });
}

// The rules: `product` applies one of the primitives with the attributes of the call.
TensorRef product(const Primitive& primitive, const Gradient& gradient, const TensorRef& a,
                  const TensorRef& b, const Dims& spatial_shape) {
  Attributes attributes = gradient.attributes();
  attributes.more_ints = spatial_shape;
  return apply(primitive, {a, b}, std::move(attributes));
}
void set_bias_gradient(Gradient& gradient) {
  if (gradient.input_count() < 3 || !gradient.needs(2)) return;
  int64_t channels = gradient.input_shape(2)[0];
  Dims kept(gradient.g()->dim(), 1);
  kept[1] = channels;
  gradient.set(2, view(sum_to(gradient.g(), kept), {channels}));
}

void convolution_rule(Gradient& gradient) {
  const TensorRef& g = gradient.g();
  if (gradient.needs(0)) {
    Dims shape = spatial(gradient.input_shape(0));
    gradient.set(0, product(kTransposed, gradient, g, gradient.input(1), shape));
  }
  if (gradient.needs(1)) {
    Dims shape = spatial(gradient.input_shape(1));
    gradient.set(1, product(kWeight, gradient, gradient.input(0), g, shape));
  }
  set_bias_gradient(gradient);
}
void transposed_rule(Gradient& gradient) {
  const TensorRef& g = gradient.g();
  if (gradient.needs(0)) {
    Dims shape = spatial(gradient.input_shape(0));
    gradient.set(0, product(kConvolution, gradient, g, gradient.input(1), shape));
  }
  if (gradient.needs(1)) {
    Dims shape = spatial(gradient.input_shape(1));
    gradient.set(1, product(kWeight, gradient, g, gradient.input(0), shape));
  }
  set_bias_gradient(gradient);
}
void weight_rule(Gradient& gradient) {
  const TensorRef& g = gradient.g();
  if (gradient.needs(0)) {
    Dims shape = spatial(gradient.input_shape(0));
    gradient.set(0, product(kTransposed, gradient, gradient.input(1), g, shape));
  }
  if (gradient.needs(1)) {
    Dims shape = spatial(gradient.input_shape(1));
    gradient.set(1, product(kConvolution, gradient, gradient.input(0), g, shape));
  }
}

// Each operand's gradient reads the other operand.
Saved save_other(const Call&, uint32_t needs) {
  return {(needs & 1 ? 2u : 0u) | (needs & 2 ? 1u : 0u), 0};
}

const Primitive kConvolution{
    .name = "convolution",
    .infer = infer_convolution,
    .run = run_convolution,
    .gradient = convolution_rule,
    .saved_inputs = 3,
    .grad_name = "ConvolutionBackward0",
    .saves = save_other,
    .run_cuda = run_convolution_cuda,
    .any_order = true,
};
const Primitive kTransposed{
    .name = "convolution_transpose",
    .infer = infer_transposed,
    .run = run_transposed,
    .gradient = transposed_rule,
    .saved_inputs = 3,
    .grad_name = "ConvolutionBackward0",
    .saves = save_other,
    .run_cuda = run_transposed_cuda,
    .any_order = true,
};
const Primitive kWeight{
    .name = "convolution_weight",
    .infer = infer_weight,
    .run = run_weight,
    .gradient = weight_rule,
    .saved_inputs = 3,
    .grad_name = "ConvolutionBackwardBackward0",
    .saves = save_other,
    .run_cuda = run_weight_cuda,
    .any_order = true,
};

// --- Note [Calls out of files]

// Whether the numbers along every axis are those of a convolution: what lies between input and
// output is padding before (given) and behind (nearly as much, but for what a stride leaves over).
bool fits_windows(const Attributes& attributes, const Dims& x, const Dims& w, const Dims& y) {
  const Dims& ints = attributes.ints;
  int64_t axes = attributes.more_ints.size();
  for (int64_t i = 0; i < axes; ++i) {
    int64_t stride = ints[i], padding = ints[axes + i], dilation = ints[2 * axes + i];
    for (int64_t value : {x[2 + i], w[2 + i], y[2 + i], stride, dilation, padding + 1}) {
      if (value < 1 || value > int64_t{1} << 30) return false;
    }
    int64_t reach = (y[2 + i] - 1) * stride + (w[2 + i] - 1) * dilation + 1;
    int64_t behind = reach - padding - x[2 + i];
    if (behind > padding + 1 || behind <= padding - std::max(stride, dilation)) return false;
  }
  return true;
}

// `roles`: of x, w and y, the number of the input that it is; -1 for what is computed.
void check_product(const Call& call, std::array<int, 3> roles) {
  need_inputs(call, 2, 3);
  const Attributes& attributes = call.attributes;
  int64_t axes = attributes.more_ints.size();
  need(call, axes >= 1 && axes <= 3 && attributes.ints.size() == 3 * axes + 1,
       "stride, padding and dilation of up to three axes and the groups are required");
  need(call, attributes.flag == 0 || (attributes.flag == 1 && axes > 1),
       "channels lie last with two or three axes only");
  int64_t groups = attributes.ints.back();
  need(call, groups >= 1 && groups <= int64_t{1} << 30, "no such number of groups");
  for (int i = 0; i < 2; ++i) {
    need(call, call.input(i).dim() == axes + 2, "inputs need two dimensions more than axes");
  }
  auto length = [&](int role, int dim) { return call.input(roles[role]).size(dim); };
  Dims x, w, y;
  if (roles[0] < 0) {
    x = with_spatial(length(2, 0), length(1, 1) * groups, attributes.more_ints);
  } else if (roles[1] < 0) {
    w = with_spatial(length(2, 1), length(0, 1) / groups, attributes.more_ints);
  } else {
    y = with_spatial(length(0, 0), length(1, 0), attributes.more_ints);
  }
  if (roles[0] >= 0) x = call.input(roles[0]).shape();
  if (roles[1] >= 0) w = call.input(roles[1]).shape();
  if (roles[2] >= 0) y = call.input(roles[2]).shape();
  need(call,
       x[0] == y[0] && x[1] > 0 && w[0] > 0 && w[0] == y[1] && w[0] % groups == 0 &&
           w[1] * groups == x[1] && fits_windows(attributes, x, w, y),
       "the shapes are not those of one convolution");
  int64_t channels = roles[0] < 0 ? x[1] : y[1];
  need(call, !call.has(2) || call.input(2).shape() == Dims{channels},
       "one bias for every channel is required");
}

PORTABLE(kConvolution, [](const Call& call) { check_product(call, {0, 1, -1}); });
PORTABLE(kTransposed, [](const Call& call) { check_product(call, {-1, 1, 0}); });
PORTABLE(kWeight, [](const Call& call) { check_product(call, {0, -1, 1}); });

}  // namespace

// PyTorch's rule: one operand with channels last is enough.
static int channels_last(const TensorRef& a, const TensorRef& w) {
  return format_of(*a) != MemoryFormat::Contiguous || format_of(*w) != MemoryFormat::Contiguous;
}

TensorRef convolution(const TensorRef& x, const TensorRef& w, const TensorRef& bias,
                      Attributes attributes) {
  attributes.flag = channels_last(x, w);
  return apply(kConvolution, {x, w, bias}, std::move(attributes));
}
TensorRef convolution_transpose(const TensorRef& y, const TensorRef& w, const TensorRef& bias,
                                Attributes attributes) {
  attributes.flag = channels_last(y, w);
  return apply(kTransposed, {y, w, bias}, std::move(attributes));
}

}  // namespace flambeau
