// Random fills of contiguous buffers, value for value as PyTorch on the CPU. Every function takes
// the generator's lock and draws for the elements in order; arguments are checked by the caller.
#pragma once

#include <cstdint>

#include "random/cpu_generator.h"
#include "tensor/dtype.h"

namespace flambeau {

// Uniform in [low, high).
void fill_uniform(DType dtype, void* data, int64_t count, double low, double high,
                  CpuGenerator& generator);

// Normal values. PyTorch draws 16 or more contiguous elements in blocks of 16 and all others one
// after the other, from other bits: `in_blocks` says which, when count >= 16.
void fill_normal(DType dtype, void* data, int64_t count, double mean, double std, bool in_blocks,
                 CpuGenerator& generator);

// Whole numbers low, ..., low + range - 1; a range of 0 stands for 2^64.
void fill_integers(DType dtype, void* data, int64_t count, int64_t low, uint64_t range,
                   CpuGenerator& generator);
// random_() without bounds: [0, maximum] for whole dtypes, [0, 2^digits] for floating ones.
void fill_random(DType dtype, void* data, int64_t count, CpuGenerator& generator);

// Whether a uniform number is below `probability`, as 0 and 1.
void fill_bernoulli(DType dtype, void* data, int64_t count, double probability,
                    CpuGenerator& generator);
// The same with a probability for each element; `probabilities` is of a floating dtype.
void fill_bernoulli(DType dtype, void* data, int64_t count, DType probability_dtype,
                    const void* probabilities, CpuGenerator& generator);

void fill_exponential(DType dtype, void* data, int64_t count, double rate, CpuGenerator& generator);
// The number of trials up to and with the first success.
void fill_geometric(DType dtype, void* data, int64_t count, double probability,
                    CpuGenerator& generator);
void fill_log_normal(DType dtype, void* data, int64_t count, double mean, double std,
                     CpuGenerator& generator);
void fill_cauchy(DType dtype, void* data, int64_t count, double median, double sigma,
                 CpuGenerator& generator);

// A permutation of 0, ..., count - 1.
void fill_permutation(DType dtype, void* data, int64_t count, CpuGenerator& generator);

// Draws `samples` categories for each row of `weights` (rows, categories; float or double, finite,
// not negative, a positive sum), with replacement, by inversion of the cumulative sum.
void sample_with_replacement(DType dtype, const void* weights, int64_t rows, int64_t categories,
                             int64_t samples, int64_t* out, CpuGenerator& generator);

}  // namespace flambeau
