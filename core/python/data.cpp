// Data in and out: nested sequences, the buffer protocol, lists.
#include <nanobind/stl/string.h>

#include "ops/views.h"
#include "python/foreign_memory.h"
#include "python/operator_type.h"
#include "tensor/copy.h"

namespace nb = nanobind;

namespace flambeau::python {

bool is_array(PyObject* object) {
  // NumPy's arrays and scalars, told by the protocol that both implement.
  return std::strncmp(Py_TYPE(object)->tp_name, "numpy.", 6) == 0 &&
         PyObject_HasAttrString(object, "__array_interface__");
}

namespace {

struct BufferOwner {
  Py_buffer view;
  static void release(void* owner) {
    auto* self = static_cast<BufferOwner*>(owner);
    if (!python_lock_can_be_had()) return;
    WithGil gil;
    PyBuffer_Release(&self->view);
    delete self;
  }
};

DType dtype_of_format(const Py_buffer& view) {
  const char* format = view.format ? view.format : "B";
  if (*format == '@' || *format == '=' || *format == '<') ++format;
  if (format[0] && !format[1]) {
    switch (*format) {
      case '?':
        return DType::Bool;
      case 'B':
        return DType::UInt8;
      case 'b':
        return DType::Int8;
      case 'e':
        return DType::Float16;
      case 'f':
        return DType::Float32;
      case 'd':
        return DType::Float64;
      case 'h':
        return DType::Int16;
      case 'i':
        return DType::Int32;
      case 'l':
      case 'q':
        return view.itemsize == 8 ? DType::Int64 : DType::Int32;
      default:
        break;
    }
  }
  fail(ErrorKind::Type, "from_numpy: can't convert an array with elements of format '", format,
       "'; supported are bool, (u)int8, int16, int32, int64, float16, float32, float64: use "
       "array.astype(...)");
}

const char* format_of(DType dtype) {
  switch (dtype) {
    case DType::Bool:
      return "?";
    case DType::UInt8:
      return "B";
    case DType::Int8:
      return "b";
    case DType::Int16:
      return "h";
    case DType::Int32:
      return "i";
    case DType::Int64:
      return "l";
    case DType::Float16:
      return "e";
    case DType::BFloat16:
      return nullptr;
    case DType::Float32:
      return "f";
    default:
      return "d";
  }
}

}  // namespace

TensorRef tensor_from_buffer(PyObject* object, bool writable_required) {
  auto owner = std::make_unique<BufferOwner>();
  int flags = PyBUF_STRIDES | PyBUF_FORMAT;
  if (PyObject_GetBuffer(object, &owner->view, flags | PyBUF_WRITABLE) < 0) {
    PyErr_Clear();
    if (PyObject_GetBuffer(object, &owner->view, flags) < 0) throw PythonError();
    if (writable_required &&
        PyErr_WarnEx(PyExc_UserWarning,
                     "from_numpy: the array is read-only, but tensors can be written to; make a "
                     "copy with torch.tensor(array) before writing",
                     1) < 0) {
      PyBuffer_Release(&owner->view);
      throw PythonError();
    }
  }
  Py_buffer& view = owner->view;
  struct Release {
    std::unique_ptr<BufferOwner>& owner;
    ~Release() {
      if (owner) PyBuffer_Release(&owner->view);
    }
  } release{owner};
  DType dtype = dtype_of_format(view);
  Dims shape, strides;
  for (int d = 0; d < view.ndim; ++d) {
    shape.push_back(view.shape[d]);
    if (view.strides[d] < 0) {
      fail(ErrorKind::Value, "from_numpy: at least one stride in the given numpy array is ",
           "negative, and tensors with negative strides are not supported; use array.copy()");
    }
    if (view.strides[d] % view.itemsize != 0) {
      fail(ErrorKind::Value,
           "from_numpy: the strides of the array are not a multiple of its "
           "element size; use array.copy()");
    }
    strides.push_back(view.strides[d] / view.itemsize);
  }
  size_t bytes = view.itemsize;
  for (int d = 0; d < view.ndim; ++d) {
    if (shape[d] == 0) bytes = 0;
    if (bytes) bytes += (shape[d] - 1) * view.strides[d];
  }
  void* data = view.buf;
  auto storage = Storage::wrap(data, bytes, owner.release(), BufferOwner::release);
  return Tensor::view(std::move(storage), shape, strides, 0, dtype);
}

namespace {

// What a view of a tensor's memory needs until it is released; the tensor may get other memory
// meanwhile (`x.data = y`).
struct BufferLoan {
  Ref<Storage> storage;
  std::unique_ptr<Py_ssize_t[]> layout;  // shape and strides

