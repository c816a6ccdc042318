// x[...] and x[...] = value: views for integers and slices, the index primitive for tensors.
#include "ops/indexing.h"

#include "ops/creation.h"
#include "ops/views.h"
#include "python/tracked_size.h"

namespace flambeau::python {

namespace {

TensorRef index_tensor(PyObject* object) {
  if (is_tensor(object)) return unwrap(object);
  if (PyList_Check(object) && PyList_GET_SIZE(object) == 0) {
    return Tensor::empty({0}, DType::Int64);
  }
  return tensor_from_data(object, std::nullopt);
}

// Whether an index consumes dimensions, and how many.
int64_t consumed(PyObject* object) {
  if (object == Py_None || object == Py_Ellipsis || PyBool_Check(object)) return 0;
  if (is_tensor(object)) {
    Tensor& x = *reinterpret_cast<TensorObject*>(object)->tensor;
    if (x.dtype() == DType::Bool || x.dtype() == DType::UInt8) return x.dim();
  } else if (is_array(object) || PyList_Check(object)) {
    TensorRef x = index_tensor(object);
    if (x->dtype() == DType::Bool) return x->dim();
  }
  return 1;
}

bool is_integer_tensor(PyObject* object) {
  if (!is_tensor(object)) return false;
  Tensor& x = *reinterpret_cast<TensorObject*>(object)->tensor;
  return x.dim() == 0 && !is_floating(x.dtype()) && x.dtype() != DType::Bool &&
         x.dtype() != DType::UInt8;
}

// The slice with its tracked sizes as lengths of what is recorded.
Owned untracked_slice(PyObject* object) {
  auto* given = reinterpret_cast<PySliceObject*>(object);
  PyObject* parts[3] = {given->start, given->stop, given->step};
  if (!is_tracked(parts[0]) && !is_tracked(parts[1]) && !is_tracked(parts[2])) {
    return Owned::share(object);
  }
  Owned plain[3];
  for (int i = 0; i < 3; ++i) {
    int64_t number = 0;
    bool whole = is_tracked(parts[i]) && as_int(parts[i], number, SizeOp::Length);
    plain[i] = whole ? Owned::check(PyLong_FromLongLong(number)) : Owned::share(parts[i]);
  }
  return Owned::check(PySlice_New(plain[0].get(), plain[1].get(), plain[2].get()));
}

TensorRef apply_slice(const TensorRef& x, int64_t dim, PyObject* object) {
  Py_ssize_t start, stop, step;
  Owned plain = untracked_slice(object);
  object = plain.get();
  if (PySlice_Unpack(object, &start, &stop, &step) < 0) throw PythonError();
  if (step <= 0) {
    fail(ErrorKind::Value, "index: step must be greater than zero, got ", step,
         "; use torch.flip to reverse a dimension");
  }
  if (start == 0 && stop == PY_SSIZE_T_MAX && step == 1) return x;
  return slice(x, dim, start, stop, step);
}

[[noreturn]] void fail_kind(PyObject* object) {
  fail(ErrorKind::Index, "index: only integers, slices (`:`), ellipsis (`...`), None and long or ",
       "byte Variables are valid indices (got ", Py_TYPE(object)->tp_name, ")");
}

// Applies integers, slices, None and ellipses as views; what remains are index tensors, one entry
// per dimension of the result (null: untouched).
TensorRef apply_basic(TensorRef x, PyObject* const* items, Py_ssize_t count, TensorList& rest) {
  int64_t used = 0;
  Py_ssize_t ellipses = 0;
  for (Py_ssize_t i = 0; i < count; ++i) {
    used += consumed(items[i]);
    ellipses += items[i] == Py_Ellipsis;
  }
  if (ellipses > 1) fail(ErrorKind::Index, "index: an index can only have a single ellipsis");
  if (used > x->dim()) {
    fail(ErrorKind::Index, "index: too many indices for tensor of dimension ", x->dim());
  }
  int64_t dim = 0, skip = x->dim() - used;
  auto put = [&](int64_t at, TensorRef index) {
    if (static_cast<int64_t>(rest.size()) <= at) rest.resize(at + 1);
    rest[at] = std::move(index);
  };
  for (Py_ssize_t i = 0; i < count; ++i) {
    PyObject* object = items[i];
    if (object == Py_Ellipsis) {
      dim += skip;
    } else if (object == Py_None) {
      x = unsqueeze(x, dim++);
    } else if (PyBool_Check(object)) {
      x = unsqueeze(x, dim);
      put(dim++, full({1}, Scalar(int64_t{0}), DType::Int64));
      if (object == Py_False) rest[dim - 1] = Tensor::empty({0}, DType::Int64);
    } else if (PySlice_Check(object)) {
      x = apply_slice(x, dim++, object);
    } else if (is_integer_tensor(object)) {
      int64_t at;
      if (!as_int(object, at)) fail_kind(object);
      x = select(x, dim, at);
    } else if (is_tensor(object) || PyList_Check(object) || PyTuple_Check(object) ||
               (is_array(object) && !PyIndex_Check(object))) {
      TensorRef index = index_tensor(object);
      int64_t width =
          index->dtype() == DType::Bool || index->dtype() == DType::UInt8 ? index->dim() : 1;
      if (width == 0) {  // a 0-d mask adds a dimension of length 0 or 1
        x = unsqueeze(x, dim);
        index = unsqueeze(index, 0);
        width = 1;
      }
      // A mask stands for as many dimensions as it has; resolve() counts them the same way.
      put(dim, index);
      for (int64_t d = 1; d < width; ++d) rest.push_back(nullptr);
      dim += width;
    } else {
      int64_t at;
      if (!as_int(object, at, SizeOp::Length)) {
        if (!is_array(object)) fail_kind(object);
        put(dim++, index_tensor(object));
        continue;
      }
      x = select(x, dim, at);
    }
  }
  return x;
}

// Entries after a mask of several dimensions are its other dimensions, not whole ones.
TensorList without_mask_padding(const TensorList& rest) {
  TensorList result;
  for (size_t i = 0; i < rest.size(); ++i) {
    result.push_back(rest[i]);
    if (!rest[i]) continue;
    bool mask = rest[i]->dtype() == DType::Bool || rest[i]->dtype() == DType::UInt8;
    if (mask) i += std::max<int64_t>(rest[i]->dim(), 1) - 1;
  }
  return result;
}

bool any_index(const TensorList& rest) {
  for (const TensorRef& index : rest) {
    if (index) return true;
  }
  return false;
}

// The items of an index expression: a tuple's, or the one object itself.
struct Items {
  explicit Items(PyObject* index) : single(index) {
    bool tuple = PyTuple_Check(index);
    data = tuple ? reinterpret_cast<PyTupleObject*>(index)->ob_item : &single;
    count = tuple ? PyTuple_GET_SIZE(index) : 1;
  }
  PyObject* single;
  PyObject* const* data;
  Py_ssize_t count;
};

TensorRef value_tensor(PyObject* value, const Tensor& target) {
  if (is_tensor(value)) return unwrap(value);
  const std::optional<DType> dtype = is_array(value) ? std::nullopt : std::optional(target.dtype());
  return placed(tensor_from_data(value, dtype), target.device());
}

}  // namespace

PyObject* get_item(PyObject* self, PyObject* index_object) {
  return guarded([&]() -> PyObject* {
    TensorRef x = unwrap(self);
    if (PyLong_CheckExact(index_object)) {
      int64_t at;
      as_int(index_object, at);
      if (x->dim() == 0) {
        fail(ErrorKind::Index, "index: invalid index of a 0-dim tensor. Use `tensor.item()` to ",
             "convert it to a number");
      }
      return wrap(select(x, 0, at));
    }
    Items items(index_object);
    TensorList rest;
    TensorRef result = apply_basic(x, items.data, items.count, rest);
    if (any_index(rest)) result = index(result, without_mask_padding(rest));
    // A new tensor in any case: x[...] and x[:] are views, not x itself.
    if (result == x) result = as_strided(x, x->shape(), x->strides(), x->offset());
    return wrap(std::move(result));
  });
}

int set_item(PyObject* self, PyObject* index_object, PyObject* value) {
  return guarded([&]() -> int {
    if (!value) fail(ErrorKind::Type, "index: tensor elements cannot be deleted");
    TensorRef x = unwrap(self);
    Items items(index_object);
    TensorList rest;
    TensorRef target = apply_basic(x, items.data, items.count, rest);
    Scalar number;
    bool is_number = !is_tensor(value) && as_scalar(value, number);
    if (!any_index(rest)) {
      if (is_number) {
        fill_(target, number);
        return 0;
      }
      TensorRef source = value_tensor(value, *x);
      while (source->dim() > target->dim() && source->size(0) == 1) source = select(source, 0, 0);
      copy_(target, source);
      return 0;
    }
    TensorList indices = without_mask_padding(rest);
    bool one_mask = indices.size() == 1 && indices[0] && indices[0]->dtype() == DType::Bool;
    if (is_number && one_mask && indices[0]->shape() == target->shape()) {
      Owned view(wrap(target)), mask(wrap(indices[0]));
      Owned done =
          Owned::check(PyObject_CallMethod(view.get(), "masked_fill_", "OO", mask.get(), value));
      return 0;
    }
    TensorRef source =
        is_number ? full({}, number, x->dtype(), x->device()) : value_tensor(value, *x);
    require(
        source->dtype() == x->dtype() || !is_tensor(value) || source->dim() == 0 || is_array(value),
        "index_put_: Index put requires the source and destination dtypes match, got torch.",
        dtype_name(x->dtype()), " for the destination and torch.", dtype_name(source->dtype()),
        " for the source; convert it with .to(dtype)");
    index_put_(target, indices, source, false);
    return 0;
  });
}

}  // namespace flambeau::python
