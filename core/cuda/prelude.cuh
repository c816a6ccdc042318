// In front of every kernel: element types and their conversions, indices, reductions of warps and
// blocks, wide loads, atomics, errors. No header of CUDA is needed, and all but a few lines of PTX
// is also C++17, which the tests compile for the CPU (FLAMBEAU_EMULATED).

#ifndef FLAMBEAU_EMULATED
#pragma nv_diag_suppress 177  // functions that a kernel does not need
#pragma nv_diag_suppress 186  // comparisons of unsigned numbers with zero, in templates
#endif
#define DEVICE static __device__ __forceinline__
#define DEVICE_MEMBER __device__ __forceinline__
// A kernel's dynamic shared memory as an array.
#ifdef FLAMBEAU_EMULATED
#define DYNAMIC_SHARED(type, name) type* const name = static_cast<type*>(emulated_dynamic_shared())
#else
#define DYNAMIC_SHARED(type, name)                      \
  extern __shared__ __align__(16) char dynamic_bytes[]; \
  type* const name = reinterpret_cast<type*>(dynamic_bytes)
#endif

// --- types ---------------------------------------------------------------------------------------

typedef long long int64;
typedef unsigned long long uint64;
// 16-bit floats are stored only; arithmetic happens in float.
struct half_t {
  unsigned short bits;
};
struct bfloat_t {
  unsigned short bits;
};

template <class A, class B>
struct Same {
  static constexpr bool value = false;
};
template <class A>
struct Same<A, A> {
  static constexpr bool value = true;
};
template <class T>
struct Is {  // what kind of type it is
  static constexpr bool half = Same<T, half_t>::value || Same<T, bfloat_t>::value;
  static constexpr bool floating = half || Same<T, float>::value || Same<T, double>::value;
};

// The type that is computed in: float for 16-bit floats, else the type itself.
template <class T>
struct ComputeOf {
  typedef T type;
};
template <>
struct ComputeOf<half_t> {
  typedef float type;
};
template <>
struct ComputeOf<bfloat_t> {
  typedef float type;
};
template <class T>
using Compute = typename ComputeOf<T>::type;

#define kInfinity __int_as_float(0x7F800000)
#define kNan __int_as_float(0x7FC00000)

// The bits of one type read as another of the same size.
template <class To, class From>
DEVICE To bits_as(From value) {
  static_assert(sizeof(To) == sizeof(From), "bits_as keeps the size");
  union Both {
    From from;
    To to;
  } both;
  both.from = value;
  return both.to;
}

// --- conversions ---------------------------------------------------------------------------------
// Values are those of tensor/dtype.h, for every pair of types.

DEVICE float to_float(bfloat_t value) {
  return __int_as_float(static_cast<int>(static_cast<unsigned>(value.bits) << 16));
}
DEVICE bfloat_t to_bfloat(float value) {
  bfloat_t result;
#if !defined(FLAMBEAU_EMULATED) && __CUDA_ARCH__ >= 800
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(result.bits) : "f"(value));
#else
  const unsigned bits = static_cast<unsigned>(__float_as_int(value));
  const unsigned rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16;
  const bool nan = (bits & 0x7FFFFFFF) > 0x7F800000;
  result.bits = static_cast<unsigned short>(nan ? (bits >> 16) | 0x40 : rounded);
#endif
  return result;
}

#ifdef FLAMBEAU_EMULATED
DEVICE float to_float(half_t value) { return emulated_half_to_float(value.bits); }
DEVICE half_t to_half(float value) { return {emulated_float_to_half(value)}; }
#else
DEVICE float to_float(half_t value) {
  float result;
  asm("cvt.f32.f16 %0, %1;" : "=f"(result) : "h"(value.bits));
  return result;
}
DEVICE half_t to_half(float value) {
  half_t result;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(result.bits) : "f"(value));
  return result;
}
#endif

// As the CPU does it: what is out of range, or NaN, becomes the smallest integer.
DEVICE int64 to_int64(double value) {
  const bool fits = value >= -9223372036854775808.0 && value < 9223372036854775808.0;
  return fits ? static_cast<int64>(value) : static_cast<int64>(uint64(1) << 63);
}
DEVICE int64 to_int64(float value) {
  const bool fits = value >= -9223372036854775808.0f && value < 9223372036854775808.0f;
  return fits ? static_cast<int64>(value) : static_cast<int64>(uint64(1) << 63);
}

// Converts one value between any two element types; floats become small integers modulo their
// range, and bool is whether a value is not zero.
template <class To, class From>
DEVICE To convert(From value) {
  if constexpr (Same<To, From>::value) {
    return value;
  } else if constexpr (Is<From>::half) {
    return convert<To>(to_float(value));
  } else if constexpr (Same<To, half_t>::value) {
    return to_half(static_cast<float>(value));
  } else if constexpr (Same<To, bfloat_t>::value) {
    return to_bfloat(static_cast<float>(value));
  } else if constexpr (Same<To, bool>::value) {
    return value != From(0);
  } else if constexpr (Is<From>::floating && !Is<To>::floating) {
    return static_cast<To>(to_int64(value));
  } else {
    return static_cast<To>(value);
  }
}
template <class T>
DEVICE T from_float(float value) {
  return convert<T>(value);
}

