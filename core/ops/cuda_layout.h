// What kernels of operators share on the host's side: shapes and strides as parameters.
#pragma once

#include <string>
#include <vector>

#include "cuda/geometry.h"
#include "cuda/launch.h"
#include "tensor/tensor.h"

namespace flambeau::cuda_ops {

// A kernel's Geometry<INDEX, DIMS, operands>: neighbouring dimensions are joined where all
// operands allow it.
class Layout {
 public:
  Layout(Dims shape, std::vector<Dims> strides, bool merge = true);

  int64_t count() const { return count_; }
  bool wide() const { return wide_; }
  // The definitions INDEX and DIMS.
  const char* index() const { return wide_ ? "long long" : "int"; }
  const std::string& dims() const { return dims_; }

  struct Parameter {
    alignas(8) char bytes[64 * 4 * 8];
  };
  const Parameter& parameter() const { return parameter_; }

 private:
  int64_t count_ = 1;
  bool wide_ = false;
  std::string dims_;
  Parameter parameter_;
};

inline constexpr int kThreads = 256;

// One thread per element, bounded.
inline cuda::Extent3 grid_for(int64_t count, int device) {
  return {cuda::blocks_for(count, kThreads, device)};
}

// One block for each of `count` parts; RuntimeError for more than a grid has.
unsigned blocks_of(int64_t count);

// The widest unit of memory, in bytes, that rows of `run` bytes can be moved by, whose starts are
// multiples of `step` bytes from addresses that are multiples of `address`.
int unit_of(uint64_t run, uint64_t step, uint64_t address, int smallest);
// Its type in kernels.
const char* unit_name(int bytes);

// A number as an element, in the first bytes.
struct Element {
  alignas(8) char bytes[8] = {};
};
Element element_of(Scalar value, DType dtype);

// The number that a one-element tensor on a GPU holds; waits for it.
int64_t read_integer(const Tensor& tensor);

}  // namespace flambeau::cuda_ops
