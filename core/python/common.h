// Shared by the binding: the Python types, conversions in both directions, and errors.
#pragma once

#define PY_SSIZE_T_CLEAN
#include <Python.h>
// After Python.h, which it needs.
#include <nanobind/nanobind.h>
#include <structmember.h>

#include "autograd/meta.h"
#include "ops/registry.h"

namespace flambeau::python {

// The Tensor object: one word more than a PyObject needs, the rest is on demand.
struct TensorObject {
  PyObject_HEAD Tensor* tensor;  // owned
  PyObject* dict;
  PyObject* weak_references;
};

extern PyTypeObject* tensor_type;
extern PyObject* size_type;  // torch.Size, a subclass of tuple

// An exception is set in the interpreter.
struct PythonError {};
// Sets the Python exception for the C++ one in flight.
void translate_exception() noexcept;
PyObject* out_of_memory_error();  // borrowed: the exception type, a RuntimeError

template <class Function>
auto guarded(Function&& function) noexcept -> decltype(function()) {
  try {
    return function();
  } catch (...) {
    translate_exception();
    using Result = decltype(function());
    if constexpr (std::is_pointer_v<Result>) {
      return nullptr;
    } else {
      return static_cast<Result>(-1);
    }
  }
}

// nanobind reports its own exceptions only: ours are set in the interpreter first.
template <class Function, class... Arguments>
auto translated(Function&& function, Arguments&&... arguments) {
  try {
    return function(std::forward<Arguments>(arguments)...);
  } catch (...) {
    translate_exception();
    throw nanobind::python_error();
  }
}

// An owned reference.
class Owned {
 public:
  explicit Owned(PyObject* object = nullptr) : object_(object) {}
  Owned(Owned&& other) noexcept : object_(other.release()) {}
  Owned& operator=(Owned&& other) noexcept {
    std::swap(object_, other.object_);
    return *this;
  }
  ~Owned() { Py_XDECREF(object_); }
  // Throws PythonError for null.
  static Owned check(PyObject* object) {
    if (!object) throw PythonError();
    return Owned(object);
  }
  static Owned share(PyObject* object) {
    Py_XINCREF(object);
    return Owned(object);
  }
  PyObject* get() const { return object_; }
  PyObject* release() { return std::exchange(object_, nullptr); }
  explicit operator bool() const { return object_ != nullptr; }

 private:
  PyObject* object_;
};

// True once another thread of this interpreter exists, or existed when this was asked before.
inline bool threads_exist() {
  return counts_shared_for_good.load(std::memory_order_relaxed) ||
         PyThreadState_Next(PyInterpreterState_ThreadHead(PyInterpreterState_Get()));
}

// Lets other Python threads run while this one computes. Keeps the lock while there are none: a
// thread that is not Python's own waits for the end of the computation then. Note [Counts].
class WithoutGil {
 public:
  WithoutGil() {
    if (!threads_exist()) return;
    share_counts_for_good();
    state_ = PyEval_SaveThread();
    mode.without_gil = true;
  }
  ~WithoutGil() {
    if (!state_) return;
    mode.without_gil = false;
    PyEval_RestoreThread(state_);
  }

 private:
  PyThreadState* state_ = nullptr;
};
class WithGil {
 public:
  WithGil() : before_(mode.without_gil), state_(PyGILState_Ensure()) { mode.without_gil = false; }
  ~WithGil() {
    mode.without_gil = before_;
    PyGILState_Release(state_);
  }

 private:
  bool before_;
  PyGILState_STATE state_;
};

// Lets go of Python's lock for operators on large tensors; small ones are over too soon.
class LongWork {
 public:
  explicit LongWork(int64_t elements);
  ~LongWork();

