// What primitives do for tensors on a GPU (Primitive::run_cuda), by file.
#pragma once

#include "ops/registry.h"

namespace flambeau {

// gather_cuda.cpp
void run_gather_cuda(Call& call);
void run_scatter_cuda(Call& call);
// index_select_cuda.cpp
void run_index_select_cuda(Call& call);
void run_index_add_cuda(Call& call);
void run_index_copy_cuda(Call& call);
void run_index_fill_cuda(Call& call);
void run_take_cuda(Call& call);
void run_put_cuda(Call& call);
void run_embedding_cuda(Call& call);
void run_embedding_backward_cuda(Call& call);
// indexing_cuda.cpp
void run_index_cuda(Call& call);
void run_index_put_cuda(Call& call);
// masked_cuda.cpp
void run_nonzero_cuda(Call& call);
void run_masked_select_cuda(Call& call);
void run_masked_scatter_cuda(Call& call);
// joining_cuda.cpp
void run_cat_cuda(Call& call);
// rearrange_cuda.cpp
void run_flip_cuda(Call& call);
void run_roll_cuda(Call& call);
void run_tril_cuda(Call& call);
void run_triu_cuda(Call& call);
void run_strided_sum_cuda(Call& call);
// scan_cuda.cpp
void run_cumsum_cuda(Call& call);
void run_cumprod_cuda(Call& call);
void run_logcumsumexp_cuda(Call& call);
void run_cummax_cuda(Call& call);
void run_cummin_cuda(Call& call);
// sort_cuda.cpp
void run_sort_cuda(Call& call);
void run_topk_cuda(Call& call);
void run_kthvalue_cuda(Call& call);
void run_mode_cuda(Call& call);
void run_median_cuda(Call& call);
void run_nanmedian_cuda(Call& call);
void run_median_all_cuda(Call& call);
void run_nanmedian_all_cuda(Call& call);
// search_cuda.cpp
void run_search_cuda(Call& call);

// Public functions on the GPU that are made of other operators there.
TensorRef bincount_cuda(const TensorRef& x, const TensorRef& weights, int64_t minlength);
TensorRef histc_cuda(const TensorRef& x, int64_t bins, double low, double high, DType dtype);
TensorRef one_hot_cuda(const TensorRef& index, int64_t classes);
TensorRef repeated_positions_cuda(const TensorRef& counts, std::optional<int64_t> output_size);
// Distinct elements in ascending order, or the first of every run if not `sorted`.
Result unique_elements_cuda(const TensorRef& input, bool sorted, bool return_inverse,
                            bool return_counts);
// The same of the slices along `dim`, which `slices` has as its first dimension, not empty.
Result unique_slices_cuda(const TensorRef& input, int64_t dim, const TensorRef& slices, bool sorted,
                          bool return_inverse, bool return_counts);
// creation_cuda.cpp: x[i] = start + i * step; evenly spaced numbers (powers of `base`).
void count_up_cuda(const Tensor& x, Scalar start, Scalar step, bool integers);
void space_cuda(const Tensor& x, double start, double end, std::optional<double> base);

}  // namespace flambeau
