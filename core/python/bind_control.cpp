// Control flow of compiled functions in Python: flambeau/compiler/_control_flow.py.
#include <nanobind/stl/string.h>

#include "python/common.h"
#include "python/trace_objects.h"
#include "trace/control.h"

namespace nb = nanobind;

namespace flambeau::python {

namespace {

struct ControlObject {
  ControlRef control;
};

TensorList tensors_of(nb::handle list) {
  TensorList tensors;
  for (nb::handle item : list) {
    require(is_tensor(item.ptr()), "control: a list of tensors is required");
    tensors.push_back(unwrap(item.ptr()));
  }
  return tensors;
}

Control::Kind kind_named(const std::string& name) {
  if (name == "scan") return Control::Kind::Scan;
  if (name == "while_loop") return Control::Kind::While;
  if (name == "while_loop_backward") return Control::Kind::WhileBackward;
  require(name == "cond", "control: scan, while_loop or cond, got ", name);
  return Control::Kind::Cond;
}

// `outputs`: (shape, dtype) of each.
ControlObject make_control(const std::string& kind, nb::list parts, nb::bytes signature,
                           int carried, int walked, int64_t steps, bool reverse, bool keeps_carries,
                           bool random, nb::list outputs) {
  return translated([&] {
    Control::Plan plan{kind_named(kind), {},     carried, walked, steps, reverse,
                       keeps_carries,    random, {},      {}};
    for (nb::handle part : parts) {
      plan.parts.push_back(nb::cast<ExecutableObject&>(part).executable);
    }
    for (nb::handle pair : outputs) {
      Control::Output& output = plan.outputs.emplace_back();
      require(as_dims(nb::object(pair[0]).ptr(), output.shape) &&
                  as_dtype(nb::object(pair[1]).ptr(), output.dtype),
              "control: outputs are pairs of shape and dtype");
    }
    plan.signature.assign(signature.c_str(), signature.size());
    return ControlObject{ControlRef::adopt(new Control(std::move(plan)))};
  });
}

// Runs it now, and leaves a call in the recording that is on.
nb::list run_control(ControlObject& self, nb::list inputs) {
  return translated([&] {
    const Control::Plan& plan = self.control->plan();
    TensorList given = tensors_of(inputs), outputs;
    for (const Control::Output& output : plan.outputs) {
      outputs.push_back(Tensor::empty(output.shape, output.dtype, self.control->device()));
    }
    {
      WithoutGil parallel;
      self.control->run(given, outputs);
    }
    if (Recording* current = Recording::current()) {
      current->add_control(self.control->primitive(), Ref<Object>::share(self.control.get()),
                           plan.random, given, outputs);
    }
    nb::list list;
    for (TensorRef& output : outputs) list.append(nb::steal(wrap(std::move(output))));
    return list;
  });
}

}  // namespace

void bind_control(nb::module_& module) {
  Control::check_interrupt = [] {
    WithGil gil;
    if (PyErr_CheckSignals() != 0) throw PythonError{};
  };
  nb::class_<ControlObject>(module, "Control", "A loop or a branch whose parts are executables.")
      .def(
          "__init__",
          [](ControlObject* self, const std::string& kind, nb::list parts, nb::bytes signature,
             int carried, int walked, int64_t steps, bool reverse, bool keeps_carries, bool random,
             nb::list outputs) {
            new (self) ControlObject{make_control(kind, parts, signature, carried, walked, steps,
                                                  reverse, keeps_carries, random, outputs)};
          },
          nb::arg("kind"), nb::arg("parts"), nb::arg("signature"), nb::arg("carried"),
          nb::arg("walked"), nb::arg("steps"), nb::arg("reverse"), nb::arg("keeps_carries"),
          nb::arg("random"), nb::arg("outputs"))
      .def("run", &run_control, nb::arg("inputs"));
  module.def(
      "control_signature",
      [](const CallObject& call) -> nb::object {
        auto* control = dynamic_cast<const Control*>(call.call->attributes.object.get());
        if (!control) return nb::none();
        const std::string& signature = control->plan().signature;
        return nb::bytes(signature.data(), signature.size());
      },
      "Of a call that is a loop or a branch; None of others.");
  module.def("control_call", [](const ControlObject& self) {
    auto call = RecordedCallRef::adopt(new RecordedCall);
    call->primitive = &self.control->primitive();
    call->attributes.object = Ref<Object>::share(self.control.get());
    call->random = self.control->plan().random;
    return CallObject{std::move(call)};
  });
  module.def("record_part", [](nb::handle arguments) {
    return translated(
        [&] { return RecordingObject{Recording::start_inside(tensors_of(arguments))}; });
  });
}

}  // namespace flambeau::python
