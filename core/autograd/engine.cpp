// The backward pass runs in the calling thread: nodes whose gradients are complete, latest first.
#include "autograd/engine.h"

#include <algorithm>
#include <atomic>
#include <unordered_map>

#include "ops/arithmetic.h"
#include "ops/reduction.h"
#include "ops/views.h"

namespace flambeau {

namespace {

// Only one pass at a time may keep its state inside the nodes; one that starts while another runs
// (inside a hook, or in another thread) keeps its own in a map.
std::atomic_flag nodes_in_use = ATOMIC_FLAG_INIT;
uint32_t last_epoch = 0;

struct State {
  int32_t dependencies = 0;
  std::vector<TensorRef> buffers;
};

using Slot = std::pair<Node*, int32_t>;
struct SlotHash {
  size_t operator()(const Slot& slot) const {
    return std::hash<Node*>()(slot.first) * 31 + slot.second;
  }
};

[[gnu::noinline]] void fit_shape(TensorRef& gradient, const Node::Output& receiver, Node& from) {
  int64_t lead = gradient->dim() - receiver.shape.size();
  bool fits = lead >= 0;
  for (int64_t d = 0; fits && d < receiver.shape.size(); ++d) {
    fits = receiver.shape[d] == 1 || receiver.shape[d] == gradient->size(lead + d);
  }
  require(fits, from.name(), ": returned an invalid gradient, got shape ", gradient->shape(),
          " but expected shape compatible with ", Dims(receiver.shape));
  gradient = sum_to(gradient, receiver.shape);
}

// Makes a gradient what its receiver expects: un-broadcast and of its type.
void fit(TensorRef& gradient, const Node::Output& receiver, Node& from) {
  if (!(gradient->shape() == receiver.shape)) fit_shape(gradient, receiver, from);
  if (gradient->dtype() != receiver.dtype) gradient = to_dtype(gradient, receiver.dtype);
  if (gradient->device() != receiver.device) gradient = to_device(gradient, receiver.device);
}

class Pass {
 public:
  explicit Pass(BackwardOptions options)
      : options_(options), inside_(!nodes_in_use.test_and_set()), grad_mode_(options.create_graph) {
    if (inside_) epoch_ = ++last_epoch;
  }
  ~Pass() {
    if (inside_) nodes_in_use.clear();
  }

  // Gradients of these are kept instead of flowing on; only nodes that lead there run.
  void capture(const std::vector<Edge>& edges) {
    captured_.resize(edges.size());
    for (size_t i = 0; i < edges.size(); ++i) {
      if (edges[i].node) capture_[{edges[i].node.get(), edges[i].output}].push_back(i);
    }
    selective_ = true;
  }

  void run(const std::vector<Edge>& roots, const std::vector<TensorRef>& gradients) {
    for (const Edge& root : roots) count_dependencies(root.node.get());
    if (selective_) {
      for (const Edge& root : roots) mark_needed(root.node.get());
    }
    try {
      for (size_t i = 0; i < roots.size(); ++i) {
        TensorRef gradient = gradients[i];
        fit(gradient, roots[i].node->outputs[roots[i].output], *roots[i].node);
        accumulate(*roots[i].node, roots[i].output, std::move(gradient));
        if (dependencies(*roots[i].node) == 0 && !queued(roots[i].node.get())) {
          push(roots[i].node.get());
        }
      }
      while (Node* node = pop()) step(*node);
    } catch (...) {
      drop_buffers(roots);
      throw;
    }
  }

  std::vector<TensorRef> take_captured() { return std::move(captured_); }

 private:
  // First visit of a node in this pass: resets its state. True the first time.
  bool enter(Node& node) {
    if (!inside_) return states_.try_emplace(&node).second && init_state(node);
    if (node.epoch == epoch_) return false;
    node.epoch = epoch_;
    node.dependencies = 0;
    return true;
  }
  bool init_state(Node& node) {
    states_[&node].buffers.resize(node.outputs.size());
    return true;
  }
  int32_t& dependencies(Node& node) {
    return inside_ ? node.dependencies : states_[&node].dependencies;
  }
  TensorRef& buffer(Node& node, int32_t output) {
    return inside_ ? node.outputs[output].buffer : states_[&node].buffers[output];
  }

