// Places of tensors on a GPU that index tensors name: reading, writing, filling, adding.
#pragma once

#include "ops/gather.h"

namespace flambeau::cuda_ops {

// How a tensor is walked by an index: front x places x after.
struct Places {
  Dims front, front_strides, after, after_strides;
  TensorRef index;     // dense int64, on the GPU; one per place
  int64_t bound = 0;   // of the index; -1: it holds offsets in elements
  int64_t stride = 1;  // of the indexed dimension
  int64_t largest_offset = 0;
  IndexRule rule{nullptr, 0};  // what errors look like

  // Along one dimension of x.
  static Places along(const Tensor& x, int64_t dim, const TensorRef& index, const IndexRule& rule);
  // Along the dimensions that several index tensors of one shape stand for.
  static Places along_all(const Tensor& x, std::span<const TensorRef> indices,
                          const Dims& dimensions, bool adjacent);
  // The same with offsets instead of indices; checks them.
  Places with_offsets() const;
};

struct AddRule {
  Scalar alpha = 1;
  int64_t skip = -1;  // the index to which nothing is added
  bool mean = false;  // divide by how many were added
};

// The elements of x at the places, dense in `out`: front, places, after.
void read_places(const Tensor& out, const Tensor& x, const Places& places);
// Writes a dense `source` of that shape there. Of places that occur twice, any one counts.
void write_places(const Tensor& x, const Tensor& source, const Places& places);
void fill_places(const Tensor& x, Scalar value, const Places& places);
// Adds; places that occur several times in the order of the source.
void add_places(const Tensor& x, const Tensor& source, const Places& places,
                const AddRule& rule = {});

// The index as a dense int64 tensor; its dtype is checked, its values are not.
TensorRef dense_index(const TensorRef& index, const char* op);

}  // namespace flambeau::cuda_ops
