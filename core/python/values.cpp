// Numbers, dtypes, devices, shapes: between Python and C++.
#include <nanobind/stl/string.h>

#include "python/tracked_size.h"
#include "tensor/copy.h"

namespace nb = nanobind;

namespace flambeau::python {

PyObject* size_type = nullptr;

namespace {

struct DTypeObject {
  DType dtype;
};
nb::handle dtype_type;
nb::handle device_type;
struct MemoryFormatObject {
  MemoryFormat format;
};
nb::handle memory_format_type;
PyObject* dtype_objects[kDTypeCount];

// Python's own types stand for dtypes as well: dtype=float, dtype=int, dtype=bool.
bool python_type_as_dtype(PyObject* object, DType& result) {
  if (object == reinterpret_cast<PyObject*>(&PyFloat_Type)) {
    result = default_dtype();
  } else if (object == reinterpret_cast<PyObject*>(&PyLong_Type)) {
    result = DType::Int64;
  } else if (object == reinterpret_cast<PyObject*>(&PyBool_Type)) {
    result = DType::Bool;
  } else {
    return false;
  }
  return true;
}

Device make_device(const std::string& name, nb::object index) {
  Device device = parse_device(name);
  if (!index.is_none()) {
    require(device.index < 0, "device: the index is given twice, in '", name,
            "' and as an argument");
    device.index = static_cast<int8_t>(nb::cast<int>(index));
  }
  return device;
}

void bind_dtypes(nb::module_& module) {
  nb::class_<DTypeObject> type(module, "dtype", "The type of a tensor's elements.");
  dtype_type = type;
  type.def("__repr__",
           [](const DTypeObject& self) { return text("torch.", dtype_name(self.dtype)); });
  type.def("__reduce__",
           [](const DTypeObject& self) { return std::string(dtype_name(self.dtype)); });
  type.def("__deepcopy__", [](nb::object self, nb::handle) { return self; });
  type.def("__copy__", [](nb::object self) { return self; });
  type.def_prop_ro("itemsize", [](const DTypeObject& self) { return item_size(self.dtype); });
  type.def_prop_ro("is_floating_point",
                   [](const DTypeObject& self) { return is_floating(self.dtype); });
  type.def_prop_ro("is_complex", [](const DTypeObject&) { return false; });
  type.def_prop_ro("is_signed", [](const DTypeObject& self) {
    return self.dtype != DType::Bool && self.dtype != DType::UInt8;
  });
  type.def_prop_ro("name", [](const DTypeObject& self) { return dtype_name(self.dtype); });
  for (int i = 0; i < kDTypeCount; ++i) {
    nb::object object = nb::cast(DTypeObject{static_cast<DType>(i)});
    dtype_objects[i] = object.ptr();
    module.attr(dtype_name(static_cast<DType>(i))) = object;
    object.release();
  }
}

void bind_devices(nb::module_& module) {
  nb::class_<Device> type(module, "device", "Where a tensor's memory lives: 'cpu' or 'cuda:N'.");
  device_type = type;
  type.def(
      "__init__",
      [](Device* self, const std::string& type, nb::object index) {
        new (self) Device(translated([&] { return make_device(type, index); }));
      },
      nb::arg("type"), nb::arg("index") = nb::none());
  type.def("__init__", [](Device* self, const Device& other) { new (self) Device(other); });
  type.def("__init__", [](Device* self, int index) {
    new (self) Device{Device::Type::Cuda, static_cast<int8_t>(index)};
  });
  type.def_prop_ro("type", [](const Device& self) { return self.is_cpu() ? "cpu" : "cuda"; });
  type.def_prop_ro("index", [](const Device& self) -> nb::object {
    if (self.index < 0) return nb::none();
    return nb::int_(static_cast<int>(self.index));
  });
  type.def("__str__", [](const Device& self) { return device_name(self); });
  type.def("__repr__", [](const Device& self) {
    std::string index = self.index < 0 ? "" : text(", index=", static_cast<int>(self.index));
    return text("device(type='", self.is_cpu() ? "cpu" : "cuda", "'", index, ")");
  });
  type.def("__eq__", [](const Device& self, nb::handle other) {
    return nb::isinstance<Device>(other) && nb::cast<Device&>(other) == self;
  });
  type.def("__hash__",
           [](const Device& self) { return static_cast<int>(self.type) * 256 + self.index + 1; });
  type.def("__reduce__", [](nb::object self) {
    return nb::make_tuple(self.type(), nb::make_tuple(nb::str(self)));
  });
}

void bind_memory_formats(nb::module_& module) {
  nb::class_<MemoryFormatObject> type(module, "memory_format",
                                      "In which order a tensor's elements lie in memory.");
  memory_format_type = type;
  type.def("__repr__",
           [](const MemoryFormatObject& self) { return text("torch.", format_name(self.format)); });
  type.def("__reduce__",
           [](const MemoryFormatObject& self) { return std::string(format_name(self.format)); });
  type.def("__deepcopy__", [](nb::object self, nb::handle) { return self; });
  type.def("__copy__", [](nb::object self) { return self; });
  for (MemoryFormat format : {MemoryFormat::Contiguous, MemoryFormat::Preserve,
                              MemoryFormat::ChannelsLast, MemoryFormat::ChannelsLast3d}) {
    module.attr(format_name(format)) = nb::cast(MemoryFormatObject{format});
  }
}

}  // namespace

bool as_dtype(PyObject* object, DType& result) {
  if (reinterpret_cast<PyObject*>(Py_TYPE(object)) == dtype_type.ptr()) {
    result = nb::inst_ptr<DTypeObject>(nb::handle(object))->dtype;
    return true;
  }
  return python_type_as_dtype(object, result);
}

PyObject* wrap_dtype(DType dtype) { return Py_NewRef(dtype_objects[static_cast<int>(dtype)]); }

bool as_device(PyObject* object, Device& result) {
  if (reinterpret_cast<PyObject*>(Py_TYPE(object)) == device_type.ptr()) {
    result = *nb::inst_ptr<Device>(nb::handle(object));
    return true;
  }
  if (PyUnicode_Check(object)) {
    result = parse_device(PyUnicode_AsUTF8(object));
    return true;
  }
  if (PyLong_CheckExact(object)) {  // the number of a GPU
    const long number = PyLong_AsLong(object);
    if (number == -1 && PyErr_Occurred()) throw PythonError();
    result = parse_device(text("cuda:", number));
    return true;
  }
  return false;
}

bool as_memory_format(PyObject* object, MemoryFormat& result) {
  if (reinterpret_cast<PyObject*>(Py_TYPE(object)) != memory_format_type.ptr()) return false;
  result = nb::inst_ptr<MemoryFormatObject>(nb::handle(object))->format;
  return true;
}

PyObject* wrap_device(Device device) { return nb::cast(device).release().ptr(); }

bool as_int(PyObject* object, int64_t& result, SizeOp becomes) {
  if (PyLong_Check(object)) {
    int overflow = 0;
    result = PyLong_AsLongLongAndOverflow(object, &overflow);
    if (overflow) {
      fail(ErrorKind::Overflow, "an integer argument does not fit into 64 bits");
    }
    return true;
  }
  if (is_tracked(object)) {
    Scalar number;
    if (!tracked_scalar(object, number, becomes) || number.is_float()) return false;
    result = number.integer;
    return true;
  }
  if (!PyIndex_Check(object) || PyFloat_Check(object)) return false;
  if (is_tensor(object)) {
    Tensor& tensor = *reinterpret_cast<TensorObject*>(object)->tensor;
    if (tensor.numel() != 1 || is_floating(tensor.dtype())) return false;
  }
  Owned number(PyNumber_Index(object));
  if (!number) {
    PyErr_Clear();
    return false;
  }
  return as_int(number.get(), result);
}

bool as_scalar(PyObject* object, Scalar& result, SizeOp becomes) {
  if (PyFloat_Check(object)) {
    result = Scalar(PyFloat_AS_DOUBLE(object));
    return true;
  }
  if (PyBool_Check(object)) {
    result = Scalar(object == Py_True);
    return true;
  }
  if (PyLong_Check(object)) {
    int64_t number = 0;
    as_int(object, number);
    result = Scalar(number);
    return true;
  }
  if (is_tracked(object)) return tracked_scalar(object, result, becomes);
  if (is_tensor(object) || !is_array(object)) return false;
  // NumPy's scalars and 0-d arrays.
  Owned converted(PyObject_CallMethod(object, "item", nullptr));
  if (!converted) {
    PyErr_Clear();
    return false;
  }
  PyObject* number = converted.get();
  return (PyFloat_Check(number) || PyLong_Check(number)) && as_scalar(number, result);
}

PyObject* wrap_scalar(Scalar value) {
  switch (value.kind) {
    case Scalar::Kind::Bool:
      return PyBool_FromLong(value.integer);
    case Scalar::Kind::Int:
      return PyLong_FromLongLong(value.integer);
    default:
      return PyFloat_FromDouble(value.floating);
  }
}

bool as_dims(PyObject* object, Dims& result) {
  result.clear();
  if (!PyTuple_Check(object) && !PyList_Check(object)) return false;
  Py_ssize_t count = PySequence_Fast_GET_SIZE(object);
  for (Py_ssize_t i = 0; i < count; ++i) {
    int64_t number;
    if (!as_int(PySequence_Fast_GET_ITEM(object, i), number, SizeOp::Length)) return false;
    result.push_back(number);
  }
  return true;
}

static PyObject* fill_tuple(PyObject* tuple, const Dims& dims, PyObject* (*wrap_one)(int64_t)) {
  Owned made = Owned::check(tuple);
  for (int64_t i = 0; i < dims.size(); ++i) {
    PyTuple_SET_ITEM(tuple, i, Owned::check(wrap_one(dims[i])).release());
  }
  return made.release();
}

PyObject* wrap_ints(const Dims& dims) {
  auto wrap_one = [](int64_t number) { return PyLong_FromLongLong(number); };
  return fill_tuple(PyTuple_New(dims.size()), dims, wrap_one);
}

PyObject* wrap_shape(const Dims& dims) {
  auto* type = reinterpret_cast<PyTypeObject*>(size_type);
  return fill_tuple(type->tp_alloc(type, dims.size()), dims, wrap_length);
}

TensorRef awaited(const Tensor& tensor) {
  WithoutGil others;
  return on_host(tensor);
}

PyObject* item(const Tensor& tensor) {
  require(tensor.numel() == 1, "item: a Tensor with ", tensor.numel(),
          " elements cannot be converted to Scalar; only one-element tensors can");
  if (mode.tracing) {
    recorder.untraceable(
        "the value of a tensor (item(), bool(), float() ...); use where, cond, while_loop or scan");
  }
  if (!tensor.device().is_cpu()) return item(*awaited(tensor));
  return visit_dtype(tensor.dtype(), [&]<class T>() -> PyObject* {
    auto value = convert<Compute<T>>(*tensor.data<T>());
    if constexpr (std::is_same_v<T, bool>) {
      return PyBool_FromLong(value);
    } else if constexpr (std::is_floating_point_v<decltype(value)>) {
      return PyFloat_FromDouble(value);
    } else {
      return PyLong_FromLongLong(value);
    }
  });
}

void bind_values(nb::module_& module) {
  bind_dtypes(module);
  bind_devices(module);
  bind_memory_formats(module);
  module.def("_set_size_type", [](nb::object type) { size_type = type.release().ptr(); });
  module.def("get_default_dtype", [] { return nb::steal(wrap_dtype(default_dtype())); });
  module.def("set_default_dtype", [](nb::handle dtype) {
    translated([&] {
      DType value;
      if (!as_dtype(dtype.ptr(), value)) {
        fail(ErrorKind::Type, "set_default_dtype: expected a torch.dtype, got ",
             Py_TYPE(dtype.ptr())->tp_name);
      }
      set_default_dtype(value);
      return 0;
    });
  });
  module.def("promote_types", [](const DTypeObject& a, const DTypeObject& b) {
    return nb::steal(wrap_dtype(promote_types(a.dtype, b.dtype)));
  });
  module.def("can_cast", [](const DTypeObject& from, const DTypeObject& to) {
    return can_cast(from.dtype, to.dtype);
  });
}

}  // namespace flambeau::python
