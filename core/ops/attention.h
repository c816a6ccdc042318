// Attention in one kernel: softmax(scale * q k^T + mask) v on GPUs, without its scores in memory.
#pragma once

#include "ops/primitive.h"

namespace flambeau {

// Inputs of "attention": q (..., L, E), k (..., S, E), v (..., S, V), and a mask that broadcasts to
// (..., L, S), or null: bool (True takes part) or numbers to add. scalars[0] is the scale; flag: a
// row sees the keys up to its own number. Outputs: (..., L, V), and the logarithms of the sums of
// exp(scores) (..., L) in float.
//
// Whether torch.nn.attention.sdpa_kernel permits any.
bool attention_kernels_permitted();

// By cuDNN, or by kernels of our own (ops/attention.cu). False: neither may or can; nothing
// happened.
bool attention_on_gpu(Call& call);
// Inputs of "attention_backward": g, output and sums of the call before, then its inputs.
bool attention_backward_on_gpu(Call& call);

// What the kernels take; other attention is made of products and softmax.
inline constexpr int64_t kMostAttentionFeatures = 256;

}  // namespace flambeau
