// Executables on a GPU, replayed as CUDA graphs.
//
// Note [Captured parts]: the forward and the backward part of an executable each become a graph
// once they have run a few times. A graph has fixed addresses. Arguments and tangents are copied to
// memory of the graph before it runs, and results from there after it; all other memory (captured
// tensors, gradients that stay bound, what is saved) must be where it was, or the steps are queued
// one by one this time. Numbers of a run, which kernels otherwise take as parameters, are read from
// memory of the GPU.
#pragma once

#include <vector>

#include "cuda/graph.h"
#include "tensor/tensor.h"

namespace flambeau {

class CapturedPart {
 public:
  struct Copied {  // between memory of the run and memory of the graph
    int buffer;
    Ref<Storage> own;
    size_t bytes;
  };
  struct Fixed {
    int buffer;
    const char* address;
  };

  bool possible = true;
  int runs = 0;          // before it was captured
  int misses = 0;        // runs whose memory was elsewhere, in a row
  int captures = 0;      // so far
  int64_t settings = 0;  // math_settings.changes when it was captured
  Ref<cuda::Graph> graph;
  std::vector<Copied> in, out;
  std::vector<Fixed> fixed;
  TensorRef numbers;                    // float64, one for each slot
  cuda::StreamHandle stream = nullptr;  // that the memory above was made on

  static constexpr int kRunsBefore = 2;
  static constexpr int kMostMisses = 4;
  static constexpr int kMostCaptures = 4;
};

}  // namespace flambeau
