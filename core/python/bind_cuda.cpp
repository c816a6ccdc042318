// GPUs for flambeau/cuda: devices, streams, events, memory, and the libraries that are found.
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "cuda/library.h"
#include "python/common.h"

namespace nb = nanobind;

namespace flambeau::python {

namespace {

using cuda::LibraryName;

LibraryName library_named(const std::string& name) {
  static const std::pair<const char*, LibraryName> kNames[] = {{"driver", LibraryName::Driver},
                                                               {"nvrtc", LibraryName::Nvrtc},
                                                               {"cublaslt", LibraryName::CublasLt},
                                                               {"cudnn", LibraryName::Cudnn},
                                                               {"nccl", LibraryName::Nccl}};
  for (const auto& [known, value] : kNames) {
    if (name == known) return value;
  }
  fail(ErrorKind::Value, "cuda_library: no library is called ", name);
}

// Only names: a broken installation of Python's packages is no reason to fail here.
std::vector<std::string> find_directories() {
  WithGil gil;
  try {
    nb::object found = nb::module_::import_("flambeau.cuda._libraries").attr("directories")();
    return nb::cast<std::vector<std::string>>(found);
  } catch (nb::python_error&) {
    return {};
  }
}

nb::tuple cuda_library(const std::string& name) {
  return translated([&] {
    LibraryName which = library_named(name);
    const cuda::Library& library = cuda::library(which);
    return nb::make_tuple(library.path, cuda::version_of(which), library.problem);
  });
}

}  // namespace

void bind_cuda(nb::module_& module) {
  cuda::set_library_directories(find_directories);
  module.def("cuda_library", &cuda_library,
             "cuda_library(name): where it is, its version's number, or why it was not found.");
}

}  // namespace flambeau::python
