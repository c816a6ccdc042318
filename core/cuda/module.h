// From CUDA C to kernels: NVRTC compiles a source for the present GPU; the result is kept in
// memory and on disk.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>

#include "cuda/driver.h"
#include "tensor/dtype.h"

namespace flambeau::cuda {

// A kernel on one device; lives as long as the process.
struct Function {
  FunctionHandle handle = nullptr;
  int device = 0;
};

// The text of a file below core/ that was built in ("ops/gather.cu"); fails for an unknown path.
std::string_view embedded_source(std::string_view path);

struct Define {
  std::string_view name;
  std::string_view value;
};

// What NVRTC is given: the prelude, the definitions, the text.
std::string complete_source(std::string_view text, std::initializer_list<Define> defines);

// The kernel `entry` of a source text. `label` names it in errors and profiles. Compiled at the
// first call per device; RuntimeError with the compiler's log if that fails.
const Function& function_of(const std::string& label, const std::string& text, const char* entry,
                            std::initializer_list<Define> defines, int device);

// A kernel of a built-in file, specialised by definitions; found in a table after the first call.
//   static const KernelFile kFile{"ops/gather.cu"};
//   launch(kFile.get("gather", {{"T", type_name(dtype)}}, device), ...);
class KernelFile {
 public:
  // `before`: a built-in file that comes in front of it.
  explicit constexpr KernelFile(const char* path, const char* before = nullptr)
      : path_(path), before_(before) {}
  const Function& get(const char* entry, std::initializer_list<Define> defines, int device) const;

 private:
  const char *path_, *before_;
};

// The type's name in kernels: "float", "half_t", "bfloat_t", "long long" ...
const char* type_name(DType dtype);
}  // namespace flambeau::cuda
