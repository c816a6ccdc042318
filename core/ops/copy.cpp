// Copies: clone, casts, contiguous, copy_, fill_.
#include "tensor/copy.h"

#include <algorithm>

#include "ops/portable.h"
#include "ops/views.h"
#include "tensor/device_memory.h"

namespace flambeau {

namespace {

// How results lie; strides stay empty where that is contiguous.
Dims result_strides(const Tensor& x, MemoryFormat format) {
  if (format == MemoryFormat::Contiguous) return {};
  return format == MemoryFormat::Preserve ? dense_strides(x) : strides_of(format, x.shape());
}

// flag: the memory format of the result.
void infer_copy(Call& call) {
  call.expect(0, call.input(0).shape(), call.attributes.dtype);
  if (call.attributes.flag == 0) return;
  call.specs[0].strides =
      result_strides(call.input(0), static_cast<MemoryFormat>(call.attributes.flag));
}
void run_copy(Call& call) { copy(call.output(), call.input(0)); }
// The engine casts a gradient to the receiver's dtype.
void copy_rule(Gradient& gradient) { gradient.set(0, gradient.g()); }

const Primitive kClone = everywhere({.name = "clone",
                                     .infer = infer_copy,
                                     .run = run_copy,
                                     .gradient = copy_rule,
                                     .any_order = true});
const Primitive kCast = everywhere({.name = "to",
                                    .infer = infer_copy,
                                    .run = run_copy,
                                    .gradient = copy_rule,
                                    .grad_name = "ToCopyBackward0",
                                    .any_order = true});

// To another device; ints: the device, the input's, the memory format of the result.
int64_t number_of(Device device) { return device.is_cpu() ? -1 : device.index; }
Device device_of(int64_t number) {
  if (number < 0) return {};
  return {Device::Type::Cuda, static_cast<int8_t>(number)};
}
TensorRef transfer(const TensorRef& x, int64_t to, bool wait, MemoryFormat format);
void infer_transfer(Call& call) {
  call.expect(0, call.input(0).shape(), call.input(0).dtype());
  call.specs[0].strides =
      result_strides(call.input(0), static_cast<MemoryFormat>(call.attributes.ints[2]));
  call.specs[0].elsewhere = true;
  call.specs[0].device = device_of(call.attributes.ints[0]);
}
void run_transfer(Call& call) { copy(call.output(), call.input(0), call.attributes.flag == 0); }
void transfer_rule(Gradient& gradient) {
  gradient.set(0,
               transfer(gradient.g(), gradient.attributes().ints[1], true, MemoryFormat::Preserve));
}
const Primitive kTransfer = everywhere({.name = "to",
                                        .infer = infer_transfer,
                                        .run = run_transfer,
                                        .gradient = transfer_rule,
                                        .grad_name = "ToCopyBackward0",
                                        .any_order = true});
TensorRef transfer(const TensorRef& x, int64_t to, bool wait, MemoryFormat format) {
  Attributes attributes;
  attributes.ints = {to, number_of(x->device()), static_cast<int64_t>(format)};
  attributes.flag = !wait;
  return apply(kTransfer, {x}, std::move(attributes));
}

// In place only: input 0 is the target, input 1 the source.
void infer_copy_into(Call& call) { call.expect(0, call.input(0).shape(), call.input(0).dtype()); }
void run_copy_into(Call& call) { copy(call.output(), call.input(1), call.attributes.flag == 0); }
void copy_into_rule(Gradient& gradient) {
  if (gradient.needs(1)) gradient.set(1, gradient.g());
}
const Primitive kCopyInto = everywhere({.name = "copy",
                                        .infer = infer_copy_into,
                                        .run = run_copy_into,
                                        .gradient = copy_into_rule,
                                        .updates_input = true,
                                        .grad_name = "CopyBackwards",
                                        .devices = Primitive::Devices::Any});

void run_fill(Call& call) { fill(call.output(), call.attributes.scalars[0]); }
// Nothing of the old value is left.
void fill_rule(Gradient&) {}
constexpr Primitive filling(const char* name, const char* grad_name) {
  return everywhere({.name = name,
                     .infer = infer_copy_into,
                     .run = run_fill,
                     .gradient = fill_rule,
                     .updates_input = true,
                     .grad_name = grad_name});
}
const Primitive kFill = filling("fill", "FillBackward0");
const Primitive kZero = filling("zero", "ZeroBackward0");

void check_copy_into(const Call& call) {
  need_inputs(call, 2, 2);
  broadcast_strides(call.input(1), call.input(0).shape());
}
void check_copy(const Call& call) {
  need_inputs(call, 1, 1);
  need(call, call.attributes.flag >= 0 && call.attributes.flag < kMemoryFormats,
       "there is no such memory format");
}
PORTABLE(kClone, check_copy);
PORTABLE(kCast, check_copy);
PORTABLE(kCopyInto, check_copy_into);
PORTABLE(kFill, check_inputs<1>);
PORTABLE(kZero, check_inputs<1>);

TensorRef copy_with(const Primitive& primitive, const TensorRef& x, DType dtype,
                    MemoryFormat format) {
  Attributes attributes;
  attributes.dtype = dtype;
  attributes.flag = static_cast<int>(format);
  return apply(primitive, {x}, std::move(attributes));
}

}  // namespace

const Primitive& clone_primitive() { return kClone; }
const Primitive& copy_primitive() { return kCopyInto; }

TensorRef clone(const TensorRef& x, MemoryFormat format) {
  return copy_with(kClone, x, x->dtype(), format);
}
TensorRef clone_like(const TensorRef& x, const Tensor& model) {
  const Dims strides = dense_strides(model);
  if (strides.empty()) return clone(x);
  Dims order(model.dim());
  for (int64_t d = 0; d < model.dim(); ++d) order[d] = d;
  std::stable_sort(order.begin(), order.end(),
                   [&](int64_t a, int64_t b) { return strides[a] > strides[b]; });
  TensorRef made = clone(permute(x, order));
  if (mode.grad && x->requires_grad()) {
    Dims back(order);
    for (int64_t i = 0; i < order.size(); ++i) back[order[i]] = i;
    return permute(made, back);
  }
  // Without a history it need not be a view, and has its memory to itself.
  made->rebind(made->storage(), x->shape(), strides, 0, x->dtype());
  return made;
}
TensorRef kept_before_write(const TensorRef& target) {
  GradMode off(false);
  return clone(target, MemoryFormat::Preserve);
}
TensorRef contiguous(const TensorRef& x) { return x->contiguous() ? x : clone(x); }
TensorRef to_format(const TensorRef& x, MemoryFormat format) {
  return format == MemoryFormat::Preserve || format_of(*x) == format ? x : clone(x, format);
}
TensorRef to_dtype(const TensorRef& x, DType dtype, MemoryFormat format) {
  return x->dtype() == dtype ? x : copy_with(kCast, x, dtype, format);
}

TensorRef to_device(const TensorRef& x, Device device, bool non_blocking, MemoryFormat format) {
  if (!device.is_cpu()) device = device_memory.concrete(device);
  if (device == x->device()) return x;
  return transfer(x, number_of(device), !non_blocking, format);
}

static TensorRef copy_into(const TensorRef& target, const TensorRef& source, bool wait) {
  broadcast_strides(*source, target->shape());
  bool shares = target->storage()->data() == source->storage()->data();
  bool same = shares && target->offset() == source->offset() &&
              target->strides() == source->strides() && target->shape() == source->shape();
  Attributes attributes;
  attributes.flag = !wait;
  return apply_in_place(kCopyInto, {target, shares && !same ? clone(source) : source},
                        std::move(attributes));
}
TensorRef copy_(const TensorRef& target, const TensorRef& source) {
  return copy_into(target, source, true);
}

TensorRef fill_(const TensorRef& target, Scalar value) {
  Attributes attributes;
  attributes.scalars[0] = value;
  return apply_in_place(kFill, {target}, std::move(attributes));
}

static TensorRef fill_call(const TensorRef& input, const TensorOrScalar& value) {
  if (!value.tensor) return fill_(input, value.scalar);
  require(value.tensor->dim() == 0, "fill_: only supports a number or a 0-dimensional value ",
          "tensor, got a tensor with ", value.tensor->dim(), " dimensions; use copy_");
  return copy_(input, value.tensor);
}
static TensorRef zero_call(const TensorRef& input) {
  Attributes attributes;
  attributes.scalars[0] = Scalar(0);
  return apply_in_place(kZero, {input}, std::move(attributes));
}
static TensorRef copy_call(const TensorRef& input, const TensorRef& src, bool non_blocking) {
  return copy_into(input, src, !non_blocking);
}

using OptionalFormat = std::optional<MemoryFormat>;

static TensorRef clone_call(const TensorRef& input, OptionalFormat format) {
  return clone(input, format.value_or(MemoryFormat::Preserve));
}
static TensorRef contiguous_call(const TensorRef& input, OptionalFormat format) {
  const MemoryFormat wanted = format.value_or(MemoryFormat::Contiguous);
  if (lies_as(*input, wanted)) return input;
  require(wanted != MemoryFormat::Preserve,
          "contiguous: preserve memory format is unsupported by the contiguous operator; use "
          "clone() to keep the order");
  return clone(input, wanted);
}
static TensorRef to_device_call(const TensorRef& input, Device device, bool non_blocking,
                                OptionalFormat format) {
  return to_device(input, device, non_blocking, format.value_or(MemoryFormat::Preserve));
}

OPERATOR_FORMS(clone_call, "clone", "input, *, memory_format=None", kFunction | kMethod,
               R"(A copy with memory of its own; gradients flow through it.

Args:
    memory_format: in which order the elements of the copy lie; by default in the input's, if that
        is dense.
)");
OPERATOR_FORMS(contiguous_call, "contiguous", "input, *, memory_format=None", kMethod,
               "The tensor itself if its elements lie in order without gaps, else such a copy; the "
               "order is `memory_format`, row-major by default.");
OPERATOR_FORMS(copy_call, "copy_", "input, src, non_blocking=False", kMethod,
               "Writes `src`, broadcast and converted, into this tensor.");
OPERATOR_FORMS(to_device_call, "to_device", "input, device, non_blocking=False, memory_format=None",
               kPrivate, "The tensor on a device; itself if it is there.");
OPERATOR_FORMS(fill_call, "fill_", "input, value", kMethod, "Writes one number everywhere.");
OPERATOR_FORMS(zero_call, "zero_", "input", kMethod, "Writes zero everywhere.");

}  // namespace flambeau
