// What recomputation needs to know about a part of the backward graph (flambeau/autograd).
#include <optional>
#include <set>

#include "autograd/engine.h"
#include "ops/creation.h"
#include "ops/views.h"
#include "python/common.h"

namespace nb = nanobind;

namespace flambeau::python {

namespace {

// A tensor without memory of its own that stands for a node's result where only its history counts.
TensorRef stand_in(const Edge& edge) {
  GradMode off(false);
  const Node::Output& output = edge.node->outputs[edge.output];
  TensorRef tensor =
      detach(*expand(full({}, Scalar(0.0), output.dtype, output.device), output.shape));
  set_history(*tensor, edge.node, edge.output);
  return tensor;
}

// The tensors from before number `since` on which `results` depend: leaves themselves, and
// stand-ins for the results of earlier nodes. A leaf is outside even if its node is younger.
nb::list outer_tensors(const nb::list& results, uint64_t since) {
  std::vector<Edge> pending;
  for (nb::handle result : results) pending.push_back(gradient_edge(unwrap(result.ptr())));
  std::set<std::pair<Node*, int32_t>> seen;
  nb::list outer;
  while (!pending.empty()) {
    Edge edge = std::move(pending.back());
    pending.pop_back();
    if (!edge.node || !seen.emplace(edge.node.get(), edge.output).second) continue;
    if (auto* leaf = dynamic_cast<AccumulateGrad*>(edge.node.get())) {
      if (TensorRef variable = leaf->variable()) outer.append(nb::steal(wrap(std::move(variable))));
    } else if (edge.node->sequence < since) {
      outer.append(nb::steal(wrap(stand_in(edge))));
    } else {
      for (const Edge& next : edge.node->edges) pending.push_back(next);
    }
  }
  return outer;
}

// Gradients of a recomputed part at its border: what lies behind is the outer pass's affair.
nb::list border_gradients(const nb::list& results, const nb::list& gradients,
                          const nb::list& inputs, bool create) {
  TensorList roots, start, targets;
  for (nb::handle result : results) roots.push_back(unwrap(result.ptr()));
  for (nb::handle gradient : gradients) start.push_back(unwrap(gradient.ptr()));
  for (nb::handle input : inputs) targets.push_back(unwrap(input.ptr()));
  BackwardOptions options{.retain_graph = create, .create_graph = create, .border = true};
  TensorList found;
  {
    std::optional<WithoutGil> parallel;
    if (!mode.tracing) parallel.emplace();  // places of recorded calls need the interpreter
    found = gradients_of(roots, start, targets, options);
  }
  nb::list list;
  for (TensorRef& gradient : found) {
    list.append(gradient ? nb::steal(wrap(std::move(gradient))) : nb::none());
  }
  return list;
}

}  // namespace

void bind_recompute(nb::module_& module) {
  module.def("next_sequence", &next_sequence, "The number that the next recorded node will have.");
  module.def("outer_tensors", [](const nb::list& results, uint64_t since) {
    return translated(outer_tensors, results, since);
  });
  module.def("border_gradients", [](const nb::list& results, const nb::list& gradients,
                                    const nb::list& inputs, bool create) {
    return translated(border_gradients, results, gradients, inputs, create);
  });
}

}  // namespace flambeau::python
