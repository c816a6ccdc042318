// Calls and programs as plain Python values: what files of static graphs are made of.
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "ops/portable.h"
#include "program/builder.h"
#include "python/common.h"
#include "python/program_object.h"
#include "python/trace_objects.h"
#include "trace/portable.h"

namespace nb = nanobind;

namespace flambeau::python {

namespace {

nb::object steal(PyObject* object) {
  if (!object) throw nb::python_error();
  return nb::steal(object);
}

// A tensor of (shape, strides, dtype) without memory; null for None.
TensorRef layout_of(nb::handle object, Device device) {
  if (object.is_none()) return nullptr;
  auto layout = nb::cast<nb::tuple>(object);
  return Tensor::view(Storage::create(0, device), dims_of(layout[0]), dims_of(layout[1]), 0,
                      dtype_of(layout[2]));
}

std::vector<TensorRef> layouts_of(nb::handle list, Device device) {
  std::vector<TensorRef> layouts;
  for (nb::handle item : list) layouts.push_back(layout_of(item, device));
  return layouts;
}

// (name, ints, more_ints, scalars, dtype, flag, in_place)
nb::tuple describe_call(const CallObject& call) {
  return translated([&] {
    CallDescription description = describe(*call.call);
    const Attributes& attributes = description.attributes;
    nb::list scalars;
    for (Scalar number : attributes.scalars) scalars.append(steal(wrap_scalar(number)));
    return nb::make_tuple(description.name, steal(wrap_ints(attributes.ints)),
                          steal(wrap_ints(attributes.more_ints)), nb::tuple(scalars),
                          steal(wrap_dtype(attributes.dtype)), attributes.flag,
                          description.in_place);
  });
}

CallObject described_call(nb::tuple description, nb::handle inputs, nb::handle outputs,
                          std::optional<Device> device) {
  return translated([&] {
    require(description.size() == 7, "a description of a call has 7 parts");
    CallDescription plain;
    plain.name = nb::cast<std::string>(description[0]);
    Attributes& attributes = plain.attributes;
    attributes.ints = dims_of(nb::object(description[1]));
    attributes.more_ints = dims_of(nb::object(description[2]));
    auto scalars = nb::cast<nb::tuple>(description[3]);
    require(scalars.size() == std::size(attributes.scalars), "a call has 4 numbers, got ",
            scalars.size());
    for (size_t i = 0; i < scalars.size(); ++i) {
      bool is_number = as_scalar(nb::object(scalars[i]).ptr(), attributes.scalars[i]);
      if (!is_number) fail(ErrorKind::Type, "the numbers of a call are numbers");
    }
    attributes.dtype = dtype_of(nb::object(description[4]));
    attributes.flag = nb::cast<int>(description[5]);
    plain.in_place = nb::cast<bool>(description[6]);
    const Device place = device.value_or(Device{});
    std::vector<TensorRef> from = layouts_of(inputs, place), to = layouts_of(outputs, place);
    for (const TensorRef& output : to) require(output, "an output cannot be absent");
    return CallObject{call_of(std::move(plain), from, to)};
  });
}

// One tuple per value: ("input", index, extent), ("constant", number), (instruction, operands...).
nb::list instructions_of(const TracedProgram& self) {
  static const char* const kExtents[] = {"uniform", "row", "element"};
  nb::list list;
  for (const Value& value : self.program->values) {
    nb::list parts;
    parts.append(name_of(value.instruction));
    if (value.instruction == Instruction::Input) {
      parts.append(value.index);
      parts.append(kExtents[static_cast<int>(value.extent)]);
    } else if (value.instruction == Instruction::Constant) {
      parts.append(value.constant);
    }
    for (int32_t operand : value.operands) {
      if (operand >= 0) parts.append(operand);
    }
    list.append(nb::tuple(parts));
  }
  return list;
}

Value value_of(nb::tuple parts) {
  require(parts.size() >= 1 && parts.size() <= 4, "program: an instruction has up to 3 operands");
  auto name = nb::cast<std::string>(parts[0]);
  Value value;
  if (name == "input") {
    require(parts.size() == 3, "program: an input has a number and an extent");
    auto extent = nb::cast<std::string>(parts[2]);
    bool known = extent == "uniform" || extent == "row" || extent == "element";
    require(known, "program: no extent ", extent);
    value.index = nb::cast<int32_t>(parts[1]);
    value.extent = extent == "uniform" ? Extent::Uniform
                   : extent == "row"   ? Extent::Row
                                       : Extent::Element;
  } else if (name == "constant") {
    require(parts.size() == 2, "program: a constant has one number");
    value.instruction = Instruction::Constant;
    value.constant = nb::cast<double>(parts[1]);
  } else {
    value.instruction = instruction_named(name);
    require(value.instruction != Instruction::Count, "program: no instruction ", name,
            "; the file may come from a newer version of flambeau");
    for (size_t i = 1; i < parts.size(); ++i) value.operands[i - 1] = nb::cast<int32_t>(parts[i]);
  }
  return value;
}

TracedProgram program_from(int input_count, nb::list instructions,
                           const std::vector<int32_t>& outputs) {
  return translated([&] {
    std::vector<Value> values;
    for (nb::handle item : instructions) values.push_back(value_of(nb::cast<nb::tuple>(item)));
    return TracedProgram{program_of(input_count, values, outputs)};
  });
}

}  // namespace

void bind_portable(nb::module_& module) {
  module.def("portable_names", &portable_names);
  module.def("names_without_gpu_kernel", &names_without_gpu_kernel);
  module.def("describe_call", &describe_call);
  module.def("described_call", &described_call, nb::arg(), nb::arg(), nb::arg(), nb::arg().none());
  module.def("instructions_of", &instructions_of);
  module.def("program_outputs", [](const TracedProgram& self) { return self.program->outputs; });
  module.def("program_from", &program_from);
  module.def("require_kernels", [](const TracedProgram& self, nb::handle dtype) {
    translated([&] { require_kernels(*self.program, precision_of(dtype_of(dtype))); });
  });
}

}  // namespace flambeau::python
