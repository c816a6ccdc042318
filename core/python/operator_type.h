// Operators as Python objects.
#pragma once

#include "python/common.h"

namespace flambeau::python {

// While recording: a result that was computed outside of recorded calls cannot be replayed.
void check_recorded(const char* op, std::span<const Argument> arguments, const Result& result);

inline constexpr size_t kMaxParameters = 24;
inline constexpr size_t kMaxOperands = 8;  // of elementwise operators

struct Parameter {
  PyObject* name = nullptr;  // interned
  Kind kind = Kind::Tensor;
  bool has_default = false;
  Owned default_value;
};

struct Overload {
  const Operator* op = nullptr;
  std::vector<Parameter> parameters;
  int positional = 0;  // how many parameters may be given by position
  int varargs = -1;    // the parameter that collects positional ints
};

struct OperatorObject {
  PyObject_HEAD vectorcallfunc vectorcall;
  std::vector<Overload>* overloads;
  const char* name;
  bool in_place;
  bool accepts_out;
};

// The value of a default as written in a signature: None, True, False, a number or 'text'.
Owned evaluate_default(const std::string& expression);
bool as_generator(PyObject* object, Generator*& result);
// A callable for an operator that is in no namespace (a user's formula).
PyObject* standalone_operator(Operator op);

// Formulas call operators with symbols (bind_program.cpp).
bool is_symbol(PyObject* object);
PyObject* call_symbolic(const Pointwise& op, std::span<PyObject* const> operands);
// Gives an out= tensor the result's shape.
void resize_out(const TensorRef& target, const Dims& shape);

}  // namespace flambeau::python
