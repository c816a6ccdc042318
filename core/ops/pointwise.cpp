#include "ops/pointwise.h"

#include "base/thread_pool.h"
#include "ops/pointwise_call.h"
#include "ops/sizes.h"
#include "ops/views.h"
#include "tensor/copy.h"

namespace flambeau {

namespace {

// Numbers of a call that do not fit into Attributes.scalars.
class NumberList : public Object {
 public:
  std::vector<Scalar> numbers;
};

constexpr int kInlineNumbers = 4;

void put_numbers(Attributes& attributes, std::span<const Operand> operands) {
  int count = 0;
  for (const Operand& operand : operands) count += !operand.tensor;
  int next = 0;
  if (count <= kInlineNumbers) {
    for (const Operand& operand : operands) {
      if (!operand.tensor) attributes.scalars[next++] = operand.scalar;
    }
    return;
  }
  auto list = Ref<NumberList>::adopt(new NumberList);
  for (const Operand& operand : operands) {
    if (!operand.tensor) list->numbers.push_back(operand.scalar);
  }
  attributes.object = std::move(list);
}

const Pointwise& pointwise_of(const Call& call) {
  return static_cast<const Pointwise&>(call.primitive);
}

// The type to compute in, after the rules for Bool and for integers.
DType compute_type(const Pointwise& op, DType common) {
  bool floats = op.promotion == Promotion::Floating || op.promotion == Promotion::CompareFloating;
  if (floats && !is_floating(common)) return default_dtype();
  if (op.promotion == Promotion::Integral && is_floating(common)) {
    fail(ErrorKind::NotImplemented, op.name, ": expected integer or bool operands, got torch.",
         dtype_name(common), " (\"", op.name,
         "\" not implemented for floating types); convert them with .long()");
  }
  if (common == DType::Bool && op.bool_refusal) {
    fail(op.name, ": bool tensors are not supported; ", op.bool_refusal);
  }
  return common;
}

DType first_type(std::span<const Operand> operands) {
  for (const Operand& operand : operands) {
    if (operand.tensor) return operand.tensor->dtype();
  }
  return default_dtype();
}

// The same tensor with one axis moved to the end.
TensorRef axis_last(const Tensor& tensor, int64_t axis) {
  Dims shape = tensor.shape(), strides = tensor.strides();
  shape.erase(axis);
  strides.erase(axis);
  shape.push_back(tensor.size(axis));
  strides.push_back(tensor.stride(axis));
  return Tensor::view(tensor.storage(), shape, strides, tensor.offset(), tensor.dtype());
}

}  // namespace

void infer_pointwise(Call& call) {
  const Pointwise& op = pointwise_of(call);
  Dims shape;
  bool first = true, row_major = true;
  for (const TensorRef& input : call.inputs) {
    if (!input) continue;
    row_major &= input->contiguous();
    if (first) {
      shape = input->shape();
    } else if (!(input->shape() == shape)) {
      shape = broadcast_shapes(op.name, shape, input->shape());
    }
    first = false;
  }
  DType dtype = op.yields_bool() ? DType::Bool : call.attributes.dtype;
  call.output_count = static_cast<int>(op.program->outputs.size());
  for (int j = 0; j < call.output_count; ++j) {
    bool row = op.program->values[op.program->outputs[j]].extent == Extent::Row;
    call.expect(j, shape, dtype);
    int64_t axis = call.attributes.ints.empty() ? shape.size() - 1 : call.attributes.ints[0];
    if (row && !shape.empty()) call.specs[j].shape[axis] = 1;
  }
  if (row_major || op.program->has_rows) return;
  const Dims strides = dense_strides(shape, call.inputs);
  for (int j = 0; j < call.output_count; ++j) call.specs[j].strides = strides;
}

void run_pointwise(Call& call) {
  const Pointwise& op = pointwise_of(call);
  const Program& program = *op.program;
  SmallVector<ProgramInput, 8> inputs(program.input_count);
  PointwiseNumbers numbers(call.attributes);
  for (int i = 0; i < program.input_count; ++i) {
    if (i < op.operand_count && call.inputs[i]) {
      inputs[i].tensor = call.inputs[i].get();
    } else {
      inputs[i].scalar = numbers.next();
    }
  }
  Tensor* outputs[kMaxOutputs];
  bool any = false;
  for (int j = 0; j < call.output_count; ++j) {
    outputs[j] = call.outputs[j].get();
    any |= outputs[j]->numel() > 0;
  }
  if (!any) return;
  TensorList views;  // of operands and results whose rows are not the last axis
  if (!call.attributes.ints.empty()) {
    auto moved = [&](const Tensor* tensor) {
      views.push_back(axis_last(*tensor, call.attributes.ints[0]));
      return views.back().get();
    };
    for (ProgramInput& input : inputs) {
      if (input.tensor) input.tensor = moved(input.tensor);
    }
    for (int j = 0; j < call.output_count; ++j) outputs[j] = moved(outputs[j]);
  }
  run_program(program, precision_of(call.attributes.dtype),
              {inputs.data(), static_cast<size_t>(inputs.size())},
              {outputs, static_cast<size_t>(call.output_count)});
}

Scalar PointwiseNumbers::at(int position) const {
  if (!attributes_.object) return attributes_.scalars[position];
  return static_cast<const NumberList&>(*attributes_.object).numbers[position];
}

namespace {

// Operands and attributes of a call, and the operator after the choice for Bool.
struct Prepared {
  Attributes attributes;
  const Pointwise& op;
  SmallInputs inputs;

