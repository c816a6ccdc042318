// The products of a convolution on GPUs: by cuDNN, or by kernels of our own where it is missing or
// has none.
#pragma once

#include "ops/convolution/convolution_kernels.h"
#include "tensor/tensor.h"

namespace flambeau {

// x, w and y are contiguous tensors of one dtype on one GPU, of the shapes that the geometry says;
// one of them is written. The bias may be null.
void convolution_on_gpu(const ConvolutionGeometry& geometry, const Tensor& x, const Tensor& w,
                        const Tensor* bias, const Tensor& y);
void input_gradient_on_gpu(const ConvolutionGeometry& geometry, const Tensor& y, const Tensor& w,
                           const Tensor* bias, const Tensor& x);
void weight_gradient_on_gpu(const ConvolutionGeometry& geometry, const Tensor& x, const Tensor& y,
                            const Tensor& w);

}  // namespace flambeau
