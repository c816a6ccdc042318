#include "ops/primitive.h"

#include "cuda/math_settings.h"
#include "ops/registry.h"
#include "ops/views.h"
#include "tensor/copy.h"

namespace flambeau {

Recorder recorder;
thread_local Mode mode;

// The same call on the CPU; results are copied to where the call wants them.
static void run_on_host(Call& call) {
  std::vector<TensorRef> inputs;
  for (const TensorRef& input : call.inputs) {
    inputs.push_back(input && !input->device().is_cpu() ? on_host(*input) : input);
  }
  Call host(call.primitive, inputs, Attributes(call.attributes), call.specs);
  host.output_count = call.output_count;
  std::array<TensorRef, kMaxOutputs> placed;
  for (int i = 0; i < call.output_count; ++i) {
    const Tensor& output = call.output(i);
    placed[i] = host.outputs[i] = Tensor::empty(output.shape(), output.dtype());
    if (i == 0 && call.primitive.updates_input) copy(*host.outputs[i], output);
  }
  call.primitive.run(host);
  for (int i = 0; i < call.output_count; ++i) {
    if (host.outputs[i].get() != placed[i].get()) {  // the kernel has found the shape
      call.outputs[i] =
          Tensor::empty(host.output(i).shape(), host.output(i).dtype(), call.output(i).device());
    }
    copy(call.output(i), host.output(i));
  }
}

bool has_gpu_run(const Call& call) {
  const Primitive& primitive = call.primitive;
  if (!primitive.run_cuda) return false;
  return !cuda::math_settings.deterministic || !primitive.order_varies ||
         !primitive.order_varies(call);
}

void run_on_gpu(Call& call) {
  if (has_gpu_run(call)) {
    call.primitive.run_cuda(call);
  } else {
    run_on_host(call);
  }
}

bool wants_record(const Call& call) {
  if (mode.tracing) return true;
  if (!mode.grad) return false;
  for (const TensorRef& input : call.inputs) {
    if (input && input->requires_grad()) return true;
  }
  return false;
}

static Device common_device(const Call& call) {
  Device device;
  bool first = true;
  for (const TensorRef& input : call.inputs) {
    if (!input || !(first || device.is_cpu())) continue;
    device = input->device();
    first = false;
  }
  if (device.is_cpu() || call.primitive.devices == Primitive::Devices::Any) return device;
  const bool numbers = call.primitive.devices == Primitive::Devices::CpuNumbers;
  for (const TensorRef& input : call.inputs) {
    if (!input || input->device() == device) continue;
    if (numbers && input->device().is_cpu() && input->dim() == 0) continue;
    fail(call.primitive.name,
         ": Expected all tensors to be on the same device, but found at least two devices, ",
         device_name(device), " and ", device_name(input->device()),
         "; move one of them with .to(device)");
  }
  return device;
}

void apply(Call& call) {
  const Primitive& primitive = call.primitive;
  if (mode.in_place && primitive.updates_input && call.inputs[0].get() == mode.in_place) {
    apply_in_place(call);
    return;
  }
  OutputSpec specs[kMaxOutputs];
  call.specs = specs;
  primitive.infer(call);
  if (primitive.view) {
    const OutputSpec& spec = call.specs[0];
    const Tensor& base = call.input(0);
    call.outputs[0] =
        Tensor::view(base.storage(), spec.shape, spec.strides, spec.offset, spec.dtype);
    // Views are always recorded: an in-place write through one must reach its base's history.
    recorder.record(call, false);
    return;
  }
  Device device = common_device(call);
  for (int i = 0; i < call.output_count; ++i) {
    const OutputSpec& spec = call.specs[i];
    const Device place = spec.elsewhere ? spec.device : device;
    call.outputs[i] = spec.strides.empty()
                          ? Tensor::empty(spec.shape, spec.dtype, place)
                          : empty_strided(spec.shape, spec.strides, spec.dtype, place);
    call.outputs[i]->set_inference(mode.inference);
  }
  if (primitive.updates_input) copy(call.output(), call.input(0));
  run_kernel(call);
  if (wants_record(call)) recorder.record(call, false);
}

void apply_in_place(Call& call) {
  const Primitive& primitive = call.primitive;
  const TensorRef& target = call.inputs[0];
  recorder.check_in_place(call, *target);
  OutputSpec specs[kMaxOutputs];
  call.specs = specs;
  primitive.infer(call);
  const OutputSpec& spec = call.specs[0];
  require(spec.shape == target->shape(), primitive.name, "_: the result has shape ", spec.shape,
          " and does not fit into the tensor of shape ", target->shape(), "; use ", primitive.name,
          " without the underscore");
  require(can_cast(spec.dtype, target->dtype()), primitive.name, "_: result type torch.",
          dtype_name(spec.dtype), " can't be cast to the desired output type torch.",
          dtype_name(target->dtype()), "; use ", primitive.name, " without the underscore");
  common_device(call);
  bool record = wants_record(call);
  if (record && (primitive.saved_inputs & 1)) {
    call.overwritten = kept_before_write(target);
  }
  if (mode.tracing) recorder.before_write(*target);
  if (primitive.updates_input && spec.dtype == target->dtype()) {
    call.outputs[0] = target;
    run_kernel(call);
  } else {
    call.outputs[0] = Tensor::empty(spec.shape, spec.dtype, target->device());
    if (primitive.updates_input) copy(call.output(), *target);
    run_kernel(call);
    copy(*target, call.output());
    call.outputs[0] = target;
  }
  target->storage()->bump_version();
  if (record) recorder.record(call, true);
}

TensorRef apply(const Primitive& primitive, std::initializer_list<TensorRef> inputs,
                Attributes attributes) {
  Call call{primitive, {inputs.begin(), inputs.size()}, std::move(attributes), {}, {}, 1, {}};
  apply(call);
  return std::move(call.outputs[0]);
}

TensorRef apply_in_place(const Primitive& primitive, std::initializer_list<TensorRef> inputs,
                         Attributes attributes) {
  Call call{primitive, {inputs.begin(), inputs.size()}, std::move(attributes), {}, {}, 1, {}};
  apply_in_place(call);
  return call.inputs[0];
}

}  // namespace flambeau
