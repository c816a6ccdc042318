// Autograd as Python sees it: backward, grad, modes, hooks, nodes, custom functions.
#include "python/autograd.h"

#include <nanobind/stl/string.h>

#include <deque>

#include "autograd/engine.h"
#include "ops/creation.h"
#include "ops/views.h"

namespace nb = nanobind;

namespace flambeau::python {

namespace {

// --- hooks ----------------------------------------------------------------------------------

class PythonHook final : public Hook {
 public:
  explicit PythonHook(nb::object function) : function_(function.release().ptr()) {}
  ~PythonHook() override {
    WithGil gil;
    Py_CLEAR(function_);
  }
  TensorRef call(const TensorRef& gradient) override {
    WithGil gil;
    Owned argument(wrap(gradient));
    Owned result = Owned::check(PyObject_CallOneArg(function_, argument.get()));
    if (result.get() == Py_None) return {};
    if (!is_tensor(result.get())) {
      fail(ErrorKind::Type, "hook: expected a Tensor or None to be returned, got ",
           Py_TYPE(result.get())->tp_name);
    }
    TensorRef changed = unwrap(result.get());
    require(changed->shape() == gradient->shape(), "hook: the returned gradient has shape ",
            changed->shape(), ", expected ", gradient->shape());
    return changed;
  }
  PyObject* function() const { return function_; }

 private:
  PyObject* function_;
};

}  // namespace

nb::object wrap_all(std::span<TensorRef> tensors) {
  nb::object tuple = nb::steal(PyTuple_New(static_cast<Py_ssize_t>(tensors.size())));
  for (size_t i = 0; i < tensors.size(); ++i) {
    PyTuple_SET_ITEM(tuple.ptr(), static_cast<Py_ssize_t>(i), wrap(tensors[i]));
  }
  return tuple;
}

namespace {

void replace_from(PyObject* returned, std::span<TensorRef> target) {
  if (returned == Py_None) return;
  Owned sequence = is_tensor(returned) ? Owned::check(PyTuple_Pack(1, returned))
                                       : Owned::check(PySequence_Tuple(returned));
  require(PyTuple_GET_SIZE(sequence.get()) == static_cast<Py_ssize_t>(target.size()),
          "hook: expected ", target.size(), " gradients to be returned, got ",
          PyTuple_GET_SIZE(sequence.get()));
  for (size_t i = 0; i < target.size(); ++i) {
    PyObject* object = PyTuple_GET_ITEM(sequence.get(), static_cast<Py_ssize_t>(i));
    target[i] = is_tensor(object) ? unwrap(object) : nullptr;
  }
}

// grad_fn.register_hook(fn(grad_inputs, grad_outputs)), register_prehook(fn(grad_outputs)).
class PythonNodeHook final : public NodeHook {
 public:
  PythonNodeHook(nb::object function, bool before)
      : function_(function.release().ptr()), before_(before) {}
  ~PythonNodeHook() override {
    WithGil gil;
    Py_CLEAR(function_);
  }
  void call(std::span<TensorRef> results, std::span<TensorRef> gradients) override {
    WithGil gil;
    nb::object incoming = wrap_all(gradients);
    if (before_) {
      Owned returned = Owned::check(PyObject_CallOneArg(function_, incoming.ptr()));
      replace_from(returned.get(), gradients);
      return;
    }
    nb::object outgoing = wrap_all(results);
    Owned returned = Owned::check(
        PyObject_CallFunctionObjArgs(function_, outgoing.ptr(), incoming.ptr(), nullptr));
    replace_from(returned.get(), results);
  }
  PyObject* function() const { return function_; }

 private:
  PyObject* function_;
  bool before_;
};

// What register_hook returns.
struct HookHandle {
  TensorRef tensor;
  Ref<Node> node;
  Ref<Object> hook;
  bool accumulated = false;

