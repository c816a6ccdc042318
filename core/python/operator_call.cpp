// Calling an operator: overloads, in-place and out= forms.
//
// Note [Calling an operator]: one vectorcall, no tuple or dictionary. Parameters are matched by
// position and interned name, converted by kind into Arguments on the stack, and handed to the
// C++ function. Elementwise operators skip the Arguments: their operands go straight to the
// program.
#include "ops/pointwise.h"
#include "ops/views.h"
#include "python/autocast.h"
#include "python/operator_type.h"
#include "tensor/copy.h"

namespace flambeau::python {

namespace {

OperatorObject* as_operator(PyObject* object) { return reinterpret_cast<OperatorObject*>(object); }

PyObject* out_name() {
  static PyObject* const name = PyUnicode_InternFromString("out");
  return name;
}

// The arguments of one call: where they lie, and under which names.
struct Given {
  PyObject* const* positional;
  Py_ssize_t count;
  PyObject* names;  // tuple or null; values follow the positional ones
  Py_ssize_t named() const { return names ? PyTuple_GET_SIZE(names) : 0; }
  PyObject* name(Py_ssize_t i) const { return PyTuple_GET_ITEM(names, i); }
  PyObject* value(Py_ssize_t i) const { return positional[count + i]; }
};

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
  for (const char* known : {"layout", "pin_memory", "non_blocking"}) {
    if (PyUnicode_CompareWithASCIIString(name, known) == 0) return true;
  }
  return false;
}
// torch.empty(..., pin_memory=True): what every factory does with its result.
bool asks_for_pinned(PyObject* name, PyObject* value) {
  return value == Py_True && PyUnicode_CompareWithASCIIString(name, "pin_memory") == 0;
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
                  PyObject** slots, Owned& varargs, bool has_out, bool& pins) {
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
    if (has_out && name == out_name()) continue;
    int at = find_parameter(overload, name);
    if (at < 0) at = find_parameter(overload, canonical_name(name));
    if (at < 0) {
      if (ignored_name(name)) {
        pins |= asks_for_pinned(name, given.value(i));
        continue;
      }
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
    if (name == out_name() || PyUnicode_Compare(name, out_name()) == 0) {
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

PyObject* call_overload(OperatorObject& op, const Overload& overload, PyObject** slots,
                        PyObject* out, std::string& error) {
  return overload.op->pointwise ? call_pointwise(op, overload, slots, out, error)
                                : call_function(op, overload, slots, out, error);
}

PyObject* pinned_result(Owned result) {
  if (!is_tensor(result.get())) return result.release();
  TensorRef plain = unwrap(result.get());
  TensorRef moved = pinned(plain);
  moved->set_requires_grad_flag(plain->requires_grad());
  return wrap(std::move(moved));
}

bool names_dtype(const Overload& overload, PyObject** slots) {
  for (size_t i = 0; i < overload.parameters.size(); ++i) {
    if (overload.parameters[i].kind == Kind::OptionalDType && slots[i] && slots[i] != Py_None) {
      return true;
    }
  }
  return false;
}

// Note [Autocast]
[[gnu::noinline]] PyObject* call_with_autocast(OperatorObject& op, const Overload& overload,
                                               PyObject** slots, std::string& error) {
  std::vector<Owned> kept;
  if (!names_dtype(overload, slots)) {
    std::span<PyObject*> all(slots, overload.parameters.size());
    autocast_objects(op.name, overload.op->autocast, all, kept);
  }
  return call_overload(op, overload, slots, nullptr, error);
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

}  // namespace

std::string signature_text(const OperatorObject& op, const Overload& overload) {
  return text(op.name, "(", overload.op->signature, ")");
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
      bool pins = false;
      std::string error = match(op, overload, given, slots, varargs, op.accepts_out, pins);
      if (error.empty()) {
        // What is written into memory that exists keeps its type.
        bool casts = autocast_is_on() && overload.op->autocast && !op.in_place && !out;
        PyObject* result = casts ? call_with_autocast(op, overload, slots, error)
                                 : call_overload(op, overload, slots, out, error);
        if (result) return pins ? pinned_result(Owned(result)) : result;
        if (PyErr_Occurred()) throw PythonError();
      }
      if (first_error.empty()) first_error = error;
    }
    fail_all(op, given, first_error);
  });
}

}  // namespace flambeau::python
