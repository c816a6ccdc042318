// The backward pass.
#pragma once

#include "autograd/meta.h"

namespace flambeau {

struct BackwardOptions {
  bool retain_graph = false;
  bool create_graph = false;
  // Inputs end the pass: what has reached one is taken before its hooks and does not flow on.
  bool border = false;
};

// Adds the gradients of `roots` (weighted by `gradients`, one per root) to the .grad of all
// leaves; with `inputs` only to those tensors' .grad.
void backward(const std::vector<TensorRef>& roots, const std::vector<TensorRef>& gradients,
              BackwardOptions options, const std::vector<TensorRef>* inputs = nullptr);

// The gradients of `roots` with respect to `inputs`; null where an input was not reached.
std::vector<TensorRef> gradients_of(const std::vector<TensorRef>& roots,
                                    const std::vector<TensorRef>& gradients,
                                    const std::vector<TensorRef>& inputs, BackwardOptions options);

}  // namespace flambeau
