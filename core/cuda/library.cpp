#include "cuda/library.h"

#include <dlfcn.h>

#include <cstdlib>
#include <sstream>

namespace flambeau::cuda {

namespace {

std::vector<std::string> file_names(LibraryName name) {
  switch (name) {
    case LibraryName::Driver:
      return {"libcuda.so.1"};
    case LibraryName::Nvrtc:
      return {"libnvrtc.so.13", "libnvrtc.so.12"};
    case LibraryName::CublasLt:
      return {"libcublasLt.so.13", "libcublasLt.so.12"};
    case LibraryName::Cudnn:
      return {"libcudnn.so.9"};
    default:
      return {"libnccl.so.2"};
  }
}

Library load(LibraryName name) {
  Library library;
  std::vector<std::string> directories;
  if (const char* own = std::getenv("FLAMBEAU_CUDA_LIBRARIES")) {
    std::stringstream list(own);
    for (std::string part; std::getline(list, part, ':');) directories.push_back(part + "/");
  }
  directories.push_back("");
  for (const std::string& directory : directories) {
    for (const std::string& file : file_names(name)) {
      library.handle = dlopen((directory + file).c_str(), RTLD_NOW | RTLD_LOCAL);
      if (library.handle) {
        library.path = directory + file;
        return library;
      }
      library.problem = dlerror();
    }
  }
  return library;
}

}  // namespace

void* Library::symbol(const char* name) const { return handle ? dlsym(handle, name) : nullptr; }

const Library& library(LibraryName name) {
  static const Library libraries[] = {load(LibraryName::Driver), load(LibraryName::Nvrtc),
                                      load(LibraryName::CublasLt), load(LibraryName::Cudnn),
                                      load(LibraryName::Nccl)};
  return libraries[static_cast<int>(name)];
}

}  // namespace flambeau::cuda
