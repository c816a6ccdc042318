// Pooling on GPUs, on contiguous tensors of one device.
#pragma once

#include "ops/pooling/pooling_kernels.h"
#include "tensor/tensor.h"

namespace flambeau {

void max_pool_on_gpu(const PoolGeometry& geometry, const Tensor& x, const Tensor& out,
                     const Tensor& indices);
void average_pool_on_gpu(const PoolGeometry& geometry, const Tensor& x, const Tensor& out);
void spread_on_gpu(const PoolGeometry& geometry, const Tensor& g, const Tensor& x);
// `large` and `small`: elements of a plane of the two tensors; `channels` as in PoolGeometry.
void pool_scatter_on_gpu(const Tensor& small_values, const Tensor& indices, int64_t large,
                         int64_t small, int64_t channels, const Tensor& out);
void pool_gather_on_gpu(const Tensor& large_values, const Tensor& indices, int64_t large,
                        int64_t small, int64_t channels, const Tensor& out);

}  // namespace flambeau
