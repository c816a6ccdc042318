#include "program/reordered.h"

#include <algorithm>

#include "tensor/memory_format.h"

namespace flambeau {

Dims memory_order(const Dims& shape, const Dims& strides) {
  Dims order;
  for (int64_t d = 0; d < shape.size(); ++d) {
    if (shape[d] != 1) order.push_back(d);
  }
  auto lies_farther = [&](int64_t a, int64_t b) { return strides[a] > strides[b]; };
  if (std::is_sorted(order.begin(), order.end(), lies_farther)) return {};
  std::stable_sort(order.begin(), order.end(), lies_farther);
  for (int64_t d = 0; d < shape.size(); ++d) {
    if (shape[d] == 1) order.insert(0, d);
  }
  return order;
}

Dims in_order(const Dims& order, const Dims& dims) {
  if (order.empty()) return dims;
  Dims result;
  for (int64_t d : order) result.push_back(dims[d]);
  return result;
}

// Shape and strides of an operand, which may have fewer dimensions, in the new order.
static void reorder(const Dims& order, Dims& shape, Dims& strides) {
  const int64_t lead = order.size() - shape.size();
  Dims lengths, steps;
  for (int64_t d : order) {
    lengths.push_back(d < lead ? 1 : shape[d - lead]);
    steps.push_back(d < lead ? 0 : strides[d - lead]);
  }
  shape = lengths;
  strides = steps;
}

void reorder(const Dims& order, ProgramOperand& operand) {
  if (operand.is_tensor && !operand.shape.empty()) reorder(order, operand.shape, operand.strides);
}

Tensor* Reordered::view(const Dims& order, const Tensor& tensor) {
  Dims shape = tensor.shape(), strides = tensor.strides();
  reorder(order, shape, strides);
  views_.push_back(Tensor::view(tensor.storage(), shape, strides, tensor.offset(), tensor.dtype()));
  return views_.back().get();
}

Reordered::Reordered(const Dims& order, std::span<const ProgramInput> inputs,
                     std::span<Tensor* const> outputs) {
  for (ProgramInput input : inputs) {
    if (input.tensor && input.tensor->dim() > 0) input.tensor = view(order, *input.tensor);
    inputs_.push_back(input);
  }
  for (Tensor* output : outputs) outputs_.push_back(view(order, *output));
}

Lines::Lines(std::span<const ForeachInput> inputs,
             std::span<const std::span<Tensor* const>> outputs) {
  std::vector<std::span<Tensor* const>> lists;
  for (const ForeachInput& input : inputs) {
    if (!input.tensors.empty()) lists.push_back(input.tensors);
  }
  lists.insert(lists.end(), outputs.begin(), outputs.end());
  for (const auto& list : lists) {
    for (const Tensor* tensor : list) any_ |= !tensor->contiguous();
  }
  if (!any_) return;
  for (const auto& list : lists) lists_.emplace_back(list.begin(), list.end());
  for (size_t k = 0; k < outputs[0].size(); ++k) flatten(k);
  size_t next = 0;
  for (const ForeachInput& input : inputs) {
    inputs_.push_back(input);
    if (!input.tensors.empty()) inputs_.back().tensors = lists_[next++];
  }
  for (; next < lists_.size(); ++next) outputs_.push_back(lists_[next]);
}

void Lines::flatten(size_t k) {
  const Tensor& model = *lists_.back()[k];
  if (model.contiguous() || !is_dense(model)) return;
  for (const auto& list : lists_) {
    if (!same_order(*list[k], model)) return;
  }
  for (auto& list : lists_) {
    lines_.push_back(flattened(*list[k]));
    list[k] = lines_.back().get();
  }
}

}  // namespace flambeau
