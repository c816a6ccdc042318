// Operators as Python callables: parsing of arguments, overloads, in-place and out= forms.
//
// Note [Calling an operator]: one vectorcall, no tuple or dictionary. Parameters are matched by
// position and interned name, converted by kind into Arguments on the stack, and handed to the
// C++ function. Elementwise operators skip the Arguments: their operands go straight to the
// program.
#include "python/operator_type.h"

#include <map>
#include <memory>

#include "ops/pointwise.h"
#include "ops/views.h"
#include "tensor/copy.h"

namespace nb = nanobind;

namespace flambeau::python {

namespace {

PyTypeObject* operator_type = nullptr;
std::map<std::string, PyObject*, std::less<>>& functions() {
  static auto& map = *new std::map<std::string, PyObject*, std::less<>>;
  return map;
}
PyObject* out_name = nullptr;

OperatorObject* as_operator(PyObject* object) { return reinterpret_cast<OperatorObject*>(object); }

// The arguments of one call: where they lie, and under which names.
struct Given {
  PyObject* const* positional;
  Py_ssize_t count;
  PyObject* names;  // tuple or null; values follow the positional ones
  Py_ssize_t named() const { return names ? PyTuple_GET_SIZE(names) : 0; }
  PyObject* name(Py_ssize_t i) const { return PyTuple_GET_ITEM(names, i); }
  PyObject* value(Py_ssize_t i) const { return positional[count + i]; }
};

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
    case Kind::Generator:
      return true;
    default:
      return false;
  }
}

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

// False: the object is of another kind.
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
      if (PyBool_Check(object) || !as_int(object, result.integer)) return false;
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
    case Kind::Generator:
      return as_generator(object, result.generator);
  }
  return false;
}

// Names that NumPy's users and older scripts write, and settings that have one value here.
PyObject* canonical_name(PyObject* name) {
  static PyObject* const axis = PyUnicode_InternFromString("axis");
  static PyObject* const dim = PyUnicode_InternFromString("dim");
  static PyObject* const keepdims = PyUnicode_InternFromString("keepdims");
  static PyObject* const keepdim = PyUnicode_InternFromString("keepdim");
  static PyObject* const self = PyUnicode_InternFromString("self");
  static PyObject* const input = PyUnicode_InternFromString("input");
  if (PyUnicode_Compare(name, axis) == 0) return dim;
  if (PyUnicode_Compare(name, keepdims) == 0) return keepdim;
  if (PyUnicode_Compare(name, self) == 0) return input;
  return name;
}
bool ignored_name(PyObject* name) {
  for (const char* known : {"layout", "memory_format", "pin_memory", "non_blocking"}) {
    if (PyUnicode_CompareWithASCIIString(name, known) == 0) return true;
  }
  return false;
}

int find_parameter(const Overload& overload, PyObject* name) {
  for (size_t i = 0; i < overload.parameters.size(); ++i) {
    if (overload.parameters[i].name == name) return static_cast<int>(i);
  }
  for (size_t i = 0; i < overload.parameters.size(); ++i) {
    if (PyUnicode_Compare(overload.parameters[i].name, name) == 0) return static_cast<int>(i);
  }
  return -1;
}

// Sorts what was given into `slots`, one per parameter (null: not given). Returns an error text.
std::string match(const OperatorObject& op, const Overload& overload, const Given& given,
                  PyObject** slots, Owned& varargs, bool has_out) {
  const auto& parameters = overload.parameters;
  int positional = overload.positional;
  Py_ssize_t direct = given.count;
  bool collects = overload.varargs >= 0 && given.count > overload.varargs;
  if (collects) {
    // x.view(2, 3): from here on every positional argument is one of the ints.
    PyObject* first = given.positional[overload.varargs];
    collects = given.count > positional || overload.varargs == positional - 1;
    collects = collects && !PyTuple_Check(first) && !PyList_Check(first) && first != Py_None;
    if (collects) {
      direct = overload.varargs;
      varargs = Owned(PyTuple_New(given.count - direct));
      for (Py_ssize_t i = direct; i < given.count; ++i) {
        PyTuple_SET_ITEM(varargs.get(), i - direct, Py_NewRef(given.positional[i]));
      }
      slots[overload.varargs] = varargs.get();
    }
  }
  if (direct > positional) {
    return text("takes ", positional, " positional argument", positional == 1 ? "" : "s", " but ",
                given.count, given.count == 1 ? " was" : " were", " given");
  }
  for (Py_ssize_t i = 0; i < direct; ++i) slots[i] = given.positional[i];
  for (Py_ssize_t i = 0; i < given.named(); ++i) {
    PyObject* name = given.name(i);
    if (has_out && name == out_name) continue;
    int at = find_parameter(overload, name);
    if (at < 0) at = find_parameter(overload, canonical_name(name));
    if (at < 0) {
      if (ignored_name(name)) continue;
      return text("got an unexpected keyword argument '", PyUnicode_AsUTF8(name), "'");
    }
    if (slots[at]) {
      return text("got multiple values for argument '", PyUnicode_AsUTF8(name), "'");
    }
    slots[at] = given.value(i);
  }
  for (size_t i = 0; i < parameters.size(); ++i) {
    if (!slots[i] && !parameters[i].has_default) {
      return text("missing required argument '", PyUnicode_AsUTF8(parameters[i].name),
                  "' (position ", i + 1, ")");
    }
  }
  return "";
}

