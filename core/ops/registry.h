// The registry of public operators: one entry makes a function, a method, its in-place and out=
// forms, its documentation and its tests. Kinds of arguments follow from the C++ parameter types.
//
//   static TensorRef flip(const TensorRef& input, const Dims& dims) { ... }
//   OPERATOR(flip, "input, dims", "Reverses the order of the elements along `dims`.\n...");
//
// Defaults are written as in Python: "input, dim=None, keepdim=False, *, dtype=None".
#pragma once

#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "ops/primitive.h"
#include "tensor/memory_format.h"

namespace flambeau {

class Generator;

// How a Python argument is converted; Optional kinds accept None.
enum class Kind : uint8_t {
  Tensor,
  OptionalTensor,
  TensorList,
  Scalar,
  OptionalScalar,
  TensorOrScalar,
  Int,
  OptionalInt,
  Ints,
  OptionalInts,
  Bool,
  OptionalBool,
  Double,
  OptionalDouble,
  DType,
  OptionalDType,
  Device,
  OptionalDevice,
  String,
  OptionalString,
  OptionalMemoryFormat,
  Generator
};

using TensorList = std::vector<TensorRef>;

// A tensor or a number (torch.where's branches, comparison operands).
struct TensorOrScalar {
  TensorRef tensor;  // null: the scalar
  Scalar scalar;
};

// One converted argument. `present` is false for None.
struct Argument {
  bool present = true;
  union {
    int64_t integer = 0;
    double floating;
  };
  Scalar scalar;
  Dims ints;
  TensorRef tensor;
  TensorList tensors;
  std::string string;
  flambeau::Device device;
  flambeau::DType dtype = flambeau::DType::Float32;
  MemoryFormat format = MemoryFormat::Contiguous;
  flambeau::Generator* generator = nullptr;
};

// What a public function returns: a tensor, a tuple or list of tensors, a number, or nothing.
struct Result {
  enum class Shape : uint8_t {
    Nothing,
    One,
    Tuple,
    List,
    Bool,
    Int,
    Double,
    Dtype
  } shape = Shape::Nothing;
  TensorRef one;
  TensorList many;
  const char* tuple_name = nullptr;  // "max": a named tuple torch.return_types.max
  const char* const* field_names = nullptr;
  int64_t integer = 0;
  double floating = 0;

  Result() = default;
  Result(TensorRef tensor) : shape(Shape::One), one(std::move(tensor)) {}
  Result(TensorList tensors) : shape(Shape::Tuple), many(std::move(tensors)) {}
  Result(bool value) : shape(Shape::Bool), integer(value) {}
  Result(int64_t value) : shape(Shape::Int), integer(value) {}
  Result(double value) : shape(Shape::Double), floating(value) {}
  static Result named(const char* name, const char* const* fields, TensorList tensors) {
    Result result(std::move(tensors));
    result.tuple_name = name;
    result.field_names = fields;
    return result;
  }
};

namespace detail {
template <class T>
struct ArgumentOf;
#define FLAMBEAU_ARGUMENT(type, kind_name, expression)              \
  template <>                                                       \
  struct ArgumentOf<type> {                                         \
    static constexpr Kind kind = Kind::kind_name;                   \
    static decltype(auto) get(Argument& a) { return (expression); } \
  };
FLAMBEAU_ARGUMENT(TensorRef, Tensor, std::move(a.tensor))
FLAMBEAU_ARGUMENT(std::optional<TensorRef>, OptionalTensor,
                  a.present ? std::optional<TensorRef>(std::move(a.tensor)) : std::nullopt)
FLAMBEAU_ARGUMENT(TensorList, TensorList, std::move(a.tensors))
FLAMBEAU_ARGUMENT(Scalar, Scalar, Scalar(a.scalar))
FLAMBEAU_ARGUMENT(std::optional<Scalar>, OptionalScalar,
                  a.present ? std::optional<Scalar>(a.scalar) : std::nullopt)
FLAMBEAU_ARGUMENT(TensorOrScalar, TensorOrScalar, (TensorOrScalar{std::move(a.tensor), a.scalar}))
FLAMBEAU_ARGUMENT(int64_t, Int, int64_t(a.integer))
FLAMBEAU_ARGUMENT(std::optional<int64_t>, OptionalInt,
                  a.present ? std::optional<int64_t>(a.integer) : std::nullopt)
FLAMBEAU_ARGUMENT(Dims, Ints, std::move(a.ints))
FLAMBEAU_ARGUMENT(std::optional<Dims>, OptionalInts,
                  a.present ? std::optional<Dims>(std::move(a.ints)) : std::nullopt)
FLAMBEAU_ARGUMENT(bool, Bool, a.integer != 0)
FLAMBEAU_ARGUMENT(std::optional<bool>, OptionalBool,
                  a.present ? std::optional<bool>(a.integer != 0) : std::nullopt)
FLAMBEAU_ARGUMENT(double, Double, double(a.floating))
FLAMBEAU_ARGUMENT(std::optional<double>, OptionalDouble,
                  a.present ? std::optional<double>(a.floating) : std::nullopt)
FLAMBEAU_ARGUMENT(DType, DType, DType(a.dtype))
FLAMBEAU_ARGUMENT(std::optional<DType>, OptionalDType,
                  a.present ? std::optional<DType>(a.dtype) : std::nullopt)
FLAMBEAU_ARGUMENT(Device, Device, Device(a.device))
FLAMBEAU_ARGUMENT(std::optional<Device>, OptionalDevice,
                  a.present ? std::optional<Device>(a.device) : std::nullopt)
FLAMBEAU_ARGUMENT(std::string, String, std::move(a.string))
FLAMBEAU_ARGUMENT(std::optional<std::string>, OptionalString,
                  a.present ? std::optional<std::string>(std::move(a.string)) : std::nullopt)
FLAMBEAU_ARGUMENT(std::optional<MemoryFormat>, OptionalMemoryFormat,
                  a.present ? std::optional<MemoryFormat>(a.format) : std::nullopt)
FLAMBEAU_ARGUMENT(Generator*, Generator, a.generator)
#undef FLAMBEAU_ARGUMENT

// The type of a result as Python's type checkers know it.
template <class T>
constexpr const char* python_type() {
  if constexpr (std::is_void_v<T>) return "None";
  if constexpr (std::is_same_v<T, TensorRef>) return "Tensor";
  if constexpr (std::is_same_v<T, TensorList>) return "tuple[Tensor, ...]";
  if constexpr (std::is_same_v<T, bool>) return "bool";
  if constexpr (std::is_same_v<T, int64_t>) return "int";
  if constexpr (std::is_same_v<T, double>) return "float";
  return "Any";
}

template <auto function, class Signature>
struct Invoke;
template <auto function, class Returned, class... Parameters>
struct Invoke<function, Returned (*)(Parameters...)> {
  static constexpr const char* returns = python_type<Returned>();
  static const std::vector<Kind>& kinds() {
    static const std::vector<Kind> list{ArgumentOf<std::remove_cvref_t<Parameters>>::kind...};
    return list;
  }
  static Result call(Argument* arguments) {
    return call(arguments, std::index_sequence_for<Parameters...>{});
  }

