// Running combinations along dense lines on a GPU.
#pragma once

#include "ops/registry.h"

namespace flambeau::cuda_ops {

enum class Scan : int { Sum, Product, LogSumExp, Largest, Smallest };

// The last dimension of x, dense, into `out` (and, for extremes, positions). Sums of bool count.
void scan_lines(const Tensor& out, const Tensor* positions, const Tensor& x, int64_t length,
                Scan scan, bool backward = false);

}  // namespace flambeau::cuda_ops
