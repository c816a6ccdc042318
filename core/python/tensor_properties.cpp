// Attributes of Tensor, and the methods that are too small or too hot to be operators.
#include "ops/views.h"
#include "python/tracked_size.h"
#include "tensor/copy.h"

namespace flambeau::python {

PyObject* wrap_grad_fn(const TensorRef& tensor);
PyObject* tensor_backward(PyObject* self, PyObject* const* arguments, Py_ssize_t count,
                          PyObject* names);

namespace {

Tensor& tensor_of(PyObject* self) { return *reinterpret_cast<TensorObject*>(self)->tensor; }

#define GETTER(name, expression)                    \
  PyObject* name(PyObject* self, void*) {           \
    return guarded([&]() -> PyObject* {             \
      [[maybe_unused]] Tensor& x = tensor_of(self); \
      return expression;                            \
    });                                             \
  }

TensorRef reversed(const TensorRef& x) {
  Dims order;
  for (int64_t d = x->dim() - 1; d >= 0; --d) order.push_back(d);
  return permute(x, order);
}
TensorRef matrix_transposed(const TensorRef& x) {
  require(x->dim() >= 2, "mT: tensor.mT is only supported on matrices or batches of matrices. Got ",
          x->dim(), "-D tensor");
  return transpose_last(x);
}
// An alias that in-place writes to do not invalidate the graph through.
TensorRef data_alias(const Tensor& x) {
  return Tensor::view(Storage::alias(x.storage()), x.shape(), x.strides(), x.offset(), x.dtype());
}

GETTER(get_shape, wrap_shape(x.shape()))
GETTER(get_dtype, wrap_dtype(x.dtype()))
GETTER(get_device, wrap_device(x.device()))
GETTER(get_ndim, PyLong_FromLongLong(x.dim()))
GETTER(get_requires_grad, PyBool_FromLong(x.requires_grad()))
GETTER(get_is_leaf, PyBool_FromLong(is_leaf(unwrap(self))))
GETTER(get_grad, (mode.tracing ? recorder.note_gradient(x, true) : void(),
                  x.autograd() ? wrap(x.autograd()->grad) : Py_NewRef(Py_None)))
GETTER(get_grad_fn, wrap_grad_fn(unwrap(self)))
GETTER(get_data, wrap(data_alias(x)))
GETTER(get_T, wrap(x.dim() == 2 ? transpose(unwrap(self), 0, 1) : reversed(unwrap(self))))
GETTER(get_mT, wrap(matrix_transposed(unwrap(self))))
GETTER(get_version, PyLong_FromUnsignedLong(x.version()))
GETTER(get_base, x.autograd() ? wrap(x.autograd()->base) : Py_NewRef(Py_None))
GETTER(get_output_number, PyLong_FromLong(x.history_output()))
GETTER(get_retains_grad, PyBool_FromLong(x.autograd() && x.autograd()->retains_grad))
GETTER(get_itemsize, PyLong_FromLong(item_size(x.dtype())))
GETTER(get_nbytes, PyLong_FromLongLong(untracked(x.numel()) * item_size(x.dtype())))
GETTER(get_is_cuda, PyBool_FromLong(!x.device().is_cpu()))
GETTER(get_is_cpu, PyBool_FromLong(x.device().is_cpu()))
GETTER(get_false, Py_NewRef(Py_False))

int set_requires_grad(PyObject* self, PyObject* value, void*) {
  return guarded([&]() -> int {
    if (!value || !PyBool_Check(value)) {
      fail(ErrorKind::Type, "requires_grad: must be a bool, got ",
           value ? Py_TYPE(value)->tp_name : "del");
    }
    TensorRef x = unwrap(self);
    bool wanted = value == Py_True;
    require(is_leaf(x) || wanted,
            "requires_grad: you can only change requires_grad flags of leaf "
            "variables; use detach() to get a tensor that does not require grad");
    require(!wanted || is_floating(x->dtype()),
            "requires_grad: only Tensors of floating point dtype can require gradients, got torch.",
            dtype_name(x->dtype()));
    require(
        !wanted || !x->inference() || mode.inference,
        "requires_grad: Setting requires_grad=True on inference tensor outside InferenceMode is "
        "not allowed; clone() it first");
    if (is_leaf(x)) x->set_requires_grad_flag(wanted);
    return 0;
  });
}

int set_grad(PyObject* self, PyObject* value, void*) {
  return guarded([&]() -> int {
    Tensor& x = tensor_of(self);
    if (mode.tracing) recorder.note_gradient(x, false);
    if (!value || value == Py_None) {
      if (x.autograd()) x.autograd()->grad = nullptr;
      return 0;
    }
    if (!is_tensor(value)) {
      fail(ErrorKind::Type, "grad: expected a Tensor or None, got ", Py_TYPE(value)->tp_name);
    }
    TensorRef grad = unwrap(value);
    require(grad.get() != &x, "grad: can't assign Variable as its own grad");
    require(grad->shape() == x.shape(), "grad: assigned grad has data of a different size, got ",
            grad->shape(), ", expected ", x.shape());
    require(grad->dtype() == x.dtype(), "grad: assigned grad has data of a different type, got ",
            "torch.", dtype_name(grad->dtype()), ", expected torch.", dtype_name(x.dtype()));
    autograd_meta(x).grad = grad;
    return 0;
  });
}

int set_data(PyObject* self, PyObject* value, void*) {
  return guarded([&]() -> int {
    if (!value || !is_tensor(value)) {
      fail(ErrorKind::Type, "data: expected a Tensor, got ",
           value ? Py_TYPE(value)->tp_name : "del");
    }
    Tensor &x = tensor_of(self), &source = tensor_of(value);
    x.rebind(source.storage(), source.shape(), source.strides(), source.offset(), source.dtype());
    return 0;
  });
}

PyObject* method_size(PyObject* self, PyObject* const* arguments, Py_ssize_t count,
                      PyObject* names) {
  return guarded([&]() -> PyObject* {
    Tensor& x = tensor_of(self);
    Py_ssize_t total = count + (names ? PyTuple_GET_SIZE(names) : 0);
    if (total == 0 || arguments[0] == Py_None) return wrap_shape(x.shape());
    int64_t dim;
    if (total > 1 || !as_int(arguments[0], dim)) {
      fail(ErrorKind::Type, "size(): expected a dimension (int)");
    }
    if (x.dim() == 0) {
      fail(ErrorKind::Index, "size: Dimension specified as ", dim, " but tensor has no dimensions");
    }
    return wrap_length(x.size(wrap_dimension(dim, x.dim(), "size")));
  });
}

PyObject* method_stride(PyObject* self, PyObject* const* arguments, Py_ssize_t count) {
  return guarded([&]() -> PyObject* {
    Tensor& x = tensor_of(self);
    for (int64_t stride : x.strides()) untracked(stride);
    if (count == 0) return wrap_ints(x.strides());
    int64_t dim;
    if (!as_int(arguments[0], dim)) fail(ErrorKind::Type, "stride(): expected a dimension (int)");
    return PyLong_FromLongLong(x.stride(wrap_dimension(dim, x.dim(), "stride")));
  });
}

#define METHOD(name, expression)                    \
  PyObject* name(PyObject* self, PyObject*) {       \
    return guarded([&]() -> PyObject* {             \
      [[maybe_unused]] Tensor& x = tensor_of(self); \
      return expression;                            \
    });                                             \
  }

// A tensor and its detached alias share one version counter, so that writes are noticed.
METHOD(method_detach, wrap(detach(x)))
METHOD(method_item, item(x))
METHOD(method_dim, PyLong_FromLongLong(x.dim()))
METHOD(method_numel, wrap_numel(x))
METHOD(method_element_size, PyLong_FromLong(item_size(x.dtype())))
METHOD(method_offset, PyLong_FromLongLong(untracked(x.offset())))
METHOD(method_data_ptr, (mode.tracing ? recorder.untraceable("data_ptr()") : void(),
                         PyLong_FromVoidPtr(x.numel() ? x.data() : nullptr)))
METHOD(method_is_floating_point, PyBool_FromLong(is_floating(x.dtype())))
METHOD(method_is_signed, PyBool_FromLong(x.dtype() > DType::UInt8))
METHOD(method_false, Py_NewRef(Py_False))

PyObject* method_is_contiguous(PyObject* self, PyObject* const* arguments, Py_ssize_t count,
                               PyObject* names) {
  return guarded([&]() -> PyObject* {
    const Py_ssize_t named = names ? PyTuple_GET_SIZE(names) : 0;
    MemoryFormat format = MemoryFormat::Contiguous;
    if (count + named == 0) return PyBool_FromLong(tensor_of(self).contiguous());
    const bool known =
        count == 0 && named == 1 &&
        PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(names, 0), "memory_format") == 0;
    if (!known || !as_memory_format(arguments[0], format)) {
      fail(ErrorKind::Type, "is_contiguous(): takes memory_format=torch.memory_format only, got ",
           Py_TYPE(arguments[0])->tp_name, "; pass memory_format=torch.channels_last or the like");
    }
    return PyBool_FromLong(lies_as(tensor_of(self), format));
  });
}

PyObject* method_requires_grad(PyObject* self, PyObject* const* arguments, Py_ssize_t count,
                               PyObject* names) {
  PyObject* value = count || names ? arguments[0] : Py_True;
  return set_requires_grad(self, value, nullptr) < 0 ? nullptr : Py_NewRef(self);
}

PyObject* method_retain_grad(PyObject* self, PyObject*) {
  return guarded([&]() -> PyObject* {
    TensorRef x = unwrap(self);
    require(x->requires_grad(),
            "retain_grad: can't retain_grad on Tensor that has "
            "requires_grad=False");
    if (Ref<Node> node = grad_fn(x)) {
      autograd_meta(*x).retains_grad = true;
      node->retain_gradient(x->history_output(), x.get());
    }
    return Py_NewRef(Py_None);
  });
}

PyObject* method_detach_in_place(PyObject* self, PyObject*) {
  return guarded([&]() -> PyObject* {
    Tensor& x = tensor_of(self);
    AutogradMeta* meta = x.autograd();
    require(!meta || !meta->base, "detach_: Can't detach views in-place. Use detach() instead");
    if (meta && meta->retains_grad) {
      if (x.history()) x.history()->retain_gradient(x.history_output(), nullptr);
      meta->retains_grad = false;
    }
    x.set_history(nullptr, 0);
    x.set_requires_grad_flag(false);
    return Py_NewRef(self);
  });
}

// Tensor._make_subclass(cls, data, requires_grad=False)
PyObject* make_subclass(PyObject*, PyObject* args, PyObject* kwargs) {
  static const char* names[] = {"cls", "data", "require_grad", nullptr};
  PyObject *type, *data;
  int requires_grad = 0;
  if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OO|p", const_cast<char**>(names), &type, &data,
                                   &requires_grad)) {
    return nullptr;
  }
  return guarded([&]() -> PyObject* {
    if (!is_tensor(data)) {
      fail(ErrorKind::Type, "_make_subclass: expected a Tensor, got ", Py_TYPE(data)->tp_name);
    }
    TensorRef alias = detach(tensor_of(data));
    require(!requires_grad || is_floating(alias->dtype()),
            "Only Tensors of floating point dtype can require gradients, got torch.",
            dtype_name(alias->dtype()));
    alias->set_requires_grad_flag(requires_grad);
    return wrap_as(reinterpret_cast<PyTypeObject*>(type), std::move(alias));
  });
}

