// Programs as CUDA C in Python, for tests.
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>

#include "cuda/geometry.h"
#include "cuda/module.h"
#include "program/cuda_source.h"
#include "python/bind_emitter.h"
#include "python/program_object.h"

namespace nb = nanobind;

namespace flambeau::python {

namespace {

template <class T>
T named(const std::string& name, std::initializer_list<std::pair<const char*, T>> names) {
  for (const auto& [known, value] : names) {
    if (name == known) return value;
  }
  fail(ErrorKind::Value, "cuda_text: nothing is called ", name);
}

// ("unit", torch.float32)
CudaOperand operand_of(nb::handle pair) {
  const auto access =
      named<CudaAccess>(nb::cast<std::string>(pair[0]), {{"number", CudaAccess::Number},
                                                         {"single", CudaAccess::Single},
                                                         {"unit", CudaAccess::Unit},
                                                         {"repeat", CudaAccess::Repeat},
                                                         {"stepped", CudaAccess::Stepped},
                                                         {"row", CudaAccess::Row}});
  return {access, dtype_of(pair[1])};
}

CudaForm form_of(const nb::dict& fields) {
  CudaForm form;
  auto number = [&](const char* name, int otherwise) {
    return fields.contains(name) ? nb::cast<int>(fields[name]) : otherwise;
  };
  form.kind = named<CudaForm::Kind>(nb::cast<std::string>(fields["kind"]),
                                    {{"elements", CudaForm::Kind::Elements},
                                     {"rows", CudaForm::Kind::Rows},
                                     {"lists", CudaForm::Kind::Lists}});
  form.precision = precision_of(dtype_of(fields["precision"]));
  form.wide = number("wide", 0) != 0;
  form.dims = static_cast<uint8_t>(number("dims", 0));
  form.width = static_cast<uint8_t>(number("width", 1));
  form.threads = static_cast<uint16_t>(number("threads", 0));
  form.items = static_cast<uint8_t>(number("items", 0));
  for (nb::handle pair : fields["inputs"]) form.inputs.push_back(operand_of(pair));
  for (nb::handle pair : fields["outputs"]) form.outputs.push_back(operand_of(pair));
  return form;
}

}  // namespace

void bind_cuda_program(nb::module_& module) {
  // `whole`: with everything that NVRTC is given, else the program's own part.
  module.def(
      "cuda_text",
      [](const TracedProgram& program, const nb::dict& fields, bool whole) {
        const CudaForm form = form_of(fields);
        if (!whole) return cuda_kernel_text(*program.program, form);
        return cuda::complete_source(cuda_source(*program.program, form), {});
      },
      nb::arg("program"), nb::arg("form"), nb::arg("whole") = false);
  // Kernels have 64-bit indices from this many elements on; returns what it was.
  module.def("cuda_index_limit",
             [](int64_t limit) { return std::exchange(cuda::narrow_limit, limit); });
  module.def("cuda_file",
             [](const std::string& path) { return std::string(cuda::embedded_source(path)); });
}

}  // namespace flambeau::python
