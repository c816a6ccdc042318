// What is kept about a tensor, and how a finished call becomes a node of the backward graph.
#include <atomic>

#include "autograd/meta.h"
#include "ops/views.h"

namespace flambeau {

void destroy_autograd_meta(Tensor& tensor) {
  AutogradMeta* meta = tensor.autograd();
  if (meta->retains_grad && tensor.history()) {
    tensor.history()->retain_gradient(tensor.history_output(), nullptr);
  }
  delete meta;
}

void release_history(Node* node) { Ref<Node>::adopt(node).reset(); }

AutogradMeta& autograd_meta(Tensor& tensor) {
  if (!tensor.autograd()) tensor.set_autograd(new AutogradMeta);
  return *tensor.autograd();
}

namespace {

// Guards the leaves' addresses in accumulators: a thread without the GIL may be running one.
std::atomic_flag variable_lock = ATOMIC_FLAG_INIT;
struct VariableGuard {
  const bool needed = counts_shared.load(std::memory_order_relaxed);  // Note [Counts]
  VariableGuard() {
    while (needed && variable_lock.test_and_set(std::memory_order_acquire)) {
    }
  }
  ~VariableGuard() {
    if (needed) variable_lock.clear(std::memory_order_release);
  }
};

Ref<Node> accumulator_of(Tensor& leaf) {
  AutogradMeta& meta = autograd_meta(leaf);
  if (!meta.accumulator) meta.accumulator = Ref<AccumulateGrad>::adopt(new AccumulateGrad(leaf));
  Node::Output& output = meta.accumulator->outputs[0];
  // `x.data = y` may have changed what the leaf is.
  if (!(output.shape == leaf.shape())) output.shape = leaf.shape();
  output.dtype = leaf.dtype();
  output.device = leaf.device();
  return Ref<Node>::share(meta.accumulator.get());
}

bool out_of_date(const AutogradMeta& meta, const Tensor& view) {
  return meta.base && meta.view_version != view.version();
}

}  // namespace

AccumulateGrad::AccumulateGrad(Tensor& leaf) : variable_(&leaf) {
  sequence = UINT64_MAX;  // runs as soon as it is ready
  outputs.resize(1);
  outputs[0].shape = leaf.shape();
  outputs[0].dtype = leaf.dtype();
  outputs[0].device = leaf.device();
}

TensorRef AccumulateGrad::variable() const {
  VariableGuard guard;
  return variable_ && variable_->try_retain() ? TensorRef::adopt(variable_) : nullptr;
}

void AccumulateGrad::forget_variable() {
  VariableGuard guard;
  variable_ = nullptr;
}

Ref<Node> grad_fn(const TensorRef& tensor) {
  if (!tensor->requires_grad()) return {};
  AutogradMeta* meta = tensor->autograd();
  if (meta && out_of_date(*meta, *tensor) && meta->base->requires_grad()) {
    // Written to since: the view is now a view of its base's new value.
    TensorRef base = meta->base;
    if (grad_fn(base) || tensor->history()) {
      meta->view_version = tensor->version();
      set_history(*tensor, as_strided_node(base, *tensor), 0);
    }
  }
  return Ref<Node>::share(tensor->history());
}

Edge gradient_edge(const TensorRef& tensor) {
  if (!tensor->requires_grad()) return {};
  if (Ref<Node> node = grad_fn(tensor)) return {std::move(node), tensor->history_output()};
  return {accumulator_of(*tensor), 0};
}

void set_history(Tensor& tensor, Ref<Node> node, int32_t output) {
  AutogradMeta* meta = tensor.autograd();
  if (meta && meta->retains_grad) {
    if (Node* before = tensor.history()) {
      before->retain_gradient(tensor.history_output(), nullptr);
    }
    node->retain_gradient(output, &tensor);
  }
  tensor.set_history(node.leak(), output);
  tensor.set_requires_grad_flag(true);
}

bool is_leaf(const TensorRef& tensor) { return !tensor->requires_grad() || !grad_fn(tensor); }

TensorRef detach(const Tensor& tensor) {
  auto result = Tensor::view(tensor);
  result->set_inference(tensor.inference());
  return result;
}

void check_in_place(const Call& call, Tensor& target) {
  for (int64_t d = 0; d < target.dim(); ++d) {
    require(target.stride(d) != 0 || target.size(d) <= 1, call.primitive.name,
            "_: more than one element of the written-to tensor refers to a single memory location "
            "(it was expanded to ",
            target.shape(), "); clone() it before writing to it");
  }
  require(!target.inference() || mode.inference, call.primitive.name,
          "_: Inplace update to inference tensor outside InferenceMode is not allowed; "
          "clone() the tensor first to get a normal one");
  note_write(*target.storage());
  if (!mode.grad || !target.requires_grad()) return;
  AutogradMeta* meta = target.autograd();
  TensorRef base = meta ? meta->base : nullptr;
  require(!base || !base->requires_grad() || !is_leaf(base), call.primitive.name,
          "_: a view of a leaf Variable that requires grad is being used in an in-place operation; "
          "wrap it in `with torch.no_grad():` or write to a clone");
  require(base || target.history(), call.primitive.name,
          "_: a leaf Variable that requires grad is being used in an in-place operation; "
          "wrap it in `with torch.no_grad():` or write to a clone");
}

namespace {

// The tensors that views are views of.
void record_view(const Call& call) {
  const TensorRef& input = call.inputs[0];
  Tensor& view = call.output();
  AutogradMeta& meta = autograd_meta(view);
  AutogradMeta* above = input->autograd();
  meta.base = above && above->base ? above->base : input;
  meta.view_version = view.version();
  view.set_tracked_view(true);
  view.set_inference(input->inference());
}

Saved saved_by(const Call& call) {
  const Primitive& primitive = call.primitive;
  if (!primitive.saves) return {primitive.saved_inputs, primitive.saved_outputs};
  uint32_t needs = 0;
  for (int i = 0; i < static_cast<int>(call.inputs.size()) && i < 32; ++i) {
    if (call.inputs[i] && call.inputs[i]->requires_grad()) needs |= 1u << i;
  }
  return primitive.saves(call, needs);
}

void save_tensors(Call& call, PrimitiveNode& node, bool in_place) {
  Saved wanted = saved_by(call);
  int count = 0, input_count = static_cast<int>(call.inputs.size());
  for (int i = 0; i < input_count && i < 32; ++i) {
    count += (wanted.inputs >> i & 1) && call.inputs[i];
  }
  for (int i = 0; i < call.output_count; ++i) count += wanted.outputs >> i & 1;
  node.saved.resize(count);
  int next = 0;
  for (int i = 0; i < input_count && i < 32; ++i) {
    if (!(wanted.inputs >> i & 1) || !call.inputs[i]) continue;
    SavedTensor& slot = node.saved[next++];
    if (in_place && i == 0) {
      // The memory was overwritten: keep the old value with the old history.
      slot.save(call.overwritten, i, false);
      slot.origin = node.edges[0];
    } else {
      slot.save(call.inputs[i], i, false);
    }
  }
  for (int i = 0; i < call.output_count; ++i) {
    if (wanted.outputs >> i & 1) node.saved[next++].save(call.outputs[i], i, true);
  }
}

Ref<Node> make_node(Call& call, bool in_place) {
  auto* node = new PrimitiveNode(call.primitive);
  auto owner = Ref<Node>::adopt(node);
  int input_count = static_cast<int>(call.inputs.size());
  node->edges.resize(input_count);
  for (int i = 0; i < input_count; ++i) {
    if (call.inputs[i]) node->edges[i] = gradient_edge(call.inputs[i]);
  }
  save_tensors(call, *node, in_place);
  node->outputs.resize(call.output_count);
  for (int i = 0; i < call.output_count; ++i) {
    node->outputs[i].shape = call.outputs[i]->shape();
    node->outputs[i].dtype = call.outputs[i]->dtype();
    node->outputs[i].device = call.outputs[i]->device();
  }
  node->attributes.keep(std::move(call.attributes));
  return owner;
}

bool differentiable(const Call& call) {
  if (!mode.grad || !call.primitive.gradient) return false;
  for (const TensorRef& input : call.inputs) {
    if (input && input->requires_grad()) return true;
  }
  return false;
}

}  // namespace

void record(Call& call, bool in_place) {
  if (call.primitive.view) record_view(call);
  if (!differentiable(call)) return;
  bool any = false;
  for (int i = 0; i < call.output_count; ++i) any |= is_floating(call.outputs[i]->dtype());
  if (!any) return;
  Ref<Node> node = make_node(call, in_place);
  if (in_place) {
    rebase_history(call.inputs[0], std::move(node));
    return;
  }
  if (call.output_count == 1) {
    set_history(call.output(), std::move(node), 0);
    return;
  }
  for (int i = 0; i < call.output_count; ++i) {
    if (is_floating(call.outputs[i]->dtype())) set_history(*call.outputs[i], node, i);
  }
}

void rebase_history(const TensorRef& target, Ref<Node> node) {
  AutogradMeta* meta = target->autograd();
  if (!meta || !meta->base) {
    set_history(*target, std::move(node), 0);
    return;
  }
  TensorRef base = meta->base;
  set_history(*base, copy_slices_node(base, *target, std::move(node)), 0);
  target->storage()->set_history_through_view();
  meta->view_version = target->version() - 1;  // its own grad_fn is made anew when asked for
  target->set_history(nullptr, 0);
  if (meta->retains_grad) meta->retains_grad = false;
  target->set_requires_grad_flag(true);
}

}  // namespace flambeau