 private:
  template <size_t... I>
  static Result call(Argument* arguments, std::index_sequence<I...>) {
    if constexpr (std::is_void_v<Returned>) {
      function(ArgumentOf<std::remove_cvref_t<Parameters>>::get(arguments[I])...);
      return {};
    } else {
      return Result(function(ArgumentOf<std::remove_cvref_t<Parameters>>::get(arguments[I])...));
    }
  }
};
}  // namespace detail

// Where the operator appears beside `flambeau.name`, and which forms are derived. Combine with |.
enum Form : uint32_t {
  kFunction = 1,     // flambeau.name(...)
  kMethod = 2,       // Tensor.name(...) when the first parameter is a tensor
  kInPlace = 4,      // Tensor.name_(...): computes, then writes into self
  kOut = 8,          // out= : computes, then writes into out
  kFunctional = 16,  // also flambeau.nn.functional.name
  kPrivate = 32,     // only flambeau._core.ops.name, for the Python layer
  kHost = 64,        // for tensors on a GPU, some of it is computed on the host
  kUsual = kFunction | kMethod | kOut,
};

struct Pointwise;

// What torch.autocast does to the floating inputs of an operator, for each type of device. In a
// record: "lower", "float32 on cuda", "float32 on cpu, refused on cuda" (see parse_autocast).
struct Autocast {
  enum class Cast : uint8_t {
    None,
    Lower,    // to the type that autocast was given
    Float32,  // to float32, unless the call names a dtype
    Promote,  // to float32 if one of them is float32
    Refused   // RuntimeError
  };
  Cast cpu = Cast::None;
  Cast cuda = Cast::None;
  explicit operator bool() const { return cpu != Cast::None || cuda != Cast::None; }
};
Autocast parse_autocast(const std::string& text);

struct Operator {
  std::string name;
  std::string signature;
  std::string doc;
  std::vector<Kind> kinds;
  Result (*call)(Argument*) = nullptr;
  uint32_t forms = kUsual;
  const char* returns = "Tensor";  // for type checkers
  // Set for elementwise operators, which are called with their operands directly (`call` is null).
  const Pointwise* pointwise = nullptr;
  Autocast autocast = {};
};

// All operators in order of registration; several of one name are overloads, tried in that order.
std::deque<Operator>& operators();
// What OPERATOR leaves behind, to say more about the operator:
//   OPERATOR(bmm, "input, mat2", "...").autocast("lower");
struct Registered {
  Operator* op;
  Registered autocast(const char* policy) {
    op->autocast = parse_autocast(policy);
    return *this;
  }
};
Registered add_operator(Operator op);

#define FLAMBEAU_JOIN_(a, b) a##b
#define FLAMBEAU_JOIN(a, b) FLAMBEAU_JOIN_(a, b)
#define OPERATOR_FORMS(function_name, public_name, signature, forms, doc)                        \
  static const ::flambeau::Registered FLAMBEAU_JOIN(registered_, __COUNTER__) =                  \
      ::flambeau::add_operator(                                                                  \
          {public_name, signature, doc,                                                          \
           ::flambeau::detail::Invoke<&function_name, decltype(&function_name)>::kinds(),        \
           &::flambeau::detail::Invoke<&function_name, decltype(&function_name)>::call, (forms), \
           ::flambeau::detail::Invoke<&function_name, decltype(&function_name)>::returns})
#define OPERATOR(function_name, signature, doc) \
  OPERATOR_FORMS(function_name, #function_name, signature, ::flambeau::kUsual, doc)

}  // namespace flambeau