  BufferLoan(Ref<Storage> memory, int numbers)
      : storage(std::move(memory)), layout(new Py_ssize_t[numbers]) {
    storage->begin_loan();
  }
  ~BufferLoan() { storage->end_loan(); }
};

}  // namespace

int get_buffer(PyObject* self, Py_buffer* view, int flags) {
  return guarded([&]() -> int {
    view->obj = nullptr;
    Tensor& x = *reinterpret_cast<TensorObject*>(self)->tensor;
    if (mode.tracing) recorder.untraceable("the memory of a tensor (numpy() and the like)");
    const char* format = format_of(x.dtype());
    if (!format) fail(ErrorKind::Type, "numpy: Got unsupported ScalarType BFloat16; use .float()");
    require(!x.requires_grad(),
            "numpy: Can't call numpy() on Tensor that requires grad. Use "
            "tensor.detach().numpy() instead.");
    if (!x.device().is_cpu()) {
      fail(ErrorKind::Type, "numpy: can't convert ", device_name(x.device()),
           " device type tensor to numpy. Use Tensor.cpu() to copy the tensor to host memory "
           "first.");
    }
    bool strided = (flags & PyBUF_STRIDES) == PyBUF_STRIDES;
    require(strided || x.contiguous(), "buffer: the tensor is not contiguous; use .contiguous()");
    int dims = static_cast<int>(x.dim());
    auto loan = std::make_unique<BufferLoan>(x.storage(), 2 * dims);
    Py_ssize_t* layout = loan->layout.get();
    for (int d = 0; d < dims; ++d) {
      layout[d] = x.size(d);
      layout[dims + d] = x.stride(d) * item_size(x.dtype());
    }
    view->buf = x.data();
    view->obj = Py_NewRef(self);
    view->len = x.numel() * item_size(x.dtype());
    view->itemsize = item_size(x.dtype());
    view->readonly = 0;
    view->ndim = dims;
    view->format = (flags & PyBUF_FORMAT) ? const_cast<char*>(format) : nullptr;
    view->shape = (flags & PyBUF_ND) ? layout : nullptr;
    view->strides = strided ? layout + dims : nullptr;
    view->suboffsets = nullptr;
    view->internal = loan.release();
    return 0;
  });
}

void release_buffer(PyObject*, Py_buffer* view) { delete static_cast<BufferLoan*>(view->internal); }

namespace {

// --- nested sequences -------------------------------------------------------------------------

bool is_sequence(PyObject* object) {
  return PyList_Check(object) || PyTuple_Check(object) ||
         (PySequence_Check(object) && !PyUnicode_Check(object) && !PyBytes_Check(object) &&
          !is_tensor(object) && !is_array(object) && PyObject_HasAttrString(object, "__len__"));
}

struct Nested {
  Dims shape;
  DType dtype = DType::Bool;
  bool floating = false;
  bool any = false;

  void see(DType element) {
    dtype = any ? promote_types(dtype, element) : element;
    any = true;
  }
  void scan(PyObject* object, int64_t depth) {
    if (depth > 64) fail(ErrorKind::Value, "tensor: too many dimensions");
    if (is_tensor(object)) {
      Tensor& x = *reinterpret_cast<TensorObject*>(object)->tensor;
      if (x.numel() != 1 || x.dim() != 0) {
        if (x.numel() != 1) {
          fail(ErrorKind::Value, "tensor: only one element tensors can be converted to Python ",
               "scalars, got shape ", x.shape(), "; use torch.stack on a list of tensors");
        }
      }
      check(depth, {});
      see(x.dtype());
      return;
    }
    Scalar scalar;
    if (is_array(object) && PyObject_HasAttrString(object, "__len__")) {
      TensorRef array = tensor_from_buffer(object, false);
      if (array->dim() > 0) {
        check(depth, array->shape());
        see(array->dtype());
        return;
      }
    }
    if (as_scalar(object, scalar)) {
      check(depth, {});
      see(is_array(object) && !PyFloat_Check(object) ? tensor_from_buffer(object, false)->dtype()
                                                     : scalar.dtype());
      return;
    }
    if (!is_sequence(object)) {
      fail(ErrorKind::Type, "tensor: expected numbers or sequences of numbers, got ",
           Py_TYPE(object)->tp_name);
    }
    Owned fast = Owned::check(PySequence_Fast(object, "tensor: expected a sequence"));
    Py_ssize_t count = PySequence_Fast_GET_SIZE(fast.get());
    if (depth == shape.size()) {
      if (complete_) fail_depth(depth);
      shape.push_back(count);
    } else if (depth > shape.size() || shape[depth] != count) {
      fail(ErrorKind::Value, "tensor: expected sequence of length ",
           depth < shape.size() ? shape[depth] : 0, " at dim ", depth, " (got ", count, ")");
    }
    if (count == 0) complete_ = true;
    for (Py_ssize_t i = 0; i < count; ++i) {
      scan(PySequence_Fast_GET_ITEM(fast.get(), i), depth + 1);
    }
  }

