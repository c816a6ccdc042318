// C++ exceptions become Python's.
#include <new>

#include "python/common.h"
#include "trace/recording.h"

namespace flambeau::python {

PyObject* out_of_memory_error() {
  static PyObject* const type = PyErr_NewExceptionWithDoc("flambeau.OutOfMemoryError",
                                                          "Memory for a tensor could not be had.",
                                                          PyExc_RuntimeError, nullptr);
  return type;
}

static PyObject* exception_of(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::Value:
      return PyExc_ValueError;
    case ErrorKind::Type:
      return PyExc_TypeError;
    case ErrorKind::Index:
      return PyExc_IndexError;
    case ErrorKind::NotImplemented:
      return PyExc_NotImplementedError;
    case ErrorKind::Overflow:
      return PyExc_OverflowError;
    case ErrorKind::Buffer:
      return PyExc_BufferError;
    case ErrorKind::OutOfMemory:
      return out_of_memory_error();
    case ErrorKind::Runtime:
      return PyExc_RuntimeError;
  }
  return PyExc_RuntimeError;
}

void translate_exception() noexcept {
  // Whoever catches it may do so for the sake of some sizes only.
  if (Recording* recording = Recording::current()) recording->tracks_sizes = false;
  try {
    throw;
  } catch (const PythonError&) {
  } catch (const Error& error) {
    PyErr_SetString(exception_of(error.kind), error.what());
  } catch (nanobind::python_error& error) {
    error.restore();
  } catch (const std::bad_alloc&) {
    PyErr_NoMemory();
  } catch (const std::exception& error) {
    PyErr_SetString(PyExc_RuntimeError, error.what());
  }
}

}  // namespace flambeau::python