std::string mismatch(const Overload& overload, size_t i, PyObject* got) {
  return text("argument '", PyUnicode_AsUTF8(overload.parameters[i].name), "' (position ", i + 1,
              ") must be ", wanted(overload.parameters[i].kind), ", not ", describe(got));
}

PyObject* find_out(const OperatorObject& op, const Given& given) {
  if (!op.accepts_out) return nullptr;
  for (Py_ssize_t i = 0; i < given.named(); ++i) {
    PyObject* name = given.name(i);
    if (name == out_name || PyUnicode_Compare(name, out_name) == 0) {
      return given.value(i) == Py_None ? nullptr : given.value(i);
    }
  }
  return nullptr;
}

// In a formula that is being traced.
PyObject* symbolic_call(const Pointwise& op, const Overload& overload, PyObject** slots) {
  PyObject* operands[kMaxOperands];
  size_t count = overload.parameters.size();
  for (size_t i = 0; i < count; ++i) {
    operands[i] = slots[i] ? slots[i] : overload.parameters[i].default_value.get();
  }
  return call_symbolic(op, {operands, count});
}

// Elementwise: operands are tensors or numbers, all of them.
PyObject* call_pointwise(OperatorObject& op, const Overload& overload, PyObject** slots,
                         PyObject* out, std::string& error) {
  Operand operands[kMaxOperands] = {0, 0, 0, 0, 0, 0, 0, 0};
  size_t count = overload.parameters.size();
  for (size_t i = 0; i < count; ++i) {
    PyObject* object = slots[i] ? slots[i] : overload.parameters[i].default_value.get();
    if (is_tensor(object)) {
      operands[i].tensor = unwrap(object);
    } else if (!as_scalar(object, operands[i].scalar)) {
      if (is_symbol(object)) return symbolic_call(*overload.op->pointwise, overload, slots);
      error = mismatch(overload, i, object);
      return nullptr;
    }
  }
  const Pointwise& pointwise_op = *overload.op->pointwise;
  std::span<const Operand> all(operands, count);
  if (op.in_place) {
    if (!operands[0].tensor) {
      error = mismatch(overload, 0, slots[0]);
      return nullptr;
    }
    pointwise_in_place(pointwise_op, all);
    return Py_NewRef(slots[0]);
  }
  bool any = false;
  for (const Operand& operand : all) any |= static_cast<bool>(operand.tensor);
  if (!any) {
    error = mismatch(overload, 0, slots[0]);
    return nullptr;
  }
  if (out) {
    pointwise_out(pointwise_op, all, unwrap(out));
    return Py_NewRef(out);
  }
  int64_t elements = 0;
  for (const Operand& operand : all) {
    if (operand.tensor) elements = std::max(elements, operand.tensor->numel());
  }
  TensorRef result;
  {
    LongWork work(elements);
    result = pointwise(pointwise_op, all);
  }
  return wrap(std::move(result));
}

void write_out(const OperatorObject& op, PyObject* out, const TensorRef& value) {
  if (!is_tensor(out)) {
    fail(ErrorKind::Type, op.name, "(): argument 'out' must be Tensor, not ", describe(out));
  }
  TensorRef target = unwrap(out);
  require(!value->requires_grad() && !(mode.grad && target->requires_grad()), op.name,
          "(): functions with out=... arguments don't support automatic differentiation, but one "
          "of the arguments requires grad; leave out= away or use torch.no_grad()");
  require(can_cast(value->dtype(), target->dtype()), op.name, "(): result type torch.",
          dtype_name(value->dtype()), " can't be cast to the desired output type torch.",
          dtype_name(target->dtype()));
  resize_out(target, value->shape());
  copy_(target, value);
}

void write_outs(const OperatorObject& op, PyObject* out, const Result& result) {
  if (result.shape == Result::Shape::One) return write_out(op, out, result.one);
  if (!PyTuple_Check(out) || PyTuple_GET_SIZE(out) != static_cast<Py_ssize_t>(result.many.size())) {
    fail(ErrorKind::Type, op.name, "(): argument 'out' must be a tuple of ", result.many.size(),
         " Tensors");
  }
  for (size_t i = 0; i < result.many.size(); ++i) {
    write_out(op, PyTuple_GET_ITEM(out, i), result.many[i]);
  }
}