  Prepared(const Pointwise& wanted, std::span<const Operand> operands)
      : op(chosen(wanted, operands, attributes.dtype)), inputs(op.operand_count) {
    for (int i = 0; i < op.operand_count; ++i) {
      inputs[i] = operands[i].tensor;
      if (inputs[i]) attributes.flag |= 1 << i;
    }
    for (size_t i = op.operand_count; i < operands.size(); ++i) {
      if (operands[i].tensor) {
        fail(ErrorKind::Type, op.name, ": argument ", i + 1,
             " must be a number, got a tensor of shape ", operands[i].tensor->shape(),
             "; pass its .item()");
      }
    }
    put_numbers(attributes, operands);
    if (op.whole_power && !is_floating(attributes.dtype) && !operands[1].tensor) {
      require(operands[1].scalar.to_double() >= 0, op.name,
              ": Integers to negative integer powers ", "are not allowed, got exponent ",
              operands[1].scalar.to_int(), " for torch.", dtype_name(attributes.dtype),
              "; convert the tensor with .float() first");
    }
  }

 private:
  static const Pointwise& chosen(const Pointwise& op, std::span<const Operand> operands,
                                 DType& dtype) {
    require(static_cast<int>(operands.size()) == op.program->input_count, op.name, ": takes ",
            op.program->input_count, " arguments, got ", operands.size());
    auto tensors = operands.subspan(0, op.operand_count);
    DType common = op.promotion == Promotion::First ? first_type(tensors)
                                                    : common_type(tensors, op.not_promoting);
    if (common == DType::Bool && op.for_bool) return chosen(*op.for_bool, operands, dtype);
    dtype = compute_type(op, common);
    return op;
  }
};

// Runs one instruction on contiguous memory, by several threads where that pays.
void run_direct(const Pointwise& op, Kernel kernel, char* out, const char* a, const char* b,
                uint32_t scalars, int64_t count, DType dtype) {
  const int64_t size = item_size(dtype);
  const bool test = op.yields_bool();
  auto run = [&](int64_t begin, int64_t end) {
    const char* x = scalars & 1 ? a : a + begin * size;
    const char* y = scalars & 2 || !b ? b : b + begin * size;
    if (test) {
      Precision precision = precision_of(dtype);
      run_test(kernel, precision, reinterpret_cast<bool*>(out) + begin, x, y, end - begin, scalars);
    } else {
      kernel(out + begin * size, x, y, nullptr, end - begin, scalars);
    }
  };
  if (count <= 1024) return run(0, count);
  parallel_for(count, std::max<int64_t>(1024, 4 * kGrain / (op.cost + 2)), run);
}

Kernel direct_kernel(const Pointwise& op, const Tensor& tensor) {
  return tensor.contiguous() && tensor.device().is_cpu()
             ? op.direct[static_cast<int>(tensor.dtype())]
             : nullptr;
}

[[gnu::noinline]] void record_direct(const Pointwise& op, std::span<const TensorRef> inputs,
                                     Scalar number, const TensorRef& out) {
  Call call(op, inputs);
  call.attributes.scalars[0] = number;
  call.attributes.dtype = (inputs[0] ? inputs[0] : inputs[1])->dtype();
  for (size_t i = 0; i < inputs.size(); ++i) call.attributes.flag |= inputs[i] ? 1 << i : 0;
  call.outputs[0] = out;
  recorder.record(call, false);
}

bool recording(const Pointwise& op, bool requires_grad) {
  return __builtin_expect(mode.tracing || (requires_grad && mode.grad && op.gradient), false);
}

// A number that a direct kernel reads in the tensor's own type; false if it would promote.
struct DirectNumber {
  char bytes[8];
  bool set(DType dtype, Scalar value) {
    if (dtype == DType::Float32) {
      auto single = static_cast<float>(value.to_double());
      std::memcpy(bytes, &single, 4);
    } else if (dtype == DType::Float64) {
      double full = value.to_double();
      std::memcpy(bytes, &full, 8);
    } else {
      std::memcpy(bytes, &value.integer, 8);
      return !value.is_float();
    }
    return true;
  }
};

TensorRef empty_like(const Pointwise& op, const Tensor& model) {
  auto out =
      Tensor::empty(model.shape(), op.yields_bool() ? DType::Bool : model.dtype(), model.device());
  if (__builtin_expect(mode.inference, false)) out->set_inference(true);
  return out;
}

TensorRef apply_prepared(Prepared& prepared) {
  Call call{prepared.op, prepared.inputs, std::move(prepared.attributes), {}, {}, 1, {}};
  apply(call);
  return std::move(call.outputs[0]);
}

}  // namespace

// The tensor that all tensors among the operands resemble: contiguous, one shape, and one dtype
// but for conditions. Null if there is none, or if numbers or the operator change the type.
static const Tensor* plain_model(const Pointwise& op, std::span<const Operand> operands) {
  const Tensor* model = nullptr;
  auto promotes = [&](size_t i) { return i < 32 && !(op.not_promoting >> i & 1); };
  for (size_t i = 0; i < operands.size() && !model; ++i) {
    if (promotes(i)) model = operands[i].tensor.get();
  }
  if (!model || model->dtype() == DType::Bool || model->numel() == 0) return nullptr;
  const bool floating = is_floating(model->dtype());
  if (!floating && op.promotion != Promotion::Common && op.promotion != Promotion::Compare) {
    return nullptr;
  }
  if (floating && op.promotion == Promotion::Integral) return nullptr;
  if (!floating && op.whole_power) return nullptr;
  for (size_t i = 0; i < operands.size(); ++i) {
    const Tensor* tensor = operands[i].tensor.get();
    if (!tensor) {
      if (!floating && operands[i].scalar.is_float()) return nullptr;
    } else if (!tensor->contiguous() || !tensor->device().is_cpu() ||
               !(tensor->shape() == model->shape()) ||
               (promotes(i) && tensor->dtype() != model->dtype()) ||
               static_cast<int>(i) >= op.operand_count) {
      return nullptr;
    }
  }
  return model;
}

// The usual call of several instructions: nothing needs to be inferred.
static TensorRef pointwise_plain(const Pointwise& op, std::span<const Operand> operands) {
  const Program& program = *op.program;
  if (program.outputs.size() != 1 || static_cast<int>(operands.size()) != program.input_count ||
      program.values[program.outputs[0]].extent == Extent::Row) {
    return {};
  }
  const Tensor* model = plain_model(op, operands);
  if (!model) return {};
  const DType dtype = model->dtype();
  TensorRef out = empty_like(op, *model);
  Tensor* const outputs[] = {out.get()};
  SmallVector<ProgramInput, 8> inputs(static_cast<int64_t>(operands.size()));
  bool requires_grad = false;
  for (size_t i = 0; i < operands.size(); ++i) {
    inputs[i] = {operands[i].tensor.get(), operands[i].scalar};
    requires_grad |= operands[i].tensor && operands[i].tensor->requires_grad();
  }
  run_program(program, precision_of(dtype), {inputs.data(), operands.size()}, outputs);
  if (recording(op, requires_grad)) {
    Prepared prepared(op, operands);
    Call call{op, prepared.inputs, std::move(prepared.attributes), {}, {}, 1, {}};
    call.outputs[0] = out;
    recorder.record(call, false);
  }
  return out;
}

static TensorRef pointwise_general(const Pointwise& op, std::span<const Operand> operands) {
  if (TensorRef result = pointwise_plain(op, operands)) return result;
  Prepared prepared(op, operands);
  return apply_prepared(prepared);
}

TensorRef unary(const Pointwise& op, const TensorRef& a) {
  Kernel kernel = direct_kernel(op, *a);
  if (!kernel) {
    const Operand operands[] = {a};
    return pointwise_general(op, operands);
  }
  auto out = empty_like(op, *a);
  run_direct(op, kernel, out->data<char>(), a->data<char>(), nullptr, 0, a->numel(), a->dtype());
  if (recording(op, a->requires_grad())) record_direct(op, {&a, 1}, {}, out);
  return out;
}

TensorRef binary(const Pointwise& op, const TensorRef& a, const TensorRef& b) {
  Kernel kernel = nullptr;
  if (a->dtype() == b->dtype() && b->contiguous() && b->device().is_cpu() &&
      a->shape() == b->shape()) {
    kernel = direct_kernel(op, *a);
  }
  if (!kernel) {
    const Operand operands[] = {a, b};
    return pointwise_general(op, operands);
  }
  auto out = empty_like(op, *a);
  run_direct(op, kernel, out->data<char>(), a->data<char>(), b->data<char>(), 0, a->numel(),
             a->dtype());
  if (recording(op, a->requires_grad() | b->requires_grad())) {
    const TensorRef inputs[] = {a, b};
    record_direct(op, inputs, {}, out);
  }
  return out;
}

TensorRef binary(const Pointwise& op, const TensorRef& a, Scalar b) {
  Kernel kernel = direct_kernel(op, *a);
  DirectNumber number;
  if (!kernel || !number.set(a->dtype(), b)) {
    const Operand operands[] = {a, b};
    return pointwise_general(op, operands);
  }
  auto out = empty_like(op, *a);
  run_direct(op, kernel, out->data<char>(), a->data<char>(), number.bytes, 2, a->numel(),
             a->dtype());
  if (recording(op, a->requires_grad())) {
    const TensorRef inputs[] = {a, nullptr};
    record_direct(op, inputs, b, out);
  }
  return out;
}

TensorRef binary(const Pointwise& op, Scalar a, const TensorRef& b) {
  Kernel kernel = direct_kernel(op, *b);
  DirectNumber number;
  if (!kernel || !number.set(b->dtype(), a)) {
    const Operand operands[] = {a, b};
    return pointwise_general(op, operands);
  }
  auto out = empty_like(op, *b);
  run_direct(op, kernel, out->data<char>(), number.bytes, b->data<char>(), 1, b->numel(),
             b->dtype());
  if (recording(op, b->requires_grad())) {
    const TensorRef inputs[] = {nullptr, b};
    record_direct(op, inputs, a, out);
  }
  return out;
}

TensorRef pointwise(const Pointwise& op, std::span<const Operand> operands) {
  if (operands.size() == 2 && op.operand_count == 2) {
    const Operand &a = operands[0], &b = operands[1];
    if (a.tensor) return b.tensor ? binary(op, a.tensor, b.tensor) : binary(op, a.tensor, b.scalar);
    if (b.tensor) return binary(op, a.scalar, b.tensor);
  }
  if (operands.size() == 1 && operands[0].tensor) return unary(op, operands[0].tensor);
  return pointwise_general(op, operands);
}

static void set_axis(Prepared& prepared, int64_t axis) {
  int64_t last = -1;
  for (int i = 0; i < prepared.op.operand_count; ++i) {
    if (prepared.inputs[i]) last = std::max(last, prepared.inputs[i]->dim() - 1);
  }
  if (prepared.op.program->has_rows && axis >= 0 && axis < last) prepared.attributes.ints = {axis};
}

TensorRef pointwise_rows(const Pointwise& op, std::span<const Operand> operands, int64_t axis) {
  Prepared prepared(op, operands);
  set_axis(prepared, axis);
  return apply_prepared(prepared);
}

TensorList pointwise_outputs(const Pointwise& op, std::span<const Operand> operands, int64_t axis) {
  Prepared prepared(op, operands);
  set_axis(prepared, axis);
  Call call{prepared.op, prepared.inputs, std::move(prepared.attributes), {}, {}, 1, {}};
  apply(call);
  TensorList results;
  for (int j = 0; j < call.output_count; ++j) results.push_back(std::move(call.outputs[j]));
  return results;
}

namespace {

bool same_layout(const Tensor& a, const Tensor& b) {
  return a.data() == b.data() && a.dtype() == b.dtype() && a.shape() == b.shape() &&
         a.strides() == b.strides();
}

// The bytes that a tensor may touch.
std::pair<const char*, const char*> extent_of(const Tensor& tensor) {
  int64_t last = 0;
  for (int64_t d = 0; d < tensor.dim(); ++d) last += (tensor.size(d) - 1) * tensor.stride(d);
  auto* begin = tensor.data<const char>();
  return {begin, begin + (last + 1) * item_size(tensor.dtype())};
}

bool overlap(const Tensor& a, const Tensor& b) {
  if (a.storage()->data() != b.storage()->data() || a.numel() == 0 || b.numel() == 0) return false;
  auto [a_begin, a_end] = extent_of(a);
  auto [b_begin, b_end] = extent_of(b);
  size_decides(a_begin - b_end, 0);
  size_decides(b_begin - a_end, 0);
  return a_begin < b_end && b_begin < a_end;
}

// Operands that share memory with the target in another layout are read from a copy, or refused
// as PyTorch does where both are contiguous.
void separate_overlaps(const Pointwise& op, SmallInputs& inputs, const Tensor& target, int first) {
  for (int i = first; i < op.operand_count; ++i) {
    if (!inputs[i] || same_layout(*inputs[i], target) || !overlap(*inputs[i], target)) continue;
    require(!(inputs[i]->contiguous() && target.contiguous()), op.name,
            ": unsupported operation: some elements of the input tensor and the written-to tensor "
            "refer to a single memory location; clone() the input first");
    inputs[i] = dense_copy(*inputs[i], inputs[i]->dtype());
  }
}

void check_result(const Pointwise& op, const OutputSpec& spec, const Tensor& target) {
  require(spec.shape == target.shape(), op.name, ": output with shape ", target.shape(),
          " doesn't match the broadcast shape ", spec.shape,
          "; an in-place operation cannot change the shape, use ", op.name,
          " without the underscore");
  require(can_cast(spec.dtype, target.dtype()), op.name, ": result type torch.",
          dtype_name(spec.dtype), " can't be cast to the desired output type torch.",
          dtype_name(target.dtype()),
          "; convert the tensor first or use the form that returns "
          "a new one");
}

// One instruction that writes over one of its operands: all of one type and shape.
class DirectCall {
 public:
  bool prepare(const Pointwise& op, const Tensor& target, std::span<const Operand> operands) {
    const size_t count = operands.size();
    if (count > 2 || static_cast<int>(count) != op.operand_count || op.yields_bool()) return false;
    kernel_ = direct_kernel(op, target);
    for (size_t i = 0; i < count && kernel_; ++i) {
      const Tensor* tensor = operands[i].tensor.get();
      if (!tensor) {
        if (!numbers_[i].set(target.dtype(), operands[i].scalar)) return false;
        data_[i] = numbers_[i].bytes;
        scalars_ |= 1u << i;
      } else if (tensor != &target &&
                 (tensor->dtype() != target.dtype() || !tensor->contiguous() ||
                  !(tensor->shape() == target.shape()) || !tensor->device().is_cpu() ||
                  (tensor->data() != target.data() && overlap(*tensor, target)))) {
        return false;
      } else {
        data_[i] = tensor->data<char>();
      }
    }
    return kernel_ != nullptr;
  }
  void run(const Pointwise& op, const Tensor& target) const {
    run_direct(op, kernel_, target.data<char>(), data_[0], data_[1], scalars_, target.numel(),
               target.dtype());
  }

