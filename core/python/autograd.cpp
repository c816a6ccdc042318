// Autograd as Python sees it: backward, grad, modes, hooks, nodes, custom functions.
#include <nanobind/stl/string.h>

#include <map>

#include "autograd/engine.h"
#include "ops/creation.h"
#include "ops/views.h"
#include "python/common.h"

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

nb::object wrap_all(std::span<TensorRef> tensors) {
  nb::object tuple = nb::steal(PyTuple_New(static_cast<Py_ssize_t>(tensors.size())));
  for (size_t i = 0; i < tensors.size(); ++i) {
    PyTuple_SET_ITEM(tuple.ptr(), static_cast<Py_ssize_t>(i), wrap(tensors[i]));
  }
  return tuple;
}

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

TensorRef tensor_argument(nb::handle object, const char* op) {
  if (!is_tensor(object.ptr())) {
    fail(ErrorKind::Type, op, ": expected a Tensor, got ", Py_TYPE(object.ptr())->tp_name);
  }
  return unwrap(object.ptr());
}

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

// --- places ---------------------------------------------------------------------------------

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

// --- backward and grad ------------------------------------------------------------------------

TensorList tensor_list(nb::handle objects, const char* op) {
  TensorList list;
  if (is_tensor(objects.ptr())) return {unwrap(objects.ptr())};
  for (nb::handle object : objects) list.push_back(tensor_argument(object, op));
  return list;
}

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
    result.push_back(full(root.shape(), Scalar(1.0), root.dtype()));
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
      results[i] = full(targets[i]->shape(), Scalar(0.0), targets[i]->dtype());
      continue;
    }
    require(allow_unused, "grad: One of the differentiated Tensors (input ", i,
            ") appears to not have been used in the graph. Set allow_unused=True if this is the "
            "desired behavior.");
  }
  return wrap_all(results);
}

// --- custom functions -------------------------------------------------------------------------

class FunctionNode;

// ctx.saved_tensors: the node may go before the context does.
struct SavedTensors {
  std::vector<SavedTensor> list;
  std::vector<bool> present;
  FunctionNode* owner = nullptr;
  bool released = false;
};

class FunctionNode final : public Node {
 public:
  FunctionNode(nb::object backward, nb::object saved, std::string name)
      : backward_(backward.release().ptr()),
        saved_(saved.release().ptr()),
        name_(std::move(name)) {}
  ~FunctionNode() override {
    WithGil gil;
    saved_tensors().owner = nullptr;
    Py_CLEAR(backward_);
    Py_CLEAR(saved_);
  }
  std::string name() const override { return name_; }
  SavedTensors& saved_tensors() { return nb::cast<SavedTensors&>(nb::handle(saved_)); }

  void run(std::span<TensorRef> gradients, std::span<TensorRef> results) override {
    WithGil gil;
    nb::object incoming = wrap_all(gradients);
    Owned returned = Owned::check(PyObject_CallObject(backward_, incoming.ptr()));
    Owned tuple = PyTuple_Check(returned.get()) ? std::move(returned)
                                                : Owned::check(PyTuple_Pack(1, returned.get()));
    Py_ssize_t count = PyTuple_GET_SIZE(tuple.get());
    // More results than inputs are allowed if they are None, as in PyTorch.
    for (Py_ssize_t i = static_cast<Py_ssize_t>(results.size()); i < count; ++i) {
      require(PyTuple_GET_ITEM(tuple.get(), i) == Py_None, wrong_count(count, results.size()));
    }
    require(count >= static_cast<Py_ssize_t>(results.size()), wrong_count(count, results.size()));
    for (size_t i = 0; i < results.size(); ++i) {
      PyObject* object = PyTuple_GET_ITEM(tuple.get(), static_cast<Py_ssize_t>(i));
      if (object == Py_None) continue;
      if (!is_tensor(object)) {
        fail(ErrorKind::Type, name_, ": backward must return Tensors or None, got ",
             Py_TYPE(object)->tp_name, " for input ", i);
      }
      results[i] = unwrap(object);
    }
  }
  void release_saved() override {
    WithGil gil;
    SavedTensors& saved = saved_tensors();
    saved.released = !saved.list.empty();
    saved.list.clear();
  }

 private:
  std::string wrong_count(Py_ssize_t got, size_t expected) {
    return text("function ", name_, " returned an incorrect number of gradients (expected ",
                expected, ", got ", got, "); return one per argument of forward");
  }
  PyObject* backward_;
  PyObject* saved_;
  std::string name_;
};

bool contains(const TensorList& list, const TensorRef& tensor) {
  for (const TensorRef& element : list) {
    if (element == tensor) return true;
  }
  return false;
}