// x.name_(...): what was computed becomes x's value; a view (t_, unsqueeze_) its new geometry.
PyObject* finish_in_place(PyObject* self, const TensorRef& target, const Result& result) {
  const TensorRef& value = result.one;
  if (value == target) return Py_NewRef(self);
  if (value->storage() == target->storage()) {
    Ref<Node> node = grad_fn(value);
    int32_t output = value->history_output();
    target->rebind(value->storage(), value->shape(), value->strides(), value->offset(),
                   value->dtype());
    if (node) set_history(*target, std::move(node), output);
    return Py_NewRef(self);
  }
  require(value->shape() == target->shape(), "in-place operation: output with shape ",
          target->shape(), " doesn't match the broadcast shape ", value->shape(),
          "; use the form without the underscore");
  require(can_cast(value->dtype(), target->dtype()), "in-place operation: result type torch.",
          dtype_name(value->dtype()), " can't be cast to the desired output type torch.",
          dtype_name(target->dtype()), "; use the form without the underscore");
  copy_(target, value);
  return Py_NewRef(self);
}

struct InPlaceScope {
  explicit InPlaceScope(Tensor* target) { mode.in_place = target; }
  ~InPlaceScope() { mode.in_place = nullptr; }
};

// Arguments on the stack, only as many as there are parameters: they are not small.
class ArgumentList {
 public:
  explicit ArgumentList(size_t count) : count_(count) {
    for (size_t i = 0; i < count; ++i) new (&(*this)[i]) Argument;
  }
  ~ArgumentList() {
    for (size_t i = 0; i < count_; ++i) (*this)[i].~Argument();
  }
  Argument& operator[](size_t i) { return reinterpret_cast<Argument*>(memory_)[i]; }
  Argument* data() { return reinterpret_cast<Argument*>(memory_); }

 private:
  size_t count_;
  alignas(Argument) char memory_[kMaxParameters * sizeof(Argument)];
};

PyObject* call_function(OperatorObject& op, const Overload& overload, PyObject** slots,
                        PyObject* out, std::string& error) {
  size_t count = overload.parameters.size();
  ArgumentList arguments(count);
  for (size_t i = 0; i < count; ++i) {
    PyObject* object = slots[i] ? slots[i] : overload.parameters[i].default_value.get();
    if (!convert_argument(overload.parameters[i].kind, object, arguments[i])) {
      error = mismatch(overload, i, object);
      return nullptr;
    }
  }
  if (op.in_place) {
    TensorRef target = arguments[0].tensor;
    Result result;
    {
      InPlaceScope scope(target.get());
      result = overload.op->call(arguments.data());
    }
    return finish_in_place(slots[0], target, result);
  }
  int64_t elements = 0;
  for (size_t i = 0; i < count; ++i) {
    if (arguments[i].tensor) elements = std::max(elements, arguments[i].tensor->numel());
  }
  Result result;
  {
    LongWork work(elements);
    result = overload.op->call(arguments.data());
  }
  if (mode.tracing) check_recorded(op.name, {arguments.data(), count}, result);
  if (!out) return wrap_result(std::move(result));
  write_outs(op, out, result);
  return Py_NewRef(out);
}

std::string signature_text(const OperatorObject& op, const Overload& overload) {
  return text(op.name, "(", overload.op->signature, ")");
}

[[noreturn]] void fail_all(const OperatorObject& op, const Given& given,
                           const std::string& first_error) {
  if (op.overloads->size() == 1) fail(ErrorKind::Type, op.name, "(): ", first_error);
  std::string got, expected;
  for (Py_ssize_t i = 0; i < given.count; ++i) {
    got += (i ? ", " : "") + describe(given.positional[i]);
  }
  for (Py_ssize_t i = 0; i < given.named(); ++i) {
    got += (got.empty() ? "" : ", ") + std::string(PyUnicode_AsUTF8(given.name(i))) + "=" +
           describe(given.value(i));
  }
  for (const Overload& overload : *op.overloads) {
    expected += "\n * " + signature_text(op, overload);
  }
  fail(ErrorKind::Type, op.name, "() received an invalid combination of arguments - got (", got,
       "), but expected one of:", expected);
}

PyObject* call_operator(PyObject* callable, PyObject* const* arguments, size_t flags,
                        PyObject* names) {
  OperatorObject& op = *as_operator(callable);
  Given given{arguments, PyVectorcall_NARGS(flags), names};
  return guarded([&]() -> PyObject* {
    PyObject* out = find_out(op, given);
    std::string first_error;
    for (const Overload& overload : *op.overloads) {
      PyObject* slots[kMaxParameters] = {};
      Owned varargs;
      std::string error = match(op, overload, given, slots, varargs, op.accepts_out);
      if (error.empty()) {
        PyObject* result = overload.op->pointwise ? call_pointwise(op, overload, slots, out, error)
                                                  : call_function(op, overload, slots, out, error);
        if (result) return result;
        if (PyErr_Occurred()) throw PythonError();
      }
      if (first_error.empty()) first_error = error;
    }
    fail_all(op, given, first_error);
  });
}

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
  out_name = PyUnicode_InternFromString("out");
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
