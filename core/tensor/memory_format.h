// In which order the elements of a dense tensor lie: PyTorch's memory formats, and the strides of
// results that keep the order of what they are made of.
#pragma once

#include "tensor/tensor.h"

namespace flambeau {

// ChannelsLast: [N, C, H, W] lies as [N, H, W, C]; ChannelsLast3d: [N, C, D, H, W] as
// [N, D, H, W, C].
enum class MemoryFormat : uint8_t { Contiguous, Preserve, ChannelsLast, ChannelsLast3d };
inline constexpr int kMemoryFormats = 4;
const char* format_name(MemoryFormat format);

// The strides of a dense tensor. RuntimeError if the format is not for this many dimensions, and
// for Preserve, which says nothing without another tensor.
Dims strides_of(MemoryFormat format, const Dims& shape);

// Whether the elements lie exactly as the format says (`is_contiguous`).
bool lies_as(const Tensor& tensor, MemoryFormat format);
// The channels' format that the strides are ordered by, with or without gaps; else Contiguous.
MemoryFormat format_of(const Tensor& tensor);
// One channels' format for results of some tensors: if they are all of it; else Contiguous.
MemoryFormat common_format(std::span<const TensorRef> tensors);

// Elements fill a block of memory, each place once, in any order of the dimensions.
bool is_dense(const Tensor& tensor);
// The strides of a dense tensor whose dimensions are ordered as this one's; its own if it is
// dense. Empty: those of a contiguous tensor.
Dims dense_strides(const Tensor& tensor);
// The same for what several tensors broadcast to: the first that tells two dimensions apart
// decides about them (PyTorch's rule for elementwise operators).
Dims dense_strides(const Dims& shape, std::span<const TensorRef> tensors);

// Uninitialised; `strides` are those of a dense tensor.
TensorRef empty_strided(const Dims& shape, const Dims& strides, DType dtype, Device device);
// Uninitialised, in the order of another tensor.
TensorRef empty_as(const Tensor& tensor, DType dtype, Device device);

// Whether the same places of both tensors lie equally: a pass over one is a pass over the other.
bool same_order(const Tensor& a, const Tensor& b);
// Whether it lies as a dense copy of a tensor of its shape does (empty_as).
bool lies_as_copy(const Tensor& tensor, const Tensor& model);
// A dense tensor's memory as one line.
TensorRef flattened(const Tensor& dense);

}  // namespace flambeau
