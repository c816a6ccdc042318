// What the random operators share: the order of drawing and the generator of a call.
#pragma once

#include "ops/primitive.h"
#include "random/cpu_generator.h"
#include "random/cuda_generator.h"

namespace flambeau {

// Attributes of a primitive that draws on `device` (its number filled in); a null generator is the
// default one there, and one of another device is an error. The generator travels in the attributes
// so that a replayed record draws on.
Attributes drawing(Device device, Generator* generator, Scalar first = {}, Scalar second = {});
CpuGenerator& generator_of(const Call& call);
CudaGenerator& cuda_generator_of(const Call& call);

// Dimensions from the outermost to the innermost in memory. PyTorch draws in the order of memory,
// not of indices.
Dims drawing_order(const Tensor& tensor);
// The same memory with the dimensions in that order.
TensorRef reorder(const Tensor& tensor, const Dims& order);

// Copies; RuntimeError if elements of the target share memory.
void write_distinct(const Tensor& target, const Tensor& source);

// Calls body(data, count, in_blocks) on memory that becomes the elements of `target` in the order
// of drawing. in_blocks: the target is contiguous (see fill_normal).
template <class Body>
void fill_in_memory_order(const Tensor& target, Body body) {
  if (target.contiguous()) return body(target.data(), target.numel(), true);
  TensorRef ordered = reorder(target, drawing_order(target));
  if (ordered->contiguous()) return body(ordered->data(), ordered->numel(), false);
  TensorRef dense = Tensor::empty(ordered->shape(), target.dtype(), target.device());
  body(dense->data(), dense->numel(), false);
  write_distinct(*ordered, *dense);
}
// A distribution as two primitives: a fresh tensor of shape attributes.more_ints and type
// attributes.dtype, where the generator is, and an in-place fill. attributes.flag: draw elementwise
// though contiguous.
struct Fill {
  enum Kinds { Floating, Any };  // the dtypes that it can fill
  Fill(const char* name, void (*run)(Call&), void (*run_cuda)(Call&), Kinds kinds = Floating);
  Primitive fresh;
  Primitive in_place;
};
extern const Fill kBernoulli;    // scalars[0]: probability
extern const Fill kExponential;  // scalars[0]: rate

// A fresh tensor, drawn where the generator is and laid out in memory as PyTorch does for `like`.
TensorRef draw_like(const Fill& fill, const Tensor& like, DType dtype, Attributes attributes);

// Gradient rule: nothing of the inputs is in the outputs.
void no_influence(Gradient& gradient);

}  // namespace flambeau
