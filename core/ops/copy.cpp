// Copies: clone, casts, contiguous, copy_, fill_.
#include "tensor/copy.h"

#include "ops/portable.h"
#include "ops/views.h"
#include "tensor/device_memory.h"

namespace flambeau {

namespace {

void infer_copy(Call& call) { call.expect(0, call.input(0).shape(), call.attributes.dtype); }
void run_copy(Call& call) { copy(call.output(), call.input(0)); }
// The engine casts a gradient to the receiver's dtype.
void copy_rule(Gradient& gradient) { gradient.set(0, gradient.g()); }

const Primitive kClone =
    everywhere({.name = "clone", .infer = infer_copy, .run = run_copy, .gradient = copy_rule});
const Primitive kCast = everywhere({.name = "to",
                                    .infer = infer_copy,
                                    .run = run_copy,
                                    .gradient = copy_rule,
                                    .grad_name = "ToCopyBackward0"});

// To another device; ints: the device, then the input's.
int64_t number_of(Device device) { return device.is_cpu() ? -1 : device.index; }
Device device_of(int64_t number) {
  if (number < 0) return {};
  return {Device::Type::Cuda, static_cast<int8_t>(number)};
}
TensorRef transfer(const TensorRef& x, int64_t to, bool wait);
void infer_transfer(Call& call) {
  call.expect(0, call.input(0).shape(), call.input(0).dtype());
  call.specs[0].elsewhere = true;
  call.specs[0].device = device_of(call.attributes.ints[0]);
}
void run_transfer(Call& call) { copy(call.output(), call.input(0), call.attributes.flag == 0); }
void transfer_rule(Gradient& gradient) {
  gradient.set(0, transfer(gradient.g(), gradient.attributes().ints[1], true));
}
const Primitive kTransfer = everywhere({.name = "to",
                                        .infer = infer_transfer,
                                        .run = run_transfer,
                                        .gradient = transfer_rule,
                                        .grad_name = "ToCopyBackward0"});
TensorRef transfer(const TensorRef& x, int64_t to, bool wait) {
  Attributes attributes;
  attributes.ints = {to, number_of(x->device())};
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
PORTABLE(kClone, check_inputs<1>);
PORTABLE(kCast, check_inputs<1>);
PORTABLE(kCopyInto, check_copy_into);
PORTABLE(kFill, check_inputs<1>);
PORTABLE(kZero, check_inputs<1>);

TensorRef copy_with(const Primitive& primitive, const TensorRef& x, DType dtype) {
  Attributes attributes;
  attributes.dtype = dtype;
  return apply(primitive, {x}, std::move(attributes));
}

}  // namespace

const Primitive& clone_primitive() { return kClone; }
const Primitive& copy_primitive() { return kCopyInto; }

TensorRef clone(const TensorRef& x) { return copy_with(kClone, x, x->dtype()); }
TensorRef kept_before_write(const TensorRef& target) {
  GradMode off(false);
  return clone(target);
}
TensorRef contiguous(const TensorRef& x) { return x->contiguous() ? x : clone(x); }
TensorRef to_dtype(const TensorRef& x, DType dtype) {
  return x->dtype() == dtype ? x : copy_with(kCast, x, dtype);
}

TensorRef to_device(const TensorRef& x, Device device, bool non_blocking) {
  if (!device.is_cpu()) device = device_memory.concrete(device);
  if (device == x->device()) return x;
  return transfer(x, number_of(device), !non_blocking);
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

OPERATOR_FORMS(clone, "clone", "input", kFunction | kMethod,
               "A copy with memory of its own; gradients flow through it.");
OPERATOR_FORMS(contiguous, "contiguous", "input", kMethod,
               "The tensor itself if its elements lie in order without gaps, else such a copy.");
OPERATOR_FORMS(copy_call, "copy_", "input, src, non_blocking=False", kMethod,
               "Writes `src`, broadcast and converted, into this tensor.");
OPERATOR_FORMS(to_device, "to_device", "input, device, non_blocking=False", kPrivate,
               "The tensor on a device; itself if it is there.");
OPERATOR_FORMS(fill_call, "fill_", "input, value", kMethod, "Writes one number everywhere.");
OPERATOR_FORMS(zero_call, "zero_", "input", kMethod, "Writes zero everywhere.");

}  // namespace flambeau
