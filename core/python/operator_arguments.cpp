// From Python objects to an operator's arguments, by kind.
#include "python/operator_type.h"

namespace flambeau::python {

std::string describe(PyObject* object) {
  if (!is_tensor(object)) return Py_TYPE(object)->tp_name;
  return "Tensor";
}

const char* wanted(Kind kind) {
  switch (kind) {
    case Kind::Tensor:
    case Kind::OptionalTensor:
      return "Tensor";
    case Kind::TensorList:
      return "tuple of Tensors";
    case Kind::Scalar:
    case Kind::OptionalScalar:
      return "Number";
    case Kind::TensorOrScalar:
      return "Tensor or Number";
    case Kind::Int:
    case Kind::OptionalInt:
      return "int";
    case Kind::Ints:
    case Kind::OptionalInts:
      return "tuple of ints";
    case Kind::Bool:
    case Kind::OptionalBool:
      return "bool";
    case Kind::Double:
    case Kind::OptionalDouble:
      return "float";
    case Kind::DType:
    case Kind::OptionalDType:
      return "torch.dtype";
    case Kind::Device:
    case Kind::OptionalDevice:
      return "torch.device";
    case Kind::String:
    case Kind::OptionalString:
      return "str";
    case Kind::OptionalMemoryFormat:
      return "torch.memory_format";
    case Kind::Generator:
      return "torch.Generator";
  }
  return "";
}

bool accepts_none(Kind kind) {
  switch (kind) {
    case Kind::OptionalTensor:
    case Kind::OptionalScalar:
    case Kind::OptionalInt:
    case Kind::OptionalInts:
    case Kind::OptionalBool:
    case Kind::OptionalDouble:
    case Kind::OptionalDType:
    case Kind::OptionalDevice:
    case Kind::OptionalString:
    case Kind::OptionalMemoryFormat:
    case Kind::Generator:
      return true;
    default:
      return false;
  }
}

namespace {

bool convert_tensor_list(PyObject* object, TensorList& result) {
  if (!PyTuple_Check(object) && !PyList_Check(object)) return false;
  Py_ssize_t count = PySequence_Fast_GET_SIZE(object);
  result.reserve(count);
  for (Py_ssize_t i = 0; i < count; ++i) {
    PyObject* element = PySequence_Fast_GET_ITEM(object, i);
    if (!is_tensor(element)) return false;
    result.push_back(unwrap(element));
  }
  return true;
}

bool convert_scalar(PyObject* object, Scalar& result) {
  if (as_scalar(object, result)) return true;
  if (!is_tensor(object)) return false;
  Tensor& tensor = *reinterpret_cast<TensorObject*>(object)->tensor;
  if (tensor.dim() != 0 || tensor.requires_grad()) return false;
  Owned number(item(tensor));
  return as_scalar(number.get(), result);
}

}  // namespace

bool convert_argument(Kind kind, PyObject* object, Argument& result) {
  if (object == Py_None && accepts_none(kind)) {
    result.present = false;
    return true;
  }
  switch (kind) {
    case Kind::Tensor:
    case Kind::OptionalTensor:
      if (!is_tensor(object)) return false;
      result.tensor = unwrap(object);
      return true;
    case Kind::TensorOrScalar:
      if (is_tensor(object)) {
        result.tensor = unwrap(object);
        return true;
      }
      return as_scalar(object, result.scalar);
    case Kind::TensorList:
      return convert_tensor_list(object, result.tensors);
    case Kind::Scalar:
    case Kind::OptionalScalar:
      return convert_scalar(object, result.scalar);
    case Kind::Int:
    case Kind::OptionalInt:
      return !PyBool_Check(object) && as_int(object, result.integer);
    case Kind::Ints:
    case Kind::OptionalInts:
      if (as_dims(object, result.ints)) return true;
      if (PyBool_Check(object) || !as_int(object, result.integer, SizeOp::Length)) return false;
      result.ints = {result.integer};
      return true;
    case Kind::Bool:
    case Kind::OptionalBool:
      if (!PyBool_Check(object)) return false;
      result.integer = object == Py_True;
      return true;
    case Kind::Double:
    case Kind::OptionalDouble: {
      Scalar scalar;
      if (!convert_scalar(object, scalar)) return false;
      result.floating = scalar.to_double();
      return true;
    }
    case Kind::DType:
    case Kind::OptionalDType:
      return as_dtype(object, result.dtype);
    case Kind::Device:
    case Kind::OptionalDevice:
      return as_device(object, result.device);
    case Kind::String:
    case Kind::OptionalString:
      if (!PyUnicode_Check(object)) return false;
      result.string = PyUnicode_AsUTF8(object);
      return true;
    case Kind::OptionalMemoryFormat:
      return as_memory_format(object, result.format);
    case Kind::Generator:
      return as_generator(object, result.generator);
  }
  return false;
}

}  // namespace flambeau::python
