#pragma once

// What the emulated cuDNN's descriptors (cudnn.cpp) hand to its arithmetic (cudnn_work.cpp).

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "cuda_types.h"
#include "elements.h"

EMULATED_API int emulated_cuda_check_range(const char* what, const void* pointer, size_t bytes);

namespace emulated {

constexpr int kBfloat = 9;  // cudnnDataType_t; the others are ElementType

// A tensor of a graph, and where it lies in this execution.
struct GraphTensor {
  int64_t id = 0;
  int type = kFloat;
  std::vector<int64_t> sizes, strides;
  int64_t alignment = 1;
  bool is_virtual = false, by_value = false;
  void* data = nullptr;
  double value = 0;  // by_value: read at the call

  double load(int64_t index) const;
  void store(int64_t index, double value) const;
  bool in_memory(const char* what) const;  // false: it does not lie in one live allocation
};

enum class GraphKind { Forward, BackwardData, BackwardFilter, Attention, AttentionBackward };

// An operation with everything that it needs when it is executed.
struct GraphWork {
  GraphKind kind;
  std::map<std::string, GraphTensor> tensors;
  std::vector<int64_t> padding, stride, dilation;  // of a convolution
  bool causal = false;
  double masked = 0;    // what hidden scores become
  bool rounds = false;  // float32 inputs lose 13 bits, as in tensor cores
  void* workspace = nullptr;
  size_t workspace_bytes = 0;

  const GraphTensor& operator[](const char* name) const { return tensors.at(name); }
};

// Executed when the stream gets there; CUDA_SUCCESS or an error.
int run_graph_work(void* work);

}  // namespace emulated