// set_(source): becomes a view of the same memory; resize_(shape).
PyObject* method_set(PyObject* self, PyObject* source) {
  return set_data(self, source, nullptr) < 0 ? nullptr : Py_NewRef(self);
}

PyObject* method_resize(PyObject* self, PyObject* args) {
  return guarded([&]() -> PyObject* {
    Tensor& x = tensor_of(self);
    Dims shape;
    bool nested = PyTuple_GET_SIZE(args) == 1 && PyTuple_Check(PyTuple_GET_ITEM(args, 0));
    nested = nested || (PyTuple_GET_SIZE(args) == 1 && PyList_Check(PyTuple_GET_ITEM(args, 0)));
    if (!as_dims(nested ? PyTuple_GET_ITEM(args, 0) : args, shape)) {
      fail(ErrorKind::Type, "resize_: expected ints");
    }
    require(!x.requires_grad(), "resize_: cannot resize variables that require grad");
    x.storage()->grow((x.offset() + count_elements(shape)) * item_size(x.dtype()));
    x.rebind(x.storage(), shape, contiguous_strides(shape), x.offset(), x.dtype());
    x.storage()->bump_version();
    return Py_NewRef(self);
  });
}

}  // namespace

#define ATTRIBUTE(name, get, doc) {name, get, nullptr, doc, nullptr}
PyGetSetDef tensor_properties[] = {
    {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict, "The user's own attributes.",
     nullptr},
    ATTRIBUTE("shape", get_shape, "The lengths of the dimensions as a torch.Size."),
    ATTRIBUTE("dtype", get_dtype, "The type of the elements."),
    ATTRIBUTE("device", get_device, "Where the memory lives."),
    ATTRIBUTE("ndim", get_ndim, "The number of dimensions."),
    {"requires_grad", get_requires_grad, set_requires_grad,
     "Whether operations on the tensor are recorded for the backward pass.", nullptr},
    {"grad", get_grad, set_grad, "The gradient collected by backward(), or None.", nullptr},
    {"data", get_data, set_data, "The same memory without history and version counter.", nullptr},
    ATTRIBUTE("grad_fn", get_grad_fn, "The node that made the tensor; None for leaves."),
    ATTRIBUTE("is_leaf", get_is_leaf, "Whether backward() collects gradients here."),
    ATTRIBUTE("T", get_T, "The tensor with its dimensions reversed; a view."),
    ATTRIBUTE("mT", get_mT, "The tensor with its last two dimensions exchanged; a view."),
    ATTRIBUTE("H", get_mT, "The adjoint matrix (for real tensors the transposed one); a view."),
    ATTRIBUTE("_version", get_version, "How often the memory was written to in place."),
    ATTRIBUTE("_base", get_base, "The tensor that a view is a view of, or None."),
    ATTRIBUTE("output_nr", get_output_number, "Which output of grad_fn this is."),
    ATTRIBUTE("retains_grad", get_retains_grad, "Whether retain_grad() was called."),
    ATTRIBUTE("itemsize", get_itemsize, "Bytes per element."),
    ATTRIBUTE("nbytes", get_nbytes, "Bytes of all elements."),
    ATTRIBUTE("is_cuda", get_is_cuda, "Whether the memory is on a GPU."),
    ATTRIBUTE("is_cpu", get_is_cpu, "Whether the memory is the host's."),
    ATTRIBUTE("is_sparse", get_false, "Always False: tensors are dense."),
    ATTRIBUTE("is_quantized", get_false, "Always False."),
    ATTRIBUTE("is_meta", get_false, "Always False."),
    ATTRIBUTE("is_mkldnn", get_false, "Always False."),
    ATTRIBUTE("is_nested", get_false, "Always False."),
    {nullptr, nullptr, nullptr, nullptr, nullptr}};

