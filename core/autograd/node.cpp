// Nodes: identity, saved tensors, and the bridge to gradient rules.
#include "autograd/node.h"

#include <cctype>

#include "autograd/meta.h"
#include "ops/arithmetic.h"
#include "ops/views.h"
#include "tensor/copy.h"

namespace flambeau {

static std::atomic<uint64_t> sequence_counter{0};

uint64_t next_sequence() { return sequence_counter.load(std::memory_order_relaxed); }

static uint64_t take_sequence() {
  if (counts_shared.load(std::memory_order_relaxed)) {  // Note [Counts]
    return sequence_counter.fetch_add(1, std::memory_order_relaxed);
  }
  uint64_t sequence = next_sequence();
  sequence_counter.store(sequence + 1, std::memory_order_relaxed);
  return sequence;
}

Node::Node() : sequence(take_sequence()) {
  if (!mode.without_gil) {
    place = places.here();
  } else if (pending_place.code) {
    place.code = std::exchange(pending_place.code, nullptr);
    place.offset = pending_place.offset;
  }
}

void Node::destroy(Node* node) {
  // Freeing a node frees its inputs' nodes: a list instead of recursion, so depth does not matter.
  static thread_local std::vector<Node*>* pending = nullptr;
  if (pending) {
    pending->push_back(node);
    return;
  }
  std::vector<Node*> list;
  pending = &list;
  delete node;
  while (!list.empty()) {
    Node* next = list.back();
    list.pop_back();
    delete next;
  }
  pending = nullptr;
}

void Node::run_tensor_hooks(int32_t output, TensorRef& gradient) {
  if (!hooks_) return;
  // By index: a hook may register another one.
  for (size_t i = 0; i < hooks_->tensor_hooks.size(); ++i) {
    auto [at, hook] = hooks_->tensor_hooks[i];
    if (at != output) continue;
    if (TensorRef changed = hook->call(gradient)) gradient = std::move(changed);
  }
  for (auto [at, tensor] : hooks_->retained) {
    if (at != output) continue;
    if (mode.tracing) recorder.untraceable("retain_grad");
    TensorRef& grad = autograd_meta(*tensor).grad;
    grad = grad ? add(grad, gradient) : gradient;
  }
}

void Node::retain_gradient(int32_t output, Tensor* tensor) {
  std::erase_if(hooks().retained, [&](auto& entry) { return entry.first == output; });
  if (tensor) hooks().retained.emplace_back(output, tensor);
}

void SavedTensor::save(const TensorRef& value, int position, bool output) {
  index = static_cast<int8_t>(position);
  is_output = output;
  version = value->version();
  require(!value->inference() || mode.inference,
          "autograd: Inference tensors cannot be saved for backward; clone() the tensor "
          "outside inference_mode to get a normal one");
  AutogradMeta* meta = value->autograd();
  if (!output && value->requires_grad() && !value->history() && !(meta && meta->base)) {
    tensor = value;  // a leaf: its .grad_fn can never change
    return;
  }
  // Not the tensor itself: a later in-place operation changes its history (and may close a cycle).
  tensor = detach(*value);
  tensor->set_wrapped_number(value->wrapped_number());
  if (!output) origin = gradient_edge(value);
}

TensorRef SavedTensor::unpack(Node& owner) const {
  if (tensor->version() != version) {
    std::string made = places.describe(owner.place);
    std::string written = describe_write(*tensor->storage());
    fail(owner.name(), ": one of the variables needed for gradient computation has been modified ",
         "by an inplace operation: ", is_output ? "the result" : "an input", " of shape ",
         tensor->shape(), " is at version ", tensor->version(), "; expected version ", version,
         " instead. It was saved at ", made.empty() ? "an unknown place" : made,
         " and written to at ", written.empty() ? "an unknown place" : written,
         "; write to a clone() or use the operation without the underscore");
  }
  Edge history = origin;
  if (is_output) history = {Ref<Node>::share(&owner), index};
  if (!history.node || !mode.grad) return tensor;
  TensorRef result = detach(*tensor);
  set_history(*result, history.node, history.output);
  return result;
}

namespace {

class NodeGradient final : public Gradient {
 public:
  NodeGradient(PrimitiveNode& node, std::span<TensorRef> gradients, std::span<TensorRef> results)
      : node_(node), gradients_(gradients), results_(results) {}
  const Primitive& primitive() const override { return node_.primitive; }
  const Attributes& attributes() const override { return node_.attributes.restore(attributes_); }
  const TensorRef& g(int i) const override { return gradients_[i]; }
  TensorRef take(int i) override { return std::move(gradients_[i]); }
  TensorRef input(int i) const override { return saved(i, false); }
  TensorRef output(int i) const override { return saved(i, true); }
  Dims input_shape(int i) const override { return receiver(i).shape; }
  DType input_dtype(int i) const override { return receiver(i).dtype; }
  int input_count() const override { return node_.edges.size(); }
  Device device() const override {
    for (const TensorRef& gradient : gradients_) {
      if (gradient) return gradient->device();
    }
    return {};
  }
  bool needs(int i) const override { return static_cast<bool>(node_.edges[i].node); }
  void set(int i, TensorRef gradient) override { results_[i] = std::move(gradient); }

