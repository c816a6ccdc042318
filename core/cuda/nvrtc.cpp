#include "cuda/nvrtc.h"

#include "base/error.h"
#include "cuda/library.h"

namespace flambeau::cuda {

namespace {

using ProgramHandle = struct _nvrtcProgram*;

#define FLAMBEAU_NVRTC_FUNCTIONS(F)                                              \
  F(version, "nvrtcVersion", (int* major, int* minor))                           \
  F(architecture_count, "nvrtcGetNumSupportedArchs", (int* count))               \
  F(architectures, "nvrtcGetSupportedArchs", (int* architectures))               \
  F(create, "nvrtcCreateProgram",                                                \
    (ProgramHandle * program, const char* source, const char* name, int headers, \
     const char* const* header_texts, const char* const* header_names))          \
  F(destroy, "nvrtcDestroyProgram", (ProgramHandle * program))                   \
  F(compile, "nvrtcCompileProgram",                                              \
    (ProgramHandle program, int count, const char* const* options))              \
  F(log_size, "nvrtcGetProgramLogSize", (ProgramHandle program, size_t* bytes))  \
  F(log, "nvrtcGetProgramLog", (ProgramHandle program, char* log))               \
  F(cubin_size, "nvrtcGetCUBINSize", (ProgramHandle program, size_t* bytes))     \
  F(cubin, "nvrtcGetCUBIN", (ProgramHandle program, char* cubin))                \
  F(ptx_size, "nvrtcGetPTXSize", (ProgramHandle program, size_t* bytes))         \
  F(ptx, "nvrtcGetPTX", (ProgramHandle program, char* ptx))

struct Nvrtc {
#define FLAMBEAU_NVRTC_FUNCTION(member, name, parameters) int(*member) parameters = nullptr;
  FLAMBEAU_NVRTC_FUNCTIONS(FLAMBEAU_NVRTC_FUNCTION)
#undef FLAMBEAU_NVRTC_FUNCTION
  // Other than the rest it returns its answer.
  const char* (*error_text)(int result) = nullptr;
};

const Nvrtc& nvrtc() {
  static const Nvrtc loaded = [] {
    const Library& found = library(LibraryName::Nvrtc);
    require(found.handle, "cuda: kernels cannot be compiled. ", found.problem,
            ". `flambeau doctor` shows what is there");
    Nvrtc functions;
#define FLAMBEAU_NVRTC_FUNCTION(member, name, parameters)                     \
  functions.member = reinterpret_cast<int(*) parameters>(found.symbol(name)); \
  require(functions.member, "cuda: ", found.path, " lacks ", name,            \
          "; update NVRTC to CUDA 12 "                                        \
          "or later with pip install \"flambeau[cuda]\"");
    FLAMBEAU_NVRTC_FUNCTIONS(FLAMBEAU_NVRTC_FUNCTION)
#undef FLAMBEAU_NVRTC_FUNCTION
    functions.error_text =
        reinterpret_cast<const char* (*)(int)>(found.symbol("nvrtcGetErrorString"));
    return functions;
  }();
  return loaded;
}

void check_nvrtc(int result, const char* what) {
  if (result == 0) return;
  const char* words = nvrtc().error_text ? nvrtc().error_text(result) : "no description";
  fail("cuda: ", what, " failed with ", result, ": ", words);
}

// Ends with the scope.
struct CompilerProgram {
  ProgramHandle handle = nullptr;
  ~CompilerProgram() {
    if (handle) nvrtc().destroy(&handle);
  }
};

}  // namespace

std::pair<int, int> nvrtc_version() {
  int major = 0, minor = 0;
  check_nvrtc(nvrtc().version(&major, &minor), "nvrtcVersion");
  return {major, minor};
}

std::vector<int> nvrtc_architectures() {
  int count = 0;
  check_nvrtc(nvrtc().architecture_count(&count), "nvrtcGetNumSupportedArchs");
  std::vector<int> result(count);
  check_nvrtc(nvrtc().architectures(result.data()), "nvrtcGetSupportedArchs");
  return result;
}

std::string nvrtc_compile(const std::string& source, const std::string& label,
                          const std::string& architecture) {
  const Nvrtc& functions = nvrtc();
  CompilerProgram program;
  check_nvrtc(functions.create(&program.handle, source.c_str(), label.c_str(), 0, nullptr, nullptr),
              "nvrtcCreateProgram");
  const std::string target = "--gpu-architecture=" + architecture;
  std::vector<const char*> options(std::begin(kNvrtcOptions), std::end(kNvrtcOptions));
  options.push_back(target.c_str());
  const int result =
      functions.compile(program.handle, static_cast<int>(options.size()), options.data());
  if (result != 0) {
    size_t bytes = 0;
    functions.log_size(program.handle, &bytes);
    std::string log(bytes, '\0');
    if (bytes) functions.log(program.handle, log.data());
    fail("cuda: the kernel ", label, " could not be compiled for ", architecture,
         " (this is a mistake of Flambeau unless it is your own program):\n", log.c_str());
  }
  size_t bytes = 0;
  const bool is_virtual = architecture.starts_with("compute_");
  check_nvrtc((is_virtual ? functions.ptx_size : functions.cubin_size)(program.handle, &bytes),
              "nvrtcGetCUBINSize");
  std::string code(bytes, '\0');
  check_nvrtc((is_virtual ? functions.ptx : functions.cubin)(program.handle, code.data()),
              "nvrtcGetCUBIN");
  return code;
}

}  // namespace flambeau::cuda
