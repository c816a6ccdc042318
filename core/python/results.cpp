// What operators return, as Python objects; and defaults of signatures.
#include <map>

#include "python/operator_type.h"

namespace flambeau::python {

namespace {

// torch.return_types.max(
// values=tensor(...),
// indices=tensor(...))
PyObject* named_tuple_repr(PyObject* self) {
  PyTypeObject* type = Py_TYPE(self);
  std::string text_of = std::string(type->tp_name) + "(";
  for (Py_ssize_t i = 0; type->tp_members[i].name; ++i) {
    Owned repr(PyObject_Repr(PyTuple_GET_ITEM(self, i)));
    if (!repr) return nullptr;
    text_of += text(i ? ",\n" : "\n", type->tp_members[i].name, "=", PyUnicode_AsUTF8(repr.get()));
  }
  return PyUnicode_FromString((text_of + ")").c_str());
}

PyTypeObject* named_tuple_type(const Result& result) {
  static auto& types = *new std::map<std::string, PyTypeObject*>;
  PyTypeObject*& type = types[result.tuple_name];
  if (!type) {
    size_t count = result.many.size();
    auto* fields = new PyStructSequence_Field[count + 1]{};
    for (size_t i = 0; i < count; ++i) fields[i].name = result.field_names[i];
    auto* name = new std::string(std::string("torch.return_types.") + result.tuple_name);
    PyStructSequence_Desc description{name->c_str(), nullptr, fields, static_cast<int>(count)};
    type = PyStructSequence_NewType(&description);
    if (!type) throw PythonError();
    type->tp_repr = named_tuple_repr;
    type->tp_str = named_tuple_repr;
    PyType_Modified(type);
  }
  return type;
}

}  // namespace

PyObject* wrap_result(Result&& result) {
  switch (result.shape) {
    case Result::Shape::Nothing:
      return Py_NewRef(Py_None);
    case Result::Shape::One:
      return wrap(std::move(result.one));
    case Result::Shape::Bool:
      return PyBool_FromLong(result.integer);
    case Result::Shape::Int:
      return PyLong_FromLongLong(result.integer);
    case Result::Shape::Double:
      return PyFloat_FromDouble(result.floating);
    case Result::Shape::Dtype:
      return wrap_dtype(static_cast<DType>(result.integer));
    case Result::Shape::List:
    case Result::Shape::Tuple:
      break;
  }
  Py_ssize_t count = static_cast<Py_ssize_t>(result.many.size());
  if (result.shape == Result::Shape::List) {
    Owned list = Owned::check(PyList_New(count));
    for (Py_ssize_t i = 0; i < count; ++i) PyList_SET_ITEM(list.get(), i, wrap(result.many[i]));
    return list.release();
  }
  if (result.tuple_name) {
    Owned tuple = Owned::check(PyStructSequence_New(named_tuple_type(result)));
    for (Py_ssize_t i = 0; i < count; ++i) {
      PyStructSequence_SetItem(tuple.get(), i, wrap(result.many[i]));
    }
    return tuple.release();
  }
  Owned tuple = Owned::check(PyTuple_New(count));
  for (Py_ssize_t i = 0; i < count; ++i) PyTuple_SET_ITEM(tuple.get(), i, wrap(result.many[i]));
  return tuple.release();
}

Owned evaluate_default(const std::string& expression) {
  if (expression == "None") return Owned::share(Py_None);
  if (expression == "True") return Owned::share(Py_True);
  if (expression == "False") return Owned::share(Py_False);
  char first = expression[0];
  if (first == '\'' || first == '"') {
    return Owned(PyUnicode_FromString(expression.substr(1, expression.size() - 2).c_str()));
  }
  if (first == '(' || first == '[') {
    Owned globals = Owned::check(PyDict_New());
    return Owned::check(
        PyRun_String(expression.c_str(), Py_eval_input, globals.get(), globals.get()));
  }
  if (expression.find_first_of(".ein") == std::string::npos) {
    return Owned::check(PyLong_FromString(expression.c_str(), nullptr, 10));
  }
  Owned string(PyUnicode_FromString(expression.c_str()));
  return Owned::check(PyFloat_FromString(string.get()));
}

void resize_out(const TensorRef& target, const Dims& shape) {
  if (target->shape() == shape) return;
  if (target->numel() != 0) {
    std::string message =
        text("An output with one or more elements was resized since it had shape ", target->shape(),
             ", which does not match the required output shape ", shape,
             "; pass a tensor of that shape, or an empty one");
    if (PyErr_WarnEx(PyExc_UserWarning, message.c_str(), 1) < 0) throw PythonError();
  }
  target->storage()->grow((target->offset() + count_elements(shape)) * item_size(target->dtype()));
  target->rebind(target->storage(), shape, contiguous_strides(shape), target->offset(),
                 target->dtype());
}

}  // namespace flambeau::python
