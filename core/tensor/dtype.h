// Element types: size, category, names, promotion, and conversion of single values.
#pragma once

#include <cstdint>
#include <cstring>
#include <limits>

#include "base/error.h"

namespace flambeau {

// Order matters: integers by width, then floating types (room is left for complex after Float64).
enum class DType : uint8_t {
  Bool,
  UInt8,
  Int8,
  Int16,
  Int32,
  Int64,
  Float16,
  BFloat16,
  Float32,
  Float64
};
inline constexpr int kDTypeCount = 10;

// 16-bit floats are stored only; arithmetic happens in float. Conversions are always inlined:
// kernels compiled for several instruction sets must not share one copy.
struct Half {
  uint16_t bits;
};
struct BFloat {
  uint16_t bits;
};

[[gnu::always_inline]] inline float to_float(BFloat value) {
  uint32_t bits = static_cast<uint32_t>(value.bits) << 16;
  float result;
  std::memcpy(&result, &bits, 4);
  return result;
}
// Rounds to nearest even; a NaN stays a (quiet) NaN.
[[gnu::always_inline]] inline BFloat to_bfloat(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  uint32_t rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16;
  uint32_t nan = (bits >> 16) | 0x40;
  return {static_cast<uint16_t>((bits & 0x7FFFFFFF) > 0x7F800000 ? nan : rounded)};
}
[[gnu::always_inline]] inline float to_float(Half value) {
  uint32_t sign = static_cast<uint32_t>(value.bits & 0x8000) << 16;
  uint32_t magnitude = value.bits & 0x7FFF;
  // Shift exponent and mantissa into place, then rescale by 2^112: exact for subnormals as well.
  uint32_t shifted = magnitude << 13;
  float scaled, scale;
  uint32_t scale_bits = 0x77800000;
  std::memcpy(&scaled, &shifted, 4);
  std::memcpy(&scale, &scale_bits, 4);
  scaled *= scale;
  uint32_t bits;
  std::memcpy(&bits, &scaled, 4);
  if (magnitude >= 0x7C00) bits = 0x7F800000 | (magnitude & 0x3FF) << 13;
  bits |= sign;
  float result;
  std::memcpy(&result, &bits, 4);
  return result;
}
// Rounds to nearest even, overflows to infinity.
[[gnu::always_inline]] inline Half to_half(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  uint32_t sign = bits >> 16 & 0x8000;
  bits &= 0x7FFFFFFF;
  if (bits > 0x7F800000) return {static_cast<uint16_t>(sign | 0x7E00)};
  if (bits >= 0x477FF000) return {static_cast<uint16_t>(sign | 0x7C00)};
  if (bits < 0x38800000) {  // subnormal half: adding 0.5 lets the FPU do the rounding
    float magnitude, half = 0.5f;
    std::memcpy(&magnitude, &bits, 4);
    magnitude += half;
    uint32_t sum, half_bits = 0x3F000000;
    std::memcpy(&sum, &magnitude, 4);
    return {static_cast<uint16_t>(sign | (sum - half_bits))};
  }
  uint32_t rounded = bits + 0xFFF + (bits >> 13 & 1) - 0x38000000;
  return {static_cast<uint16_t>(sign | rounded >> 13)};
}

inline constexpr int kItemSize[kDTypeCount] = {1, 1, 1, 2, 4, 8, 2, 2, 4, 8};
inline int item_size(DType dtype) { return kItemSize[static_cast<int>(dtype)]; }
inline bool is_floating(DType dtype) { return dtype >= DType::Float16; }
inline bool is_integral(DType dtype) { return dtype < DType::Float16 && dtype != DType::Bool; }

// "float32"; with "torch." in front it is PyTorch's repr.
const char* dtype_name(DType dtype);
// The smallest type that holds both, as torch.promote_types.
DType promote_types(DType a, DType b);
// PyTorch's rule for storing into an existing tensor: no float into int, no number into bool.
bool can_cast(DType from, DType to);

DType default_dtype();
void set_default_dtype(DType dtype);

template <class T>
struct DTypeOf;
#define FLAMBEAU_DTYPE(type, name)              \
  template <>                                   \
  struct DTypeOf<type> {                        \
    static constexpr DType value = DType::name; \
  };
FLAMBEAU_DTYPE(bool, Bool)
FLAMBEAU_DTYPE(uint8_t, UInt8)
FLAMBEAU_DTYPE(int8_t, Int8)
FLAMBEAU_DTYPE(int16_t, Int16)
FLAMBEAU_DTYPE(int32_t, Int32)
FLAMBEAU_DTYPE(int64_t, Int64)
FLAMBEAU_DTYPE(Half, Float16)
FLAMBEAU_DTYPE(BFloat, BFloat16)
FLAMBEAU_DTYPE(float, Float32)
FLAMBEAU_DTYPE(double, Float64)
#undef FLAMBEAU_DTYPE

// Calls function.template operator()<T>() with the C++ type of a dtype.
template <class Function>
decltype(auto) visit_dtype(DType dtype, Function&& function) {
  switch (dtype) {
    case DType::Bool:
      return function.template operator()<bool>();
    case DType::UInt8:
      return function.template operator()<uint8_t>();
    case DType::Int8:
      return function.template operator()<int8_t>();
    case DType::Int16:
      return function.template operator()<int16_t>();
    case DType::Int32:
      return function.template operator()<int32_t>();
    case DType::Int64:
      return function.template operator()<int64_t>();
    case DType::Float16:
      return function.template operator()<Half>();
    case DType::BFloat16:
      return function.template operator()<BFloat>();
    case DType::Float32:
      return function.template operator()<float>();
    default:
      return function.template operator()<double>();
  }
}

// The type that kernels compute in: float for 16-bit floats, the type itself otherwise.
template <class T>
using Compute = std::conditional_t<std::is_same_v<T, Half> || std::is_same_v<T, BFloat>, float, T>;

// Converts one value between any two element types, saturating nowhere (as C, except to bool).
template <class To, class From>
[[gnu::always_inline]] inline To convert(From value) {
  if constexpr (std::is_same_v<To, From>) {
    return value;
  } else if constexpr (std::is_same_v<From, Half> || std::is_same_v<From, BFloat>) {
    return convert<To>(to_float(value));
  } else if constexpr (std::is_same_v<To, Half>) {
    return to_half(static_cast<float>(value));
  } else if constexpr (std::is_same_v<To, BFloat>) {
    return to_bfloat(static_cast<float>(value));
  } else if constexpr (std::is_same_v<To, bool>) {
    return value != From(0);
  } else if constexpr (std::is_floating_point_v<From> && std::is_integral_v<To> && sizeof(To) < 8) {
    return static_cast<To>(static_cast<int64_t>(value));  // wraps, as PyTorch on x86
  } else {
    return static_cast<To>(value);
  }
}

}  // namespace flambeau
