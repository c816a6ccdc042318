// What torch.backends says about computing on GPUs.
#pragma once

#include <atomic>
#include <cstdint>

namespace flambeau::cuda {

struct MathSettings {
  // Calls are computed by what always adds in one order (torch.use_deterministic_algorithms).
  std::atomic<bool> deterministic{false};
  std::atomic<bool> matmul_tf32{false};  // float32 products may round their inputs to 10 bits
  std::atomic<bool> cudnn{true};         // cuDNN may be used at all
  std::atomic<bool> cudnn_tf32{true};
  std::atomic<bool> cudnn_benchmark{false};      // its algorithms are timed instead of guessed
  std::atomic<bool> cudnn_deterministic{false};  // only algorithms that always add in one order
  // Who may compute attention before products and softmax have to: cuDNN, a kernel of our own
  // (PyTorch has two names for such).
  std::atomic<bool> attention_cudnn{true}, attention_flash{true}, attention_efficient{true};
  // cuBLASLt may be used; off, products are computed by kernels of our own.
  std::atomic<bool> cublas{true};
  bool cudnn_in_one_order() const { return cudnn_deterministic || deterministic; }
  // Rises with every change: what was chosen before may have to be chosen anew.
  std::atomic<int64_t> changes{0};
};
inline MathSettings math_settings;

}  // namespace flambeau::cuda
