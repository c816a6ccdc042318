// The products of a convolution on GPUs: by cuDNN, or by kernels of our own where it is missing or
// has none.
#pragma once

#include "ops/convolution/convolution_kernels.h"
#include "tensor/tensor.h"

namespace flambeau {

// x, w and y are dense tensors of one dtype on one GPU, of the shapes and the order that the
// geometry says; one of them is written. The bias may be null. False: there is no kernel for
// channels last, and nothing happened.
bool convolution_on_gpu(const ConvolutionGeometry& geometry, const Tensor& x, const Tensor& w,
                        const Tensor* bias, const Tensor& y);
bool input_gradient_on_gpu(const ConvolutionGeometry& geometry, const Tensor& y, const Tensor& w,
                           const Tensor* bias, const Tensor& x);
bool weight_gradient_on_gpu(const ConvolutionGeometry& geometry, const Tensor& x, const Tensor& y,
                            const Tensor& w);

}  // namespace flambeau
