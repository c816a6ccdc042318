#include <dlfcn.h>
#include <elf.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "driver.h"
#include "grid.h"
#include "memory.h"

// Modules, functions and launches. A "cubin" is a shared object made by nvrtc.cpp.

namespace emulated {

struct LoadedModule {
  void* library = nullptr;
  const EmulatedModule* content = nullptr;
  std::vector<std::shared_ptr<Function>> functions;  // those that were asked for

  LoadedModule() = default;
  LoadedModule(const LoadedModule&) = delete;
  LoadedModule& operator=(const LoadedModule&) = delete;
  ~LoadedModule() {
    if (library != nullptr) dlclose(library);
  }
};

struct Function {
  std::weak_ptr<LoadedModule> module;
  const EmulatedKernel* kernel = nullptr;
  size_t most_dynamic_shared = kSharedPerBlock;
};

namespace {

// The image's length follows from its header: the table of sections is its end.
size_t image_bytes(const void* image) {
  if (image == nullptr || std::memcmp(image, ELFMAG, SELFMAG) != 0) return 0;
  auto header = static_cast<const Elf64_Ehdr*>(image);
  return header->e_shoff + size_t{header->e_shnum} * header->e_shentsize;
}

// The dynamic loader wants a file, and one of its own for each module.
void* open_image(const void* image, size_t bytes) {
  const char* folder = std::getenv("TMPDIR");
  std::string path = std::string(folder == nullptr ? "/tmp" : folder) + "/emulated_cuda_XXXXXX";
  int file = mkstemp(path.data());
  if (file < 0) return nullptr;
  bool written = write(file, image, bytes) == static_cast<ssize_t>(bytes);
  close(file);
  void* library = written ? dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL) : nullptr;
  if (library == nullptr) std::fprintf(stderr, "emulated CUDA: %s\n", dlerror());
  unlink(path.c_str());
  return library;
}

CUresult load(CUmodule* handle, const void* image) {
  EMULATED_BEGIN_IN_CONTEXT();
  EMULATED_RETURN_IF(handle == nullptr || image == nullptr, CUDA_ERROR_INVALID_VALUE);
  size_t bytes = image_bytes(image);
  EMULATED_RETURN_IF(bytes == 0, CUDA_ERROR_INVALID_IMAGE);
  auto module = std::make_shared<LoadedModule>();
  module->library = open_image(image, bytes);
  EMULATED_RETURN_IF(module->library == nullptr, CUDA_ERROR_INVALID_IMAGE);
  void* content = dlsym(module->library, "emulated_module");
  EMULATED_RETURN_IF(content == nullptr, CUDA_ERROR_INVALID_IMAGE);
  module->content = static_cast<const EmulatedModule*>(content);
  module->content->state->runtime = &runtime;
  *handle = driver().modules.add(module);
  return CUDA_SUCCESS;
}

bool valid_shape(EmulatedIndex grid, EmulatedIndex block) {
  auto within = [](EmulatedIndex index, EmulatedIndex most) {
    return index.x >= 1 && index.y >= 1 && index.z >= 1 && index.x <= most.x && index.y <= most.y &&
           index.z <= most.z;
  };
  return within(grid, {2147483647, 65535, 65535}) && within(block, {1024, 1024, 64}) &&
         static_cast<unsigned long long>(block.x) * block.y * block.z <= kMaxThreads;
}

// A device could not use the host's memory, but a kernel that runs on the host can: so the
// arguments that look like pointers are judged at the launch.
bool check_pointers(const EmulatedKernel& kernel, void** parameters) {
  for (int index = 0; index < kernel.parameter_count; ++index) {
    uintptr_t value = 0;
    if (kernel.parameter_sizes[index] != sizeof value) continue;
    std::memcpy(&value, parameters[index], sizeof value);
    if (!is_forbidden(value)) continue;
    std::fprintf(stderr, "emulated CUDA: kernel %s: parameter %d is no device pointer: %s\n",
                 kernel.name, index, describe_address(value).c_str());
    return false;
  }
  return true;
}

size_t static_shared(const EmulatedModule& module) {
  return module.shared_end - module.shared_begin;
}

}  // namespace
}  // namespace emulated

