// Copying and casting between tensors of any strides and dtypes.
#pragma once

#include "tensor/tensor.h"

namespace flambeau {

// Writes source, broadcast to target's shape, into target. The shapes must be compatible and the
// memories must not overlap unless they are identical.
// `wait`: between the host and a GPU, the bytes of pinned memory have been read or written when it
// returns; those of other memory always have.
void copy(const Tensor& target, const Tensor& source, bool wait = true);
// Copies bytes between storages, wherever they are.
void copy_bytes(const Storage& to, size_t to_offset, const Storage& from, size_t from_offset,
                size_t bytes);
// Writes one number everywhere.
void fill(const Tensor& target, Scalar value);
// A dense copy, converted when another dtype is asked for.
TensorRef dense_copy(const Tensor& source, DType dtype);

// The values on the CPU: a dense copy of a tensor that is elsewhere. Waits for them.
TensorRef on_host(const Tensor& tensor);

// Strides that read `tensor` as if it had `shape` (0 where it broadcasts). RuntimeError if it
// cannot be broadcast.
Dims broadcast_strides(const Tensor& tensor, const Dims& shape);

// Drops dimensions of length one and joins neighbours that every operand walks with one step.
// strides[operand][dimension], in elements.
void merge_dimensions(Dims& shape, std::span<Dims> strides);

}  // namespace flambeau
