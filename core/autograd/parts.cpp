// The history of a tensor's parts. With a node for each part, every one of them would make a
// gradient of the whole tensor's size: quadratic in the number of parts.
#include "ops/parts.h"

#include "autograd/meta.h"
#include "ops/creation.h"
#include "ops/views.h"

namespace flambeau {

namespace {

class PartsNode final : public Node {
 public:
  PartsNode(const TensorRef& input, const TensorList& parts, int64_t dim, bool stacked)
      : dim_(dim), stacked_(stacked) {
    edges.resize(1);
    edges[0] = gradient_edge(input);
    outputs.resize(static_cast<int>(parts.size()));
    for (int i = 0; i < outputs.size(); ++i) {
      outputs[i].shape = parts[i]->shape();
      outputs[i].dtype = parts[i]->dtype();
      outputs[i].device = parts[i]->device();
    }
  }
  std::string name() const override { return stacked_ ? "UnbindBackward0" : "SplitBackward0"; }
  void run(std::span<TensorRef> gradients, std::span<TensorRef> results) override {
    TensorList all;
    for (size_t i = 0; i < gradients.size(); ++i) {
      const Output& part = outputs[static_cast<int>(i)];
      all.push_back(gradients[i] ? gradients[i] : zeros(part.shape, part.dtype, part.device));
    }
    results[0] = stacked_ ? stack(all, dim_) : cat(all, dim_);
  }

 private:
  int64_t dim_;
  bool stacked_;
};

void record(const TensorRef& input, const TensorList& parts, int64_t dim, bool stacked) {
  auto node = Ref<Node>::adopt(new PartsNode(input, parts, dim, stacked));
  for (size_t i = 0; i < parts.size(); ++i) {
    set_history(*parts[i], node, static_cast<int32_t>(i));
  }
}

}  // namespace

void (*record_parts)(const TensorRef&, const TensorList&, int64_t, bool) = record;

}  // namespace flambeau
