// Random numbers on a GPU: as PyTorch's CUDA generator makes them (docs/random.md).
#pragma once

#include "ops/random.h"

namespace flambeau {

// A distribution of ops/random.cu, by its name there.
struct Distribution {
  const char* name;
};
inline constexpr Distribution kUniformNumbers{"Uniform"};
inline constexpr Distribution kNormalNumbers{"Normal"};
inline constexpr Distribution kLogNormalNumbers{"LogNormal"};
inline constexpr Distribution kExponentialNumbers{"Exponential"};
inline constexpr Distribution kGeometricNumbers{"Geometric"};
inline constexpr Distribution kCauchyNumbers{"Cauchy"};
inline constexpr Distribution kBernoulliNumbers{"Bernoulli"};

// Fills `count` elements; what the two numbers mean is the distribution's affair.
void draw_numbers(const Distribution& distribution, DType dtype, void* data, int64_t count,
                  double first, double second, CudaGenerator& generator);

// Whole numbers base, ..., base + range - 1 (0: 2^64), from 32 or 64 bits each.
struct WholeNumbers {
  int64_t base;
  uint64_t range;
  bool wide;
};
WholeNumbers whole_numbers(int64_t base, uint64_t range);
// random_() without bounds.
WholeNumbers whole_numbers(DType dtype);
void draw_integers(DType dtype, void* data, int64_t count, const WholeNumbers& numbers,
                   CudaGenerator& generator);

// run_cuda of a Fill with up to two numbers.
template <const Distribution& distribution>
void run_fill_cuda(Call& call) {
  const Scalar* numbers = call.attributes.scalars;
  fill_in_memory_order(call.output(), [&](void* data, int64_t count, bool) {
    draw_numbers(distribution, call.output().dtype(), data, count, numbers[0].to_double(),
                 numbers[1].to_double(), cuda_generator_of(call));
  });
}
void run_permutation_cuda(Call& call);
// attributes.scalars[0]: probability to keep; attributes.flag: elements side by side that one
// thread draws for (2, 4 or 8), anything else: elements apart.
void run_dropout_mask_cuda(Call& call);
// Elements of `target` from the probabilities, which are broadcast to its shape.
void draw_bernoulli_cuda(const Tensor& target, const Tensor& probabilities,
                         CudaGenerator& generator);
void run_multinomial_cuda(Call& call);

}  // namespace flambeau