// --- threads and indices -------------------------------------------------------------------------

// Of kernels with one dimension: the thread's number in the grid, and how many there are.
template <class Index>
DEVICE Index thread_index() {
  return static_cast<Index>(blockIdx.x) * static_cast<Index>(blockDim.x) +
         static_cast<Index>(threadIdx.x);
}
template <class Index>
DEVICE Index thread_count() {
  return static_cast<Index>(gridDim.x) * static_cast<Index>(blockDim.x);
}

// Division by a number that is a parameter; twin of cuda/divider.h.
struct Divider {
  unsigned divisor, multiplier, shift;
};
// For n below 2^31.
DEVICE unsigned quotient(unsigned n, const Divider& divider) {
  return (__umulhi(n, divider.multiplier) + n) >> divider.shift;
}

// The last digit of n, a number whose digits have the sizes of a shape; n loses it.
DEVICE int take_digit(int& n, const Divider& size) {
  const int rest = static_cast<int>(quotient(static_cast<unsigned>(n), size));
  const int digit = n - rest * static_cast<int>(size.divisor);
  n = rest;
  return digit;
}
DEVICE int64 take_digit(int64& n, int64 size) {
  const int64 rest = n / size, digit = n - rest * size;
  n = rest;
  return digit;
}
template <class Index>
struct SizeOf {
  typedef int64 type;
};
template <>
struct SizeOf<int> {
  typedef Divider type;
};
// A shape and how operands lie over it (twin of cuda/geometry.h). Index is int or int64.
template <class Index, int dims, int operands>
struct Geometry {
  typename SizeOf<Index>::type sizes[dims];
  Index strides[operands][dims];  // in elements

  // Adds to `at` where the n-th element, in row-major order, is in each operand.
  __device__ void locate(Index n, Index (&at)[operands]) const {
#pragma unroll
    for (int d = dims - 1; d >= 0; --d) {
      const Index digit = d > 0 ? take_digit(n, sizes[d]) : n;
#pragma unroll
      for (int i = 0; i < operands; ++i) at[i] += digit * strides[i][d];
    }
  }
};

// --- warps and blocks ----------------------------------------------------------------------------
// Warps are 32 threads along x; blocks that reduce have whole warps and one dimension.

static constexpr int kWarpSize = 32;
static constexpr unsigned kAllLanes = 0xFFFFFFFF;

DEVICE int lane_index() { return static_cast<int>(threadIdx.x) & (kWarpSize - 1); }
DEVICE int warp_index() { return static_cast<int>(threadIdx.x) / kWarpSize; }

// Any type whose size is a multiple of 4, word by word.
template <class T>
union Words {
  T value;
  int words[sizeof(T) / 4];
};
template <class T>
DEVICE T shuffle_xor(T value, int mask) {
  static_assert(sizeof(T) % 4 == 0, "shuffles move words");
  Words<T> from, to;
  from.value = value;
#pragma unroll
  for (int i = 0; i < static_cast<int>(sizeof(T) / 4); ++i) {
    to.words[i] = __shfl_xor_sync(kAllLanes, from.words[i], mask);
  }
  return to.value;
}
// From the lane `distance` before; the first lanes keep their own.
template <class T>
DEVICE T shuffle_up(T value, int distance) {
  static_assert(sizeof(T) % 4 == 0, "shuffles move words");
  Words<T> from, to;
  from.value = value;
#pragma unroll
  for (int i = 0; i < static_cast<int>(sizeof(T) / 4); ++i) {
    to.words[i] = __shfl_up_sync(kAllLanes, from.words[i], distance);
  }
  return to.value;
}

// join(x, y) over all lanes, where y comes later; every lane gets the result. The order of joins
// is fixed: neighbours first.
template <class T, class Join>
DEVICE T warp_reduce(T value, Join join) {
#pragma unroll
  for (int mask = 1; mask < kWarpSize; mask *= 2) {
    const T other = shuffle_xor(value, mask);
    value = lane_index() & mask ? join(other, value) : join(value, other);
  }
  return value;
}
// The same over all threads of the block; all of them call it.
template <class T, class Join>
DEVICE T block_reduce(T value, Join join) {
  __shared__ Words<T> partial[kWarpSize];
  value = warp_reduce(value, join);
  const int warps = static_cast<int>(blockDim.x) / kWarpSize;
  if (warps == 1) return value;
  __syncthreads();  // the last use has been read
  if (lane_index() == 0) partial[warp_index()].value = value;
  __syncthreads();
  value = partial[0].value;
  for (int i = 1; i < warps; ++i) value = join(value, partial[i].value);
  return value;
}

