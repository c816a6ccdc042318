#include "trace/executable.h"

#include <chrono>

#include "autograd/meta.h"
#include "base/thread_pool.h"
#include "ops/creation.h"
#include "ops/views.h"
#include "tensor/copy.h"
#include "trace/control.h"
#include "trace/steps.h"

namespace flambeau {

namespace {

bool fresh_every_run(BufferKind kind) {
  return kind == BufferKind::Output || kind == BufferKind::Saved;
}

// The history of a compiled function's outputs: its backward part is one node.
class CompiledNode final : public Node {
 public:
  CompiledNode(ExecutableRef executable, Ref<SavedRun> saved)
      : executable_(std::move(executable)), saved_(std::move(saved)) {}
  std::string name() const override { return "CompiledBackward"; }
  void run(std::span<TensorRef> gradients, std::span<TensorRef> results) override {
    require(saved_,
            "CompiledBackward: Trying to backward through the graph a second time, but "
            "its saved tensors have already been freed; pass retain_graph=True to the "
            "first backward()");
    require(!mode.grad,
            "CompiledBackward: a compiled function has no second derivative; "
            "differentiate the function itself, or compile the whole step");
    if (mode.tracing) recorder.untraceable("the gradient of a compiled function that ran before");
    std::vector<TensorRef> found = executable_->run_backward(*saved_, gradients);
    for (size_t i = 0; i < found.size(); ++i) results[i] = std::move(found[i]);
  }
  void release_saved() override { saved_.reset(); }

