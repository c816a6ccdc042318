#include "python/autocast.h"

#include <nanobind/stl/string.h>

#include <memory>
#include <unordered_map>

#include "ops/views.h"

namespace nb = nanobind;

namespace flambeau::python {

namespace {

using Cast = Autocast::Cast;

constexpr int kDeviceTypes = 2;
int number_of(Device::Type type) { return type == Device::Type::Cpu ? 0 : 1; }

// A float32 parameter that was cast is used again until autocast ends: weights are often read more
// than once, and cast again for every use otherwise.
struct KeptCast {
  TensorRef source, cast;
  uint32_t version;
};
struct AutocastState {
  DType dtypes[kDeviceTypes] = {DType::BFloat16, DType::Float16};  // of torch.autocast(device)
  bool cache = true;
  int nesting = 0;
  std::unordered_map<const Tensor*, KeptCast> casts;
};
AutocastState& state() {
  // On the heap: Note [Thread-local memory].
  static thread_local const std::unique_ptr<AutocastState> it = std::make_unique<AutocastState>();
  return *it;
}

std::optional<DType> enabled_dtype(int device_type) {
  int byte = mode.autocast >> (8 * device_type) & 0xff;
  return byte ? std::optional(static_cast<DType>(byte - 1)) : std::nullopt;
}

void enable(int device_type, bool enabled) {
  int shift = 8 * device_type;
  int byte = enabled ? 1 + static_cast<int>(state().dtypes[device_type]) : 0;
  mode.autocast = static_cast<uint16_t>((mode.autocast & ~(0xff << shift)) | byte << shift);
}

bool may_be_kept(const TensorRef& x, DType target) {
  // A recording must see the cast; what no_grad casts has no history.
  return state().cache && mode.grad && !mode.tracing && x->dtype() == DType::Float32 &&
         target != DType::Float32 && x->requires_grad() && is_leaf(x);
}

TensorRef cast(const TensorRef& x, DType target) {
  if (!may_be_kept(x, target)) return to_dtype(x, target);
  uint32_t version = x->storage()->version();
  auto at = state().casts.find(x.get());
  if (at != state().casts.end() && at->second.version == version &&
      at->second.cast->dtype() == target) {
    return at->second.cast;
  }
  TensorRef result = to_dtype(x, target);
  state().casts[x.get()] = {x, result, version};
  return result;
}

// The tensors of one call that a policy may cast.
class Inputs {
 public:
  void look(const Tensor& x) {
    bool cuda = !x.device().is_cpu();
    any_cuda_ |= cuda;
    if (is_floating(x.dtype())) float32_[cuda] |= x.dtype() == DType::Float32;
  }
  // What they become; nothing: they stay.
  std::optional<DType> target(const char* op, Autocast policy) const {
    std::optional<DType> lower = enabled_dtype(any_cuda_);
    if (!lower) return {};
    switch (any_cuda_ ? policy.cuda : policy.cpu) {
      case Cast::None:
        return {};
      case Cast::Lower:
        return lower;
      case Cast::Float32:
        return DType::Float32;
      case Cast::Promote:
        return float32_[any_cuda_] ? std::optional(DType::Float32) : std::nullopt;
      case Cast::Refused:
        fail(op,
             ": unsafe under autocast, as 16-bit inputs lose probabilities near 0 and 1; use "
             "binary_cross_entropy_with_logits (BCEWithLogitsLoss) on what goes into the sigmoid");
    }
    return {};
  }
  bool casts(const Tensor& x, DType target) const {
    return is_floating(x.dtype()) && x.dtype() != DType::Float64 && x.dtype() != target &&
           x.device().is_cpu() != any_cuda_;
  }

