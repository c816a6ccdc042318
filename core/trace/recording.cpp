#include "trace/recording.h"

#include "autograd/meta.h"
#include "ops/pointwise_call.h"
#include "ops/views.h"
#include "random/generator.h"
#include "tensor/copy.h"

namespace flambeau {

namespace {

thread_local Recording* active = nullptr;
std::atomic<uint64_t> recordings_made = 0;

// Where a value is if rows run along another axis than the last: the same memory, rows last.
void move_axis_last(RecordedValue& value, int64_t axis) {
  int64_t length = value.shape[axis], stride = value.strides[axis];
  value.shape.erase(axis);
  value.strides.erase(axis);
  value.shape.push_back(length);
  value.strides.push_back(stride);
}

}  // namespace

const char* name_of(BufferKind kind) {
  static constexpr const char* kNames[] = {"argument", "captured", "gradient", "tangent",
                                           "constant", "internal", "output",   "saved"};
  return kNames[static_cast<int>(kind)];
}

Recording* Recording::current() { return active; }

Recording::Recording() : serial(++recordings_made) {}

Ref<Recording> Recording::start(std::span<const TensorRef> arguments) {
  require(!active, "compile: a recording is on in this thread already; call the inner function ",
          "directly");
  auto recording = Ref<Recording>::adopt(new Recording);
  recording->begin(arguments);
  return recording;
}

Ref<Recording> Recording::start_inside(std::span<const TensorRef> arguments) {
  require(active, "compile: a part of control flow is recorded inside a recording only");
  auto recording = Ref<Recording>::adopt(new Recording);
  recording->outer_ = Ref<Recording>::share(active);
  recording->is_part_ = true;
  recording->random_states_ = DefaultStates::now();
  recording->begin(arguments);
  return recording;
}

void Recording::begin(std::span<const TensorRef> arguments) {
  mark_ = Storage::begin_mark();
  add_roots(BufferKind::Argument, arguments);
  on_ = true;
  active = this;
  mode.tracing = true;
}

Recording::~Recording() { stop(); }

void Recording::stop() {
  if (!on_) return;
  on_ = false;
  Storage::end_mark(outer_ ? outer_->mark_ : 0);
  if (active == this) {
    active = outer_.get();
    mode.tracing = active != nullptr;
  }
  outer_.reset();
  if (is_part_) {  // the step that was tried out has not happened
    for (auto& [memory, contents] : undo_) copy(*memory, *contents);
    random_states_.restore();
  }
}

int Recording::add_buffer(BufferKind kind, int index, const TensorRef& tensor) {
  RecordedBuffer buffer{kind, index, 0, tensor, {}};
  if (tensor) {
    buffer.storage = tensor->storage();
    buffer.bytes = buffer.storage->bytes();
    if (buffers.empty()) device = buffer.storage->device();
    if (buffer.storage->device() != device) {
      fail("it uses tensors on several devices; move them to one before");
    }
    if (buffer.bytes > 0) by_memory_[buffer.storage->data()] = static_cast<int>(buffers.size());
  }
  buffers.push_back(std::move(buffer));
  root_offsets_.push_back(0);
  return static_cast<int>(buffers.size()) - 1;
}

void Recording::add_roots(BufferKind kind, std::span<const TensorRef> tensors) {
  for (size_t i = 0; i < tensors.size(); ++i) {
    const Storage* storage = tensors[i]->storage().get();
    if (by_memory_.count(storage->data()) && storage->bytes() > 0) {
      fail("two tensors among the arguments share memory; clone() one of them");
    }
    int buffer = add_buffer(kind, static_cast<int>(i), tensors[i]);
    root_offsets_[buffer] = tensors[i]->offset();
    known_.emplace(storage, Known{buffer, storage->version(), tensors[i]->storage()});
    const Tensor& root = *tensors[i];
    root_values.push_back({buffer, root.shape(), root.strides(), 0, root.dtype()});
  }
}

void Recording::begin_backward(std::span<const TensorRef> tangents) {
  backward_at = static_cast<int>(calls.size());
  add_roots(BufferKind::Tangent, tangents);
}

bool Recording::made_here(const Storage& storage) const { return storage.mark() == mark_; }

Recording::Known& Recording::known(const Tensor& tensor) {
  const Ref<Storage>& storage = tensor.storage();
  auto found = known_.find(storage.get());
  if (found == known_.end()) {
    auto alias = by_memory_.find(storage->data());
    int buffer;
    if (alias != by_memory_.end() && storage->bytes() > 0) {
      buffer = alias->second;
    } else {
      BufferKind kind = made_here(*storage) ? BufferKind::Constant : BufferKind::Captured;
      buffer = add_buffer(kind, -1, TensorRef::share(const_cast<Tensor*>(&tensor)));
      if (kind == BufferKind::Constant) {
        root_values.push_back(
            {buffer, tensor.shape(), tensor.strides(), tensor.offset(), tensor.dtype()});
      }
      // Where arguments of the outer recording lie differs from call to call.
      if (is_part_ && kind == BufferKind::Captured) root_offsets_[buffer] = tensor.offset();
    }
    found = known_.emplace(storage.get(), Known{buffer, storage->version(), storage}).first;
  }
  Known& entry = found->second;
  if (entry.version != storage->version()) {
    fail("memory was written to by an operation that cannot be recorded");
    entry.version = storage->version();
  }
  RecordedBuffer& buffer = buffers[entry.buffer];
  bool is_parameter = tensor.requires_grad() && !tensor.history();
  if (buffer.kind == BufferKind::Captured && is_parameter && !buffer.tensor->requires_grad() &&
      buffer.tensor->offset() == tensor.offset()) {
    buffer.tensor = TensorRef::share(const_cast<Tensor*>(&tensor));
  }
  return entry;
}

RecordedValue Recording::value_of(const Tensor& tensor) {
  int buffer = known(tensor).buffer;
  int64_t root = root_offsets_[buffer];
  if (root && buffers[buffer].tensor->dtype() != tensor.dtype()) {
    root = root * item_size(buffers[buffer].tensor->dtype()) / item_size(tensor.dtype());
  }
  return {buffer, tensor.shape(), tensor.strides(), tensor.offset() - root, tensor.dtype()};
}

RecordedInput Recording::input_of(const TensorRef& tensor) {
  RecordedInput input;
  if (!tensor) return input;
  input.kind = RecordedInput::Kind::Value;
  input.value = value_of(*tensor);
  return input;
}

// A fresh result gets a buffer; one in memory that is known (in place, out=) is a write to it.
RecordedValue Recording::output_of(const TensorRef& tensor, bool in_place) {
  const Storage* storage = tensor->storage().get();
  if (!in_place && !known_.count(storage)) {
    int buffer = add_buffer(BufferKind::Internal, -1, tensor);
    known_.emplace(storage, Known{buffer, storage->version(), tensor->storage()});
    buffers[buffer].tensor = nullptr;
  }
  RecordedValue value = value_of(*tensor);
  buffers[value.buffer].written = true;
  return value;
}

void Recording::before_write(const Tensor& target) {
  if (!on_) return;
  Known& entry = known(target);
  RecordedBuffer& buffer = buffers[entry.buffer];
  const bool is_undone = is_part_ && buffer.kind == BufferKind::Captured;
  if ((buffer.kind == BufferKind::Constant || is_undone) && !buffer.written) {
    int64_t bytes = static_cast<int64_t>(buffer.bytes);
    auto whole = Tensor::view(buffer.storage, {bytes}, {1}, 0, DType::UInt8);
    TensorRef contents = dense_copy(*whole, DType::UInt8);
    if (is_undone) {
      undo_.emplace_back(std::move(whole), std::move(contents));
    } else {
      buffer.tensor = std::move(contents);
    }
  }
  if (keeps_state && !buffer.written && buffer.kind != BufferKind::Internal) {
    int64_t bytes = static_cast<int64_t>(buffer.storage->bytes());
    auto whole = Tensor::view(buffer.storage, {bytes}, {1}, 0, DType::UInt8);
    buffer.before = dense_copy(*whole, DType::UInt8);
  }
  buffer.written = true;
  ++entry.version;  // the write that follows
}

void Recording::push(RecordedCallRef call) {
  if (is_part_ && call->random &&
      !is_default_generator(static_cast<const Generator&>(*call->attributes.object))) {
    fail("inside control flow, numbers are drawn from a generator of its own");
  }
  if (!mode.without_gil) call->place = places.user();
  calls.push_back(std::move(call));
}

// In place, an input that shares memory with the target in another layout is read from a copy.
void Recording::separate_overlaps(RecordedCall& call) {
  for (size_t i = 1; i < call.inputs.size(); ++i) {
    RecordedInput& input = call.inputs[i];
    bool shares = input.kind == RecordedInput::Kind::Value &&
                  input.value.buffer == call.outputs[0].buffer && !(input.value == call.outputs[0]);
    if (!shares) continue;
    auto copied = RecordedCallRef::adopt(new RecordedCall);
    copied->primitive = &clone_primitive();
    copied->attributes.dtype = input.value.dtype;
    copied->inputs = {input};
    input.value.buffer = add_buffer(BufferKind::Internal, -1, nullptr);
    input.value.strides = contiguous_strides(input.value.shape);
    input.value.offset = 0;
    buffers.back().bytes = count_elements(input.value.shape) * item_size(input.value.dtype);
    buffers.back().written = true;
    copied->outputs = {input.value};
    push(std::move(copied));
  }
}

void Recording::add_program(Call& call, const Pointwise& op, bool in_place) {
  auto recorded = RecordedCallRef::adopt(new RecordedCall);
  recorded->primitive = &op;
  recorded->program = op.program;
  recorded->dtype = call.attributes.dtype;
  recorded->in_place = in_place;
  PointwiseNumbers numbers(call.attributes);
  for (int i = 0; i < op.program->input_count; ++i) {
    RecordedInput input;
    if (i < op.operand_count && call.inputs[i]) {
      input = input_of(call.inputs[i]);
    } else {
      input.kind = RecordedInput::Kind::Number;
      input.number = numbers.next();
    }
    recorded->inputs.push_back(std::move(input));
  }
  for (int j = 0; j < call.output_count; ++j) {
    recorded->outputs.push_back(output_of(call.outputs[j], in_place));
  }
  if (!call.attributes.ints.empty()) {
    int64_t axis = call.attributes.ints[0];
    for (RecordedInput& input : recorded->inputs) {
      if (input.kind == RecordedInput::Kind::Value) move_axis_last(input.value, axis);
    }
    for (RecordedValue& value : recorded->outputs) move_axis_last(value, axis);
  }
  if (in_place) separate_overlaps(*recorded);
  push(std::move(recorded));
}

// In place by way of a fresh result that is then copied into the target: two calls.
void Recording::add_copied(Call& call) {
  auto computed = RecordedCallRef::adopt(new RecordedCall);
  computed->primitive = &call.primitive;
  computed->attributes = call.attributes;
  for (const TensorRef& input : call.inputs) computed->inputs.push_back(input_of(input));
  const OutputSpec& spec = call.specs[0];
  RecordedValue fresh{add_buffer(BufferKind::Internal, -1, nullptr), spec.shape,
                      contiguous_strides(spec.shape), 0, spec.dtype};
  buffers.back().bytes = count_elements(spec.shape) * item_size(spec.dtype);
  buffers.back().written = true;
  computed->outputs = {fresh};
  computed->random = dynamic_cast<Generator*>(call.attributes.object.get()) != nullptr;
  push(std::move(computed));
  auto copied = RecordedCallRef::adopt(new RecordedCall);
  copied->primitive = &copy_primitive();
  RecordedInput source;
  source.kind = RecordedInput::Kind::Value;
  source.value = fresh;
  copied->inputs = {input_of(call.inputs[0]), source};
  copied->outputs = {output_of(call.inputs[0], true)};
  copied->in_place = true;
  push(std::move(copied));
}

void Recording::add(Call& call, bool in_place) {
  if (!on_) return;
  if (call.primitive.view) {
    known(call.input(0));
    if (!tracks_sizes) return;
    RecordedValue input = value_of(call.input(0)), output = value_of(call.output());
    views.push_back({&call.primitive, call.attributes, input, output, calls.size()});
    return;
  }
  for (int i = 0; call.specs && !in_place && i < call.output_count; ++i) {
    if (!(call.outputs[i]->shape() == call.specs[i].shape)) {
      fail(text(call.primitive.name, ": the shape of its result depends on the values of tensors; ",
                "use a mask of fixed shape (where, masked_fill)"));
    }
  }
  if (call.primitive.run == &run_pointwise) {
    return add_program(call, static_cast<const Pointwise&>(call.primitive), in_place);
  }
  if (in_place &&
      !(call.primitive.updates_input && call.specs[0].dtype == call.inputs[0]->dtype())) {
    return add_copied(call);
  }
  auto recorded = RecordedCallRef::adopt(new RecordedCall);
  recorded->primitive = &call.primitive;
  recorded->attributes = call.attributes;
  recorded->in_place = in_place;
  recorded->random = dynamic_cast<Generator*>(call.attributes.object.get()) != nullptr;
  for (const TensorRef& input : call.inputs) recorded->inputs.push_back(input_of(input));
  for (int j = 0; j < call.output_count; ++j) {
    recorded->outputs.push_back(output_of(call.outputs[j], in_place));
  }
  push(std::move(recorded));
}

void Recording::add_update(const ProgramRef& program, std::span<const TensorList> lists,
                           std::span<const Scalar> numbers, std::span<const int> targets) {
  if (!on_) return;
  for (size_t k = 0; k < lists[0].size(); ++k) {
    // Tensors that are dense in one order are updated as lines.
    const Tensor& model = *lists[targets[0]][k];
    bool as_lines = !model.contiguous() && is_dense(model);
    for (const TensorList& list : lists) as_lines = as_lines && same_order(*list[k], model);
    auto operand = [&](const TensorRef& tensor) {
      if (!as_lines) return tensor;
      known(*tensor);
      return flattened(*tensor);
    };
    auto recorded = RecordedCallRef::adopt(new RecordedCall);
    recorded->program = program;
    recorded->dtype = lists[targets[0]][k]->dtype();
    recorded->in_place = true;
    for (const TensorList& list : lists) recorded->inputs.push_back(input_of(operand(list[k])));
    for (size_t i = 0; i < numbers.size(); ++i) {
      RecordedInput input;
      input.kind = numbers_are_slots ? RecordedInput::Kind::Slot : RecordedInput::Kind::Number;
      input.number = numbers[i];
      input.slot = numbers_are_slots ? slot_count + static_cast<int>(i) : -1;
      recorded->inputs.push_back(std::move(input));
    }
    for (int target : targets) {
      recorded->outputs.push_back(output_of(operand(lists[target][k]), true));
    }
    push(std::move(recorded));
  }
  if (numbers_are_slots) slot_count += static_cast<int>(numbers.size());
}

void Recording::add_control(const Primitive& primitive, Ref<Object> control, bool random,
                            std::span<const TensorRef> inputs, std::span<const TensorRef> results) {
  if (!on_) return;
  auto recorded = RecordedCallRef::adopt(new RecordedCall);
  recorded->primitive = &primitive;
  recorded->attributes.object = std::move(control);
  recorded->random = random;
  for (const TensorRef& input : inputs) recorded->inputs.push_back(input_of(input));
  for (const TensorRef& result : results) recorded->outputs.push_back(output_of(result, false));
  push(std::move(recorded));
}

void Recording::note_gradient(Tensor& leaf, bool reads) {
  if (!on_ || noted_.count(&leaf) || made_here(*leaf.storage())) return;
  noted_[&leaf] = gradients.size();
  auto owner = TensorRef::share(&leaf);
  gradients.push_back({owner, {}, leaf.autograd() ? leaf.autograd()->grad : nullptr});
  if (!reads) return;
  TensorRef grad = leaf.autograd() ? leaf.autograd()->grad : nullptr;
  if (!grad) {
    without_gradient.push_back(owner);
    return;
  }
  const Storage* storage = grad->storage().get();
  if (known_.count(storage)) return;
  if (!lies_as_copy(*grad, leaf)) fail(".grad of a leaf is laid out otherwise than the leaf");
  int buffer = add_buffer(BufferKind::Gradient, -1, grad);
  root_offsets_[buffer] = grad->offset();
  known_.emplace(storage, Known{buffer, storage->version(), grad->storage()});
  buffers[buffer].tensor = owner;
}

void Recording::note_visible(const TensorRef& tensor) {
  if (on_) visible_.push_back(tensor);
}

void Recording::expect_known(const char* op, const Tensor& result) {
  if (!on_) return;
  bool found = known_.count(result.storage().get()) ||
               (result.storage()->bytes() && by_memory_.count(result.storage()->data()));
  if (!found && made_here(*result.storage()) && result.numel() > 0) {
    fail(text(op, ": it computes with values while it is called and cannot be recorded"));
  }
}

int Recording::note_size(SizeOp op, int a, int b, Scalar value) {
  if (!on_ || !tracks_sizes) return -1;
  const int count = static_cast<int>(sizes.size());
  const bool reads_a = op != SizeOp::Size && op != SizeOp::Constant;
  const bool reads_b = (op >= SizeOp::Add && op <= SizeOp::Divide) || op == SizeOp::Sign;
  if (a >= count || b >= count || (reads_a && a < 0) || (reads_b && b < 0)) {
    // Of a number that was not seen.
    tracks_sizes = false;
    return -1;
  }
  sizes.push_back({op, a, b, value});
  return count;
}

Recording* Recording::on_with_serial(uint64_t serial) {
  Recording* found = active;
  while (found && found->serial != serial) found = found->outer_.get();
  return found;
}

void Recording::note_copy(const Tensor& x, const Dims& shape) {
  if (!on_ || !tracks_sizes) return;
  Attributes attributes;
  attributes.ints = shape;
  views.push_back({&view_primitive(), std::move(attributes), value_of(x), {}, calls.size()});
}

void Recording::forget_memory() {
  known_.clear();
  by_memory_.clear();
  noted_.clear();
  visible_.clear();
  roots_.clear();
  for (RecordedBuffer& buffer : buffers) {
    const bool is_root = buffer.kind == BufferKind::Argument || buffer.kind == BufferKind::Tangent;
    if (is_root) buffer.tensor = nullptr;
    if (is_root || buffer.kind == BufferKind::Internal) buffer.storage = nullptr;
    buffer.before = nullptr;
  }
  for (RecordedGradient& gradient : gradients) gradient.before = nullptr;
}

void Recording::fail(const std::string& reason) {
  if (!failure.empty()) return;
  std::string where = mode.without_gil ? "" : places.describe(places.user());
  failure = where.empty() ? reason : reason + " (" + where + ")";
}

void Recording::finish(std::span<const TensorRef> results) {
  stop();
  roots_.assign(results.begin(), results.end());
  for (const TensorRef& result : results) outputs.push_back(value_of(*result));
  for (RecordedGradient& gradient : gradients) {
    AutogradMeta* meta = gradient.leaf->autograd();
    if (meta && meta->grad) gradient.value = value_of(*meta->grad);
  }
  // Nobody can look at the .grad of a tensor that only the recording holds any more.
  std::erase_if(gradients, [](const RecordedGradient& each) { return !each.leaf->python(); });
  std::erase_if(without_gradient, [](const TensorRef& leaf) { return !leaf->python(); });
  for (auto& [storage, entry] : known_) {
    if (entry.version != storage->version()) {
      fail("memory was written to by an operation that cannot be recorded");
    }
  }
}

void Recording::undo() {
  for (RecordedBuffer& buffer : buffers) {
    if (!buffer.before) continue;
    copy_bytes(*buffer.storage, 0, *buffer.before->storage(), 0, buffer.before->numel());
    buffer.storage->bump_version();
  }
  for (RecordedGradient& gradient : gradients) {
    if (gradient.leaf->autograd()) gradient.leaf->autograd()->grad = gradient.before;
  }
}

std::string Recording::escaped() const {
  std::string found;
  for (const TensorRef& tensor : visible_) {
    if (!tensor->python() || !made_here(*tensor->storage())) continue;
    if (std::find(roots_.begin(), roots_.end(), tensor) != roots_.end()) continue;
    bool is_gradient = false;
    for (const RecordedGradient& gradient : gradients) {
      is_gradient |= gradient.leaf->autograd() && gradient.leaf->autograd()->grad == tensor;
    }
    if (is_gradient) continue;
    if (!found.empty()) found += ", ";
    found += text(tensor->shape(), " torch.", dtype_name(tensor->dtype()));
  }
  return found;
}

// --- the recorder's functions -------------------------------------------------------------------

namespace {

Recorder below;  // autograd's

void record_call(Call& call, bool in_place) {
  if (mode.tracing && active) active->add(call, in_place);
  below.record(call, in_place);
}

void before_write(const Tensor& target) {
  if (active) active->before_write(target);
}

void record_update(const Program& program, std::span<const TensorList> lists,
                   std::span<const Scalar> numbers, std::span<const int> targets) {
  if (!active) return;
  active->add_update(ProgramRef::share(const_cast<Program*>(&program)), lists, numbers, targets);
}

void note_gradient(Tensor& leaf, bool reads) {
  if (active) active->note_gradient(leaf, reads);
}

void untraceable(const char* what) {
  if (active) active->fail(text("it reads ", what));
}

int add_size_step(SizeOp op, int a, int b, Scalar value) {
  return active ? active->note_size(op, a, b, value) : -1;
}

void add_copy(const Tensor& x, const Dims& shape) {
  if (active) active->note_copy(x, shape);
}

}  // namespace

void install_recording() {
  below = recorder;
  recorder = {record_call,   below.check_in_place, before_write,  record_update,
              note_gradient, untraceable,          add_size_step, add_copy};
}

}  // namespace flambeau
