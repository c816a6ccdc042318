#pragma once

// Barriers, warp operations and atomics. Included by shim.h. The driver may run other threads
// inside each call that waits, so the compiler must keep no memory in registers across it.

#define EMULATED_MEMORY_BARRIER() asm volatile("" ::: "memory")

inline unsigned emulated_barrier(int predicate) {
  EMULATED_MEMORY_BARRIER();
  unsigned result = emulated_state.runtime->barrier(predicate);
  EMULATED_MEMORY_BARRIER();
  return result;
}
inline void __syncthreads() { emulated_barrier(0); }
inline int __syncthreads_count(int predicate) {
  return static_cast<int>(emulated_barrier(predicate));
}
inline int __syncthreads_or(int predicate) { return emulated_barrier(predicate) != 0; }
inline int __syncthreads_and(int predicate) { return emulated_barrier(!predicate) == 0; }
inline void __threadfence() { EMULATED_MEMORY_BARRIER(); }
inline void __threadfence_block() { EMULATED_MEMORY_BARRIER(); }
inline void __threadfence_system() { EMULATED_MEMORY_BARRIER(); }
inline void __trap() { __builtin_trap(); }

inline unsigned long long emulated_warp(EmulatedWarpKind kind, unsigned mask,
                                        unsigned long long value, unsigned source_lane = 0) {
  EMULATED_MEMORY_BARRIER();
  unsigned long long result = emulated_state.runtime->warp(kind, mask, value, source_lane);
  EMULATED_MEMORY_BARRIER();
  return result;
}
inline void __syncwarp(unsigned mask = 0xFFFFFFFFu) { emulated_warp(kWarpSync, mask, 0); }
inline unsigned __ballot_sync(unsigned mask, int predicate) {
  return static_cast<unsigned>(emulated_warp(kWarpBallot, mask, predicate != 0));
}
inline int __any_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) != 0; }
inline int __all_sync(unsigned mask, int predicate) {
  return static_cast<int>(emulated_warp(kWarpAll, mask, predicate != 0));
}

template <typename T>
inline T emulated_shuffle(unsigned mask, T value, unsigned source_lane) {
  unsigned long long bits = 0;
  __builtin_memcpy(&bits, &value, sizeof value);
  bits = emulated_warp(kWarpShuffle, mask, bits, source_lane);
  __builtin_memcpy(&value, &bits, sizeof value);
  return value;
}
// A source outside the segment of `width` lanes means the lane itself.
inline unsigned emulated_segment(int width) {
  return emulated_state.lane & ~(static_cast<unsigned>(width) - 1);
}
inline unsigned emulated_down(unsigned delta, int width) {
  unsigned source = emulated_state.lane + delta;
  return source < emulated_segment(width) + width ? source : emulated_state.lane;
}
inline unsigned emulated_up(unsigned delta, int width) {
  int source = static_cast<int>(emulated_state.lane) - static_cast<int>(delta);
  return source >= static_cast<int>(emulated_segment(width)) ? source : emulated_state.lane;
}
inline unsigned emulated_xor(int lanes, int width) {
  unsigned source = emulated_state.lane ^ static_cast<unsigned>(lanes);
  return source < emulated_segment(width) + width ? source : emulated_state.lane;
}
#define EMULATED_SHUFFLES(type)                                                             \
  inline type __shfl_sync(unsigned mask, type value, int lane, int width = 32) {            \
    return emulated_shuffle(mask, value, emulated_segment(width) | (lane & (width - 1)));   \
  }                                                                                         \
  inline type __shfl_up_sync(unsigned mask, type value, unsigned delta, int width = 32) {   \
    return emulated_shuffle(mask, value, emulated_up(delta, width));                        \
  }                                                                                         \
  inline type __shfl_down_sync(unsigned mask, type value, unsigned delta, int width = 32) { \
    return emulated_shuffle(mask, value, emulated_down(delta, width));                      \
  }                                                                                         \
  inline type __shfl_xor_sync(unsigned mask, type value, int lanes, int width = 32) {       \
    return emulated_shuffle(mask, value, emulated_xor(lanes, width));                       \
  }
EMULATED_SHUFFLES(int)
EMULATED_SHUFFLES(unsigned)
EMULATED_SHUFFLES(long)
EMULATED_SHUFFLES(unsigned long)
EMULATED_SHUFFLES(long long)
EMULATED_SHUFFLES(unsigned long long)
EMULATED_SHUFFLES(float)
EMULATED_SHUFFLES(double)

// Only one thread runs at a time, so reading and then writing is atomic.
#define EMULATED_ATOMIC(name, type, result)     \
  inline type name(type* address, type value) { \
    type old = *address;                        \
    *address = result;                          \
    return old;                                 \
  }
#define EMULATED_ARITHMETIC_ATOMICS(type)                     \
  EMULATED_ATOMIC(atomicMin, type, value < old ? value : old) \
  EMULATED_ATOMIC(atomicMax, type, old < value ? value : old) \
  EMULATED_ATOMIC(atomicAnd, type, old& value)                \
  EMULATED_ATOMIC(atomicOr, type, old | value)                \
  EMULATED_ATOMIC(atomicXor, type, old ^ value)
#define EMULATED_CAS(type)                                          \
  inline type atomicCAS(type* address, type expected, type value) { \
    type old = *address;                                            \
    if (old == expected) *address = value;                          \
    return old;                                                     \
  }
EMULATED_ARITHMETIC_ATOMICS(int)
EMULATED_ARITHMETIC_ATOMICS(unsigned)
EMULATED_ARITHMETIC_ATOMICS(long long)
EMULATED_ARITHMETIC_ATOMICS(unsigned long long)
EMULATED_ATOMIC(atomicAdd, int, old + value)
EMULATED_ATOMIC(atomicAdd, unsigned, old + value)
EMULATED_ATOMIC(atomicAdd, unsigned long long, old + value)
EMULATED_ATOMIC(atomicAdd, float, old + value)
EMULATED_ATOMIC(atomicAdd, double, old + value)
EMULATED_ATOMIC(atomicSub, int, old - value)
EMULATED_ATOMIC(atomicSub, unsigned, old - value)
EMULATED_ATOMIC(atomicExch, int, value)
EMULATED_ATOMIC(atomicExch, unsigned, value)
EMULATED_ATOMIC(atomicExch, unsigned long long, value)
EMULATED_ATOMIC(atomicExch, float, value)
EMULATED_CAS(int)
EMULATED_CAS(unsigned)
EMULATED_CAS(unsigned long long)
EMULATED_CAS(unsigned short)
