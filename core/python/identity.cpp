// Whether Python variables still hold the objects that they held: what has to be looked at before
// every replay of a compiled function. Objects are compared by identity.
#include "python/common.h"

namespace nb = nanobind;

namespace flambeau::python {

namespace {

// Lists of one length that hold the same objects.
bool same_objects(nb::list a, nb::list b) {
  const size_t count = a.size();
  if (b.size() != count) return false;
  for (size_t i = 0; i < count; ++i) {
    if (PyList_GET_ITEM(a.ptr(), i) != PyList_GET_ITEM(b.ptr(), i)) return false;
  }
  return true;
}

// dicts[i].get(names[i]) is values[i], for all i.
bool same_items(nb::list dicts, nb::list names, nb::list values) {
  const size_t count = values.size();
  if (dicts.size() != count || names.size() != count) return false;
  for (size_t i = 0; i < count; ++i) {
    PyObject* dict = PyList_GET_ITEM(dicts.ptr(), i);
    if (!PyDict_Check(dict)) return false;
    PyObject* found = PyDict_GetItemWithError(dict, PyList_GET_ITEM(names.ptr(), i));
    if (!found && PyErr_Occurred()) throw nb::python_error();
    if ((found ? found : Py_None) != PyList_GET_ITEM(values.ptr(), i)) return false;
  }
  return true;
}

// What cells[i] of closures holds is values[i], for all i; false if one is empty.
bool same_contents(nb::list cells, nb::list values) {
  const size_t count = values.size();
  if (cells.size() != count) return false;
  for (size_t i = 0; i < count; ++i) {
    PyObject* cell = PyList_GET_ITEM(cells.ptr(), i);
    if (!PyCell_Check(cell) || PyCell_GET(cell) != PyList_GET_ITEM(values.ptr(), i)) return false;
  }
  return true;
}

}  // namespace

void bind_identity(nb::module_& module) {
  module.def("same_objects", &same_objects);
  module.def("same_items", &same_items);
  module.def("same_contents", &same_contents);
}

}  // namespace flambeau::python