 private:
  Kernel kernel_ = nullptr;
  const char* data_[2] = {};
  DirectNumber numbers_[2];
  uint32_t scalars_ = 0;
};

}  // namespace

TensorRef pointwise_overwriting(const Pointwise& op, std::span<Operand> operands) {
  for (Operand& target : operands) {
    if (mode.grad || mode.tracing || !target.tensor || !target.tensor->exclusive()) continue;
    DirectCall call;
    if (!call.prepare(op, *target.tensor, operands)) break;
    call.run(op, *target.tensor);
    return std::move(target.tensor);
  }
  return pointwise(op, operands);
}

// The direct path of `x += y` and `x *= 2`: same type, same shape, nothing to record.
static bool direct_in_place(const Pointwise& op, std::span<const Operand> operands) {
  if (mode.tracing) return false;
  const TensorRef& target = operands[0].tensor;
  for (const Operand& operand : operands) {
    if (mode.grad && operand.tensor && operand.tensor->requires_grad()) return false;
  }
  DirectCall direct;
  if (!direct.prepare(op, *target, operands)) return false;
  Call call{op, {&target, 1}, {}, {}, {}, 1, {}};
  recorder.check_in_place(call, *target);
  direct.run(op, *target);
  target->storage()->bump_version();
  return true;
}

TensorRef pointwise_in_place(const Pointwise& op, std::span<const Operand> operands) {
  const TensorRef target = operands[0].tensor;
  require(target, op.name, "_: the first argument must be a tensor");
  if (direct_in_place(op, operands)) return target;
  Prepared prepared(op, operands);
  Call call{prepared.op, prepared.inputs, std::move(prepared.attributes), {}, {}, 1, {}};
  recorder.check_in_place(call, *target);
  OutputSpec specs[kMaxOutputs];
  call.specs = specs;
  call.primitive.infer(call);
  check_result(prepared.op, call.specs[0], *target);
  bool record = wants_record(call);
  uint32_t needs = 0;
  for (int i = 0; i < prepared.op.operand_count; ++i) {
    if (prepared.inputs[i] && prepared.inputs[i]->requires_grad()) needs |= 1u << i;
  }
  if (record && needs && call.primitive.saves && (call.primitive.saves(call, needs).inputs & 1)) {
    call.overwritten = kept_before_write(target);
  }
  if (mode.tracing) recorder.before_write(*target);
  SmallInputs originals = prepared.inputs;
  separate_overlaps(prepared.op, prepared.inputs, *target, 1);
  call.outputs[0] = target;
  run_kernel(call);
  target->storage()->bump_version();
  call.inputs = originals;
  if (record) recorder.record(call, true);
  return target;
}

TensorRef pointwise_out(const Pointwise& op, std::span<const Operand> operands,
                        const TensorRef& out) {
  Prepared prepared(op, operands);
  Call call{prepared.op, prepared.inputs, std::move(prepared.attributes), {}, {}, 1, {}};
  require(!(mode.grad && (out->requires_grad() || wants_record(call)) && !mode.tracing), op.name,
          ": functions with out=... arguments don't support automatic differentiation, but one of "
          "the arguments requires grad; use the result instead of out=, or no_grad()");
  OutputSpec specs[kMaxOutputs];
  call.specs = specs;
  call.primitive.infer(call);
  const OutputSpec& spec = call.specs[0];
  if (!(spec.shape == out->shape())) {
    out->storage()->grow(count_elements(spec.shape) * item_size(out->dtype()));
    const Dims strides = spec.strides.empty() ? contiguous_strides(spec.shape) : spec.strides;
    out->rebind(out->storage(), spec.shape, strides, 0, out->dtype());
  }
  check_result(prepared.op, spec, *out);
  bool shared = false;
  for (int i = 0; i < prepared.op.operand_count; ++i) {
    shared |= prepared.inputs[i] && !same_layout(*prepared.inputs[i], *out) &&
              overlap(*prepared.inputs[i], *out);
  }
  if (shared && mode.tracing) recorder.untraceable("out= that shares memory with an input");
  if (mode.tracing) recorder.before_write(*out);
  call.outputs[0] = shared ? Tensor::empty(spec.shape, spec.dtype, out->device()) : out;
  run_kernel(call);
  if (shared) copy(*out, call.output());
  out->storage()->bump_version();
  if (mode.tracing) recorder.record(call, false);
  return out;
}

}  // namespace flambeau
