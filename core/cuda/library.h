// Finding NVIDIA's libraries: where pip's nvidia-* wheels, a CUDA toolkit or the system have them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace flambeau::cuda {

// A shared library that is loaded at its first use.
struct Library {
  void* handle = nullptr;                // null: not found
  std::string path;                      // what was loaded
  std::string problem;                   // null handle: what was tried
  void* symbol(const char* name) const;  // null if it has none of that name
};

enum class LibraryName { Driver, Nvrtc, CublasLt, Cudnn, Nccl };
// Loaded at the first call. Order: the directories of FLAMBEAU_CUDA_LIBRARIES, those that
// set_library_directories named (pip's wheels, toolkits), the loader's own path.
const Library& library(LibraryName name);
// The library's own number, as its header encodes it; NVRTC's like the driver's, 1000 major + 10
// minor. 0 without the library.
int64_t version_of(LibraryName name);
// Where to look, as flambeau/cuda/_libraries.py has found out. `find` is called before the first
// library but the driver is loaded, without any lock of ours held.
void set_library_directories(std::vector<std::string> (*find)());

}  // namespace flambeau::cuda