  template <class List>
  static void drop(List& list, const Object* hook) {
    std::erase_if(list, [&](auto& entry) { return entry.get() == hook; });
  }
  void remove() {
    if (node && node->hooks_if_any()) {
      std::erase_if(node->hooks().tensor_hooks,
                    [&](auto& entry) { return entry.second.get() == hook.get(); });
      drop(node->hooks().before, hook.get());
      drop(node->hooks().after, hook.get());
    }
    if (LeafHooks* hooks =
            tensor && tensor->autograd() ? tensor->autograd()->hooks.get() : nullptr) {
      drop(hooks->gradient, hook.get());
      drop(hooks->accumulated, hook.get());
    }
  }
};

}  // namespace

TensorRef tensor_argument(nb::handle object, const char* op) {
  if (!is_tensor(object.ptr())) {
    fail(ErrorKind::Type, op, ": expected a Tensor, got ", Py_TYPE(object.ptr())->tp_name);
  }
  return unwrap(object.ptr());
}

namespace {

HookHandle register_hook(nb::handle self, nb::object function) {
  TensorRef tensor = tensor_argument(self, "register_hook");
  require(tensor->requires_grad(),
          "register_hook: cannot register a hook on a tensor that doesn't "
          "require gradient; call requires_grad_() first");
  Ref<Hook> hook = Ref<Hook>::adopt(new PythonHook(std::move(function)));
  HookHandle handle;
  handle.hook = Ref<Object>::share(hook.get());
  if (Ref<Node> node = grad_fn(tensor)) {
    node->hooks().tensor_hooks.emplace_back(tensor->history_output(), hook);
    handle.node = node;
  } else {
    autograd_meta(*tensor).hooks_of_leaf().gradient.push_back(hook);
    handle.tensor = tensor;
    track(self.ptr());
  }
  return handle;
}

HookHandle register_accumulated_hook(nb::handle self, nb::object function) {
  TensorRef tensor = tensor_argument(self, "register_post_accumulate_grad_hook");
  require(tensor->requires_grad() && is_leaf(tensor),
          "register_post_accumulate_grad_hook: only leaf tensors that require grad accumulate one");
  // The hook gets the tensor itself, whose shape "gradient" results are compared with: None.
  Ref<Hook> hook = Ref<Hook>::adopt(new PythonHook(std::move(function)));
  autograd_meta(*tensor).hooks_of_leaf().accumulated.push_back(hook);
  track(self.ptr());
  HookHandle handle;
  handle.tensor = tensor;
  handle.hook = Ref<Object>::share(hook.get());
  return handle;
}

// --- nodes ----------------------------------------------------------------------------------

struct NodeObject {
  Ref<Node> node;
};

nb::object wrap_node(Ref<Node> node) {
  if (!node) return nb::none();
  return nb::cast(NodeObject{std::move(node)});
}

HookHandle register_node_hook(NodeObject& self, nb::object function, bool before) {
  Ref<NodeHook> hook = Ref<NodeHook>::adopt(new PythonNodeHook(std::move(function), before));
  (before ? self.node->hooks().before : self.node->hooks().after).push_back(hook);
  HookHandle handle;
  handle.node = self.node;
  handle.hook = Ref<Object>::share(hook.get());
  return handle;
}

void bind_nodes(nb::module_& module) {
  nb::class_<HookHandle>(module, "HookHandle")
      .def("remove", &HookHandle::remove, "Takes the hook away.")
      .def("__enter__", [](nb::object self) { return self; })
      .def("__exit__", [](HookHandle& self, nb::args) { self.remove(); });
  nb::class_<NodeObject>(module, "Node", "One recorded operation of the backward graph.")
      .def("name", [](NodeObject& self) { return self.node->name(); })
      .def("__repr__",
           [](NodeObject& self) {
             return text("<", self.node->name(), " object at ", self.node.get(), ">");
           })
      .def("__eq__",
           [](NodeObject& self, nb::handle other) {
             return nb::isinstance<NodeObject>(other) &&
                    nb::cast<NodeObject&>(other).node == self.node;
           })
      .def("__hash__",
           [](NodeObject& self) { return reinterpret_cast<intptr_t>(self.node.get()) >> 4; })
      .def_prop_ro("next_functions",
                   [](NodeObject& self) {
                     nb::list list;
                     for (Edge& edge : self.node->edges) {
                       list.append(nb::make_tuple(wrap_node(edge.node), edge.output));
                     }
                     return nb::tuple(list);
                   })
      .def_prop_ro("variable",
                   [](NodeObject& self) -> nb::object {
                     auto* leaf = dynamic_cast<AccumulateGrad*>(self.node.get());
                     if (!leaf) throw nb::attribute_error("variable: only AccumulateGrad has one");
                     return nb::steal(wrap(leaf->variable()));
                   })
      .def_prop_ro("place", [](NodeObject& self) { return places.describe(self.node->place); })
      .def("register_hook",
           [](NodeObject& self, nb::object f) { return register_node_hook(self, f, false); })
      .def("register_prehook",
           [](NodeObject& self, nb::object f) { return register_node_hook(self, f, true); });
}

// --- backward and grad ------------------------------------------------------------------------

}  // namespace

TensorList tensor_list(nb::handle objects, const char* op) {
  TensorList list;
  if (is_tensor(objects.ptr())) return {unwrap(objects.ptr())};
  for (nb::handle object : objects) list.push_back(tensor_argument(object, op));
  return list;
}

namespace {

// One gradient per root; a scalar root starts with one.
TensorList root_gradients(const TensorList& roots, nb::handle given, const char* op) {
  TensorList result;
  std::vector<nb::object> objects;
  if (is_tensor(given.ptr())) {
    objects.push_back(nb::borrow(given));
  } else if (!given.is_none()) {
    for (nb::handle object : given) objects.push_back(nb::borrow(object));
  }
  require(objects.empty() || objects.size() == roots.size(), op, ": got ", roots.size(),
          " tensors and ", objects.size(), " gradients");
  for (size_t i = 0; i < roots.size(); ++i) {
    const Tensor& root = *roots[i];
    if (!objects.empty() && !objects[i].is_none()) {
      TensorRef gradient = tensor_argument(objects[i], op);
      require(gradient->shape() == root.shape(), op, ": Mismatch in shape: grad_output[", i,
              "] has a shape of ", gradient->shape(), " and output[", i, "] has a shape of ",
              root.shape(), "; pass a gradient of the output's shape");
      result.push_back(gradient);
      continue;
    }
    require(root.numel() == 1 || !root.requires_grad(), op,
            ": grad can be implicitly created only for scalar outputs, got shape ", root.shape(),
            "; call .sum() or .mean() first, or pass gradient=");
    result.push_back(full(root.shape(), Scalar(1.0), root.dtype(), root.device()));
  }
  return result;
}

void run_backward(nb::handle tensors, nb::handle gradients, nb::handle retain, bool create,
                  nb::handle inputs) {
  TensorList roots = tensor_list(tensors, "backward");
  TensorList start = root_gradients(roots, gradients, "backward");
  BackwardOptions options{retain.is_none() ? create : nb::cast<bool>(retain), create};
  TensorList targets;
  if (!inputs.is_none()) {
    targets = tensor_list(inputs, "backward");
    require(!targets.empty(), "backward: 'inputs' argument to backward() cannot be empty");
  }
  std::optional<WithoutGil> parallel;
  if (!mode.tracing) parallel.emplace();  // places of recorded calls need the interpreter
  backward(roots, start, options, inputs.is_none() ? nullptr : &targets);
}

nb::object run_grad(nb::handle outputs, nb::handle inputs, nb::handle gradients, nb::handle retain,
                    bool create, bool allow_unused, bool materialize) {
  TensorList roots = tensor_list(outputs, "grad"), targets = tensor_list(inputs, "grad");
  TensorList start = root_gradients(roots, gradients, "grad");
  BackwardOptions options{retain.is_none() ? create : nb::cast<bool>(retain), create};
  TensorList results;
  {
    WithoutGil parallel;
    results = gradients_of(roots, start, targets, options);
  }
  for (size_t i = 0; i < results.size(); ++i) {
    if (results[i]) continue;
    if (materialize) {
      results[i] =
          full(targets[i]->shape(), Scalar(0.0), targets[i]->dtype(), targets[i]->device());
      continue;
    }
    require(allow_unused, "grad: One of the differentiated Tensors (input ", i,
            ") appears to not have been used in the graph. Set allow_unused=True if this is the "
            "desired behavior.");
  }
  return wrap_all(results);
}

// Names that composites show, by number; they live as long as the process.
std::deque<std::string>& given_names() {
  static auto& names = *new std::deque<std::string>;
  return names;
}

// Shows a composite's result under the composite's name.
void rename_grad_fn(nb::handle self, size_t name) {
  TensorRef tensor = tensor_argument(self, "rename_grad_fn");
  if (Ref<Node> node = grad_fn(tensor)) node->hooks().given_name = given_names().at(name).c_str();
}

}  // namespace

int visit_hooks(const Tensor& tensor, visitproc visit, void* arg) {
  AutogradMeta* meta = tensor.autograd();
  if (!meta || !meta->hooks) return 0;
  for (auto* list : {&meta->hooks->gradient, &meta->hooks->accumulated}) {
    for (const Ref<Hook>& hook : *list) {
      auto* python = dynamic_cast<PythonHook*>(hook.get());
      if (python && hook->use_count() == 1) Py_VISIT(python->function());
    }
  }
  return 0;
}

PyObject* wrap_grad_fn(const TensorRef& tensor) {
  return wrap_node(grad_fn(tensor)).release().ptr();
}

// Tensor.backward(gradient=None, retain_graph=None, create_graph=False, inputs=None)
PyObject* tensor_backward(PyObject* self, PyObject* const* arguments, Py_ssize_t count,
                          PyObject* names) {
  return guarded([&]() -> PyObject* {
    static constexpr const char* kNames[] = {"gradient", "retain_graph", "create_graph", "inputs"};
    PyObject* values[4] = {Py_None, Py_None, Py_False, Py_None};
    if (count > 4) fail(ErrorKind::Type, "backward() takes at most 4 arguments, got ", count);
    std::copy(arguments, arguments + count, values);
    for (Py_ssize_t i = 0; names && i < PyTuple_GET_SIZE(names); ++i) {
      PyObject* name = PyTuple_GET_ITEM(names, i);
      int at = 0;
      while (at < 4 && PyUnicode_CompareWithASCIIString(name, kNames[at]) != 0) ++at;
      if (at == 4) {
        fail(ErrorKind::Type, "backward() got an unexpected keyword argument '",
             PyUnicode_AsUTF8(name), "'");
      }
      values[at] = arguments[count + i];
    }
    run_backward(self, values[0], values[1], PyObject_IsTrue(values[2]) == 1, values[3]);
    return Py_NewRef(Py_None);
  });
}

void bind_autograd(nb::module_& module) {
  recorder = {record, check_in_place};
  bind_places();
  bind_nodes(module);
  bind_modes(module);
  bind_custom_functions(module);
  module.def("register_hook", [](nb::handle self, nb::object function) {
    return translated(register_hook, self, function);
  });
  module.def("register_post_accumulate_grad_hook", [](nb::handle self, nb::object function) {
    return translated(register_accumulated_hook, self, function);
  });
  module.def(
      "backward",
      [](nb::handle tensors, nb::handle gradients, nb::handle retain, bool create,
         nb::handle inputs) {
        translated([&] {
          run_backward(tensors, gradients, retain, create, inputs);
          return 0;
        });
      },
      nb::arg(), nb::arg().none(), nb::arg().none(), nb::arg(), nb::arg().none());
  module.def(
      "grad",
      [](nb::handle outputs, nb::handle inputs, nb::handle gradients, nb::handle retain,
         bool create, bool unused, bool materialize) {
        return translated(run_grad, outputs, inputs, gradients, retain, create, unused,
                          materialize);
      },
      nb::arg(), nb::arg(), nb::arg().none(), nb::arg().none(), nb::arg(), nb::arg(), nb::arg());
  module.def("grad_name", [](std::string name) {
    given_names().push_back(std::move(name));
    return given_names().size() - 1;
  });
  module.def("rename_grad_fn", [](nb::handle self, size_t name) {
    translated([&] {
      rename_grad_fn(self, name);
      return 0;
    });
  });
}

}  // namespace flambeau::python
