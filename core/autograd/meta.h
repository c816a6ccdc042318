// What autograd keeps about a tensor beside its history: about leaves, views, and results that
// retain their gradient.
#pragma once

#include "autograd/node.h"

namespace flambeau {

struct LeafHooks {
  std::vector<Ref<Hook>> gradient;     // before the gradient is added to .grad
  std::vector<Ref<Hook>> accumulated;  // after .grad was updated
};

class AutogradMeta {
 public:
  ~AutogradMeta() {
    if (accumulator) accumulator->forget_variable();
  }
  static void* operator new(size_t bytes) { return allocate(bytes); }
  static void operator delete(void* pointer, size_t bytes) { deallocate(pointer, bytes); }

  TensorRef grad;
  uint32_t view_version = 0;         // the storage's version that grad_fn of a view belongs to
  TensorRef base;                    // of a view: the tensor that owns the memory
  Ref<AccumulateGrad> accumulator;   // of a leaf that was used
  std::unique_ptr<LeafHooks> hooks;  // of a leaf
  bool retains_grad = false;

  LeafHooks& hooks_of_leaf() {
    if (!hooks) hooks = std::make_unique<LeafHooks>();
    return *hooks;
  }
};

// The meta data of a tensor, created when absent.
AutogradMeta& autograd_meta(Tensor& tensor);
// Where the gradient of a tensor goes; no node if it needs none.
Edge gradient_edge(const TensorRef& tensor);
// The node that made a tensor, or null for leaves.
Ref<Node> grad_fn(const TensorRef& tensor);
// Makes `tensor` the result of a node.
void set_history(Tensor& tensor, Ref<Node> node, int32_t output);
bool is_leaf(const TensorRef& tensor);
// Same memory and version counter, no history.
TensorRef detach(const Tensor& tensor);

// The histories that a write through a view makes (view_history.cpp). `base` owns the memory.
Ref<Node> as_strided_node(const TensorRef& base, const Tensor& view);
Ref<Node> copy_slices_node(const TensorRef& base, const Tensor& view, Ref<Node> write);

// The Recorder's functions (ops/primitive.h).
void record(Call& call, bool in_place);
void check_in_place(const Call& call, Tensor& target);
// Gives the target of an in-place operation its new history (for views: its base's, too).
void rebase_history(const TensorRef& target, Ref<Node> node);

}  // namespace flambeau
