// The type of operators, their properties, and their places in the module's namespaces.
#include "python/operator_type.h"

#include <map>

namespace nb = nanobind;

namespace flambeau::python {

namespace {

PyTypeObject* operator_type = nullptr;
std::map<std::string, PyObject*, std::less<>>& functions() {
  static auto& map = *new std::map<std::string, PyObject*, std::less<>>;
  return map;
}

OperatorObject* as_operator(PyObject* object) { return reinterpret_cast<OperatorObject*>(object); }

// "input, dim=None, keepdim=False, *, dtype=None"
void parse_signature(const Operator& op, Overload& overload) {
  bool keyword_only = false;
  size_t at = 0;
  std::string text_left = op.signature;
  while (at < text_left.size()) {
    size_t end = text_left.find(", ", at);
    if (end == std::string::npos) end = text_left.size();
    std::string piece = text_left.substr(at, end - at);
    at = end + 2;
    if (piece == "*") {
      keyword_only = true;
      continue;
    }
    size_t equals = piece.find('=');
    Parameter parameter;
    std::string name = piece.substr(0, equals);
    parameter.name = PyUnicode_InternFromString(name.c_str());
    size_t index = overload.parameters.size();
    require(index < op.kinds.size() && index < (op.pointwise ? kMaxOperands : kMaxParameters),
            "signature of ", op.name, " has more parameters than its function: ", op.signature);
    parameter.kind = op.kinds[index];
    parameter.has_default = equals != std::string::npos;
    if (parameter.has_default) {
      parameter.default_value = evaluate_default(piece.substr(equals + 1));
    }
    bool ints = parameter.kind == Kind::Ints || parameter.kind == Kind::OptionalInts;
    if (ints && !keyword_only) overload.varargs = static_cast<int>(index);
    if (!keyword_only) overload.positional = static_cast<int>(index) + 1;
    overload.parameters.push_back(std::move(parameter));
  }
  require(overload.parameters.size() == op.kinds.size(), "signature of ", op.name,
          " does not name all parameters of its function: ", op.signature);
}

PyObject* new_operator(const std::string& name, bool in_place) {
  auto* object = PyObject_New(OperatorObject, operator_type);
  object->vectorcall = call_operator;
  object->overloads = new std::vector<Overload>;
  object->in_place = in_place;
  object->accepts_out = false;
  object->name = (new std::string(name))->c_str();  // operators live as long as the process
  return reinterpret_cast<PyObject*>(object);
}

void add_overload(PyObject* object, const Operator& op) {
  OperatorObject& target = *as_operator(object);
  Overload overload;
  overload.op = &op;
  parse_signature(op, overload);
  target.accepts_out = target.accepts_out || ((op.forms & kOut) && !target.in_place);
  // Elementwise forms are tried first: they are the cheap and usual ones.
  auto at = target.overloads->end();
  while (op.pointwise && at != target.overloads->begin() && !at[-1].op->pointwise) --at;
  target.overloads->insert(at, std::move(overload));
}

PyObject* bind_method(PyObject* self, PyObject* instance, PyObject*) {
  if (!instance || instance == Py_None) return Py_NewRef(self);
  return PyMethod_New(self, instance);
}

PyObject* operator_repr(PyObject* self) {
  return PyUnicode_FromFormat("<operator %s>", as_operator(self)->name);
}
PyObject* operator_get_name(PyObject* self, void*) {
  return PyUnicode_FromString(as_operator(self)->name);
}
PyObject* operator_get_doc(PyObject* self, void*) {
  std::string doc;
  for (const Overload& overload : *as_operator(self)->overloads) {
    doc += signature_text(*as_operator(self), overload) + "\n\n" + overload.op->doc + "\n\n";
  }
  while (!doc.empty() && doc.back() == '\n') doc.pop_back();
  return PyUnicode_FromString(doc.c_str());
}
PyObject* operator_get_signature(PyObject* self, void*) {
  const Overload& overload = as_operator(self)->overloads->front();
  std::string signature = "(" + overload.op->signature;
  if (as_operator(self)->accepts_out) {
    signature += signature.find("*, ") == std::string::npos ? ", *, out=None" : ", out=None";
  }
  return PyUnicode_FromString((signature + ")").c_str());
}
PyObject* operator_get_module(PyObject*, void*) { return PyUnicode_FromString("flambeau"); }
PyObject* operator_reduce(PyObject* self, PyObject*) { return operator_get_name(self, nullptr); }
PyObject* operator_get_in_place(PyObject* self, void*) {
  return PyBool_FromLong(as_operator(self)->in_place);
}
PyObject* operator_get_forms(PyObject* self, void*) {
  return PyLong_FromUnsignedLong(as_operator(self)->overloads->front().op->forms);
}

// [(signature, kinds of the arguments, type of the result)]; "?" after a kind accepts None.
PyObject* operator_get_overloads(PyObject* self, void*) {
  return guarded([&]() -> PyObject* {
    nb::list result;
    for (const Overload& overload : *as_operator(self)->overloads) {
      nb::list kinds;
      for (Kind kind : overload.op->kinds) {
        kinds.append(nb::str(text(wanted(kind), accepts_none(kind) ? "?" : "").c_str()));
      }
      nb::str signature(overload.op->signature.c_str());
      result.append(nb::make_tuple(signature, nb::tuple(kinds), nb::str(overload.op->returns)));
    }
    return result.release().ptr();
  });
}

PyGetSetDef operator_properties[] = {
    {"__name__", operator_get_name, nullptr, nullptr, nullptr},
    {"__qualname__", operator_get_name, nullptr, nullptr, nullptr},
    {"__doc__", operator_get_doc, nullptr, nullptr, nullptr},
    {"__text_signature__", operator_get_signature, nullptr, nullptr, nullptr},
    {"__module__", operator_get_module, nullptr, nullptr, nullptr},
    {"in_place", operator_get_in_place, nullptr, "Whether it writes into its first argument.",
     nullptr},
    {"forms", operator_get_forms, nullptr, "The derived forms as a bit set.", nullptr},
    {"overloads", operator_get_overloads, nullptr,
     "Signature, kinds of the arguments and result type of each overload.", nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr}};
PyMethodDef operator_methods[] = {{"__reduce__", operator_reduce, METH_NOARGS, nullptr},
                                  {nullptr, nullptr, 0, nullptr}};
PyMemberDef operator_members[] = {
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(OperatorObject, vectorcall), READONLY, nullptr},
    {nullptr, 0, 0, 0, nullptr}};

void make_operator_type() {
  static PyType_Slot slots[] = {{Py_tp_call, reinterpret_cast<void*>(PyVectorcall_Call)},
                                {Py_tp_repr, reinterpret_cast<void*>(operator_repr)},
                                {Py_tp_descr_get, reinterpret_cast<void*>(bind_method)},
                                {Py_tp_getset, operator_properties},
                                {Py_tp_methods, operator_methods},
                                {Py_tp_members, operator_members},
                                {0, nullptr}};
  static PyType_Spec spec{
      "flambeau._core.Operator", sizeof(OperatorObject), 0,
      Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_VECTORCALL | Py_TPFLAGS_METHOD_DESCRIPTOR, slots};
  operator_type = reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&spec));
  if (!operator_type) throw nb::python_error();
}

