// Tracked sizes, and recordings of other batch sizes.
#include <nanobind/stl/string.h>

#include "python/trace_objects.h"
#include "python/tracked_size.h"
#include "trace/family.h"

namespace nb = nanobind;

namespace flambeau::python {

PyTypeObject* tracked_size_type = nullptr;

namespace {

struct FamilyObject {
  Ref<Family> family;
};

// As Python's module operator calls them.
constexpr const char* kSizeOps[] = {"size",     "constant", "add",     "sub", "mul",
                                    "floordiv", "mod",      "truediv", "neg", "sign",
                                    "fixed",    "length",   "number"};

SizeOp size_op_named(const std::string& name) {
  for (size_t i = 0; i < std::size(kSizeOps); ++i) {
    if (name == kSizeOps[i]) return static_cast<SizeOp>(i);
  }
  fail(ErrorKind::Value, "size_step: there is no step ", name);
}

bool is_tracking() {
  Recording* current = mode.tracing ? Recording::current() : nullptr;
  return tracked_size_type && current && current->tracks_sizes;
}

// Steps belong to the recording that made the number, while it is on.
int note(uint64_t serial, SizeOp op, int a, int b, Scalar value) {
  Recording* owner = Recording::on_with_serial(serial);
  return owner ? owner->note_size(op, a, b, value) : -1;
}

// A number that a step of the recording has as result.
PyObject* wrap_step(int64_t number, int step) {
  Owned arguments = Owned::check(
      Py_BuildValue("(LKi)", static_cast<long long>(number),
                    static_cast<unsigned long long>(Recording::current()->serial), step));
  return PyObject_CallObject(reinterpret_cast<PyObject*>(tracked_size_type), arguments.get());
}

}  // namespace

bool tracked_scalar(PyObject* object, Scalar& result, SizeOp becomes) {
  nb::handle size(object);
  if (!as_scalar(nb::object(size.attr("value")).ptr(), result)) return false;
  note(nb::cast<uint64_t>(size.attr("serial")), becomes, nb::cast<int>(size.attr("step")), -1,
       result);
  return true;
}

PyObject* wrap_length(int64_t length) {
  if (!is_tracking()) return PyLong_FromLongLong(length);
  return wrap_step(length, size_step(length));
}

PyObject* wrap_numel(const Tensor& x) {
  if (!is_tracking()) return PyLong_FromLongLong(x.numel());
  // Length by length: the product of two that depend on the batch size is on no line.
  int64_t product = 1;
  int step = note_size(SizeOp::Constant, -1, -1, Scalar(product));
  for (int64_t length : x.shape()) {
    product *= length;
    step = note_size(SizeOp::Multiply, step, size_step(length), Scalar(product));
  }
  return wrap_step(product, step);
}

int64_t untracked(int64_t length) {
  size_decides(length);
  return length;
}

void bind_family(nb::module_& module) {
  module.def("_set_tracked_size_type", [](nb::object type) {
    tracked_size_type = reinterpret_cast<PyTypeObject*>(type.release().ptr());
  });
  module.def(
      "size_step",
      [](uint64_t serial, const std::string& op, int a, int b, nb::handle value) {
        return translated([&] {
          Scalar number;
          if (!as_scalar(value.ptr(), number)) return -1;
          return note(serial, size_op_named(op), a, b, number);
        });
      },
      "Says how a number came about that depends on sizes.");
  nb::class_<FamilyObject>(module, "Family", "Recordings of all batch sizes.")
      .def("member", [](FamilyObject& self, nb::handle arguments) -> nb::object {
        return translated([&]() -> nb::object {
          TensorList tensors;
          for (nb::handle item : arguments) tensors.push_back(unwrap(item.ptr()));
          std::string why;
          Ref<Recording> made = self.family->member(tensors, why);
          return made ? nb::cast(RecordingObject{std::move(made)}) : nb::cast(why);
        });
      });
  module.def(
      "fit_family",
      [](RecordingObject& first, RecordingObject& second) -> nb::object {
        return translated([&]() -> nb::object {
          std::string why;
          Ref<Family> family = Family::fit(first.recording, second.recording, why);
          return family ? nb::cast(FamilyObject{std::move(family)}) : nb::cast(why);
        });
      },
      "The family of two recordings, or why they are none.");
}

}  // namespace flambeau::python
