// Attention by cuDNN, on tensor cores; see cuda/cudnn_graph.h.
#pragma once

#include <array>
#include <cstddef>

#include "tensor/dtype.h"

namespace flambeau::cuda {

// softmax(scale q k^T) v for float16 or bfloat16 [batch, heads, rows, features] tensors, whose
// features lie next to each other.
struct CudnnAttention {
  DType dtype = DType::BFloat16;
  int device = 0;
  bool causal = false;  // a row sees the keys up to its own number
  float scale = 1;
  int64_t batch = 1, heads = 1, queries = 0, keys = 0, features = 0, values = 0;
  // Elements from a batch, a head, a row to the next one.
  std::array<int64_t, 3> q_strides, k_strides, v_strides;
  const void *q = nullptr, *k = nullptr, *v = nullptr;
  // Dense results: [batch, heads, queries, values], and in float32 the logarithms of the sums of
  // exp(scores) [batch, heads, queries], which are inputs of the gradient.
  void *out = nullptr, *log_sums = nullptr;
  // Of the gradient, all dense; null otherwise.
  const void* g = nullptr;
  void *dq = nullptr, *dk = nullptr, *dv = nullptr;
};

// On the current stream. False if cuDNN is missing, older than 9.21, switched off, has no engine
// for this, or none yet (Note [Plans of attention]): nothing happened.
bool cudnn_attend(const CudnnAttention& attention);

inline constexpr size_t kAttentionPlans = 256;
size_t attention_plan_count();

}  // namespace flambeau::cuda
