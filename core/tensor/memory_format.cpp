#include "tensor/memory_format.h"

#include <algorithm>
#include <vector>

namespace flambeau {

namespace {

// From the dimension that lies closest to the one that lies farthest.
using Order = Dims;

Order channels_order(int64_t rank) {
  Order order{1};
  for (int64_t d = rank - 1; d > 1; --d) order.push_back(d);
  order.push_back(0);
  return order;
}

Dims strides_in(const Order& order, const Dims& shape) {
  Dims strides(shape.size(), 1);
  int64_t step = 1;
  for (int64_t d : order) {
    strides[d] = step;
    step *= shape[d];  // 0 after an empty dimension, as in PyTorch
  }
  return strides;
}

bool is_row_major(const Order& order) {
  for (int64_t i = 0; i < order.size(); ++i) {
    if (order[i] != order.size() - 1 - i) return false;
  }
  return true;
}

// Sorts dimensions by distance, last ones first where nothing tells them apart. `compare(a, b)` is
// positive if a lies farther than b, negative if it lies closer, zero if that is open.
template <class Compare>
Order sorted_order(int64_t rank, Compare&& compare) {
  Order order;
  for (int64_t d = rank - 1; d >= 0; --d) order.push_back(d);
  for (int64_t i = 1; i < rank; ++i) {
    int64_t moving = i;
    for (int64_t before = i - 1; before >= 0; --before) {
      const int verdict = compare(order[before], order[moving]);
      if (verdict < 0) break;
      if (verdict == 0) continue;
      std::swap(order[before], order[moving]);
      moving = before;
    }
  }
  return order;
}

// What one tensor says about two dimensions, by the strides with which it is read.
int compare_strides(const Dims& strides, const Dims& shape, int64_t a, int64_t b) {
  if (strides[a] == 0 || strides[b] == 0) return 0;
  if (strides[a] != strides[b]) return strides[a] < strides[b] ? -1 : 1;
  return shape[a] > shape[b] ? 1 : 0;
}

bool ordered_by_channels(const Tensor& tensor) {
  const Dims &shape = tensor.shape(), &strides = tensor.strides();
  if (strides[1] == 0) return false;
  int64_t least = 0;
  for (int64_t d : channels_order(tensor.dim())) {
    if (shape[d] == 0 || strides[d] < least) return false;
    // One channel of one pixel each: as good as contiguous.
    if (d == 0 && least == strides[1]) return false;
    least = strides[d] * std::max<int64_t>(shape[d], 1);
  }
  return true;
}

// Strides of dimensions of length one tell memory formats apart where there is one channel.
bool is_row_major_to_the_letter(const Tensor& tensor) {
  int64_t step = 1;
  for (int64_t d = tensor.dim() - 1; d >= 0; --d) {
    if (tensor.stride(d) != step) return false;
    step *= std::max<int64_t>(tensor.size(d), 1);
  }
  return true;
}

int64_t rank_of(MemoryFormat format) { return format == MemoryFormat::ChannelsLast ? 4 : 5; }

}  // namespace

const char* format_name(MemoryFormat format) {
  static constexpr const char* kNames[] = {"contiguous_format", "preserve_format", "channels_last",
                                           "channels_last_3d"};
  return kNames[static_cast<int>(format)];
}

Dims strides_of(MemoryFormat format, const Dims& shape) {
  if (format == MemoryFormat::Contiguous) return contiguous_strides(shape);
  require(format != MemoryFormat::Preserve,
          "memory_format: torch.preserve_format is unsupported here, where there is no tensor ",
          "whose layout could be kept; use torch.contiguous_format or torch.channels_last");
  require(shape.size() == rank_of(format), "memory_format: required rank ", rank_of(format),
          " tensor to use ", format_name(format), " format, got shape ", shape);
  return strides_in(channels_order(shape.size()), shape);
}

bool lies_as(const Tensor& tensor, MemoryFormat format) {
  if (format == MemoryFormat::Contiguous || format == MemoryFormat::Preserve) {
    return tensor.contiguous();
  }
  if (tensor.dim() != rank_of(format)) return false;
  int64_t step = 1;
  for (int64_t d : channels_order(tensor.dim())) {
    if (tensor.size(d) == 1) continue;
    if (tensor.stride(d) != step) return false;
    step *= tensor.size(d);
  }
  return true;
}

MemoryFormat format_of(const Tensor& tensor) {
  const int64_t rank = tensor.dim();
  if ((rank != 4 && rank != 5) || !ordered_by_channels(tensor)) return MemoryFormat::Contiguous;
  return rank == 4 ? MemoryFormat::ChannelsLast : MemoryFormat::ChannelsLast3d;
}

MemoryFormat common_format(std::span<const TensorRef> tensors) {
  MemoryFormat common = MemoryFormat::Contiguous;
  for (size_t i = 0; i < tensors.size(); ++i) {
    const MemoryFormat format = format_of(*tensors[i]);
    if (format == MemoryFormat::Contiguous || (i > 0 && format != common)) {
      return MemoryFormat::Contiguous;
    }
    common = format;
  }
  return common;
}

bool is_dense(const Tensor& tensor) {
  if (tensor.contiguous()) return true;
  Order order;
  for (int64_t d = 0; d < tensor.dim(); ++d) {
    if (tensor.size(d) > 1) order.push_back(d);
  }
  std::sort(order.begin(), order.end(),
            [&](int64_t a, int64_t b) { return tensor.stride(a) < tensor.stride(b); });
  int64_t step = 1;
  for (int64_t d : order) {
    if (tensor.stride(d) != step) return false;
    step *= tensor.size(d);
  }
  return true;
}

Dims dense_strides(const Tensor& tensor) {
  if (tensor.contiguous() && is_row_major_to_the_letter(tensor)) return {};
  if (is_dense(tensor)) return tensor.strides();
  const Dims &shape = tensor.shape(), &strides = tensor.strides();
  const Order order = sorted_order(
      tensor.dim(), [&](int64_t a, int64_t b) { return compare_strides(strides, shape, a, b); });
  if (is_row_major(order)) return {};
  return strides_in(order, shape);
}

Dims dense_strides(const Dims& shape, std::span<const TensorRef> tensors) {
  const Tensor* first = nullptr;
  bool all_contiguous = true, alike = true;
  for (const TensorRef& tensor : tensors) {
    if (!tensor || tensor->dim() == 0) continue;
    const bool whole = tensor->shape() == shape;
    all_contiguous &= whole && tensor->contiguous();
    if (!first) first = tensor.get();
    alike &= whole && tensor->strides() == first->strides();
  }
  if (all_contiguous || !first) return {};
  if (alike && is_dense(*first)) return first->strides();
  std::vector<Dims> all;
  for (const TensorRef& tensor : tensors) {
    if (!tensor || tensor->dim() == 0) continue;
    Dims& strides = all.emplace_back(shape.size(), 0);
    const int64_t lead = shape.size() - tensor->dim();
    for (int64_t d = 0; d < tensor->dim(); ++d) {
      const bool repeats = tensor->size(d) == 1 && shape[lead + d] != 1;
      strides[lead + d] = repeats ? 0 : tensor->stride(d);
    }
  }
  const Order order = sorted_order(shape.size(), [&](int64_t a, int64_t b) {
    for (const Dims& strides : all) {
      if (const int verdict = compare_strides(strides, shape, a, b)) return verdict;
    }
    return 0;
  });
  if (is_row_major(order)) return {};
  return strides_in(order, shape);
}

TensorRef empty_strided(const Dims& shape, const Dims& strides, DType dtype, Device device) {
  TensorRef line = Tensor::empty({count_elements(shape)}, dtype, device);
  line->rebind(line->storage(), shape, strides, 0, dtype);
  return line;
}

TensorRef empty_as(const Tensor& tensor, DType dtype, Device device) {
  const Dims strides = dense_strides(tensor);
  return strides.empty() ? Tensor::empty(tensor.shape(), dtype, device)
                         : empty_strided(tensor.shape(), strides, dtype, device);
}

bool same_order(const Tensor& a, const Tensor& b) {
  return a.shape() == b.shape() &&
         (a.strides() == b.strides() || (a.contiguous() && b.contiguous()));
}

bool lies_as_copy(const Tensor& tensor, const Tensor& model) {
  if (model.contiguous()) return tensor.contiguous();
  const Dims strides = dense_strides(model);
  return strides.empty() ? tensor.contiguous() : tensor.strides() == strides;
}

TensorRef flattened(const Tensor& dense) {
  return Tensor::view(dense.storage(), {dense.numel()}, {1}, dense.offset(), dense.dtype());
}

}  // namespace flambeau