 private:
  bool any_cuda_ = false;
  bool float32_[2] = {false, false};
};

bool is_sequence(PyObject* object) { return PyList_Check(object) || PyTuple_Check(object); }

template <class Function>
void for_each_tensor(PyObject* object, Function function) {
  if (!object) return;
  if (is_tensor(object)) return function(object);
  if (!is_sequence(object)) return;
  for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(object); ++i) {
    PyObject* item = PySequence_Fast_GET_ITEM(object, i);
    if (is_tensor(item)) function(item);
  }
}

Owned cast_object(PyObject* object, const Inputs& inputs, DType target) {
  if (!is_tensor(object)) return Owned::share(object);
  TensorRef x = unwrap(object);
  if (!inputs.casts(*x, target)) return Owned::share(object);
  return Owned::check(wrap(cast(x, target)));
}

// The object with its tensors cast; null if there is nothing to cast in it.
Owned cast_within(PyObject* object, const Inputs& inputs, DType target) {
  bool any = false;
  for_each_tensor(object, [&](PyObject* x) { any |= inputs.casts(*unwrap(x), target); });
  if (!any) return Owned();
  if (is_tensor(object)) return cast_object(object, inputs, target);
  Py_ssize_t count = PySequence_Fast_GET_SIZE(object);
  Owned list = Owned::check(PyList_New(count));
  for (Py_ssize_t i = 0; i < count; ++i) {
    Owned item = cast_object(PySequence_Fast_GET_ITEM(object, i), inputs, target);
    PyList_SET_ITEM(list.get(), i, item.release());
  }
  return PyTuple_Check(object) ? Owned::check(PyList_AsTuple(list.get())) : std::move(list);
}

// A composite with a policy: its arguments are cast, and inside of it autocast is off.
PyObject* call_composite(PyObject* function, const std::string& policy, PyObject* args,
                         PyObject* kwargs) {
  std::vector<PyObject*> objects;
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(args); ++i) {
    objects.push_back(PyTuple_GET_ITEM(args, i));
  }
  Owned names = Owned::check(PyDict_Keys(kwargs));
  Py_ssize_t named = PyList_GET_SIZE(names.get());
  for (Py_ssize_t i = 0; i < named; ++i) {
    objects.push_back(PyDict_GetItem(kwargs, PyList_GET_ITEM(names.get(), i)));
  }
  Owned keywords = Owned::check(PyList_AsTuple(names.get()));
  Owned name = Owned::check(PyObject_GetAttrString(function, "__name__"));
  std::vector<Owned> kept;
  autocast_objects(PyUnicode_AsUTF8(name.get()), parse_autocast(policy), objects, kept);
  struct Off {
    uint16_t before = std::exchange(mode.autocast, 0);
    ~Off() { mode.autocast = before; }
  } off;
  return PyObject_Vectorcall(function, objects.data(), PyTuple_GET_SIZE(args), keywords.get());
}

// "cpu" or "cuda", or a device of theirs.
int device_type_of(nb::handle device) {
  Device parsed;
  if (!as_device(device.ptr(), parsed)) {
    fail(ErrorKind::Type, "autocast: expected a device type such as 'cpu' or 'cuda', got ",
         Py_TYPE(device.ptr())->tp_name);
  }
  return number_of(parsed.type);
}

void set_dtype(int device_type, DType dtype) {
  require(is_floating(dtype), "set_autocast_dtype: a floating dtype is required, got torch.",
          dtype_name(dtype));
  state().dtypes[device_type] = dtype;
  if (enabled_dtype(device_type)) enable(device_type, true);
}

}  // namespace

void autocast_objects(const char* op, Autocast policy, std::span<PyObject*> objects,
                      std::vector<Owned>& kept) {
  Inputs inputs;
  for (PyObject* object : objects) {
    for_each_tensor(object, [&](PyObject* x) { inputs.look(*unwrap(x)); });
  }
  std::optional<DType> target = inputs.target(op, policy);
  if (!target) return;
  for (PyObject*& object : objects) {
    Owned changed = cast_within(object, inputs, *target);
    if (!changed) continue;
    object = changed.get();
    kept.push_back(std::move(changed));
  }
}

void bind_autocast(nb::module_& module) {
  module.def("autocast_is_on", [] { return mode.autocast != 0; });
  module.def(
      "autocast_modes", [] { return static_cast<int>(mode.autocast); },
      "What autocast is set to for all types of devices, as one number.");
  module.def("set_autocast_modes", [](int modes) { mode.autocast = static_cast<uint16_t>(modes); });
  module.def("is_autocast_enabled", [](nb::handle device) {
    return translated([&] { return enabled_dtype(device_type_of(device)).has_value(); });
  });
  module.def("set_autocast_enabled", [](nb::handle device, bool enabled) {
    translated([&] { enable(device_type_of(device), enabled); });
  });
  module.def("get_autocast_dtype", [](nb::handle device) {
    return translated(
        [&] { return nb::steal(wrap_dtype(state().dtypes[device_type_of(device)])); });
  });
  module.def("set_autocast_dtype", [](nb::handle device, nb::handle dtype) {
    translated([&] {
      DType parsed;
      if (!as_dtype(dtype.ptr(), parsed)) {
        fail(ErrorKind::Type, "set_autocast_dtype: expected a torch.dtype, got ",
             Py_TYPE(dtype.ptr())->tp_name);
      }
      set_dtype(device_type_of(device), parsed);
    });
  });
  module.def("is_autocast_cache_enabled", [] { return state().cache; });
  module.def("set_autocast_cache_enabled", [](bool enabled) { state().cache = enabled; });
  module.def("clear_autocast_cache", [] { state().casts.clear(); });
  module.def("autocast_increment_nesting", [] { return ++state().nesting; });
  module.def("autocast_decrement_nesting", [] {
    state().nesting = std::max(0, state().nesting - 1);
    return state().nesting;
  });
  module.def("call_autocast", [](nb::handle function, const std::string& policy, nb::tuple args,
                                 nb::dict kwargs) {
    return translated([&] {
      PyObject* result = call_composite(function.ptr(), policy, args.ptr(), kwargs.ptr());
      if (!result) throw nb::python_error();
      return nb::steal(result);
    });
  });
}

}  // namespace flambeau::python