 private:
  std::optional<WithoutGil> without_;
};

// Tensors.
inline bool is_tensor(PyObject* object) {
  PyTypeObject* type = Py_TYPE(object);
  if (type == tensor_type) return true;
  return type != &PyFloat_Type && type != &PyLong_Type && PyType_IsSubtype(type, tensor_type);
}
inline TensorRef unwrap(PyObject* object) {
  return TensorRef::share(reinterpret_cast<TensorObject*>(object)->tensor);
}
// The Python object of a tensor; always the same one while it lives. Null becomes None.
PyObject* wrap(TensorRef tensor);
// A new object of a subclass.
PyObject* wrap_as(PyTypeObject* type, TensorRef tensor);

// While recording: Python sees the tensor from now on (bind_trace.cpp).
void note_visible(Tensor* tensor);

// Values. The as_* functions return false when the object is of another kind.
// A tracked size is fixed by it, unless it becomes something else (Note [Tracked sizes]).
bool as_scalar(PyObject* object, Scalar& result, SizeOp becomes = SizeOp::Fixed);
bool as_int(PyObject* object, int64_t& result, SizeOp becomes = SizeOp::Fixed);
bool as_dtype(PyObject* object, DType& result);
bool as_device(PyObject* object, Device& result);
bool as_memory_format(PyObject* object, MemoryFormat& result);
bool as_dims(PyObject* object, Dims& result);
PyObject* wrap_scalar(Scalar value);
PyObject* wrap_dtype(DType dtype);  // new reference
PyObject* wrap_device(Device device);
PyObject* wrap_shape(const Dims& dims);  // torch.Size
PyObject* wrap_ints(const Dims& dims);   // tuple
PyObject* wrap_result(Result&& result);
// The one element of a tensor as a Python number.
PyObject* item(const Tensor& tensor);
// The values of a tensor on a GPU; other threads may run while they are waited for.
TensorRef awaited(const Tensor& tensor);
// A tensor from nested sequences, numbers, arrays or buffers (torch.tensor): always a copy.
TensorRef tensor_from_data(PyObject* data, std::optional<DType> dtype);
// A tensor that shares the memory of an object with the buffer protocol (torch.from_numpy).
TensorRef tensor_from_buffer(PyObject* object, bool writable_required);
bool is_array(PyObject* object);  // a NumPy array (or scalar), told without importing NumPy

// Operators by public name (operator_type.cpp); throws AttributeError for unknown names.
PyObject* operator_named(const char* name);  // borrowed
// Registers everything in operators() that is not registered yet.
void bind_operators(nanobind::module_& module);

// The parts of the module.
void bind_tensor_type(nanobind::module_& module);
void bind_values(nanobind::module_& module);
void bind_autograd(nanobind::module_& module);
void bind_recompute(nanobind::module_& module);
void bind_data(nanobind::module_& module);
void bind_dlpack(nanobind::module_& module);
void bind_foreign_memory(nanobind::module_& module);
void bind_random(nanobind::module_& module);
void bind_shared_memory(nanobind::module_& module);
void bind_program(nanobind::module_& module);
void bind_trace(nanobind::module_& module);
void bind_identity(nanobind::module_& module);
void bind_portable(nanobind::module_& module);
void bind_family(nanobind::module_& module);
void bind_control(nanobind::module_& module);
void bind_cuda(nanobind::module_& module);
void bind_autocast(nanobind::module_& module);

// The tensor in memory of the host that GPUs reach by themselves; RuntimeError without a GPU.
TensorRef pinned(const TensorRef& tensor);

// Lets the garbage collector see a tensor object (it has attributes or hooks now).
void track(PyObject* self);
// Reports the Python callables among a tensor's hooks to the collector.
int visit_hooks(const Tensor& tensor, visitproc visit, void* arg);

// Slots that live in files of their own.
PyObject* get_item(PyObject* self, PyObject* index);
int set_item(PyObject* self, PyObject* index, PyObject* value);
int get_buffer(PyObject* self, Py_buffer* view, int flags);
void release_buffer(PyObject* self, Py_buffer* view);
extern PyGetSetDef tensor_properties[];
extern PyMethodDef tensor_methods[];

}  // namespace flambeau::python