// The operator of that name in a namespace, made when absent, with one more overload.
PyObject* extend(std::map<std::string, PyObject*, std::less<>>& space, const std::string& name,
                 const Operator& op, bool in_place) {
  auto [at, fresh] = space.try_emplace(name, nullptr);
  if (fresh) at->second = new_operator(name, in_place);
  add_overload(at->second, op);
  return at->second;
}

}  // namespace

PyObject* standalone_operator(Operator op) {
  PyObject* object = new_operator(op.name, false);
  add_overload(object, *new Operator(std::move(op)));  // lives as long as the process
  return object;
}

PyObject* operator_named(const char* name) {
  auto at = functions().find(std::string_view(name));
  if (at == functions().end()) {
    PyErr_Format(PyExc_AttributeError, "flambeau has no operator named '%s'", name);
    throw PythonError();
  }
  return at->second;
}

void bind_operators(nb::module_& module) {
  if (!operator_type) make_operator_type();
  static std::map<std::string, PyObject*, std::less<>> in_place_forms;
  static std::map<std::string, PyObject*, std::less<>> private_forms;
  static size_t bound = 0;
  if (!nb::hasattr(module, "functions")) {
    for (const char* name : {"functions", "functional", "private"}) {
      module.attr(name) = nb::dict();
    }
  }
  auto put = [&](const char* space, const std::string& name, PyObject* object) {
    nb::dict dict = nb::cast<nb::dict>(module.attr(space));
    dict[name.c_str()] = nb::borrow(object);
  };
  auto method = [&](const std::string& name, PyObject* object) {
    if (PyObject_SetAttrString(reinterpret_cast<PyObject*>(tensor_type), name.c_str(), object)) {
      throw nb::python_error();
    }
  };
  for (; bound < operators().size(); ++bound) {
    const Operator& op = operators()[bound];
    if (op.forms & kPrivate) {
      put("private", op.name, extend(private_forms, op.name, op, false));
      continue;
    }
    PyObject* object = extend(functions(), op.name, op, false);
    if (op.forms & kFunction) put("functions", op.name, object);
    if (op.forms & kFunctional) put("functional", op.name, object);
    if (op.forms & kMethod) method(op.name, object);
    if (op.forms & kInPlace) {
      std::string name = op.name + "_";
      object = extend(in_place_forms, name, op, true);
      method(name, object);
      if (op.forms & kFunction) put("functions", name, object);
      if (op.forms & kFunctional) put("functional", name, object);
    }
  }
}

}  // namespace flambeau::python
