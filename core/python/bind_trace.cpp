// Recordings and executables in Python: what flambeau.compiler works with.
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "ops/matmul.h"
#include "program/builder.h"
#include "python/common.h"
#include "python/operator_type.h"
#include "python/program_object.h"
#include "python/trace_objects.h"
#include "trace/control.h"

namespace nb = nanobind;

namespace flambeau::python {

namespace {

// An executable that is being built; empty once it is finished.
struct UnfinishedObject {
  ExecutableRef executable;
};
struct BuilderObject {
  Builder builder;
};

nb::object steal(PyObject* object) {
  if (!object) throw nb::python_error();
  return nb::steal(object);
}

TensorList tensors_of(nb::handle list) {
  TensorList tensors;
  for (nb::handle item : list) {
    if (!is_tensor(item.ptr())) {
      fail(ErrorKind::Type, "compile: a list of tensors is required, got ",
           Py_TYPE(item.ptr())->tp_name);
    }
    tensors.push_back(unwrap(item.ptr()));
  }
  return tensors;
}

nb::list wrapped(std::span<const TensorRef> tensors) {
  nb::list list;
  for (const TensorRef& tensor : tensors) list.append(steal(wrap(tensor)));
  return list;
}

// (buffer, shape, strides, offset, dtype), or None.
nb::object value_tuple(const RecordedValue& value) {
  if (value.buffer < 0) return nb::none();
  return nb::make_tuple(value.buffer, steal(wrap_ints(value.shape)),
                        steal(wrap_ints(value.strides)), value.offset,
                        steal(wrap_dtype(value.dtype)));
}

// A value as above, a number, ("slot", i), or None.
nb::object input_object(const RecordedInput& input) {
  switch (input.kind) {
    case RecordedInput::Kind::None:
      return nb::none();
    case RecordedInput::Kind::Value:
      return value_tuple(input.value);
    case RecordedInput::Kind::Number:
      return steal(wrap_scalar(input.number));
    case RecordedInput::Kind::Slot:
      return nb::make_tuple("slot", input.slot);
  }
  return nb::none();
}

nb::tuple inputs_of(const RecordedCall& call) {
  nb::list list;
  for (const RecordedInput& input : call.inputs) list.append(input_object(input));
  return nb::tuple(list);
}

nb::tuple outputs_of(std::span<const RecordedValue> values) {
  nb::list list;
  for (const RecordedValue& value : values) list.append(value_tuple(value));
  return nb::tuple(list);
}

nb::tuple scalars_of(const RecordedCall& call) {
  nb::list list;
  for (Scalar number : call.attributes.scalars) list.append(steal(wrap_scalar(number)));
  return nb::tuple(list);
}

nb::object program_of(const RecordedCall& call) {
  if (!call.program) return nb::none();
  return nb::cast(TracedProgram{call.program});
}

nb::bytes bytes_of(const std::string& text) { return nb::bytes(text.data(), text.size()); }

// (kind, index, bytes, tensor or None, written)
nb::list buffers_of(const Recording& recording) {
  nb::list list;
  for (const RecordedBuffer& buffer : recording.buffers) {
    list.append(nb::make_tuple(name_of(buffer.kind), buffer.index, buffer.bytes,
                               steal(wrap(buffer.tensor)), buffer.written));
  }
  return list;
}

nb::list gradients_of(const Recording& recording) {
  nb::list list;
  for (const RecordedGradient& gradient : recording.gradients) {
    list.append(nb::make_tuple(steal(wrap(gradient.leaf)), value_tuple(gradient.value)));
  }
  return list;
}

nb::list calls_of(const Recording& recording) {
  nb::list list;
  for (const RecordedCallRef& call : recording.calls) list.append(nb::cast(CallObject{call}));
  return list;
}

void bind_call(nb::module_& module) {
  nb::class_<CallObject>(module, "RecordedCall", "One recorded call of a primitive.")
      .def_prop_ro("name", [](CallObject& self) { return self.call->name(); })
      .def_prop_ro("inputs", [](CallObject& self) { return inputs_of(*self.call); })
      .def_prop_ro("outputs", [](CallObject& self) { return outputs_of(self.call->outputs); })
      .def_prop_ro("program", [](CallObject& self) { return program_of(*self.call); })
      .def_prop_ro("dtype",
                   [](CallObject& self) {
                     return steal(wrap_dtype(self.call->program ? self.call->dtype
                                                                : self.call->attributes.dtype));
                   })
      .def_prop_ro("ints",
                   [](CallObject& self) { return steal(wrap_ints(self.call->attributes.ints)); })
      .def_prop_ro(
          "more_ints",
          [](CallObject& self) { return steal(wrap_ints(self.call->attributes.more_ints)); })
      .def_prop_ro("scalars", [](CallObject& self) { return scalars_of(*self.call); })
      .def_prop_ro("flag", [](CallObject& self) { return self.call->attributes.flag; })
      .def_prop_ro("in_place", [](CallObject& self) { return self.call->in_place; })
      .def_prop_ro("random", [](CallObject& self) { return self.call->random; })
      .def_prop_ro("updates_input",
                   [](CallObject& self) {
                     return self.call->primitive && self.call->primitive->updates_input;
                   })
      .def_prop_ro("is_control",
                   [](CallObject& self) {
                     return dynamic_cast<Control*>(self.call->attributes.object.get()) != nullptr;
                   })
      .def_prop_ro("takes_epilogue",
                   [](CallObject& self) {
                     const Primitive* primitive = self.call->primitive;
                     return primitive && product_kernel(*primitive);
                   })
      .def_prop_ro("place", [](CallObject& self) { return places.describe(self.call->place); })
      .def_prop_ro("key", [](CallObject& self) { return bytes_of(self.call->key()); });
}

void bind_recorded(nb::class_<RecordingObject>& type) {
  type.def_prop_ro("failure",
                   [](RecordingObject& self) -> nb::object {
                     const std::string& failure = self.recording->failure;
                     if (failure.empty()) return nb::none();
                     return nb::cast(failure);
                   })
      .def_prop_rw(
          "numbers_are_slots",
          [](RecordingObject& self) { return self.recording->numbers_are_slots; },
          [](RecordingObject& self, bool on) { self.recording->numbers_are_slots = on; })
      .def_prop_rw(
          "keeps_state", [](RecordingObject& self) { return self.recording->keeps_state; },
          [](RecordingObject& self, bool on) { self.recording->keeps_state = on; })
      .def_prop_ro("device",
                   [](RecordingObject& self) -> std::optional<Device> {
                     if (self.recording->device.is_cpu()) return {};
                     return self.recording->device;
                   })
      .def_prop_rw(
          "tracks_sizes", [](RecordingObject& self) { return self.recording->tracks_sizes; },
          [](RecordingObject& self, bool on) { self.recording->tracks_sizes = on; })
      .def_prop_ro("slot_count", [](RecordingObject& self) { return self.recording->slot_count; })
      .def_prop_ro("backward_at", [](RecordingObject& self) { return self.recording->backward_at; })
      .def_prop_ro("buffers", [](RecordingObject& self) { return buffers_of(*self.recording); })
      .def_prop_ro("calls", [](RecordingObject& self) { return calls_of(*self.recording); })
      .def_prop_ro("outputs",
                   [](RecordingObject& self) { return outputs_of(self.recording->outputs); })
      .def_prop_ro("gradients", [](RecordingObject& self) { return gradients_of(*self.recording); })
      .def_prop_ro("without_gradient",
                   [](RecordingObject& self) { return wrapped(self.recording->without_gradient); });
}

void bind_recording(nb::module_& module) {
  nb::class_<RecordingObject> type(module, "Recording",
                                   "Records the calls of this thread while they run.");
  type.def("__init__",
           [](RecordingObject* self, nb::handle arguments) {
             translated([&] {
               TensorList tensors = tensors_of(arguments);
               new (self) RecordingObject{Recording::start(tensors)};
             });
           })
      .def("tangents",
           [](RecordingObject& self, nb::handle tangents) {
             translated([&] { self.recording->begin_backward(tensors_of(tangents)); });
           })
      .def("finish",
           [](RecordingObject& self, nb::handle outputs) {
             translated([&] { self.recording->finish(tensors_of(outputs)); });
           })
      .def("stop", [](RecordingObject& self) { self.recording->stop(); })
      .def("forget_memory", [](RecordingObject& self) { self.recording->forget_memory(); })
      .def("undo", [](RecordingObject& self) { self.recording->undo(); })
      .def("__eq__",
           [](RecordingObject& self, nb::handle other) {
             return nb::isinstance<RecordingObject>(other) &&
                    nb::cast<RecordingObject&>(other).recording == self.recording;
           })
      .def("__hash__",
           [](RecordingObject& self) {
             return reinterpret_cast<intptr_t>(self.recording.get()) >> 4;
           })
      .def("fail",
           [](RecordingObject& self, const std::string& reason) { self.recording->fail(reason); })
      .def("escaped", [](RecordingObject& self) { return self.recording->escaped(); })
      .def("signature",
           [](RecordingObject& self) { return bytes_of(self.recording->signature()); });
  bind_recorded(type);
  module.def("history", [](nb::handle tensor) {
    static constexpr const char* kNames[] = {"none", "used", "alive"};
    return translated([&] { return kNames[static_cast<int>(history_of(unwrap(tensor.ptr())))]; });
  });
  module.def("recording", []() -> nb::object {
    Recording* current = Recording::current();
    if (!current) return nb::none();
    return nb::cast(RecordingObject{Ref<Recording>::share(current)});
  });
}

// --- programs -----------------------------------------------------------------------------------

Extent extent_named(const std::string& name) {
  if (name == "row") return Extent::Row;
  if (name == "uniform") return Extent::Uniform;
  return Extent::Element;
}

const char* extent_name(Extent extent) {
  return extent == Extent::Row ? "row" : extent == Extent::Uniform ? "uniform" : "element";
}

void bind_program_builder(nb::module_& module) {
  nb::class_<BuilderObject>(module, "ProgramBuilder", "Joins programs into one.")
      .def(nb::init<>())
      .def("input",
           [](BuilderObject& self, int index, const std::string& extent) {
             return self.builder.input(index, extent_named(extent));
           })
      .def("constant",
           [](BuilderObject& self, double value) { return self.builder.constant(value); })
      .def(
          "apply",
          [](BuilderObject& self, const std::string& name, int a, int b, int c) {
            return translated([&] {
              Instruction instruction = instruction_named(name);
              require(instruction != Instruction::Count, "program: no instruction ", name);
              return self.builder.apply(instruction, a, b, c);
            });
          },
          nb::arg("name"), nb::arg("a") = -1, nb::arg("b") = -1, nb::arg("c") = -1)
      .def("inline",
           [](BuilderObject& self, const TracedProgram& program,
              const std::vector<int32_t>& inputs) {
             return translated([&] {
               std::vector<int32_t> places = self.builder.inline_program(*program.program, inputs);
               std::vector<int32_t> outputs;
               for (int32_t output : program.program->outputs) outputs.push_back(places[output]);
               return outputs;
             });
           })
      .def("extent", [](BuilderObject& self,
                        int32_t value) { return extent_name(self.builder.at(value).extent); })
      .def("size", [](BuilderObject& self) { return self.builder.size(); })
      .def("finish", [](BuilderObject& self, int input_count, const std::vector<int32_t>& outputs) {
        return translated([&] { return TracedProgram{self.builder.finish(input_count, outputs)}; });
      });
}

// --- executables --------------------------------------------------------------------------------

BufferKind kind_named(const std::string& name) {
  for (int i = 0; i <= static_cast<int>(BufferKind::Saved); ++i) {
    if (name == name_of(static_cast<BufferKind>(i))) return static_cast<BufferKind>(i);
  }
  fail(ErrorKind::Value, "executable: no buffer kind ", name);
}

// ("value", id), ("slot", i) or ("constant", number).
StepInput step_input(nb::handle object) {
  nb::tuple pair = nb::cast<nb::tuple>(object);
  auto kind = nb::cast<std::string>(pair[0]);
  StepInput input;
  if (kind == "value") {
    input.value = nb::cast<int>(pair[1]);
  } else if (kind == "slot" || kind == "number") {
    input.kind = StepInput::Kind::Slot;
    input.slot = nb::cast<int>(pair[1]);
  } else {
    input.kind = StepInput::Kind::Number;
    as_scalar(nb::object(pair[1]).ptr(), input.number);
  }
  return input;
}

std::vector<StepInput> step_inputs(nb::handle list) {
  std::vector<StepInput> inputs;
  for (nb::handle item : list) inputs.push_back(step_input(item));
  return inputs;
}

Executable& building(UnfinishedObject& self) {
  require(self.executable, "executable: it is finished already; make a new builder");
  return *self.executable;
}

ExecutableObject finish(UnfinishedObject& self, const std::vector<int>& outputs, nb::list gradients,
                        size_t arena_bytes, nb::list sources,
                        const std::vector<int>& source_gradients,
                        const std::vector<int>& differentiable, const std::vector<int>& used,
                        int slots) {
  return translated([&] {
    Executable::Interface interface;
    interface.outputs = outputs;
    interface.arena_bytes = arena_bytes;
    interface.source_gradients = source_gradients;
    interface.differentiable = differentiable;
    interface.used = used;
    interface.slots = slots;
    for (nb::handle item : gradients) {
      nb::tuple pair = nb::cast<nb::tuple>(item);
      interface.gradients.emplace_back(unwrap(nb::object(pair[0]).ptr()), nb::cast<int>(pair[1]));
    }
    for (nb::handle source : sources) {
      bool leaf = is_tensor(source.ptr());
      interface.sources.emplace_back(leaf ? -1 : nb::cast<int>(source),
                                     leaf ? unwrap(source.ptr()) : nullptr);
    }
    building(self).finish(std::move(interface));
    return ExecutableObject{std::move(self.executable)};
  });
}

void bind_steps(nb::class_<UnfinishedObject>& type) {
  type.def("call",
           [](UnfinishedObject& self, const CallObject& call, const std::vector<int>& inputs,
              const std::vector<int>& outputs, std::string label) {
             translated(
                 [&] { building(self).add_call(call.call, inputs, outputs, std::move(label)); });
           })
      .def("program",
           [](UnfinishedObject& self, const TracedProgram& program, nb::handle dtype,
              nb::list inputs, const std::vector<int>& outputs, std::string label) {
             translated([&] {
               building(self).add_program(program.program, dtype_of(dtype), step_inputs(inputs),
                                          outputs, std::move(label));
             });
           })
      .def("product",
           [](UnfinishedObject& self, const CallObject& call, const std::vector<int>& inputs,
              int product, const TracedProgram& program, nb::handle dtype, nb::list operands,
              const std::vector<int>& outputs, std::string label) {
             translated([&] {
               building(self).add_product(call.call, inputs, product, program.program,
                                          dtype_of(dtype), step_inputs(operands), outputs,
                                          std::move(label));
             });
           })
      .def("product_and_sum",
           [](UnfinishedObject& self, const CallObject& product, const std::vector<int>& inputs,
              int output, const CallObject& sum, int input, int sums, int factor,
              std::string label) {
             translated([&] {
               building(self).add_product_and_sum({product.call, inputs, output},
                                                  {sum.call, {input}, sums}, factor,
                                                  std::move(label));
             });
           })
      .def("update",
           [](UnfinishedObject& self, const TracedProgram& program, nb::handle dtype,
              const std::vector<std::vector<int>>& lists, nb::list numbers,
              const std::vector<int>& targets, std::string label) {
             translated([&] {
               building(self).add_update(program.program, dtype_of(dtype), lists,
                                         step_inputs(numbers), targets, std::move(label));
             });
           })
      .def("fork", [](UnfinishedObject& self, size_t begin, size_t middle, size_t end) {
        translated([&] { building(self).add_fork(begin, middle, end); });
      });
}

void bind_builder(nb::module_& module) {
  nb::class_<UnfinishedObject> type(module, "ExecutableBuilder", "Puts an executable together.");
  bind_steps(type);
  type.def(
          "__init__",
          [](UnfinishedObject* self, std::optional<Device> device) {
            new (self)
                UnfinishedObject{ExecutableRef::adopt(new Executable(device.value_or(Device{})))};
          },
          nb::arg("device").none() = nb::none())
      .def(
          "buffer",
          [](UnfinishedObject& self, const std::string& kind, size_t bytes, int index,
             nb::handle tensor, int64_t offset) {
            return translated([&] {
              TensorRef owner = tensor.is_none() ? nullptr : unwrap(tensor.ptr());
              return building(self).add_buffer(kind_named(kind), bytes, index, std::move(owner),
                                               offset);
            });
          },
          nb::arg("kind"), nb::arg("bytes"), nb::arg("index") = -1,
          nb::arg("tensor").none() = nb::none(), nb::arg("offset") = -1)
      .def("value",
           [](UnfinishedObject& self, int buffer, nb::handle shape, nb::handle strides,
              int64_t offset, nb::handle dtype) {
             return translated([&] {
               return building(self).add_value(buffer, dims_of(shape), dims_of(strides), offset,
                                               dtype_of(dtype));
             });
           })
      .def("backward", [](UnfinishedObject& self) { building(self).begin_backward(); })
      .def("expect_argument",
           [](UnfinishedObject& self, nb::handle tensor) {
             building(self).expect_argument(*unwrap(tensor.ptr()));
           })
      .def("expect_no_gradient",
           [](UnfinishedObject& self, nb::handle leaf) {
             building(self).expect_no_gradient(unwrap(leaf.ptr()));
           })
      .def("finish", &finish, nb::arg("outputs"), nb::arg("gradients"), nb::arg("arena_bytes"),
           nb::arg("sources") = nb::list(), nb::arg("source_gradients") = std::vector<int>(),
           nb::arg("differentiable") = std::vector<int>(), nb::arg("used") = std::vector<int>(),
           nb::arg("slots") = 0);
}

std::vector<double> numbers_of(nb::handle list) {
  std::vector<double> numbers;
  for (nb::handle item : list) numbers.push_back(nb::cast<double>(item));
  return numbers;
}

// None if the arguments are others than those recorded, or while another recording is on.
nb::object try_run(ExecutableObject& self, nb::handle arguments, nb::handle numbers) {
  return translated([&]() -> nb::object {
    if (mode.tracing) return nb::none();
    TensorList given;
    for (nb::handle item : arguments) {
      if (!is_tensor(item.ptr())) return nb::none();
      given.push_back(unwrap(item.ptr()));
    }
    if (!self.executable->matches(given)) return nb::none();
    std::vector<double> values = numbers_of(numbers);
    std::vector<TensorRef> outputs;
    {
      std::optional<WithoutGil> parallel;
      if (self.executable->is_long()) parallel.emplace();
      outputs = self.executable->run(given, values);
    }
    return wrapped(outputs);
  });
}

nb::list run(ExecutableObject& self, nb::handle arguments, nb::handle numbers) {
  return translated([&] {
    TensorList given = tensors_of(arguments);
    std::vector<double> values = numbers_of(numbers);
    std::string why;
    require(self.executable->matches(given, &why),
            "executable: it was made for other arguments: ", why);
    std::vector<TensorRef> outputs;
    {
      WithoutGil parallel;
      outputs = self.executable->run(given, values);
    }
    return wrapped(outputs);
  });
}

// (label, seconds) of every step.
nb::list profile(ExecutableObject& self, nb::handle arguments, nb::handle numbers) {
  return translated([&] {
    std::vector<double> seconds =
        self.executable->profile(tensors_of(arguments), numbers_of(numbers));
    nb::list list;
    for (size_t i = 0; i < seconds.size(); ++i) {
      list.append(nb::make_tuple(self.executable->step(i).label, seconds[i]));
    }
    return list;
  });
}

void bind_executable(nb::module_& module) {
  nb::class_<ExecutableObject>(module, "Executable", "A graph that runs without Python.")
      .def("run", &run, nb::arg("arguments"), nb::arg("numbers") = nb::list())
      .def("try_run", &try_run, nb::arg("arguments"), nb::arg("numbers") = nb::tuple())
      .def("profile", &profile, nb::arg("arguments"), nb::arg("numbers") = nb::list())
      .def("__len__", [](ExecutableObject& self) { return self.executable->step_count(); })
      .def_prop_ro("captured", [](ExecutableObject& self) { return self.executable->captured(); })
      .def_prop_ro("not_capturable",
                   [](ExecutableObject& self) { return self.executable->not_capturable(); })
      .def(
          "mismatch",
          [](ExecutableObject& self, nb::handle arguments) -> nb::object {
            return translated([&]() -> nb::object {
              std::string why;
              if (self.executable->matches(tensors_of(arguments), &why)) return nb::none();
              return nb::cast(why);
            });
          },
          "What differs from the recording; None if nothing does.");
}

}  // namespace

void note_visible(Tensor* tensor) {
  if (Recording* current = Recording::current()) current->note_visible(TensorRef::share(tensor));
}

void check_recorded(const char* op, std::span<const Argument> arguments, const Result& result) {
  Recording* current = Recording::current();
  bool any = false;
  for (const Argument& argument : arguments) any |= argument.tensor || !argument.tensors.empty();
  std::string_view name = op;
  // What is made in the image of a tensor depends on its shape only.
  bool only_shape = name.ends_with("_like") || name.starts_with("new_");
  if (!current || !any || only_shape) return;
  // An operator that has nothing to do returns its argument.
  auto is_argument = [&](const TensorRef& tensor) {
    for (const Argument& argument : arguments) {
      if (argument.tensor && argument.tensor->storage() == tensor->storage()) return true;
    }
    return false;
  };
  if (result.one && !is_argument(result.one)) current->expect_known(op, *result.one);
  for (const TensorRef& tensor : result.many) {
    if (tensor && !is_argument(tensor)) current->expect_known(op, *tensor);
  }
  if (result.shape == Result::Shape::Bool || result.shape == Result::Shape::Double) {
    recorder.untraceable(op);
  }
}

void bind_trace(nb::module_& module) {
  install_recording();
  Executable::wait = [](std::mutex& mutex) {
    std::optional<WithoutGil> parallel;
    if (!mode.without_gil) parallel.emplace();
    mutex.lock();
  };
  bind_call(module);
  bind_recording(module);
  bind_program_builder(module);
  bind_builder(module);
  bind_executable(module);
}

}  // namespace flambeau::python
