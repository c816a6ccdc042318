// The GPU's side of index_select.cpp: all of it is reading, writing, filling and adding at places.
#include "ops/cuda_runs.h"
#include "ops/indexing_cuda.h"
#include "ops/reduction.h"
#include "ops/views.h"
#include "tensor/copy.h"

namespace flambeau {

using namespace cuda_ops;

namespace {

int64_t length_of(const Tensor& x, int64_t dim) { return x.dim() ? x.size(dim) : 1; }

// Dense, and not in the memory that is being written to.
TensorRef source_for(const Tensor& target, const TensorRef& source) {
  TensorRef dense = contiguous(source);
  return dense->storage() == target.storage() ? dense_copy(*dense, dense->dtype()) : dense;
}

Places along_first(const Call& call, const Tensor& x, IndexRule rule) {
  rule.dim = call.attributes.ints[0];
  rule.bound = length_of(x, rule.dim);
  return Places::along(x, rule.dim, call.inputs[1], rule);
}

// Of the flattened tensor, which is dense.
Places along_all_elements(const char* op, const Tensor& flat, const TensorRef& index) {
  return Places::along(flat, 0, index, {op, flat.numel(), -1, ErrorKind::Index, true});
}

TensorRef flattened(const TensorRef& x) { return reshape(x, {-1}); }

}  // namespace

void run_index_select_cuda(Call& call) {
  Unrecorded scope;
  const Tensor& x = call.input(0);
  read_places(call.output(), x, along_first(call, x, {"index_select", 0}));
}

void run_index_add_cuda(Call& call) {
  Unrecorded scope;
  const Tensor& out = call.output();
  TensorRef source = source_for(out, call.inputs[2]);
  AddRule rule;
  rule.alpha = call.attributes.scalars[0];
  add_places(out, *source, along_first(call, out, {"index_add", 0, 0, ErrorKind::Runtime}), rule);
}

void run_index_copy_cuda(Call& call) {
  Unrecorded scope;
  const Tensor& out = call.output();
  TensorRef source = source_for(out, call.inputs[2]);
  write_places(out, *source, along_first(call, out, {"index_copy_", 0}));
}

void run_index_fill_cuda(Call& call) {
  Unrecorded scope;
  const Tensor& out = call.output();
  fill_places(out, call.attributes.scalars[0],
              along_first(call, out, {"index_fill", 0, 0, ErrorKind::Index, true}));
}

void run_take_cuda(Call& call) {
  Unrecorded scope;
  TensorRef flat = flattened(call.inputs[0]);
  read_places(call.output(), *flat, along_all_elements("take", *flat, call.inputs[1]));
}

void run_put_cuda(Call& call) {
  Unrecorded scope;
  const TensorRef& out = call.outputs[0];
  TensorRef flat = flattened(out);  // a copy if it is not dense
  TensorRef source = source_for(*flat, call.inputs[2]);
  Places places = along_all_elements("put", *flat, call.inputs[1]);
  if (call.attributes.flag) {
    add_places(*flat, *source, places);
  } else {
    write_places(*flat, *source, places);
  }
  if (flat->storage() != out->storage()) copy(*out, *view(flat, out->shape()));
}

void run_embedding_cuda(Call& call) {
  Unrecorded scope;
  const Tensor& weight = call.input(0);
  read_places(call.output(), weight,
              Places::along(weight, 0, call.inputs[1], {"embedding", weight.size(0), 0}));
}

void run_embedding_backward_cuda(Call& call) {
  Unrecorded scope;
  const Dims& ints = call.attributes.ints;
  const Tensor& out = call.output();
  fill(out, 0);
  TensorRef g = contiguous(call.inputs[0]);
  AddRule rule;
  rule.skip = ints[0];
  rule.mean = ints[1] != 0;
  add_places(out, *g, Places::along(out, 0, call.inputs[1], {"embedding", ints[2], 0}), rule);
}

}  // namespace flambeau
