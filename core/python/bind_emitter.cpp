// Programs as machine code in Python, for tests and reports: which executor runs, its text.
#include "python/bind_emitter.h"

#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "program/emitter.h"
#include "program/emitter/executable_memory.h"
#include "python/common.h"
#include "python/program_object.h"

namespace nb = nanobind;

namespace flambeau::python {

namespace {

// Tensors and numbers of a call, as ProgramRun wants them.
struct Operands {
  std::vector<TensorRef> tensors;  // kept alive
  std::vector<ProgramOperand> layout;
  std::vector<void*> addresses;
  std::vector<Scalar> numbers;

  explicit Operands(nb::sequence operands) {
    for (nb::handle operand : operands) {
      Scalar number;
      if (is_tensor(operand.ptr())) {
        tensors.push_back(unwrap(operand.ptr()));
        layout.push_back(ProgramOperand::of(*tensors.back()));
        addresses.push_back(tensors.back()->data());
      } else if (as_scalar(operand.ptr(), number)) {
        layout.push_back(ProgramOperand::number());
        numbers.push_back(number);
      } else {
        fail(ErrorKind::Type, "program: operands are tensors or numbers, got ",
             Py_TYPE(operand.ptr())->tp_name);
      }
    }
  }
};

InstructionSet instruction_set_named(const std::string& name) {
  if (name.empty()) return instruction_set();
  const InstructionSet best = instruction_set();
  const InstructionSet wanted = name == "v4"   ? InstructionSet::V4
                                : name == "v3" ? InstructionSet::V3
                                               : InstructionSet::V2;
  require(static_cast<int>(wanted) <= static_cast<int>(best),
          "program: this processor has no instruction set ", name);
  return wanted;
}

// A run prepared for the operands it was made with; they may be replaced by ones that lie alike.
struct PreparedRun {
  ProgramRun run;
  std::vector<ProgramOperand> inputs, outputs;
};

void check_alike(const std::vector<ProgramOperand>& wanted,
                 const std::vector<ProgramOperand>& got) {
  bool alike = wanted.size() == got.size();
  for (size_t i = 0; alike && i < wanted.size(); ++i) {
    const ProgramOperand &a = wanted[i], &b = got[i];
    alike = a.is_tensor == b.is_tensor &&
            (!a.is_tensor || (a.dtype == b.dtype && a.shape == b.shape && a.strides == b.strides));
  }
  require(alike, "program: a prepared run takes operands like those it was prepared for; prepare ",
          "another one");
}

}  // namespace

void bind_emitter(nb::module_& module) {
  nb::class_<PreparedRun>(module, "PreparedRun", "A program prepared for fixed shapes.")
      .def("run",
           [](const PreparedRun& self, nb::sequence inputs, nb::sequence outputs) {
             const Operands in(inputs), out(outputs);
             check_alike(self.inputs, in.layout);
             check_alike(self.outputs, out.layout);
             self.run.run(in.addresses, in.numbers, out.addresses);
           })
      .def("repeat",
           [](const PreparedRun& self, nb::sequence inputs, nb::sequence outputs, int count) {
             const Operands in(inputs), out(outputs);
             check_alike(self.inputs, in.layout);
             check_alike(self.outputs, out.layout);
             for (int i = 0; i < count; ++i) self.run.run(in.addresses, in.numbers, out.addresses);
           })
      .def_prop_ro("emitted", [](const PreparedRun& self) { return self.run.emitted(); })
      .def_prop_ro("code",
                   [](const PreparedRun& self) {
                     const std::span<const uint8_t> code = self.run.code();
                     return nb::bytes(code.data(), code.size());
                   })
      .def_prop_ro("listing", [](const PreparedRun& self) { return self.run.listing(); });
  module.def(
      "prepare",
      [](const TracedProgram& program, nb::sequence inputs, nb::sequence outputs,
         const std::string& instruction_set) {
        Operands in(inputs), out(outputs);
        require(!out.layout.empty(), "program: outputs are needed");
        DType dtype = DType::Bool;
        for (const ProgramOperand& output : out.layout) dtype = promote_types(dtype, output.dtype);
        for (const ProgramOperand& input : in.layout) {
          if (input.is_tensor) dtype = promote_types(dtype, input.dtype);
        }
        return PreparedRun{ProgramRun(program.program, precision_of(dtype), in.layout, out.layout,
                                      instruction_set_named(instruction_set)),
                           in.layout, out.layout};
      },
      nb::arg("program"), nb::arg("inputs"), nb::arg("outputs"), nb::arg("isa") = "");
  module.def("emitter_use", [](const std::string& use) {
    set_emitter_use(use == "never"    ? EmitterUse::Never
                    : use == "always" ? EmitterUse::Always
                                      : EmitterUse::WhenWorthwhile);
  });
  module.def("instruction_sets", [] {
    std::vector<std::string> names;
    const InstructionSet best = instruction_set();
    if (best == InstructionSet::V4) names.push_back("v4");
    if (best == InstructionSet::V4 || best == InstructionSet::V3) names.push_back("v3");
    return names;
  });
  module.def("machine_code_bytes", &emitter::ExecutableMemory::bytes_in_use);
  module.def("refuse_executable_pages", &emitter::ExecutableMemory::refuse);
}

}  // namespace flambeau::python