 private:
  const Node::Output& receiver(int i) const {
    Edge& edge = node_.edges[i];
    return edge.node->outputs[edge.output];
  }
  TensorRef saved(int i, bool output) const {
    for (const SavedTensor& slot : node_.saved) {
      if (slot.index == i && slot.is_output == output) return slot.unpack(node_);
    }
    return {};
  }

  PrimitiveNode& node_;
  std::span<TensorRef> gradients_;
  std::span<TensorRef> results_;
  mutable std::optional<Attributes> attributes_;
};

}  // namespace

void KeptAttributes::keep(Attributes&& attributes) {
  bool whole = !attributes.ints.empty() || !attributes.more_ints.empty() || attributes.object;
  for (int i = 1; i < 4; ++i) {
    const Scalar& scalar = attributes.scalars[i];
    whole |= scalar.integer != 0 || scalar.kind != Scalar().kind;
  }
  if (whole) {
    all_ = std::make_unique<Attributes>(std::move(attributes));
    return;
  }
  flag_ = attributes.flag;
  dtype_ = attributes.dtype;
  kind_ = attributes.scalars[0].kind;
  number_ = attributes.scalars[0].integer;
}

const Attributes& KeptAttributes::restore(std::optional<Attributes>& memory) const {
  if (all_) return *all_;
  if (!memory) {
    memory.emplace();
    memory->flag = flag_;
    memory->dtype = dtype_;
    memory->scalars[0].kind = kind_;
    memory->scalars[0].integer = number_;
  }
  return *memory;
}

std::string PrimitiveNode::name() const {
  if (hooks_ && hooks_->given_name) return hooks_->given_name;
  if (primitive.grad_name) return primitive.grad_name;
  // "index_select" -> "IndexSelectBackward0"
  std::string result;
  bool upper = true;
  for (const char* c = primitive.name; *c; ++c) {
    if (*c == '_') {
      upper = true;
      continue;
    }
    result += upper ? static_cast<char>(std::toupper(*c)) : *c;
    upper = false;
  }
  return result + "Backward0";
}

void PrimitiveNode::run(std::span<TensorRef> gradients, std::span<TensorRef> results) {
  if (released) {
    fail(name(), ": Trying to backward through the graph a second time, but its saved tensors ",
         "have already been freed; pass retain_graph=True to the first backward()");
  }
  NodeGradient view(*this, gradients, results);
  primitive.gradient(view);
}

void PrimitiveNode::release_saved() {
  for (SavedTensor& slot : saved) {
    released = true;
    slot.tensor.reset();
    slot.origin.node.reset();
  }
}

void AccumulateGrad::run_tensor_hooks(int32_t output, TensorRef& gradient) {
  TensorRef leaf = variable();
  if (!leaf) return;
  LeafHooks* hooks = autograd_meta(*leaf).hooks.get();
  for (size_t i = 0; hooks && i < hooks->gradient.size(); ++i) {
    Ref<Hook> hook = hooks->gradient[i];
    if (TensorRef changed = hook->call(gradient)) gradient = std::move(changed);
  }
}

void AccumulateGrad::run(std::span<TensorRef> gradients, std::span<TensorRef> results) {
  TensorRef incoming = std::move(gradients[0]), leaf = variable();
  if (!leaf) return;
  AutogradMeta& meta = autograd_meta(*leaf);
  if (mode.tracing) recorder.note_gradient(*leaf, true);
  if (!meta.grad) {
    // Taken over when nobody else can see it; what is shared or expanded is copied.
    bool owned = incoming->exclusive() && lies_as_copy(*incoming, *leaf);
    bool keep = mode.grad && incoming->requires_grad();
    // (A recording's references hide who owns it.)
    if ((mode.tracing || !owned) && !keep) incoming = clone_like(incoming, *leaf);
    meta.grad = std::move(incoming);
  } else if (mode.grad && (meta.grad->requires_grad() || incoming->requires_grad())) {
    meta.grad = add(meta.grad, incoming);
  } else {
    GradMode off(false);
    add_(meta.grad, incoming);
  }
  for (size_t i = 0; meta.hooks && i < meta.hooks->accumulated.size(); ++i) {
    Ref<Hook> hook = meta.hooks->accumulated[i];
    hook->call(leaf);
  }
}

}  // namespace flambeau