using namespace emulated;

EMULATED_API CUresult cuModuleLoadData(CUmodule* handle, const void* image) {
  return load(handle, image);
}

EMULATED_API CUresult cuModuleLoadDataEx(CUmodule* handle, const void* image, unsigned, int*,
                                         void**) {
  return load(handle, image);
}

EMULATED_API CUresult cuModuleUnload(CUmodule handle) {
  EMULATED_BEGIN_IN_CONTEXT();
  std::shared_ptr<LoadedModule> module = driver().modules.find(handle);
  EMULATED_RETURN_IF(module == nullptr, CUDA_ERROR_INVALID_HANDLE);
  for (const auto& function : module->functions) {
    driver().functions.remove(reinterpret_cast<CUfunction>(function.get()));
  }
  driver().modules.remove(handle);  // launches that have not run keep it loaded
  return CUDA_SUCCESS;
}

EMULATED_API CUresult cuModuleGetFunction(CUfunction* handle, CUmodule module_handle,
                                          const char* name) {
  EMULATED_BEGIN_IN_CONTEXT();
  std::shared_ptr<LoadedModule> module = driver().modules.find(module_handle);
  EMULATED_RETURN_IF(module == nullptr, CUDA_ERROR_INVALID_HANDLE);
  EMULATED_RETURN_IF(handle == nullptr || name == nullptr, CUDA_ERROR_INVALID_VALUE);
  for (int index = 0; index < module->content->kernel_count; ++index) {
    const EmulatedKernel* kernel = &module->content->kernels[index];
    if (std::strcmp(kernel->name, name) != 0) continue;
    auto& functions = module->functions;
    auto known = std::find_if(functions.begin(), functions.end(),
                              [&](const auto& function) { return function->kernel == kernel; });
    if (known == functions.end()) {
      auto function = std::make_shared<Function>();
      function->module = module;
      function->kernel = kernel;
      driver().functions.add(function);
      known = functions.insert(functions.end(), function);
    }
    *handle = reinterpret_cast<CUfunction>(known->get());
    return CUDA_SUCCESS;
  }
  return CUDA_ERROR_NOT_FOUND;
}

EMULATED_API CUresult cuFuncSetAttribute(CUfunction handle, int attribute, int value) {
  EMULATED_BEGIN_IN_CONTEXT();
  std::shared_ptr<Function> function = driver().functions.find(handle);
  EMULATED_RETURN_IF(function == nullptr, CUDA_ERROR_INVALID_HANDLE);
  constexpr int kMaxDynamicShared = 8, kPreferredCarveout = 9;
  if (attribute == kPreferredCarveout) return CUDA_SUCCESS;
  EMULATED_RETURN_IF(attribute != kMaxDynamicShared || value < 0 ||
                         static_cast<unsigned>(value) > kSharedPerBlockOptin,
                     CUDA_ERROR_INVALID_VALUE);
  function->most_dynamic_shared = value;
  return CUDA_SUCCESS;
}

EMULATED_API CUresult cuFuncGetAttribute(int* value, int attribute, CUfunction handle) {
  EMULATED_BEGIN_IN_CONTEXT();
  std::shared_ptr<Function> function = driver().functions.find(handle);
  EMULATED_RETURN_IF(function == nullptr, CUDA_ERROR_INVALID_HANDLE);
  EMULATED_RETURN_IF(value == nullptr, CUDA_ERROR_INVALID_VALUE);
  switch (attribute) {
    case 0:  // MAX_THREADS_PER_BLOCK
      *value = static_cast<int>(function->kernel->max_threads);
      return CUDA_SUCCESS;
    case 1:  // SHARED_SIZE_BYTES
      *value = static_cast<int>(static_shared(*function->module.lock()->content));
      return CUDA_SUCCESS;
    case 2:  // CONST_SIZE_BYTES
    case 3:  // LOCAL_SIZE_BYTES
      *value = 0;
      return CUDA_SUCCESS;
    case 4:  // NUM_REGS
      *value = 32;
      return CUDA_SUCCESS;
    case 5:  // PTX_VERSION
    case 6:  // BINARY_VERSION
      *value = 90;
      return CUDA_SUCCESS;
    case 8:  // MAX_DYNAMIC_SHARED_SIZE_BYTES
      *value = static_cast<int>(function->most_dynamic_shared);
      return CUDA_SUCCESS;
  }
  return CUDA_ERROR_INVALID_VALUE;
}

