// Convolution on raw contiguous memory: the three products that are each other's gradients, for
// float, double and int64_t.
#pragma once

#include <cstdint>

namespace flambeau {

// Layouts: input [batch, in_channels, ...], weight [out_channels, in_channels / groups, ...],
// output [batch, out_channels, ...], each followed by three spatial dimensions; missing ones come
// first and are 1. `padding` is what precedes the input; what follows it is implied by `output`.
struct ConvolutionGeometry {
  int64_t batch, groups, in_channels, out_channels;
  int64_t input[3], kernel[3], output[3];
  int64_t stride[3], padding[3], dilation[3];
  // On GPUs only: channels lie closest, within a pixel (and a tap of the weight).
  bool channels_last = false;

  int64_t taps() const { return kernel[0] * kernel[1] * kernel[2]; }
};

// y = convolution of x with w, plus bias[channel] unless that is null.
template <class T>
void convolution_forward(const ConvolutionGeometry& geometry, const T* x, const T* w, const T* bias,
                         T* y);
// x = what the gradient g of the output contributes to the input; the transposed convolution of g.
template <class T>
void convolution_input_gradient(const ConvolutionGeometry& geometry, const T* g, const T* w,
                                const T* bias, T* x);
// w = what the gradient g of the output contributes to the weight.
template <class T>
void convolution_weight_gradient(const ConvolutionGeometry& geometry, const T* x, const T* g, T* w);

}  // namespace flambeau
