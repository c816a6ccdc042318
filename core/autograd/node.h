// The backward graph: nodes are applied primitives, edges say where gradients go.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "autograd/place.h"
#include "base/allocator.h"
#include "base/inline_array.h"
#include "ops/primitive.h"

namespace flambeau {

class Node;

// A gradient flows to output number `output` of `node`; no node: nowhere.
struct Edge {
  Ref<Node> node;
  int32_t output = 0;
};

// Called with a gradient on its way; may return another one.
class Hook : public Object {
 public:
  virtual TensorRef call(const TensorRef& gradient) = 0;
};

// Called before (with `results` empty) or after a node's run; may replace its last argument's
// entries: `gradients` before, `results` after.
class NodeHook : public Object {
 public:
  virtual void call(std::span<TensorRef> results, std::span<TensorRef> gradients) = 0;
};

// What few nodes have.
struct NodeHooks {
  const char* given_name = nullptr;  // a composite shows its own name (it lives forever)
  // Tensors that asked for their .grad by retain_grad(), by output number.
  std::vector<std::pair<int32_t, Tensor*>> retained;
  std::vector<std::pair<int32_t, Ref<Hook>>> tensor_hooks;  // by output number
  std::vector<Ref<NodeHook>> before;
  std::vector<Ref<NodeHook>> after;
};

// The sequence number that the next node will get.
uint64_t next_sequence();

class Node : public RefCounted {
 public:
  // What flows into the node: one per output of the recorded operation.
  struct Output {
    TensorRef buffer;  // gradients collected so far, while a backward pass runs
    SmallVector<int64_t, 3> shape;
    DType dtype = DType::Float32;
    Device device;
  };

  Node();
  virtual ~Node() = default;
  static void destroy(Node* node);  // frees whole graphs without recursion
  static void* operator new(size_t bytes) { return allocate(bytes); }
  static void operator delete(void* pointer, size_t bytes) { deallocate(pointer, bytes); }

  // "MulBackward0"
  virtual std::string name() const = 0;
  // From the gradients of the outputs (null: none arrived) to one gradient per edge.
  virtual void run(std::span<TensorRef> gradients, std::span<TensorRef> results) = 0;
  // Drops what was saved for the backward pass; running again raises.
  virtual void release_saved() {}
  // Whether a backward pass has dropped what another one would need.
  virtual bool is_used_up() const { return false; }
  // Hooks on the gradient of output `output`, in order of registration; fills retained .grad.
  virtual void run_tensor_hooks(int32_t output, TensorRef& gradient);
  NodeHooks& hooks() {
    if (!hooks_) hooks_ = std::make_unique<NodeHooks>();
    return *hooks_;
  }
  NodeHooks* hooks_if_any() { return hooks_.get(); }

  // `tensor`, its result number `output`, wants its gradient in .grad; null: no longer.
  void retain_gradient(int32_t output, Tensor* tensor);

  // Of the engine, valid while `epoch` is that of a running backward pass.
  uint32_t epoch = 0;
  [[no_unique_address]] Place place;
  int32_t dependencies = 0;  // of the engine, too; it lies in the padding of `place`
  uint64_t sequence;         // later nodes run first

 protected:
  std::unique_ptr<NodeHooks> hooks_;

 public:
  InlineArray<Edge, 2> edges;
  InlineArray<Output, 1> outputs;
};

// A tensor kept for the backward pass, as it was: its memory, version and history.
struct SavedTensor {
  TensorRef tensor;
  Edge origin;  // history of a non-leaf input
  uint32_t version = 0;
  int8_t index = 0;
  bool is_output = false;

  void save(const TensorRef& value, int position, bool output);
  // Raises if the memory was written to since.
  TensorRef unpack(Node& owner) const;
};

// What a node keeps of Attributes: nearly always a flag, a type and one number.
class KeptAttributes {
 public:
  void keep(Attributes&& attributes);
  // `memory` is where they are put together if they were taken apart.
  const Attributes& restore(std::optional<Attributes>& memory) const;

 private:
  int64_t number_ = 0;  // scalars[0], its bits
  std::unique_ptr<Attributes> all_;
  int flag_ = 0;
  DType dtype_ = DType::Float32;
  Scalar::Kind kind_ = Scalar::Kind::Int;  // of the number
};

// One applied primitive.
class PrimitiveNode final : public Node {
 public:
  explicit PrimitiveNode(const Primitive& primitive) : primitive(primitive) {}
  std::string name() const override;
  void run(std::span<TensorRef> gradients, std::span<TensorRef> results) override;
  void release_saved() override;
  bool is_used_up() const override { return released; }

  const Primitive& primitive;
  [[no_unique_address]] KeptAttributes attributes;
  bool released = false;  // in the padding of `attributes`
  InlineArray<SavedTensor, 2> saved;
};
static_assert(sizeof(PrimitiveNode) <= 256,
              "three cache lines and what is saved: a graph of 100 nodes fits into the L1 cache");

// Adds what arrives to the .grad of a leaf. The leaf owns it and may go first: then nobody can
// see the gradient any more, and it is dropped.
class AccumulateGrad final : public Node {
 public:
  explicit AccumulateGrad(Tensor& leaf);
  std::string name() const override { return "AccumulateGrad"; }
  void run(std::span<TensorRef> gradients, std::span<TensorRef> results) override;
  void run_tensor_hooks(int32_t output, TensorRef& gradient) override;
  // The leaf, or null when it is gone. Safe against a thread that frees it at this moment.
  TensorRef variable() const;
  void forget_variable();

 private:
  Tensor* variable_;
};

}  // namespace flambeau
