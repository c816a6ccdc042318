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

// What the kind is called in messages, and whether None stands for an absent argument.
const char* wanted(Kind kind);
bool accepts_none(Kind kind);
// The type of an object as messages show it.
std::string describe(PyObject* object);
// False: the object is of another kind.
bool convert_argument(Kind kind, PyObject* object, Argument& result);
// "add(input, other, *, alpha=1)"
std::string signature_text(const OperatorObject& op, const Overload& overload);
// The vectorcall of operators: Note [Calling an operator].
PyObject* call_operator(PyObject* callable, PyObject* const* arguments, size_t flags,
                        PyObject* names);

// Formulas call operators with symbols (bind_program.cpp).
bool is_symbol(PyObject* object);
PyObject* call_symbolic(const Pointwise& op, std::span<PyObject* const> operands);
// Gives an out= tensor the result's shape.
void resize_out(const TensorRef& target, const Dims& shape);

}  // namespace flambeau::python
