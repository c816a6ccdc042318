#pragma once

// What CUDA C++ means when g++ compiles it: included in front of every kernel source by nvrtc.cpp.
// Includes no standard header, as NVRTC does not and because they would take most of the time.

#include "kernel_abi.h"

#define FLAMBEAU_EMULATED 1
#define __CUDACC__ 1
#define __CUDACC_RTC__ 1
#define __CUDA_ARCH__ 900

#define __global__
#define __device__
#define __host__
#define __constant__ static
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __align__(bytes) __attribute__((aligned(bytes)))
#define __launch_bounds__(...)
#define __grid_constant__
// One section for all of them, which the driver fills with garbage before each block.
#define __shared__ static __attribute__((section("emulated_shared")))

using size_t = decltype(sizeof 0);
using uint3 = EmulatedIndex;
using dim3 = EmulatedIndex;

static EmulatedState emulated_state;
#define threadIdx (emulated_state.thread)
#define blockIdx (emulated_state.block)
#define blockDim (emulated_state.block_size)
#define gridDim (emulated_state.grid)
constexpr int warpSize = 32;

// The dynamic shared memory of the block, for DYNAMIC_SHARED.
inline void* emulated_dynamic_shared() { return emulated_state.dynamic_shared; }

extern "C" int printf(const char*, ...);

// ---- Vector types, with CUDA's alignments.

#define EMULATED_VECTORS(name, type, align2, align4)                    \
  struct __attribute__((aligned(align2))) name##2 { type x, y; };       \
  struct __attribute__((aligned(align4))) name##4 { type x, y, z, w; }; \
  inline name##2 make_##name##2(type x, type y) { return {x, y}; }      \
  inline name##4 make_##name##4(type x, type y, type z, type w) { return {x, y, z, w}; }
EMULATED_VECTORS(char, signed char, 2, 4)
EMULATED_VECTORS(uchar, unsigned char, 2, 4)
EMULATED_VECTORS(short, short, 4, 8)
EMULATED_VECTORS(ushort, unsigned short, 4, 8)
EMULATED_VECTORS(int, int, 8, 16)
EMULATED_VECTORS(uint, unsigned, 8, 16)
EMULATED_VECTORS(longlong, long long, 16, 16)
EMULATED_VECTORS(ulonglong, unsigned long long, 16, 16)
EMULATED_VECTORS(float, float, 8, 16)
EMULATED_VECTORS(double, double, 16, 16)

// ---- Bits.

template <typename To, typename From>
inline To emulated_bits(From from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  __builtin_memcpy(&to, &from, sizeof to);
  return to;
}
inline int __float_as_int(float x) { return emulated_bits<int>(x); }
inline unsigned __float_as_uint(float x) { return emulated_bits<unsigned>(x); }
inline float __int_as_float(int x) { return emulated_bits<float>(x); }
inline float __uint_as_float(unsigned x) { return emulated_bits<float>(x); }
inline long long __double_as_longlong(double x) { return emulated_bits<long long>(x); }
inline double __longlong_as_double(long long x) { return emulated_bits<double>(x); }

inline int __clz(int x) { return x == 0 ? 32 : __builtin_clz(x); }
inline int __clzll(long long x) { return x == 0 ? 64 : __builtin_clzll(x); }
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __ffsll(long long x) { return __builtin_ffsll(x); }
inline unsigned __umulhi(unsigned x, unsigned y) {
  return static_cast<unsigned>(static_cast<unsigned long long>(x) * y >> 32);
}
inline int __mulhi(int x, int y) { return static_cast<int>(static_cast<long long>(x) * y >> 32); }
inline unsigned long long __umul64hi(unsigned long long x, unsigned long long y) {
  return static_cast<unsigned long long>(static_cast<unsigned __int128>(x) * y >> 64);
}
inline unsigned __brev(unsigned x) {
  x = (x >> 1 & 0x55555555u) | (x & 0x55555555u) << 1;
  x = (x >> 2 & 0x33333333u) | (x & 0x33333333u) << 2;
  x = (x >> 4 & 0x0F0F0F0Fu) | (x & 0x0F0F0F0Fu) << 4;
  return __builtin_bswap32(x);
}
inline unsigned long long __brevll(unsigned long long x) {
  return static_cast<unsigned long long>(__brev(static_cast<unsigned>(x))) << 32 |
         __brev(static_cast<unsigned>(x >> 32));
}
inline unsigned __funnelshift_l(unsigned low, unsigned high, unsigned shift) {
  shift &= 31;
  return shift == 0 ? high : high << shift | low >> (32 - shift);
}
inline unsigned __funnelshift_r(unsigned low, unsigned high, unsigned shift) {
  shift &= 31;
  return shift == 0 ? low : low >> shift | high << (32 - shift);
}
template <typename T>
inline T __ldg(const T* pointer) {
  return *pointer;
}

#include "shim_math.h"
#include "shim_threads.h"
#include "sixteen_bit.h"

// ---- How the driver calls a kernel; the table is written by nvrtc.cpp.

template <unsigned... index>
struct EmulatedIndices {};

template <auto kernel>
struct EmulatedCall;
template <typename... Argument, void (*kernel)(Argument...)>
struct EmulatedCall<kernel> {
  static constexpr unsigned sizes[] = {sizeof(Argument)..., 0};
  template <unsigned... index>
  static void unpack(void** arguments, EmulatedIndices<index...>) {
    kernel(*static_cast<Argument*>(arguments[index])...);
  }
  static void call(void** arguments) {
    unpack(arguments, EmulatedIndices<__integer_pack(sizeof...(Argument))...>());
  }
};

#define EMULATED_NAME(name) #name
#define EMULATED_KERNEL(name, max_threads, ...)                                          \
  {EMULATED_NAME(name), &EmulatedCall<&name>::call,                                      \
   sizeof EmulatedCall<&name>::sizes / sizeof(unsigned) - 1, EmulatedCall<&name>::sizes, \
   static_cast<unsigned>(max_threads)},

__attribute__((section("emulated_shared"), used)) static char emulated_shared_anchor;
extern "C" char __start_emulated_shared[], __stop_emulated_shared[];