  // Nothing flows on from a node whose outputs are all on the border.
  bool ends_at(Node& node) const {
    if (!options_.border) return false;
    for (int i = 0; i < node.outputs.size(); ++i) {
      if (!capture_.count({&node, i})) return false;
    }
    return true;
  }

  void count_dependencies(Node* root) {
    std::vector<Node*> stack;
    for (Node* node = enter(*root) ? root : nullptr; node;) {
      Node* next = nullptr;  // a chain is followed without the stack
      const std::span<Edge> edges = ends_at(*node) ? std::span<Edge>() : node->edges;
      for (Edge& edge : edges) {
        if (!edge.node) continue;
        if (enter(*edge.node)) {
          if (next) stack.push_back(next);
          next = edge.node.get();
        }
        ++dependencies(*edge.node);
      }
      if (!next && !stack.empty()) {
        next = stack.back();
        stack.pop_back();
      }
      node = next;
    }
  }

  // A node is needed if a captured edge can be reached from it. Depth first, without recursion.
  void mark_needed(Node* root) {
    std::vector<std::pair<Node*, int>> stack;
    auto enter_needed = [&](Node* node) {
      if (!needed_.try_emplace(node, false).second) return;
      stack.emplace_back(node, 0);
      for (int i = 0; i < node->outputs.size(); ++i) {
        if (capture_.count({node, i})) needed_[node] = true;
      }
    };
    enter_needed(root);
    while (!stack.empty()) {
      auto& [node, next] = stack.back();
      if (ends_at(*node)) {
        stack.pop_back();
        continue;
      }
      if (next < node->edges.size()) {
        Node* child = node->edges[next++].node.get();
        if (child) enter_needed(child);
        continue;
      }
      for (Edge& edge : node->edges) {
        if (edge.node && needed_[edge.node.get()]) needed_[node] = true;
      }
      stack.pop_back();
    }
  }

  void accumulate(Node& node, int32_t output, TensorRef&& gradient) {
    TensorRef& sum = buffer(node, output);
    if (!sum) {
      sum = std::move(gradient);
    } else if (!options_.create_graph && sum->exclusive() && is_dense(*sum)) {
      add_(sum, gradient);
    } else {
      sum = add(sum, gradient);
    }
  }

  bool queued(Node* node) const {
    return next_ == node || std::find(heap_.begin(), heap_.end(), node) != heap_.end();
  }
  static bool earlier(const Node* a, const Node* b) { return a->sequence < b->sequence; }
  // Usually one node is ready at a time: the heap is only for the others.
  void push(Node* node) {
    if (!next_) {
      next_ = node;
      return;
    }
    if (earlier(next_, node)) std::swap(next_, node);
    heap_.push_back(node);
    std::push_heap(heap_.begin(), heap_.end(), earlier);
  }
  Node* pop() {
    Node* node = std::exchange(next_, nullptr);
    if (!heap_.empty() && (!node || earlier(node, heap_.front()))) {
      std::pop_heap(heap_.begin(), heap_.end(), earlier);
      Node* best = heap_.back();
      heap_.pop_back();
      if (node) push(node);
      return best;
    }
    return node;
  }

  // Hooks and captures on what has arrived; true when the node itself must run.
  bool receive(Node& node, std::span<TensorRef> gradients) {
    bool any = false;
    for (int i = 0; i < node.outputs.size(); ++i) {
      gradients[i] = std::move(buffer(node, i));
      if (!gradients[i]) continue;
      auto found = selective_ ? capture_.find({&node, i}) : capture_.end();
      const bool is_captured = found != capture_.end();
      const bool flows_on = !is_captured || !options_.border;
      if (flows_on) node.run_tensor_hooks(i, gradients[i]);
      if (is_captured) {
        for (size_t index : found->second) captured_[index] = gradients[i];
      }
      if (!flows_on) gradients[i].reset();
      any |= flows_on;
    }
    return any;
  }

  bool wanted(Node& node) {
    if (!selective_) return true;
    if (node.edges.size() == 0) return false;  // a leaf that is not accumulated into
    for (Edge& edge : node.edges) {
      if (edge.node && needed_[edge.node.get()]) return true;
    }
    return false;
  }

