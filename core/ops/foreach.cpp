// Programs run in place over lists of tensors.
#include "ops/pointwise.h"
#include "program/machine.h"

namespace flambeau {

// Validates one k: all tensors of it have one shape.
static void check_row(std::span<const TensorList> lists, size_t k) {
  for (const TensorList& list : lists) {
    require(list[k], "foreach: the lists must not hold None");
    require(list[k]->shape() == lists[0][k]->shape(), "foreach: tensors number ", k,
            " of all lists must have one shape, got ", lists[0][k]->shape(), " and ",
            list[k]->shape());
  }
}

void foreach_program(const Program& program, std::span<const TensorList> lists,
                     std::span<const Scalar> numbers, std::span<const int> targets) {
  require(
      !lists.empty() && lists.size() + numbers.size() == static_cast<size_t>(program.input_count),
      "foreach: the program takes ", program.input_count, " inputs, got ", lists.size(),
      " lists and ", numbers.size(), " numbers");
  require(targets.size() == program.outputs.size(), "foreach: the program has ",
          program.outputs.size(), " outputs, got ", targets.size(), " targets");
  const size_t count = lists[0].size();
  for (const TensorList& list : lists) {
    require(list.size() == count, "foreach: lists of equal length are needed, got ", count, " and ",
            list.size());
  }
  for (size_t k = 0; k < count; ++k) check_row(lists, k);
  if (mode.tracing) {
    for (int target : targets) {
      for (const TensorRef& tensor : lists[target]) recorder.before_write(*tensor);
    }
  }
  // Runs of tensors of one precision go together.
  for (size_t begin = 0; begin < count;) {
    const Precision precision = precision_of(lists[targets[0]][begin]->dtype());
    size_t end = begin + 1;
    while (end < count && precision_of(lists[targets[0]][end]->dtype()) == precision) ++end;
    std::vector<std::vector<Tensor*>> pointers(lists.size());
    std::vector<ForeachInput> inputs;
    std::vector<std::span<Tensor* const>> outputs;
    for (size_t i = 0; i < lists.size(); ++i) {
      for (size_t k = begin; k < end; ++k) pointers[i].push_back(lists[i][k].get());
      inputs.push_back({pointers[i], {}});
    }
    for (Scalar number : numbers) inputs.push_back({{}, number});
    for (int target : targets) outputs.push_back(pointers[target]);
    run_foreach(program, precision, inputs, outputs);
    begin = end;
  }
  for (int target : targets) {
    for (const TensorRef& tensor : lists[target]) tensor->storage()->bump_version();
  }
  if (mode.tracing) recorder.record_update(program, lists, numbers, targets);
}

}  // namespace flambeau
