// The Tensor type: a raw heap type, because creating and destroying it is the hot path.
//
// Note [Cost of a Tensor object]: exact Tensors come from a free list and are not tracked by the
// garbage collector until somebody gives them attributes or hooks; subclasses take Python's
// ordinary path.
#include "ops/pointwise.h"
#include "ops/views.h"
#include "python/operator_type.h"
#include "python/tracked_size.h"

namespace nb = nanobind;

namespace flambeau::python {

PyTypeObject* tensor_type = nullptr;

namespace {

constexpr int kFreeObjects = 128;
TensorObject* free_objects[kFreeObjects];
int free_count = 0;

TensorObject* as_object(PyObject* object) { return reinterpret_cast<TensorObject*>(object); }

void attach(TensorObject* object, TensorRef tensor) {
  tensor->set_python(object);
  object->tensor = tensor.leak();
  object->dict = nullptr;
  object->weak_references = nullptr;
}

void dealloc(PyObject* self) {
  TensorObject* object = as_object(self);
  PyTypeObject* type = Py_TYPE(self);
  PyObject_GC_UnTrack(self);
  if (object->weak_references) PyObject_ClearWeakRefs(self);
  Py_CLEAR(object->dict);
  if (object->tensor) {
    object->tensor->set_python(nullptr);
    TensorRef::adopt(std::exchange(object->tensor, nullptr)).reset();
  }
  if (type == tensor_type && free_count < kFreeObjects) {
    free_objects[free_count++] = object;
    return;
  }
  type->tp_free(self);
  Py_DECREF(type);
}

// Python hooks are the only way from a tensor back to Python objects.
int traverse(PyObject* self, visitproc visit, void* arg) {
  TensorObject* object = as_object(self);
  Py_VISIT(Py_TYPE(self));
  Py_VISIT(object->dict);
  if (object->tensor && object->tensor->use_count() == 1) {
    return visit_hooks(*object->tensor, visit, arg);
  }
  return 0;
}

int clear(PyObject* self) {
  TensorObject* object = as_object(self);
  Py_CLEAR(object->dict);
  if (object->tensor && object->tensor->use_count() == 1 && object->tensor->autograd()) {
    object->tensor->autograd()->hooks.reset();
  }
  return 0;
}

// Tensor(data), Tensor(2, 3): the historical constructor, always of the default dtype.
PyObject* construct(PyTypeObject* type, PyObject* args, PyObject* kwargs) {
  return guarded([&]() -> PyObject* {
    Py_ssize_t count = PyTuple_GET_SIZE(args);
    PyObject* first = count > 0 ? PyTuple_GET_ITEM(args, 0) : nullptr;
    Dims shape;
    TensorRef tensor;
    if (count == 0) {
      tensor = Tensor::empty({0}, default_dtype());
    } else if (count == 1 && is_tensor(first)) {
      tensor = detach(*unwrap(first));
    } else if ((PyLong_Check(first) || is_tracked(first)) && as_dims(args, shape)) {
      tensor = Tensor::empty(shape, default_dtype());
    } else if (count == 1 && Py_TYPE(first) == reinterpret_cast<PyTypeObject*>(size_type)) {
      as_dims(first, shape);
      tensor = Tensor::empty(shape, default_dtype());
    } else if (count == 1 && !PyFloat_Check(first)) {
      tensor = tensor_from_data(first, default_dtype());
    } else {
      fail(ErrorKind::Type, "Tensor: expected sizes or data, got ", Py_TYPE(first)->tp_name,
           "; use torch.tensor(data) to make a tensor from values");
    }
    return wrap_as(type, std::move(tensor));
  });
}

// --- number slots ---------------------------------------------------------------------------

template <Instruction instruction>
PyObject* hot_binary(PyObject* a, PyObject* b) {
  static const Pointwise& op = pointwise_of(instruction);
  bool left = is_tensor(a), right = is_tensor(b);
  return guarded([&]() -> PyObject* {
    if (left && right) {
      TensorRef result, x = unwrap(a), y = unwrap(b);
      {
        LongWork work(std::max(x->numel(), y->numel()));
        result = binary(op, x, y);
      }
      return wrap(std::move(result));
    }
    Scalar number;
    PyObject* other = left ? b : a;
    if (as_scalar(other, number, SizeOp::Number)) {
      return wrap(left ? binary(op, unwrap(a), number) : binary(op, number, unwrap(b)));
    }
    if (!is_array(other)) return Py_NewRef(Py_NotImplemented);
    TensorRef array = tensor_from_buffer(other, false);
    return wrap(left ? binary(op, unwrap(a), array) : binary(op, array, unwrap(b)));
  });
}

template <Instruction instruction>
PyObject* hot_in_place(PyObject* self, PyObject* other) {
  static const Pointwise& op = pointwise_of(instruction);
  return guarded([&]() -> PyObject* {
    Operand operands[2] = {unwrap(self), Scalar()};
    if (is_tensor(other)) {
      operands[1].tensor = unwrap(other);
    } else if (!as_scalar(other, operands[1].scalar, SizeOp::Number)) {
      if (!is_array(other)) return Py_NewRef(Py_NotImplemented);
      operands[1].tensor = tensor_from_buffer(other, false);
    }
    pointwise_in_place(op, operands);
    return Py_NewRef(self);
  });
}

PyObject* named_call(const char* name, PyObject* a, PyObject* b) {
  return guarded([&]() -> PyObject* {
    PyObject* arguments[2] = {a, b};
    return PyObject_Vectorcall(operator_named(name), arguments, b ? 2 : 1, nullptr);
  });
}

bool is_operand(PyObject* object) {
  return is_tensor(object) || PyFloat_Check(object) || PyLong_Check(object) || is_tracked(object) ||
         is_array(object);
}

// NumPy arrays become tensors; anything else that is no number is somebody else's operand.
PyObject* named_binary(const char* name, PyObject* a, PyObject* b) {
  if (!is_operand(a) || !is_operand(b)) return Py_NewRef(Py_NotImplemented);
  return guarded([&]() -> PyObject* {
    auto convert = [](PyObject* object) {
      Scalar scalar;
      if (is_tensor(object) || as_scalar(object, scalar)) return Owned::share(object);
      return Owned(wrap(tensor_from_buffer(object, false)));
    };
    Owned x = convert(a), y = convert(b);
    return named_call(name, x.get(), y.get());
  });
}

#define BINARY_SLOT(slot, name) \
  PyObject* slot(PyObject* a, PyObject* b) { return named_binary(name, a, b); }
#define UNARY_SLOT(slot, name) \
  PyObject* slot(PyObject* a) { return named_call(name, a, nullptr); }
BINARY_SLOT(floor_divide_slot, "floor_divide")
BINARY_SLOT(remainder_slot, "remainder")
BINARY_SLOT(and_slot, "bitwise_and")
BINARY_SLOT(or_slot, "bitwise_or")
BINARY_SLOT(xor_slot, "bitwise_xor")
BINARY_SLOT(left_shift_slot, "bitwise_left_shift")
BINARY_SLOT(right_shift_slot, "bitwise_right_shift")
BINARY_SLOT(matmul_slot, "matmul")
UNARY_SLOT(negative_slot, "neg")
UNARY_SLOT(absolute_slot, "abs")
UNARY_SLOT(invert_slot, "bitwise_not")
PyObject* positive_slot(PyObject* a) { return Py_NewRef(a); }
PyObject* power_slot(PyObject* a, PyObject* b, PyObject*) { return named_binary("pow", a, b); }

PyObject* method_call(PyObject* self, const char* method, PyObject* other) {
  return PyObject_CallMethod(self, method, "(O)", other);
}
#define IN_PLACE_SLOT(slot, method) \
  PyObject* slot(PyObject* a, PyObject* b) { return method_call(a, method, b); }
IN_PLACE_SLOT(in_place_floor_divide, "floor_divide_")
IN_PLACE_SLOT(in_place_remainder, "remainder_")
IN_PLACE_SLOT(in_place_and, "bitwise_and_")
IN_PLACE_SLOT(in_place_or, "bitwise_or_")
IN_PLACE_SLOT(in_place_xor, "bitwise_xor_")
IN_PLACE_SLOT(in_place_left_shift, "bitwise_left_shift_")
IN_PLACE_SLOT(in_place_right_shift, "bitwise_right_shift_")
PyObject* in_place_power(PyObject* a, PyObject* b, PyObject*) { return method_call(a, "pow_", b); }

PyObject* compare(PyObject* a, PyObject* b, int relation) {
  static constexpr const char* kNames[] = {"lt", "le", "eq", "ne", "gt", "ge"};
  return named_binary(kNames[relation], a, b);
}

int truth(PyObject* self) {
  return guarded([&]() -> int {
    Tensor& tensor = *as_object(self)->tensor;
    require(tensor.numel() != 0, "bool: Boolean value of Tensor with no values is ambiguous");
    require(tensor.numel() == 1, "bool: Boolean value of Tensor with more than one value is ",
            "ambiguous (shape ", tensor.shape(), "); use .any() or .all()");
    Owned number(item(tensor));
    return PyObject_IsTrue(number.get());
  });
}

PyObject* as_python_number(PyObject* self, PyObject* (*convert)(PyObject*)) {
  return guarded([&]() -> PyObject* {
    Tensor& tensor = *as_object(self)->tensor;
    if (tensor.numel() != 1) {
      fail(ErrorKind::Type, "only one element tensors can be converted to Python scalars, got ",
           "shape ", tensor.shape());
    }
    Owned number(item(tensor));
    return convert(number.get());
  });
}
PyObject* int_slot(PyObject* self) { return as_python_number(self, PyNumber_Long); }
PyObject* float_slot(PyObject* self) { return as_python_number(self, PyNumber_Float); }
PyObject* index_slot(PyObject* self) {
  return guarded([&]() -> PyObject* {
    Tensor& tensor = *as_object(self)->tensor;
    if (tensor.numel() != 1 || is_floating(tensor.dtype())) {
      fail(ErrorKind::Type, "only integer tensors of a single element can be converted to an ",
           "index, got shape ", tensor.shape(), " and dtype torch.", dtype_name(tensor.dtype()));
    }
    Owned number(item(tensor));
    return PyNumber_Index(number.get());
  });
}

Py_ssize_t length(PyObject* self) {
  return guarded([&]() -> Py_ssize_t {
    Tensor& tensor = *as_object(self)->tensor;
    if (tensor.dim() == 0) fail(ErrorKind::Type, "len() of a 0-d tensor");
    return untracked(tensor.size(0));
  });
}

PyObject* iterate(PyObject* self) {
  return guarded([&]() -> PyObject* {
    if (as_object(self)->tensor->dim() == 0) {
      fail(ErrorKind::Type, "iteration over a 0-d tensor");
    }
    Owned parts = Owned::check(named_call("unbind", self, nullptr));
    return PyObject_GetIter(parts.get());
  });
}

// `x in tensor` compares values, unlike a walk over rows.
int contains(PyObject* self, PyObject* value) {
  Owned equal(named_binary("eq", self, value));
  if (!equal) return -1;
  if (equal.get() == Py_NotImplemented) return 0;
  Owned any(named_call("any", equal.get(), nullptr));
  return any ? PyObject_IsTrue(any.get()) : -1;
}

// By identity; objects are aligned, the low bits carry nothing.
Py_hash_t hash(PyObject* self) { return reinterpret_cast<Py_hash_t>(self) >> 4; }

// Attributes and weak references may close cycles: from now on the collector must see the object.
int set_attribute(PyObject* self, PyObject* name, PyObject* value) {
  int result = PyObject_GenericSetAttr(self, name, value);
  if (result == 0 && as_object(self)->dict) track(self);
  return result;
}

PyMemberDef members[] = {
    {"__dictoffset__", T_PYSSIZET, offsetof(TensorObject, dict), READONLY, nullptr},
    {"__weaklistoffset__", T_PYSSIZET, offsetof(TensorObject, weak_references), READONLY, nullptr},
    {nullptr, 0, 0, 0, nullptr}};

#define SLOT(id, function) {id, reinterpret_cast<void*>(function)}
PyType_Slot slots[] = {SLOT(Py_tp_dealloc, dealloc),
                       SLOT(Py_tp_traverse, traverse),
                       SLOT(Py_tp_clear, clear),
                       SLOT(Py_tp_new, construct),
                       SLOT(Py_tp_hash, hash),
                       SLOT(Py_tp_iter, iterate),
                       SLOT(Py_tp_richcompare, compare),
                       SLOT(Py_tp_setattro, set_attribute),
                       SLOT(Py_tp_getset, tensor_properties),
                       SLOT(Py_tp_methods, tensor_methods),
                       SLOT(Py_tp_members, members),
                       SLOT(Py_nb_add, hot_binary<Instruction::add>),
                       SLOT(Py_nb_subtract, hot_binary<Instruction::sub>),
                       SLOT(Py_nb_multiply, hot_binary<Instruction::mul>),
                       SLOT(Py_nb_true_divide, hot_binary<Instruction::div>),
                       SLOT(Py_nb_inplace_add, hot_in_place<Instruction::add>),
                       SLOT(Py_nb_inplace_subtract, hot_in_place<Instruction::sub>),
                       SLOT(Py_nb_inplace_multiply, hot_in_place<Instruction::mul>),
                       SLOT(Py_nb_inplace_true_divide, hot_in_place<Instruction::div>),
                       SLOT(Py_nb_floor_divide, floor_divide_slot),
                       SLOT(Py_nb_remainder, remainder_slot),
                       SLOT(Py_nb_power, power_slot),
                       SLOT(Py_nb_and, and_slot),
                       SLOT(Py_nb_or, or_slot),
                       SLOT(Py_nb_xor, xor_slot),
                       SLOT(Py_nb_lshift, left_shift_slot),
                       SLOT(Py_nb_rshift, right_shift_slot),
                       SLOT(Py_nb_matrix_multiply, matmul_slot),
                       SLOT(Py_nb_negative, negative_slot),
                       SLOT(Py_nb_positive, positive_slot),
                       SLOT(Py_nb_absolute, absolute_slot),
                       SLOT(Py_nb_invert, invert_slot),
                       SLOT(Py_nb_inplace_floor_divide, in_place_floor_divide),
                       SLOT(Py_nb_inplace_remainder, in_place_remainder),
                       SLOT(Py_nb_inplace_power, in_place_power),
                       SLOT(Py_nb_inplace_and, in_place_and),
                       SLOT(Py_nb_inplace_or, in_place_or),
                       SLOT(Py_nb_inplace_xor, in_place_xor),
                       SLOT(Py_nb_inplace_lshift, in_place_left_shift),
                       SLOT(Py_nb_inplace_rshift, in_place_right_shift),
                       SLOT(Py_nb_bool, truth),
                       SLOT(Py_nb_int, int_slot),
                       SLOT(Py_nb_float, float_slot),
                       SLOT(Py_nb_index, index_slot),
                       SLOT(Py_mp_length, length),
                       SLOT(Py_mp_subscript, get_item),
                       SLOT(Py_mp_ass_subscript, set_item),
                       SLOT(Py_sq_contains, contains),
                       SLOT(Py_bf_getbuffer, get_buffer),
                       SLOT(Py_bf_releasebuffer, release_buffer),
                       {0, nullptr}};

}  // namespace

void track(PyObject* self) {
  if (!PyObject_GC_IsTracked(self)) PyObject_GC_Track(self);
}

PyObject* wrap(TensorRef tensor) {
  if (!tensor) return Py_NewRef(Py_None);
  if (void* existing = tensor->python()) return Py_NewRef(static_cast<PyObject*>(existing));
  TensorObject* object;
  if (free_count > 0) {
    object = free_objects[--free_count];
    Py_SET_REFCNT(reinterpret_cast<PyObject*>(object), 1);
  } else {
    object = PyObject_GC_New(TensorObject, tensor_type);
    if (!object) throw PythonError();
  }
  attach(object, std::move(tensor));
  if (mode.tracing) note_visible(object->tensor);
  return reinterpret_cast<PyObject*>(object);
}

PyObject* wrap_as(PyTypeObject* type, TensorRef tensor) {
  if (type == tensor_type) return wrap(std::move(tensor));
  if (tensor->python()) tensor = detach(*tensor);
  PyObject* object = type->tp_alloc(type, 0);
  if (!object) throw PythonError();
  attach(as_object(object), std::move(tensor));
  if (mode.tracing) note_visible(as_object(object)->tensor);
  return object;
}

void bind_tensor_type(nb::module_& module) {
  static PyType_Spec spec{"flambeau.Tensor", sizeof(TensorObject), 0,
                          Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC, slots};
  tensor_type = reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&spec));
  if (!tensor_type) throw nb::python_error();
  module.attr("Tensor") = nb::borrow(reinterpret_cast<PyObject*>(tensor_type));
  // NumPy leaves `array + tensor` to us.
  nb::object priority = nb::int_(1000);
  PyObject_SetAttrString(reinterpret_cast<PyObject*>(tensor_type), "__array_priority__",
                         priority.ptr());
}

}  // namespace flambeau::python
