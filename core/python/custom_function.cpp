// autograd.Function: operations whose backward is written in Python.
#include <nanobind/stl/string.h>

#include <algorithm>

#include "python/autograd.h"

namespace nb = nanobind;

namespace flambeau::python {

namespace {

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
  bool is_used_up() const override { return released_; }
  void release_saved() override {
    WithGil gil;
    SavedTensors& saved = saved_tensors();
    saved.released = released_ = !saved.list.empty();
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
  bool released_ = false;
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
    info.device = results[i]->device();
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

}  // namespace

void bind_custom_functions(nb::module_& module) {
  nb::class_<SavedTensors>(module, "SavedTensors").def("unpack", [](SavedTensors& self) {
    return translated(unpack_saved, self);
  });
  module.def("record_function", [](nb::object backward, const std::string& name, nb::handle args,
                                   nb::handle outputs, nb::handle saved, nb::handle dirty,
                                   nb::handle constant) {
    return translated(record_function, backward, name, args, outputs, saved, dirty, constant);
  });
}

}  // namespace flambeau::python