// The same over groups of `threads` neighbours in a warp, or, for more than 32, over the block.
template <int threads, class T, class Join>
DEVICE T join_threads(T value, Join join) {
  if constexpr (threads > kWarpSize) {
    return block_reduce(value, join);
  } else {
#pragma unroll
    for (int mask = 1; mask < threads; mask *= 2) {
      const T other = shuffle_xor(value, mask);
      value = lane_index() & mask ? join(other, value) : join(value, other);
    }
    return value;
  }
}

struct Sum {
  template <class T>
  __device__ T operator()(T a, T b) const {
    return a + b;
  }
};
// The larger (smaller) one; a NaN wins.
#if !defined(FLAMBEAU_EMULATED) && __CUDA_ARCH__ >= 800
#define ONE_INSTRUCTION(operation)                                              \
  __device__ float operator()(float a, float b) const {                         \
    float result;                                                               \
    asm(operation ".NaN.f32 %0, %1, %2;" : "=f"(result) : "f"(a), "f"(b)); \
    return result;                                                              \
  }
#else
#define ONE_INSTRUCTION(operation)
#endif
struct Larger {
  ONE_INSTRUCTION("max")
  template <class T>
  __device__ T operator()(T a, T b) const {
    return (b > a) | (b != b) ? b : a;
  }
};
struct Smaller {
  ONE_INSTRUCTION("min")
  template <class T>
  __device__ T operator()(T a, T b) const {
    return (b < a) | (b != b) ? b : a;
  }
};

// --- memory --------------------------------------------------------------------------------------

// N elements that are loaded and stored at once, at an address that is a multiple of their size
// (of 16 bytes where they are longer).
template <class T, int N>
struct alignas(sizeof(T) * N < 16 ? sizeof(T) * N : 16) Pack {
  T at[N];
};
template <int N, class T>
DEVICE Pack<T, N> load_pack(const T* from) {
  return *reinterpret_cast<const Pack<T, N>*>(from);
}
template <int N, class T>
DEVICE void store_pack(T* to, const Pack<T, N>& pack) {
  *reinterpret_cast<Pack<T, N>*>(to) = pack;
}

// *address = update(*address), atomically, for any element type. Neighbours in the same word of
// memory are safe.
template <class T, class Update>
DEVICE void atomic_update(T* address, Update update) {
  if constexpr (sizeof(T) == 8) {
    auto* word = reinterpret_cast<uint64*>(address);
    uint64 seen = *word, before;
    do {
      before = seen;
      seen = atomicCAS(word, before, bits_as<uint64>(update(bits_as<T>(before))));
    } while (seen != before);
  } else {
    const auto place = reinterpret_cast<uint64>(address);
    auto* word = reinterpret_cast<unsigned*>(place & ~uint64(3));
    const unsigned shift = static_cast<unsigned>(place & 3) * 8;
    union Part {
      T value;
      unsigned bits;
    } part;
    const unsigned mask = (sizeof(T) == 4 ? ~0u : (1u << 8 * (sizeof(T) % 4)) - 1) << shift;
    unsigned seen = *word, before;
    do {
      before = seen;
      part.bits = (before & mask) >> shift;
      const T fresh = update(part.value);
      part.bits = 0;
      part.value = fresh;
      seen = atomicCAS(word, before, (before & ~mask) | part.bits << shift);
    } while (seen != before);
  }
}
template <class T>
DEVICE void atomic_add(T* address, T value) {
  if constexpr (Same<T, float>::value || Same<T, double>::value || Same<T, int>::value) {
    atomicAdd(address, value);
  } else if constexpr (Same<T, int64>::value) {
    atomicAdd(reinterpret_cast<uint64*>(address), static_cast<uint64>(value));
  } else if constexpr (Same<T, bool>::value) {
    atomic_update(address, [=](bool old) { return old || value; });
  } else {
    atomic_update(address, [=](T old) {
      return convert<T>(static_cast<Compute<T>>(convert<Compute<T>>(old) +
                                                convert<Compute<T>>(value)));
    });
  }
}

// --- errors --------------------------------------------------------------------------------------

// Twin of cuda/error.h.
struct ErrorSlot {
  int state;
  int site;
  int64 value;
  int64 bound;
};
// The first report counts. The kernel goes on with a harmless value. The slot is the host's memory:
// an atomic goes over the bus, so threads that come later only look.
DEVICE void report_error(ErrorSlot* slot, int site, int64 value, int64 bound) {
  if (*static_cast<volatile int*>(&slot->state) != 0) return;
  if (atomicCAS(&slot->state, 0, 1) != 0) return;
  slot->site = site;
  slot->value = value;
  slot->bound = bound;
  __threadfence_system();
  *static_cast<volatile int*>(&slot->state) = 2;
}
