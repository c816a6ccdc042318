#include "tensor/dtype.h"

#include <utility>

namespace flambeau {

const char* dtype_name(DType dtype) {
  static constexpr const char* kNames[kDTypeCount] = {"bool",    "uint8",  "int8",    "int16",
                                                      "int32",   "int64",  "float16", "bfloat16",
                                                      "float32", "float64"};
  return kNames[static_cast<int>(dtype)];
}

DType promote_types(DType a, DType b) {
  if (a == b) return a;
  if (a > b) std::swap(a, b);
  if (b == DType::BFloat16 && a == DType::Float16) return DType::Float32;
  // uint8 fits into no int8: the next wider signed type holds both.
  if (a == DType::UInt8 && b == DType::Int8) return DType::Int16;
  return b;
}

bool can_cast(DType from, DType to) {
  if (is_floating(from)) return is_floating(to);
  if (from != DType::Bool) return to != DType::Bool;
  return true;
}

static DType default_dtype_ = DType::Float32;
DType default_dtype() { return default_dtype_; }
void set_default_dtype(DType dtype) {
  if (!is_floating(dtype)) {
    fail(ErrorKind::Type, "set_default_dtype: only floating-point types are supported as the ",
         "default type, got torch.", dtype_name(dtype));
  }
  default_dtype_ = dtype;
}

}  // namespace flambeau
