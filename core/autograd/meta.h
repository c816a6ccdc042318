// What autograd keeps about a tensor that takes part in it.
#pragma once

#include "autograd/node.h"

namespace flambeau {

class AutogradMeta {
 public:
  ~AutogradMeta() {
    if (accumulator) accumulator->forget_variable();
  }
  static void* operator new(size_t bytes) { return allocate(bytes); }
  static void operator delete(void* pointer, size_t bytes) { deallocate(pointer, bytes); }

  TensorRef grad;
  Ref<Node> grad_fn;                // null: a leaf (or a view whose grad_fn is out of date)
  int32_t output = 0;               // which output of grad_fn
  uint32_t view_version = 0;        // the storage's version that grad_fn of a view belongs to
  TensorRef base;                   // of a view: the tensor that owns the memory
  Ref<AccumulateGrad> accumulator;  // of a leaf that was used
  std::vector<Ref<Hook>> leaf_hooks;
  std::vector<Ref<Hook>> accumulated_hooks;  // after .grad was updated
  bool retains_grad = false;
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