#define FAST(function) reinterpret_cast<PyCFunction>(reinterpret_cast<void*>(function))
PyMethodDef tensor_methods[] = {
    {"size", FAST(method_size), METH_FASTCALL | METH_KEYWORDS,
     "size(dim=None): shape or a length."},
    {"stride", FAST(method_stride), METH_FASTCALL, "stride(dim=None): steps in elements."},
    {"detach", method_detach, METH_NOARGS, "The same memory without history."},
    {"detach_", method_detach_in_place, METH_NOARGS, "Forgets the history of this tensor."},
    {"item", method_item, METH_NOARGS, "The only element as a Python number."},
    {"dim", method_dim, METH_NOARGS, "The number of dimensions."},
    {"ndimension", method_dim, METH_NOARGS, "The number of dimensions."},
    {"numel", method_numel, METH_NOARGS, "The number of elements."},
    {"nelement", method_numel, METH_NOARGS, "The number of elements."},
    {"element_size", method_element_size, METH_NOARGS, "Bytes per element."},
    {"storage_offset", method_offset, METH_NOARGS, "Where in its storage the tensor begins."},
    {"data_ptr", method_data_ptr, METH_NOARGS, "The address of the first element."},
    {"is_floating_point", method_is_floating_point, METH_NOARGS, "Whether elements are floats."},
    {"is_complex", method_false, METH_NOARGS, "Always False."},
    {"is_signed", method_is_signed, METH_NOARGS, "Whether elements can be negative."},
    {"is_contiguous", FAST(method_is_contiguous), METH_FASTCALL | METH_KEYWORDS,
     "is_contiguous(memory_format=torch.contiguous_format): whether elements lie in that order "
     "without gaps."},
    {"requires_grad_", FAST(method_requires_grad), METH_FASTCALL | METH_KEYWORDS,
     "requires_grad_(requires_grad=True): sets the flag, returns the tensor."},
    {"retain_grad", method_retain_grad, METH_NOARGS, "Lets a non-leaf keep its .grad."},
    {"backward", FAST(tensor_backward), METH_FASTCALL | METH_KEYWORDS,
     "backward(gradient=None, retain_graph=None, create_graph=False, inputs=None)\n\n"
     "Adds the gradient of this tensor to the .grad of all leaves it depends on.\n\n"
     "Args:\n    gradient: Tensor of this shape; needed unless this tensor has one element.\n"
     "    retain_graph: keep what the graph saved, to run backward again.\n"
     "    create_graph: record the backward pass itself, for higher derivatives.\n"
     "    inputs: only these leaves collect.\n\n"
     "Raises:\n    RuntimeError: no gradient can be made, or the graph was used already."},
    {"set_", method_set, METH_O, "set_(source): becomes a view of source's memory."},
    {"resize_", method_resize, METH_VARARGS, "resize_(*shape): another shape; memory may grow."},
    {"_make_subclass", FAST(make_subclass), METH_VARARGS | METH_KEYWORDS | METH_STATIC,
     "_make_subclass(cls, data, requires_grad=False): data's memory as another type."},
    {nullptr, nullptr, 0, nullptr}};

}  // namespace flambeau::python
