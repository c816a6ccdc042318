// Convolutions that are plain matrix products (blas/gemm.h), and when to use them.
#pragma once

#include "ops/convolution/convolution_kernels.h"

namespace flambeau {

// A kernel of one tap that moves over every pixel: matrices of channels x pixels are multiplied.
template <class T>
bool is_pointwise(const ConvolutionGeometry& geometry);
template <class T>
void pointwise_forward(const ConvolutionGeometry& geometry, const T* x, const T* w, const T* bias,
                       T* y);
template <class T>
void pointwise_input_gradient(const ConvolutionGeometry& geometry, const T* g, const T* w,
                              const T* bias, T* x);

// The gradient of the weight with the channels of the input innermost: see products.cpp.
template <class T>
bool prefers_weight_product(const ConvolutionGeometry& geometry);
template <class T>
void weight_product(const ConvolutionGeometry& geometry, const T* x, const T* g, T* w);

}  // namespace flambeau