 private:
  // A leaf at `depth` with dimensions of its own ends the shape; all leaves must agree.
  void check(int64_t depth, const Dims& tail) {
    if (!complete_ && depth == shape.size()) {
      for (int64_t length : tail) shape.push_back(length);
      complete_ = true;
      return;
    }
    Dims expected(shape.begin() + std::min(depth, shape.size()), shape.end());
    if (!(expected == tail)) fail_depth(depth);
  }
  [[noreturn]] void fail_depth(int64_t depth) {
    fail(ErrorKind::Value, "tensor: the data is ragged: elements at depth ", depth,
         " have different shapes; all rows must have equal lengths");
  }
  bool complete_ = false;
};

template <class T>
void fill_nested(PyObject* object, T*& out) {
  Scalar scalar;
  if (PyFloat_CheckExact(object)) {
    *out++ = convert<T>(PyFloat_AS_DOUBLE(object));
  } else if (PyLong_Check(object)) {
    as_scalar(object, scalar);
    *out++ = scalar.to<T>();
  } else if (is_tensor(object)) {
    Owned number(item(*reinterpret_cast<TensorObject*>(object)->tensor));
    as_scalar(number.get(), scalar);
    *out++ = scalar.to<T>();
  } else if (is_array(object)) {
    TensorRef array = tensor_from_buffer(object, false);
    auto target = Tensor::empty(array->shape(), DTypeOf<T>::value);
    copy(*target, *array);
    std::copy_n(target->template data<T>(), array->numel(), out);
    out += array->numel();
  } else if (as_scalar(object, scalar)) {
    *out++ = scalar.to<T>();
  } else {
    Owned fast = Owned::check(PySequence_Fast(object, "tensor: expected a sequence"));
    Py_ssize_t count = PySequence_Fast_GET_SIZE(fast.get());
    for (Py_ssize_t i = 0; i < count; ++i) {
      fill_nested(PySequence_Fast_GET_ITEM(fast.get(), i), out);
    }
  }
}

}  // namespace

TensorRef tensor_from_data(PyObject* data, std::optional<DType> dtype) {
  if (is_tensor(data)) {
    Tensor& x = *reinterpret_cast<TensorObject*>(data)->tensor;
    return dense_copy(x, dtype.value_or(x.dtype()));
  }
  bool buffer = is_array(data) || PyMemoryView_Check(data) ||
                std::strcmp(Py_TYPE(data)->tp_name, "array.array") == 0;
  if (buffer) {
    TensorRef array = tensor_from_buffer(data, false);
    return dense_copy(*array, dtype.value_or(array->dtype()));
  }
  Nested nested;
  nested.scan(data, 0);
  DType chosen = dtype.value_or(nested.any ? nested.dtype : default_dtype());
  auto result = Tensor::empty(nested.shape, chosen);
  if (result->numel() == 0) return result;
  visit_dtype(chosen, [&]<class T>() {
    T* out = result->data<T>();
    fill_nested(data, out);
  });
  return result;
}

namespace {

PyObject* to_list(const Tensor& x, int64_t d, int64_t offset) {
  if (d == x.dim()) {
    auto element = Tensor::view(x.storage(), {}, {}, offset, x.dtype());
    return item(*element);
  }
  Owned list = Owned::check(PyList_New(x.size(d)));
  for (int64_t i = 0; i < x.size(d); ++i) {
    PyList_SET_ITEM(list.get(), i, to_list(x, d + 1, offset + i * x.stride(d)));
  }
  return list.release();
}

template <class Function>
nb::object checked(Function function) {
  PyObject* result = guarded([&]() -> PyObject* { return function(); });
  if (!result) throw nb::python_error();
  return nb::steal(result);
}

// The memory of tensors as an object of its own, readable and writable as bytes.
struct StorageObject {
  Ref<Storage> storage;
};

int storage_get_buffer(PyObject* self, Py_buffer* view, int flags) {
  Storage& storage = *nb::inst_ptr<StorageObject>(nb::handle(self))->storage;
  if (mode.tracing) recorder.untraceable("the memory of a tensor");
  if (!storage.device().is_cpu()) {
    PyErr_SetString(PyExc_BufferError, "storage: its memory is on a GPU; use tensor.cpu() first");
    return -1;
  }
  const int result = PyBuffer_FillInfo(view, self, storage.data(),
                                       static_cast<Py_ssize_t>(storage.bytes()), 0, flags);
  if (result == 0) storage.begin_loan();
  return result;
}

void storage_release_buffer(PyObject* self, Py_buffer*) {
  nb::inst_ptr<StorageObject>(nb::handle(self))->storage->end_loan();
}

void bind_storage(nb::module_& module) {
  static PyType_Slot slots[] = {
      {Py_bf_getbuffer, reinterpret_cast<void*>(storage_get_buffer)},
      {Py_bf_releasebuffer, reinterpret_cast<void*>(storage_release_buffer)},
      {0, nullptr}};
  nb::class_<StorageObject>(module, "UntypedStorage", nb::type_slots(slots))
      .def("nbytes", [](StorageObject& self) { return self.storage->bytes(); })
      .def("size", [](StorageObject& self) { return self.storage->bytes(); })
      .def("__len__", [](StorageObject& self) { return self.storage->bytes(); })
      .def("data_ptr",
           [](StorageObject& self) { return reinterpret_cast<intptr_t>(self.storage->data()); })
      .def("__eq__",
           [](StorageObject& self, nb::handle other) {
             return nb::isinstance<StorageObject>(other) &&
                    nb::cast<StorageObject&>(other).storage == self.storage;
           })
      .def("__hash__",
           [](StorageObject& self) { return reinterpret_cast<intptr_t>(self.storage.get()) >> 6; })
      .def_prop_ro("device", [](StorageObject& self) {
        return nb::steal(wrap_device(self.storage->device()));
      });
  module.def("untyped_storage", [](nb::handle self) {
    return nb::cast(StorageObject{unwrap(self.ptr())->storage()});
  });
}

std::optional<DType> optional_dtype(nb::handle object) {
  if (object.is_none()) return std::nullopt;
  DType dtype;
  if (!as_dtype(object.ptr(), dtype)) {
    fail(ErrorKind::Type, "dtype: expected a torch.dtype, got ", Py_TYPE(object.ptr())->tp_name);
  }
  return dtype;
}

MemoryFormat memory_format_or_preserve(nb::handle object) {
  MemoryFormat format = MemoryFormat::Preserve;
  if (!object.is_none() && !as_memory_format(object.ptr(), format)) {
    fail(ErrorKind::Type, "memory_format: expected a torch.memory_format, got ",
         Py_TYPE(object.ptr())->tp_name, "; pass torch.channels_last or the like");
  }
  return format;
}

void require_tensor(nb::handle object, const char* op) {
  if (!is_tensor(object.ptr())) {
    fail(ErrorKind::Type, op, ": expected a Tensor, got ", Py_TYPE(object.ptr())->tp_name);
  }
}

}  // namespace

void bind_data(nb::module_& module) {
  module.def(
      "tensor_from_data",
      [](nb::handle data, nb::handle dtype) {
        return checked([&] { return wrap(tensor_from_data(data.ptr(), optional_dtype(dtype))); });
      },
      nb::arg().none(), nb::arg().none());
  module.def("tensor_from_buffer", [](nb::handle object) {
    return checked([&] { return wrap(tensor_from_buffer(object.ptr(), true)); });
  });
  module.def("tolist", [](nb::handle self) {
    return checked([&] {
      require_tensor(self, "tolist");
      TensorRef x = unwrap(self.ptr());
      if (mode.tracing) recorder.untraceable("the values of a tensor (tolist(), print)");
      if (!x->device().is_cpu()) x = awaited(*x);
      return to_list(*x, 0, x->offset());
    });
  });
  bind_storage(module);
  module.def("view_dtype", [](nb::handle self, nb::handle dtype) {
    return checked([&] {
      require_tensor(self, "view");
      return wrap(view_dtype(unwrap(self.ptr()), optional_dtype(dtype).value()));
    });
  });
  module.def("is_array", [](nb::handle object) { return is_array(object.ptr()); });
  module.def(
      "to_dtype",
      [](nb::handle self, nb::handle dtype, nb::handle format) {
        return checked([&] {
          require_tensor(self, "to");
          const TensorRef x = unwrap(self.ptr());
          const MemoryFormat wanted = memory_format_or_preserve(format);
          TensorRef result = to_dtype(x, optional_dtype(dtype).value(), wanted);
          return wrap(result == x ? to_format(x, wanted) : std::move(result));
        });
      },
      nb::arg(), nb::arg(), nb::arg().none() = nb::none());
}

}  // namespace flambeau::python
