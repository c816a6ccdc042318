// Histories of views that are written to.
//
// Note [Writes through views]: after `v = x[0]; v.mul_(w)`, x is the result of CopySlices: its old
// value with the piece that v covers replaced by the result of mul. v, and every other view of x,
// is from then on an as_strided view of the new x, made when somebody asks for its grad_fn.
#include "autograd/meta.h"
#include "ops/arithmetic.h"
#include "ops/creation.h"
#include "ops/sizes.h"
#include "ops/views.h"

namespace flambeau {

namespace {

struct Geometry {
  Dims shape, strides;
  int64_t offset = 0;

  explicit Geometry(const Tensor& tensor)
      : shape(tensor.shape()), strides(tensor.strides()), offset(tensor.offset()) {}
  // One past the last element that is reached.
  int64_t end() const {
    int64_t last = offset;
    for (int64_t d = 0; d < shape.size(); ++d) {
      if (shape[d] == 0) return offset;
      last += (shape[d] - 1) * strides[d];
    }
    return last + 1;
  }
};

// How many elements reach to the end of both.
int64_t joint_end(const Geometry& base, const Geometry& view) {
  size_decides(base.end(), view.end());
  return std::max(base.end(), view.end());
}

class AsStridedNode final : public Node {
 public:
  AsStridedNode(const TensorRef& base_tensor, const Tensor& view_tensor)
      : base(*base_tensor), view(view_tensor), dtype(base_tensor->dtype()) {
    edges.resize(1);
    edges[0] = gradient_edge(base_tensor);
    outputs.resize(1);
    outputs[0].shape = view.shape;
    outputs[0].dtype = dtype;
    outputs[0].device = base_tensor->device();
  }
  std::string name() const override { return "AsStridedBackward0"; }
  void run(std::span<TensorRef> gradients, std::span<TensorRef> results) override {
    // Elements of the view may share memory (expand, unfold): their gradients add up.
    TensorRef buffer = strided_sum(gradients[0], joint_end(base, view), view.strides, view.offset);
    results[0] = as_strided(buffer, base.shape, base.strides, base.offset);
  }

  Geometry base, view;
  DType dtype;
};

class CopySlicesNode final : public Node {
 public:
  CopySlicesNode(const TensorRef& base_tensor, const Tensor& view_tensor, Ref<Node> write_node)
      : base(*base_tensor),
        view(view_tensor),
        dtype(base_tensor->dtype()),
        write(std::move(write_node)) {
    edges.resize(write->edges.size());
    edges[0] = gradient_edge(base_tensor);
    for (int i = 1; i < edges.size(); ++i) edges[i] = write->edges[i];
    outputs.resize(1);
    outputs[0].shape = base.shape;
    outputs[0].dtype = dtype;
    outputs[0].device = base_tensor->device();
  }
  std::string name() const override { return "CopySlices"; }
  void run(std::span<TensorRef> gradients, std::span<TensorRef> results) override {
    TensorRef buffer = zeros({joint_end(base, view)}, dtype, outputs[0].device);
    TensorRef whole = as_strided(buffer, base.shape, base.strides, base.offset);
    copy_(whole, gradients[0]);
    TensorRef piece = as_strided(buffer, view.shape, view.strides, view.offset);
    TensorRef incoming[1] = {clone(piece)};
    write->run(incoming, results);
    if (results[0]) {
      copy_(piece, results[0]);
    } else {
      mul_(piece, 0);
    }
    results[0] = edges[0].node ? whole : nullptr;
  }
  void release_saved() override { write->release_saved(); }

  Geometry base, view;
  DType dtype;
  Ref<Node> write;
};

}  // namespace

Ref<Node> as_strided_node(const TensorRef& base, const Tensor& view) {
  return Ref<Node>::adopt(new AsStridedNode(base, view));
}

Ref<Node> copy_slices_node(const TensorRef& base, const Tensor& view, Ref<Node> write) {
  // The first edge of the write is the old value of the view: it reaches the base through us.
  return Ref<Node>::adopt(new CopySlicesNode(base, view, std::move(write)));
}

}  // namespace flambeau
