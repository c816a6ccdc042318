// Views: results that share their input's memory.
#pragma once

#include "ops/registry.h"

namespace flambeau {

// A dimension counted from the end made non-negative; IndexError if it is out of range.
int64_t wrap_dimension(int64_t dimension, int64_t count, const char* op = "dim");
Dims wrap_dimensions(const Dims& dimensions, int64_t count, const char* op = "dim");

TensorRef contiguous(const TensorRef& x);  // x itself when it is
TensorRef clone(const TensorRef& x, MemoryFormat format = MemoryFormat::Contiguous);
// A dense copy whose dimensions are ordered as those of a tensor of the same shape.
TensorRef clone_like(const TensorRef& x, const Tensor& model);
// What an in-place call is about to overwrite, for its gradient; a trace sees the copying.
TensorRef kept_before_write(const TensorRef& target);
const Primitive& clone_primitive();
const Primitive& copy_primitive();  // input 0, in place, becomes input 1
// x itself when it has that dtype.
TensorRef to_dtype(const TensorRef& x, DType dtype, MemoryFormat format = MemoryFormat::Preserve);
// x itself when it is ordered like that, with or without gaps.
TensorRef to_format(const TensorRef& x, MemoryFormat format);
// x itself when it is there already.
TensorRef to_device(const TensorRef& x, Device device, bool non_blocking = false,
                    MemoryFormat format = MemoryFormat::Preserve);
TensorRef view(const TensorRef& x, const Dims& shape);
TensorRef view_dtype(const TensorRef& x, DType dtype);
TensorRef reshape(const TensorRef& x, const Dims& shape);
TensorRef expand(const TensorRef& x, const Dims& shape);
TensorRef permute(const TensorRef& x, const Dims& dimensions);
TensorRef transpose(const TensorRef& x, int64_t dim0, int64_t dim1);
TensorRef transpose_last(const TensorRef& x);  // the last two dimensions
TensorRef select(const TensorRef& x, int64_t dim, int64_t index);
TensorRef slice(const TensorRef& x, int64_t dim, int64_t start, int64_t end, int64_t step = 1);
TensorRef narrow(const TensorRef& x, int64_t dim, int64_t start, int64_t length);
TensorRef squeeze(const TensorRef& x, int64_t dim);
TensorRef unsqueeze(const TensorRef& x, int64_t dim);
TensorRef as_strided(const TensorRef& x, const Dims& shape, const Dims& strides, int64_t offset);
TensorRef diagonal(const TensorRef& x, int64_t offset, int64_t dim1, int64_t dim2);
TensorRef unfold(const TensorRef& x, int64_t dim, int64_t length, int64_t step);
// The adjoint of as_strided: a vector of `length` into which x is added at the given places.
TensorRef strided_sum(const TensorRef& x, int64_t length, const Dims& strides, int64_t offset);

const Primitive& view_primitive();
const Primitive& expand_primitive();
// Strides that give a strided tensor another shape without copying; false if there are none.
bool view_strides(const Tensor& x, const Dims& shape, Dims& strides);
// True if two elements of such a view may share memory.
bool elements_meet(const Dims& shape, const Dims& strides);

// Writes one number everywhere; recorded.
TensorRef fill_(const TensorRef& target, Scalar value);
// target.copy_(source): broadcasts and converts; recorded.
TensorRef copy_(const TensorRef& target, const TensorRef& source);

}  // namespace flambeau
