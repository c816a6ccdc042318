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

// The variables of a watched function: entries of dicts and of class namespaces, and closure cells.
class Variables {
 public:
  Variables(nb::list containers, nb::list names, nb::list values, nb::list cells, nb::list contents)
      : containers_(std::move(containers)),
        names_(std::move(names)),
        values_(std::move(values)),
        cells_(std::move(cells)),
        contents_(std::move(contents)) {
    require(containers_.size() == values_.size() && names_.size() == values_.size() &&
                cells_.size() == contents_.size(),
            "Variables: lists of one length are required");
  }

  // Whether all hold what they held; false as well where that takes a closer look.
  bool same() const {
    for (size_t i = 0; i < values_.size(); ++i) {
      PyObject* container = PyList_GET_ITEM(containers_.ptr(), i);
      PyObject* name = PyList_GET_ITEM(names_.ptr(), i);
      PyObject* value = PyList_GET_ITEM(values_.ptr(), i);
      if (PyDict_Check(container)) {
        PyObject* found = PyDict_GetItemWithError(container, name);
        if (!found && PyErr_Occurred()) throw nb::python_error();
        if (found != value) return false;
        continue;
      }
      const Owned found(PyObject_GetItem(container, name));
      if (!found.get()) PyErr_Clear();  // it was deleted
      if (found.get() != value) return false;
    }
    for (size_t i = 0; i < contents_.size(); ++i) {
      PyObject* cell = PyList_GET_ITEM(cells_.ptr(), i);
      if (PyCell_GET(cell) != PyList_GET_ITEM(contents_.ptr(), i)) return false;
    }
    return true;
  }

 private:
  nb::list containers_, names_, values_, cells_, contents_;
};

}  // namespace

void bind_identity(nb::module_& module) {
  module.def("same_objects", &same_objects);
  module.def("same_items", &same_items);
  nb::class_<Variables>(module, "Variables", "Python variables, and what they held.")
      .def(nb::init<nb::list, nb::list, nb::list, nb::list, nb::list>())
      .def("same", &Variables::same);
}

}  // namespace flambeau::python