EMULATED_API CUresult cuOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, CUfunction handle,
                                                                  int threads, size_t shared) {
  EMULATED_BEGIN_IN_CONTEXT();
  std::shared_ptr<Function> function = driver().functions.find(handle);
  EMULATED_RETURN_IF(function == nullptr, CUDA_ERROR_INVALID_HANDLE);
  EMULATED_RETURN_IF(blocks == nullptr || threads <= 0, CUDA_ERROR_INVALID_VALUE);
  size_t per_block = shared + static_shared(*function->module.lock()->content) + 1024;
  size_t by_shared = kSharedPerMultiprocessor / per_block;
  *blocks = static_cast<int>(std::min<size_t>(
      {kThreadsPerMultiprocessor / static_cast<unsigned>(threads), by_shared, 32}));
  return CUDA_SUCCESS;
}

EMULATED_API CUresult cuLaunchKernel(CUfunction handle, unsigned grid_x, unsigned grid_y,
                                     unsigned grid_z, unsigned block_x, unsigned block_y,
                                     unsigned block_z, unsigned dynamic_shared,
                                     CUstream stream_handle, void** parameters, void** extra) {
  EMULATED_BEGIN_IN_CONTEXT();
  std::shared_ptr<Function> function = driver().functions.find(handle);
  std::shared_ptr<Stream> stream = find_stream(stream_handle);
  EMULATED_RETURN_IF(function == nullptr || stream == nullptr || stream->device != device,
                     CUDA_ERROR_INVALID_HANDLE);
  const EmulatedKernel& kernel = *function->kernel;
  std::shared_ptr<LoadedModule> module = function->module.lock();
  Launch launch{module->content,
                &kernel,
                {grid_x, grid_y, grid_z},
                {block_x, block_y, block_z},
                dynamic_shared};
  EMULATED_RETURN_IF(!valid_shape(launch.grid, launch.block), CUDA_ERROR_INVALID_VALUE);
  EMULATED_RETURN_IF(dynamic_shared > function->most_dynamic_shared, CUDA_ERROR_INVALID_VALUE);
  EMULATED_RETURN_IF(extra != nullptr, CUDA_ERROR_NOT_SUPPORTED);
  EMULATED_RETURN_IF(block_x * block_y * block_z > kernel.max_threads,
                     CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES);
  EMULATED_RETURN_IF(parameters == nullptr && kernel.parameter_count != 0,
                     CUDA_ERROR_INVALID_VALUE);
  EMULATED_RETURN_IF(!check_pointers(kernel, parameters), CUDA_ERROR_ILLEGAL_ADDRESS);
  // The arguments as they are now: each at a multiple of 16 bytes.
  std::vector<size_t> offsets;
  size_t bytes = 0;
  for (int index = 0; index < kernel.parameter_count; ++index) {
    offsets.push_back(bytes);
    bytes += (kernel.parameter_sizes[index] + size_t{15}) / 16 * 16;
  }
  EMULATED_RETURN_IF(bytes > kParameterBytes, CUDA_ERROR_INVALID_VALUE);
  std::vector<long double> copies(bytes / sizeof(long double));  // for its alignment
  auto base = reinterpret_cast<char*>(copies.data());
  for (int index = 0; index < kernel.parameter_count; ++index) {
    std::memcpy(base + offsets[index], parameters[index], kernel.parameter_sizes[index]);
  }
  return submit(stream, [=]() mutable {
    std::vector<void*> pointers;
    for (size_t offset : offsets) {
      pointers.push_back(reinterpret_cast<char*>(copies.data()) + offset);
    }
    Launch running = launch;
    running.module = module->content;  // and keeps the module loaded
    return run_grid(running, pointers.data());
  });
}
