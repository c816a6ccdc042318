// Where in the user's Python program something happens.
#include <nanobind/stl/string.h>

#include <cstring>

#include "autograd/place.h"
#include "python/autograd.h"

namespace nb = nanobind;

namespace flambeau::python {

namespace {

Place here() {
  Place place;
  PyFrameObject* frame = PyEval_GetFrame();
  if (!frame) return place;
  place.code = PyFrame_GetCode(frame);
  place.offset = PyFrame_GetLasti(frame);
  return place;
}

// The directory of this package, with a separator at the end.
const std::string& package_directory() {
  static const std::string directory = [] {
    nb::module_ module = nb::module_::import_("flambeau");
    auto file = nb::cast<std::string>(module.attr("__file__"));
    return file.substr(0, file.rfind('/') + 1);
  }();
  return directory;
}

Place user_place() {
  Place place;
  Owned frame = Owned::share(reinterpret_cast<PyObject*>(PyEval_GetFrame()));
  while (frame) {
    auto* at = reinterpret_cast<PyFrameObject*>(frame.get());
    Owned code(reinterpret_cast<PyObject*>(PyFrame_GetCode(at)));
    PyObject* file = reinterpret_cast<PyCodeObject*>(code.get())->co_filename;
    const std::string& ours = package_directory();
    if (std::strncmp(PyUnicode_AsUTF8(file), ours.c_str(), ours.size()) != 0) {
      place.offset = PyFrame_GetLasti(at);
      place.code = code.release();
      return place;
    }
    frame = Owned(reinterpret_cast<PyObject*>(PyFrame_GetBack(at)));
  }
  return here();
}

Place copy_place(const Place& place) {
  Place copy;
  copy.code = Py_XNewRef(static_cast<PyObject*>(place.code));
  copy.offset = place.offset;
  return copy;
}

void release_place(void* code) {
  if (!mode.without_gil) {
    Py_DECREF(static_cast<PyObject*>(code));
    return;
  }
  WithGil gil;
  Py_DECREF(static_cast<PyObject*>(code));
}

std::string describe_place(const Place& place) {
  if (!place.code) return "";
  WithGil gil;
  auto* code = static_cast<PyCodeObject*>(place.code);
  int line = PyCode_Addr2Line(code, place.offset);
  return text(PyUnicode_AsUTF8(code->co_filename), ":", line, ", in ",
              PyUnicode_AsUTF8(code->co_name));
}

}  // namespace

void bind_places() { places = {here, release_place, copy_place, user_place, describe_place}; }

LongWork::LongWork(int64_t elements) {
  constexpr int64_t kLong = 65536;
  // While recording, the places of calls are looked up, which needs the lock.
  if (elements < kLong || mode.tracing) return;
  Place place = here();
  pending_place.code = std::exchange(place.code, nullptr);
  pending_place.offset = place.offset;
  without_.emplace();
}

LongWork::~LongWork() {
  if (!without_) return;
  without_.reset();
  Py_XDECREF(static_cast<PyObject*>(std::exchange(pending_place.code, nullptr)));
}

}  // namespace flambeau::python