  void step(Node& node) {
    InlineArray<TensorRef, 2> gradients(node.outputs.size()), results(node.edges.size());
    bool any = receive(node, gradients);
    if (ends_at(node)) return;
    if (any && wanted(node)) {
      NodeHooks* hooks = node.hooks_if_any();
      std::span<TensorRef> in = gradients, out = results;
      if (hooks) {
        for (size_t i = 0; i < hooks->before.size(); ++i) hooks->before[i]->call({}, in);
      }
      if (hooks && !hooks->after.empty()) {
        std::vector<TensorRef> kept(in.begin(), in.end());
        node.run(in, out);
        for (size_t i = 0; i < hooks->after.size(); ++i) hooks->after[i]->call(out, kept);
      } else {
        node.run(in, out);
      }
      if (!options_.retain_graph) node.release_saved();
    }
    for (int i = 0; i < node.edges.size(); ++i) {
      Edge& edge = node.edges[i];
      if (!edge.node) continue;
      if (results[i]) {
        fit(results[i], edge.node->outputs[edge.output], node);
        accumulate(*edge.node, edge.output, std::move(results[i]));
      }
      if (--dependencies(*edge.node) == 0) push(edge.node.get());
    }
  }

  // After an error: nothing may stay behind in the nodes.
  void drop_buffers(const std::vector<Edge>& roots) {
    if (!inside_) return;
    uint32_t done = epoch_ = ++last_epoch;
    std::vector<Node*> stack;
    for (const Edge& root : roots) stack.push_back(root.node.get());
    while (!stack.empty()) {
      Node* node = stack.back();
      stack.pop_back();
      if (node->epoch == done) continue;
      node->epoch = done;
      for (Node::Output& output : node->outputs) output.buffer.reset();
      for (Edge& edge : node->edges) {
        if (edge.node) stack.push_back(edge.node.get());
      }
    }
  }

  BackwardOptions options_;
  bool inside_;
  bool selective_ = false;
  GradMode grad_mode_;
  uint32_t epoch_ = 0;
  Node* next_ = nullptr;
  std::vector<Node*> heap_;
  std::unordered_map<Node*, State> states_;
  std::unordered_map<Node*, bool> needed_;
  std::unordered_map<Slot, std::vector<size_t>, SlotHash> capture_;
  std::vector<TensorRef> captured_;
};

std::vector<Edge> root_edges(const std::vector<TensorRef>& roots) {
  std::vector<Edge> edges;
  for (size_t i = 0; i < roots.size(); ++i) {
    Edge edge = gradient_edge(roots[i]);
    require(edge.node, "backward: element ", i, " of tensors does not require grad and does not ",
            "have a grad_fn; make an input with requires_grad=True (and not under no_grad)");
    edges.push_back(std::move(edge));
  }
  return edges;
}

}  // namespace

void backward(const std::vector<TensorRef>& roots, const std::vector<TensorRef>& gradients,
              BackwardOptions options, const std::vector<TensorRef>* inputs) {
  if (inputs) {
    std::vector<TensorRef> results = gradients_of(roots, gradients, *inputs, options);
    for (size_t i = 0; i < inputs->size(); ++i) {
      if (!results[i]) continue;
      AutogradMeta& meta = autograd_meta(*(*inputs)[i]);
      if (mode.tracing) recorder.note_gradient(*(*inputs)[i], true);
      if (meta.grad) {
        GradMode mode_for_sum(options.create_graph);
        meta.grad = add(meta.grad, results[i]);
      } else {
        meta.grad = results[i]->use_count() == 1 && lies_as_copy(*results[i], *(*inputs)[i])
                        ? results[i]
                        : clone_like(results[i], *(*inputs)[i]);
      }
    }
    return;
  }
  std::vector<Edge> edges = root_edges(roots);
  Pass(options).run(edges, gradients);
}

std::vector<TensorRef> gradients_of(const std::vector<TensorRef>& roots,
                                    const std::vector<TensorRef>& gradients,
                                    const std::vector<TensorRef>& inputs, BackwardOptions options) {
  std::vector<Edge> edges = root_edges(roots), targets;
  for (const TensorRef& input : inputs) {
    require(input->requires_grad(),
            "grad: One of the differentiated Tensors does not require grad; call "
            "requires_grad_() on it before it is used");
    targets.push_back(gradient_edge(input));
  }
  Pass pass(options);
  pass.capture(targets);
  pass.run(edges, gradients);
  return pass.take_captured();
}

}  // namespace flambeau