// Records a custom function that has run: outputs get a node that calls `backward`.
nb::object record_function(nb::object backward, const std::string& name, nb::handle arguments,
                           nb::handle outputs, nb::handle saved, nb::handle dirty,
                           nb::handle constant) {
  TensorList written = tensor_list(dirty, "mark_dirty");
  TensorList constants = tensor_list(constant, "mark_non_differentiable");
  nb::object saved_object = nb::cast(SavedTensors{});
  auto* node = new FunctionNode(std::move(backward), saved_object, name);
  Ref<Node> owner = Ref<Node>::adopt(node);
  SavedTensors& saved_tensors = nb::cast<SavedTensors&>(saved_object);
  saved_tensors.owner = node;
  TensorList inputs;
  for (nb::handle argument : arguments) {
    inputs.push_back(is_tensor(argument.ptr()) ? unwrap(argument.ptr()) : nullptr);
  }
  node->edges.resize(static_cast<int>(inputs.size()));
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (inputs[i]) node->edges[static_cast<int>(i)] = gradient_edge(inputs[i]);
  }
  TensorList results;
  nb::list wrapped;
  for (nb::handle output : outputs) {
    if (!is_tensor(output.ptr())) {
      results.push_back(nullptr);
      wrapped.append(output);
      continue;
    }
    TensorRef result = unwrap(output.ptr());
    // An input returned as it is stays what it was; the output is another tensor.
    if (contains(inputs, result) && !contains(written, result)) result = detach(*result);
    results.push_back(result);
    wrapped.append(nb::steal(wrap(result)));
  }
  node->outputs.resize(static_cast<int>(results.size()));
  int position = 0;
  for (nb::handle object : saved) {
    saved_tensors.present.push_back(!object.is_none());
    if (object.is_none()) continue;
    TensorRef tensor = tensor_argument(object, "save_for_backward");
    SavedTensor slot;
    auto at = std::find(results.begin(), results.end(), tensor);
    bool output = at != results.end() && !contains(inputs, tensor);
    slot.save(tensor, output ? static_cast<int>(at - results.begin()) : position, output);
    saved_tensors.list.push_back(std::move(slot));
    ++position;
  }
  for (size_t i = 0; i < results.size(); ++i) {
    if (!results[i]) continue;
    Node::Output& info = node->outputs[static_cast<int>(i)];
    info.shape = results[i]->shape();
    info.dtype = results[i]->dtype();
    if (!is_floating(info.dtype) || contains(constants, results[i])) continue;
    if (contains(written, results[i])) {
      rebase_history(results[i], owner);
    } else {
      set_history(*results[i], owner, static_cast<int32_t>(i));
    }
  }
  return nb::make_tuple(nb::tuple(wrapped), saved_object);
}

nb::object unpack_saved(SavedTensors& saved) {
  require(!saved.released,
          "saved_tensors: Trying to backward through the graph a second time, but ",
          "its saved tensors have already been freed; pass retain_graph=True to the first "
          "backward()");
  nb::list list;
  size_t next = 0;
  for (bool present : saved.present) {
    if (!present) {
      list.append(nb::none());
      continue;
    }
    require(saved.owner, "saved_tensors: the graph that these belong to is gone");
    list.append(nb::steal(wrap(saved.list[next++].unpack(*saved.owner))));
  }
  return nb::tuple(list);
}

void bind_modes(nb::module_& module) {
  module.def("is_grad_enabled", [] { return mode.grad; });
  module.def("is_inference_mode_enabled", [] { return mode.inference; });
  module.def("_set_grad_enabled", [](bool value) { return std::exchange(mode.grad, value); });
  module.def("_set_inference", [](bool value) { return std::exchange(mode.inference, value); });
}

// Shows a composite's result under the composite's name.
void rename_grad_fn(nb::handle self, const std::string& name) {
  TensorRef tensor = tensor_argument(self, "rename_grad_fn");
  if (Ref<Node> node = grad_fn(tensor)) {
    static auto& names = *new std::map<std::string, int>;
    node->given_name = names.try_emplace(name, 0).first->first.c_str();
  }
}

}  // namespace

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
  places = {here, release_place, user_place, describe_place};
  bind_nodes(module);
  bind_modes(module);
  nb::class_<SavedTensors>(module, "SavedTensors").def("unpack", [](SavedTensors& self) {
    return translated(unpack_saved, self);
  });
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
  module.def("record_function", [](nb::object backward, const std::string& name, nb::handle args,
                                   nb::handle outputs, nb::handle saved, nb::handle dirty,
                                   nb::handle constant) {
    return translated(record_function, backward, name, args, outputs, saved, dirty, constant);
  });
  module.def("rename_grad_fn", [](nb::handle self, const std::string& name) {
    translated([&] {
      rename_grad_fn(self, name);
      return 0;
    });
  });
}

}  // namespace flambeau::python