 private:
  ExecutableRef executable_;
  Ref<SavedRun> saved_;
};

}  // namespace

History history_of(const TensorRef& tensor) {
  Ref<Node> root = grad_fn(tensor);
  if (!root) return tensor->requires_grad() ? History::Alive : History::None;
  std::vector<Node*> stack{root.get()};
  std::unordered_map<Node*, bool> seen;
  while (!stack.empty()) {
    Node* node = stack.back();
    stack.pop_back();
    if (!seen.emplace(node, true).second) continue;
    if (node->is_used_up()) return History::Used;
    for (Edge& edge : node->edges) {
      if (edge.node) stack.push_back(edge.node.get());
    }
  }
  return History::Alive;
}

int Executable::add_buffer(BufferKind kind, size_t bytes, int index, TensorRef tensor,
                           int64_t arena_offset) {
  Buffer buffer{kind, index, bytes, arena_offset, std::move(tensor), {}, {}};
  if (kind == BufferKind::Captured || kind == BufferKind::Constant) {
    require(buffer.tensor, "executable: a buffer of kind ", name_of(kind), " needs its tensor");
    buffer.storage = buffer.tensor->storage();
    require(buffer.storage->device() == device_, "executable: memory on ",
            device_name(buffer.storage->device()), " in a graph on ", device_name(device_));
    buffer.requires_grad = buffer.tensor->requires_grad();
  }
  buffers_.push_back(std::move(buffer));
  return static_cast<int>(buffers_.size()) - 1;
}

int Executable::add_value(int buffer, const Dims& shape, const Dims& strides, int64_t offset,
                          DType dtype) {
  require(buffer >= 0 && buffer < static_cast<int>(buffers_.size()), "executable: no buffer ",
          buffer);
  Buffer& owner = buffers_[buffer];
  // Until memory is bound, values lie in memory of no use to anybody.
  Ref<Storage> storage = owner.storage ? owner.storage : Storage::create(0, device_);
  values_.push_back({Tensor::view(storage, shape, strides, offset, dtype), buffer, offset});
  owner.values.push_back(static_cast<int>(values_.size()) - 1);
  return static_cast<int>(values_.size()) - 1;
}

std::vector<TensorRef> Executable::read(std::span<const int> values) {
  std::vector<TensorRef> tensors;
  for (int value : values) {
    tensors.push_back(tensor_of(value));
    note_read(value);
  }
  return tensors;
}

std::vector<TensorRef> Executable::read(std::span<const StepInput> inputs) {
  std::vector<TensorRef> tensors;
  for (const StepInput& input : inputs) {
    const bool is_value = input.kind == StepInput::Kind::Value;
    tensors.push_back(is_value ? tensor_of(input.value) : nullptr);
    if (is_value) note_read(input.value);
  }
  return tensors;
}

std::vector<TensorRef> Executable::written(std::span<const int> values) {
  std::vector<TensorRef> tensors;
  for (int value : values) {
    tensors.push_back(tensor_of(value));
    note_written(value);
  }
  return tensors;
}

void Executable::note_read(int value) {
  if (value >= 0) work_ += values_[value].tensor->numel();
  if (value >= 0 && steps_.size() >= backward_at_) buffers_[values_[value].buffer].needed = true;
}

void Executable::note_written(int value) {
  Buffer& buffer = buffers_[values_[value].buffer];
  buffer.written = true;
  if (steps_.size() >= backward_at_) buffer.backward = true;
}

void Executable::add_call(const RecordedCallRef& call, std::span<const int> inputs,
                          std::span<const int> outputs, std::string label) {
  std::vector<TensorRef> from = read(inputs), to = written(outputs);
  if (auto* control = dynamic_cast<Control*>(call->attributes.object.get())) {
    work_ += kLongWork;  // a loop may run for long, or for ever
    steps_.push_back(make_control_step(ControlRef::share(control), std::move(from), std::move(to),
                                       std::move(label)));
    return;
  }
  steps_.push_back(make_call_step(call, std::move(from), std::move(to), std::move(label)));
}

void Executable::add_program(const ProgramRef& program, DType dtype,
                             std::span<const StepInput> inputs, std::span<const int> outputs,
                             std::string label) {
  require(static_cast<int>(inputs.size()) == program->input_count &&
              outputs.size() == program->outputs.size(),
          "executable: the program takes ", program->input_count, " inputs and has ",
          program->outputs.size(), " outputs, got ", inputs.size(), " and ", outputs.size());
  std::vector<TensorRef> from = read(inputs), to = written(outputs);
  steps_.push_back(
      make_program_step(program, dtype, from, inputs, std::move(to), std::move(label)));
}

void Executable::add_product(const RecordedCallRef& call, std::span<const int> inputs, int product,
                             const ProgramRef& program, DType dtype,
                             std::span<const StepInput> operands, std::span<const int> outputs,
                             std::string label) {
  std::vector<TensorRef> factors = read(inputs), result = written({&product, 1});
  std::vector<TensorRef> from = read(operands), to = written(outputs);
  steps_.push_back(make_product_step(call, std::move(factors), result[0], program, dtype, from,
                                     operands, std::move(to), std::move(label)));
}

void Executable::add_product_and_sum(const CallOfValues& product, const CallOfValues& sum,
                                     int factor, std::string label) {
  require(!device_.is_cpu() && (factor == 0 || factor == 1),
          "executable: a product with the sums of factor ", factor, " on ", device_name(device_));
  auto fixed = [this](const CallOfValues& call) {
    return FixedStep{call.call, read(call.inputs), written({&call.output, 1})[0]};
  };
  steps_.push_back(make_product_and_sum_step(fixed(product), fixed(sum), factor, std::move(label)));
}

void Executable::add_update(const ProgramRef& program, DType dtype,
                            std::span<const std::vector<int>> lists,
                            std::span<const StepInput> numbers, std::span<const int> targets,
                            std::string label) {
  std::vector<std::vector<TensorRef>> tensors;
  for (const std::vector<int>& list : lists) {
    auto& column = tensors.emplace_back();
    for (int value : list) {
      column.push_back(tensor_of(value));
      note_read(value);
    }
  }
  for (int target : targets) {
    for (int value : lists[target]) note_written(value);
  }
  steps_.push_back(
      make_update_step(program, dtype, std::move(tensors), numbers, targets, std::move(label)));
}

void Executable::add_fork(size_t begin, size_t middle, size_t end) {
  require(begin < middle && middle < end && end <= steps_.size() &&
              (forks_.empty() || forks_.back().end <= begin) &&
              (end <= backward_at_ || begin >= backward_at_),
          "executable: steps ", begin, " to ", middle, " and ", middle, " to ", end,
          " cannot run beside each other");
  forks_.push_back({begin, middle, end});
}

void Executable::move_buffer(Buffer& buffer, const Ref<Storage>& storage, int64_t root_bytes) {
  if (buffer.storage == storage && buffer.root == root_bytes) return;
  buffer.storage = storage;
  buffer.root = root_bytes;
  for (int id : buffer.values) {
    Value& value = values_[id];
    int64_t root = root_bytes / item_size(value.tensor->dtype());
    value.tensor->move_to(storage, value.offset + root);
  }
}

void Executable::finish(Interface interface) {
  interface_ = std::move(interface);
  gradient_tensors_.resize(interface_.gradients.size());
  backward_at_ = std::min(backward_at_, steps_.size());
  arena_ = Storage::create(interface_.arena_bytes, device_);
  for (Buffer& buffer : buffers_) {
    if (buffer.kind == BufferKind::Internal) {
      size_t end = static_cast<size_t>(buffer.arena_offset) + buffer.bytes;
      require(buffer.arena_offset >= 0 && end <= interface_.arena_bytes,
              "executable: an internal buffer of ", buffer.bytes, " bytes at ", buffer.arena_offset,
              " does not fit into the arena of ", interface_.arena_bytes);
      move_buffer(buffer, arena_, buffer.arena_offset);
    } else if (buffer.kind == BufferKind::Constant && buffer.written) {
      move_buffer(buffer, Storage::create(buffer.bytes, device_), 0);
    }
  }
  mode_ = mode;
  default_dtype_ = default_dtype();
}

// --- guards -------------------------------------------------------------------------------------

void Executable::expect_argument(const Tensor& model) {
  arguments_.push_back({model.shape(), model.strides(), model.dtype(), model.requires_grad()});
}

bool Executable::matches(std::span<const TensorRef> arguments, std::string* why) const {
  auto differs = [&](const auto&... parts) {
    if (why) *why = text(parts...);
    return false;
  };
  if (mode.grad != mode_.grad || mode.inference != mode_.inference) return differs("grad mode");
  if (mode.autocast != mode_.autocast) return differs("autocast");
  if (default_dtype() != default_dtype_) return differs("the default dtype");
  if (arguments.size() != arguments_.size()) return differs("the number of tensors");
  for (size_t i = 0; i < arguments.size(); ++i) {
    const Model& model = arguments_[i];
    const Tensor& got = *arguments[i];
    if (!(got.shape() == model.shape)) {
      return differs("argument ", i, " has shape ", got.shape(), ", recorded ", model.shape);
    }
    if (!(got.strides() == model.strides)) return differs("argument ", i, " has other strides");
    if (got.dtype() != model.dtype || got.device() != device_) {
      return differs("argument ", i, " has dtype or device ", dtype_name(got.dtype()));
    }
    if (got.requires_grad() != model.requires_grad) {
      return differs("argument ", i, ": requires_grad");
    }
    for (size_t j = 0; j < i; ++j) {
      if (arguments[j]->storage() == got.storage()) return differs("arguments that share memory");
    }
  }
  for (const Buffer& buffer : buffers_) {
    if (buffer.kind == BufferKind::Captured) {
      if (!(buffer.tensor->storage() == buffer.storage)) {
        return differs("the memory of a captured tensor of shape ", buffer.tensor->shape());
      }
      if (buffer.tensor->requires_grad() != buffer.requires_grad) {
        return differs("requires_grad of a captured tensor of shape ", buffer.tensor->shape());
      }
      for (const TensorRef& argument : arguments) {
        if (argument->storage() == buffer.storage) return differs("an argument that is captured");
      }
    } else if (buffer.kind == BufferKind::Gradient) {
      const AutogradMeta* meta = buffer.tensor->autograd();
      if (!meta || !meta->grad || !lies_as_copy(*meta->grad, *buffer.tensor)) {
        return differs(".grad of a leaf, which was not None");
      }
    }
  }
  for (const TensorRef& leaf : without_gradient_) {
    if (leaf->autograd() && leaf->autograd()->grad) return differs(".grad of a leaf, not None");
  }
  return true;
}

// --- running ------------------------------------------------------------------------------------

// Nobody but the executable itself can see the buffer's memory of the last run.
bool Executable::reusable(const Buffer& buffer) const {
  if (!buffer.storage || buffer.storage->bytes() != buffer.bytes) return false;
  uint32_t holders = 1 + static_cast<uint32_t>(buffer.values.size());
  for (size_t i = 0; i < interface_.gradients.size(); ++i) {
    auto& [leaf, value] = interface_.gradients[i];
    const TensorRef& last = gradient_tensors_[i];
    if (value < 0 || !last || !(last->storage() == buffer.storage)) continue;
    bool bound = leaf->autograd() && leaf->autograd()->grad == last;
    if (last->python() || last->use_count() != (bound ? 2u : 1u)) return false;
    ++holders;
  }
  return buffer.storage->use_count() == holders;
}

void Executable::bind_arguments(std::span<const TensorRef> arguments) {
  for (Buffer& buffer : buffers_) {
    if (buffer.kind == BufferKind::Argument) {
      const Tensor& tensor = *arguments[buffer.index];
      move_buffer(buffer, tensor.storage(), tensor.offset() * item_size(tensor.dtype()));
    } else if (buffer.kind == BufferKind::Gradient) {
      const Tensor& grad = *buffer.tensor->autograd()->grad;
      move_buffer(buffer, grad.storage(), grad.offset() * item_size(grad.dtype()));
    }
  }
}

// Memory for what outlives the run, and the contents of constants that the run writes to.
void Executable::renew(bool backward) {
  for (Buffer& buffer : buffers_) {
    if (buffer.backward != backward) continue;
    if (fresh_every_run(buffer.kind)) {
      if (!reusable(buffer)) move_buffer(buffer, Storage::create(buffer.bytes, device_), 0);
    } else if (buffer.kind == BufferKind::Constant && buffer.written) {
      copy_bytes(*buffer.storage, 0, *buffer.tensor->storage(), 0, buffer.bytes);
    }
  }
}

void Executable::run_steps(size_t begin, size_t end, std::span<const double> numbers) {
  KernelMode scope;
  for (const Fork& fork : forks_) {
    if (fork.begin < begin || fork.end > end) continue;
    for (; begin < fork.begin; ++begin) steps_[begin]->run(numbers);
    run_beside(fork, numbers);
    begin = fork.end;
  }
  for (; begin < end; ++begin) steps_[begin]->run(numbers);
}

void Executable::run_beside(const Fork& fork, std::span<const double> numbers) {
  parallel_for(2, 1, [&](int64_t begin, int64_t end) {
    KernelMode scope;  // of this thread
    size_t first = begin == 0 ? fork.begin : fork.middle, last = end == 1 ? fork.middle : fork.end;
    for (size_t i = first; i < last; ++i) steps_[i]->run(numbers);
  });
}

// The steps of the forward or the backward part. What was written before an error counts as
// written.
void Executable::run_part(bool backward, std::span<const double> numbers) {
  try {
    if (!device_.is_cpu() && replay(backward, numbers)) return finish_writes(backward);
    run_steps(backward ? backward_at_ : 0, backward ? steps_.size() : backward_at_, numbers);
  } catch (...) {
    finish_writes(backward);
    throw;
  }
  finish_writes(backward);
}

void (*Executable::wait)(std::mutex& mutex) = [](std::mutex& mutex) { mutex.lock(); };

std::unique_lock<std::mutex> Executable::acquire() {
  std::unique_lock lock(mutex_, std::try_to_lock);
  if (lock) return lock;
  wait(mutex_);
  return {mutex_, std::adopt_lock};
}

void Executable::finish_writes(bool backward) {
  for (Buffer& buffer : buffers_) {
    bool visible = buffer.kind == BufferKind::Captured || buffer.kind == BufferKind::Argument ||
                   buffer.kind == BufferKind::Gradient;
    if (visible && buffer.written && buffer.backward == backward) buffer.storage->bump_version();
  }
}

TensorRef Executable::result(int id) const {
  const Tensor& value = *values_[id].tensor;
  return Tensor::view(value.storage(), value.shape(), value.strides(), value.offset(),
                      value.dtype());
}

void Executable::bind_gradients() {
  for (size_t i = 0; i < interface_.gradients.size(); ++i) {
    auto& [leaf, value] = interface_.gradients[i];
    if (value >= 0 && buffers_[values_[value].buffer].kind == BufferKind::Gradient) continue;
    TensorRef& grad = autograd_meta(*leaf).grad;
    if (value < 0) {
      grad = nullptr;
      continue;
    }
    TensorRef& last = gradient_tensors_[i];
    bool same = last && grad == last && last->storage() == values_[value].tensor->storage();
    if (!same) grad = last = result(value);
  }
}

std::vector<TensorRef> Executable::run(std::span<const TensorRef> arguments,
                                       std::span<const double> numbers) {
  require(static_cast<int>(numbers.size()) == interface_.slots, "executable: ", interface_.slots,
          " numbers are required, got ", numbers.size());
  auto lock = acquire();
  bind_arguments(arguments);
  renew(false);
  run_part(false, numbers);
  bind_gradients();
  std::vector<TensorRef> outputs;
  for (int value : interface_.outputs) outputs.push_back(result(value));
  if (!interface_.differentiable.empty()) set_histories(arguments, outputs, numbers);
  for (int output : interface_.used) {
    auto node = Ref<Node>::adopt(new CompiledNode(nullptr, nullptr));
    node->outputs.resize(1);
    node->outputs[0].shape = outputs[output]->shape();
    node->outputs[0].dtype = outputs[output]->dtype();
    node->outputs[0].device = outputs[output]->device();
    set_history(*outputs[output], std::move(node), 0);
  }
  return outputs;
}

void Executable::set_histories(std::span<const TensorRef> arguments,
                               std::span<const TensorRef> outputs,
                               std::span<const double> numbers) {
  auto saved = Ref<SavedRun>::adopt(new SavedRun);
  saved->numbers.assign(numbers.begin(), numbers.end());
  for (const Buffer& buffer : buffers_) {
    SavedRun::Place place;
    if (!buffer.backward && buffer.kind != BufferKind::Internal && buffer.storage) {
      place = {buffer.storage, 0, buffer.storage->version()};
      if (buffer.kind == BufferKind::Argument) {
        const Tensor& tensor = *arguments[buffer.index];
        place.offset = tensor.offset() * item_size(tensor.dtype());
      }
    }
    saved->places.push_back(std::move(place));
  }
  auto* node = new CompiledNode(ExecutableRef::share(this), std::move(saved));
  auto owner = Ref<Node>::adopt(node);
  node->edges.resize(static_cast<int>(interface_.sources.size()));
  for (size_t i = 0; i < interface_.sources.size(); ++i) {
    auto& [argument, leaf] = interface_.sources[i];
    node->edges[static_cast<int>(i)] = gradient_edge(leaf ? leaf : arguments[argument]);
  }
  node->outputs.resize(static_cast<int>(interface_.differentiable.size()));
  for (size_t i = 0; i < interface_.differentiable.size(); ++i) {
    Tensor& output = *outputs[interface_.differentiable[i]];
    node->outputs[static_cast<int>(i)].shape = output.shape();
    node->outputs[static_cast<int>(i)].dtype = output.dtype();
    node->outputs[static_cast<int>(i)].device = output.device();
    set_history(output, owner, static_cast<int>(i));
  }
}

std::vector<TensorRef> Executable::run_backward(const SavedRun& saved,
                                                std::span<const TensorRef> tangents) {
  auto lock = acquire();
  for (size_t i = 0; i < buffers_.size(); ++i) {
    Buffer& buffer = buffers_[i];
    const SavedRun::Place& place = saved.places[i];
    if (buffer.kind == BufferKind::Tangent) {
      const TensorRef& given = tangents[buffer.index];
      const Tensor& model =
          *values_[interface_.outputs[interface_.differentiable[buffer.index]]].tensor;
      TensorRef dense = given;
      if (!given) {
        dense = empty_as(model, model.dtype(), device_);
        fill(*dense, 0);
      } else if (!lies_as_copy(*given, model)) {
        dense = clone_like(given, model);
      }
      move_buffer(buffer, dense->storage(), dense->offset() * item_size(dense->dtype()));
    } else if (place.storage && buffer.needed) {
      require(place.storage->version() == place.version,
              "CompiledBackward: one of the variables needed for gradient computation has been "
              "modified by an inplace operation after the compiled function ran; call backward() "
              "first, or write to a clone()");
      move_buffer(buffer, place.storage, place.offset);
    }
  }
  renew(true);
  run_part(true, saved.numbers);
  std::vector<TensorRef> gradients;
  for (int value : interface_.source_gradients) {
    gradients.push_back(value < 0 ? nullptr : result(value));
  }
  // Whoever gets the gradients shall be their only owner.
  for (Buffer& buffer : buffers_) {
    if (buffer.backward && fresh_every_run(buffer.kind)) {
      move_buffer(buffer, Storage::create(0, device_), 0);
    }
  }
  return gradients;
}

// --- parts of control flow ----------------------------------------------------------------------

void Executable::require_separate_outputs() const {
  std::vector<int> seen;
  for (int id : interface_.outputs) {
    const Value& value = values_[id];
    const Buffer& buffer = buffers_[value.buffer];
    require(buffer.kind == BufferKind::Output && value.offset == 0 && value.tensor->contiguous() &&
                std::find(seen.begin(), seen.end(), value.buffer) == seen.end(),
            "control: an output of a part lies in memory of something else");
    seen.push_back(value.buffer);
  }
}

void Executable::run_inside(std::span<const Place> arguments, std::span<const Place> outputs) {
  std::lock_guard lock(mutex_);
  for (size_t i = 0; i < outputs.size(); ++i) {
    Buffer& buffer = buffers_[values_[interface_.outputs[i]].buffer];
    move_buffer(buffer, outputs[i].storage, outputs[i].bytes);
  }
  for (Buffer& buffer : buffers_) {
    if (buffer.kind == BufferKind::Argument) {
      move_buffer(buffer, arguments[buffer.index].storage, arguments[buffer.index].bytes);
    } else if (buffer.kind == BufferKind::Constant && buffer.written) {
      copy_bytes(*buffer.storage, 0, *buffer.tensor->storage(), 0, buffer.bytes);
    }
  }
  run_steps(0, steps_.size(), {});
}

void Executable::let_go() {
  std::lock_guard lock(mutex_);
  const Ref<Storage> nothing = Storage::create(0, device_);
  for (Buffer& buffer : buffers_) {
    if (buffer.kind == BufferKind::Argument || buffer.kind == BufferKind::Output) {
      move_buffer(buffer, nothing, 0);
    }
  }
}

std::vector<double> Executable::profile(std::span<const TensorRef> arguments,
                                        std::span<const double> numbers) {
  auto lock = acquire();
  bind_arguments(arguments);
  renew(false);
  renew(true);
  std::vector<double> seconds;
  KernelMode scope;
  for (auto& step : steps_) {
    if (!device_.is_cpu()) cuda::synchronize(device_.index);
    auto begin = std::chrono::steady_clock::now();
    step->run(numbers);
    if (!device_.is_cpu()) cuda::synchronize(device_.index);
    std::chrono::duration<double> taken = std::chrono::steady_clock::now() - begin;
    seconds.push_back(taken.count());
  }
  finish_writes(false);
  bind_gradients();
  return seconds;
}

}  // namespace flambeau
