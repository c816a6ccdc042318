// One number as it came from Python: bool, int or float.
#pragma once

#include <cstdint>

#include "tensor/dtype.h"

namespace flambeau {

struct Scalar {
  enum class Kind : uint8_t { Bool, Int, Float };
  Kind kind = Kind::Int;
  union {
    int64_t integer = 0;
    double floating;
  };

  Scalar() = default;
  Scalar(bool value) : kind(Kind::Bool), integer(value) {}
  Scalar(int value) : kind(Kind::Int), integer(value) {}
  Scalar(int64_t value) : kind(Kind::Int), integer(value) {}
  Scalar(double value) : kind(Kind::Float), floating(value) {}

  bool is_float() const { return kind == Kind::Float; }
  double to_double() const { return is_float() ? floating : static_cast<double>(integer); }
  int64_t to_int() const { return is_float() ? static_cast<int64_t>(floating) : integer; }
  template <class T>
  T to() const {
    return is_float() ? convert<T>(floating) : convert<T>(integer);
  }
  // The dtype that a lone Python number gets (torch.tensor(number)).
  DType dtype() const {
    return kind == Kind::Bool ? DType::Bool : kind == Kind::Int ? DType::Int64 : default_dtype();
  }
};

}  // namespace flambeau
