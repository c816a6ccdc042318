// The switches for recording, and the context that sets one.
#include "python/autograd.h"

namespace nb = nanobind;

namespace flambeau::python {

namespace {

// The base of no_grad and enable_grad. Entered at every step of a training loop, so it is a type
// of its own: a class in Python takes four times as long.
struct GradSwitch {
  PyObject_HEAD uint64_t before;  // what held before each entry, the latest in the lowest bit
  int depth;
  bool value;
};

GradSwitch* as_switch(PyObject* object) { return reinterpret_cast<GradSwitch*>(object); }

// With a function: what calling the object with it gives, its decorated form.
PyObject* new_switch(PyTypeObject* type, PyObject* args, PyObject* kwargs) {
  PyObject* function = nullptr;
  static const char* kNames[] = {"function", nullptr};
  if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O", const_cast<char**>(kNames), &function)) {
    return nullptr;
  }
  Owned value(PyObject_GetAttrString(reinterpret_cast<PyObject*>(type), "_value"));
  if (!value) return nullptr;
  Owned object(type->tp_alloc(type, 0));
  if (!object) return nullptr;
  as_switch(object.get())->value = PyObject_IsTrue(value.get()) == 1;
  if (!function || function == Py_None) return object.release();
  return PyObject_CallOneArg(object.get(), function);
}

PyObject* enter(PyObject* self, PyObject*) {
  GradSwitch& it = *as_switch(self);
  if (it.depth == 64) {
    PyErr_SetString(PyExc_RuntimeError,
                    "no_grad: one object was entered 64 times without being "
                    "left; make a new one for each `with`");
    return nullptr;
  }
  ++it.depth;
  it.before = it.before << 1 | static_cast<uint64_t>(mode.grad);
  mode.grad = it.value;
  Py_RETURN_NONE;
}

PyObject* leave(PyObject* self, PyObject* const*, Py_ssize_t) {
  GradSwitch& it = *as_switch(self);
  if (it.depth > 0) {
    --it.depth;
    mode.grad = it.before & 1;
    it.before >>= 1;
  }
  Py_RETURN_NONE;
}

PyMethodDef switch_methods[] = {
    {"__enter__", enter, METH_NOARGS, nullptr},
    {"__exit__", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(leave)), METH_FASTCALL,
     nullptr},
    {nullptr, nullptr, 0, nullptr}};

void bind_switch(nb::module_& module) {
  static PyType_Slot slots[] = {
      {Py_tp_new, reinterpret_cast<void*>(new_switch)},
      {Py_tp_methods, switch_methods},
      {Py_tp_doc, const_cast<char*>("A context that sets whether operations are recorded.")},
      {0, nullptr}};
  static PyType_Spec spec{"flambeau._core.GradSwitch", sizeof(GradSwitch), 0,
                          Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, slots};
  PyObject* type = PyType_FromSpec(&spec);
  if (!type) throw nb::python_error();
  module.attr("GradSwitch") = nb::steal(type);
}

}  // namespace

void bind_modes(nb::module_& module) {
  module.def("is_grad_enabled", [] { return mode.grad; });
  module.def("is_inference_mode_enabled", [] { return mode.inference; });
  module.def("_set_grad_enabled", [](bool value) { return std::exchange(mode.grad, value); });
  module.def("_set_inference", [](bool value) { return std::exchange(mode.inference, value); });
  bind_switch(module);
}

}  // namespace flambeau::python
