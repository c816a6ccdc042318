// Loads and stores of the block machine: gather with a step and convert between a tensor's dtype
// and a precision.
#if defined(__F16C__)
#include <immintrin.h>
#endif

#include "program/kernels.h"

namespace flambeau::FLAMBEAU_ISA {
namespace {

template <class T, class From>
void load(void* to_pointer, const void* from_pointer, int64_t step, int64_t count) {
  auto* to = static_cast<T*>(to_pointer);
  auto* from = static_cast<const From*>(from_pointer);
  if (step == 1) {
    int64_t i = 0;
#if defined(__F16C__)
    if constexpr (std::is_same_v<From, Half> && std::is_same_v<T, float>) {
      for (; i + 8 <= count; i += 8) {
        __m128i bits = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + i));
        _mm256_storeu_ps(to + i, _mm256_cvtph_ps(bits));
      }
    }
#endif
#pragma GCC ivdep
    for (; i < count; ++i) to[i] = convert<T>(from[i]);
  } else if (step == 0) {
    const T value = convert<T>(*from);
    for (int64_t i = 0; i < count; ++i) to[i] = value;
  } else {
#pragma GCC ivdep
    for (int64_t i = 0; i < count; ++i) to[i] = convert<T>(from[i * step]);
  }
}

template <class T, class To>
void store(void* to_pointer, int64_t step, const void* from_pointer, int64_t count) {
  auto* to = static_cast<To*>(to_pointer);
  auto* from = static_cast<const T*>(from_pointer);
  if (step == 1) {
    int64_t i = 0;
#if defined(__F16C__)
    if constexpr (std::is_same_v<To, Half> && std::is_same_v<T, float>) {
      for (; i + 8 <= count; i += 8) {
        __m128i bits = _mm256_cvtps_ph(_mm256_loadu_ps(from + i), _MM_FROUND_TO_NEAREST_INT);
        _mm_storeu_si128(reinterpret_cast<__m128i*>(to + i), bits);
      }
    }
#endif
#pragma GCC ivdep
    for (; i < count; ++i) to[i] = convert<To>(from[i]);
  } else {
#pragma GCC ivdep
    for (int64_t i = 0; i < count; ++i) to[i * step] = convert<To>(from[i]);
  }
}

}  // namespace

#define FLAMBEAU_LOADS(T)                                                                   \
  {load<T, bool>,    load<T, uint8_t>, load<T, int8_t>, load<T, int16_t>, load<T, int32_t>, \
   load<T, int64_t>, load<T, Half>,    load<T, BFloat>, load<T, float>,   load<T, double>}
#define FLAMBEAU_STORES(T)                                                                       \
  {store<T, bool>,    store<T, uint8_t>, store<T, int8_t>, store<T, int16_t>, store<T, int32_t>, \
   store<T, int64_t>, store<T, Half>,    store<T, BFloat>, store<T, float>,   store<T, double>}

const TransferKernels transfer_kernels = {
    {FLAMBEAU_LOADS(float), FLAMBEAU_LOADS(double), FLAMBEAU_LOADS(int64_t)},
    {FLAMBEAU_STORES(float), FLAMBEAU_STORES(double), FLAMBEAU_STORES(int64_t)}};

}  // namespace flambeau::FLAMBEAU_ISA
