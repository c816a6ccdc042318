// Convolutions by cuDNN 9, found at run time. Written against its headers and run on an emulation
// only (tests/emulated_cuda/cudnn.cpp).
#pragma once

#include <array>
#include <string>

#include "tensor/dtype.h"

namespace flambeau::cuda {

// Of input x, weight w and output y of a convolution, which is computed from the other two.
enum class ConvolutionResult { Output, Input, Weight };

// Dense [batch, channels, ...] and [out_channels, in_channels / groups, ...] tensors of one dtype,
// row-major or all three with channels last; spatial sizes of three axes, those in front 1 where
// there are fewer.
struct CudnnConvolution {
  ConvolutionResult result = ConvolutionResult::Output;
  DType dtype = DType::Float32;
  int device = 0;
  bool channels_last = false;
  int64_t batch = 0, groups = 1, in_channels = 0, out_channels = 0;
  std::array<int64_t, 3> input, kernel, output, stride, padding, dilation;
  void *x = nullptr, *w = nullptr, *y = nullptr;
};

// On the current stream. False if cuDNN is missing, switched off, or has no kernel for this:
// nothing happened.
bool cudnn_convolve(const CudnnConvolution& convolution);

// Note [Plans of convolutions]: which algorithm computes a convolution is asked, or measured, once,
// and kept with the descriptors in a bounded table.
inline constexpr size_t kConvolutionPlans = 1024;
size_t convolution_plan_count();

}  // namespace flambeau::cuda
