#include "driver.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "memory.h"

// Devices, contexts and errors.

namespace emulated {
namespace {

thread_local Device* current = nullptr;

size_t environment_number(const char* name, size_t otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

// CU_DEVICE_ATTRIBUTE_* and what an H100 answers, but with few multiprocessors.
const std::unordered_map<int, int> kAttributes = {
    {1, kMaxThreads},                 // MAX_THREADS_PER_BLOCK
    {2, kMaxThreads},                 // MAX_BLOCK_DIM_X
    {3, kMaxThreads},                 // MAX_BLOCK_DIM_Y
    {4, 64},                          // MAX_BLOCK_DIM_Z
    {5, 2147483647},                  // MAX_GRID_DIM_X
    {6, 65535},                       // MAX_GRID_DIM_Y
    {7, 65535},                       // MAX_GRID_DIM_Z
    {8, kSharedPerBlock},             // MAX_SHARED_MEMORY_PER_BLOCK
    {9, 65536},                       // TOTAL_CONSTANT_MEMORY
    {10, kWarpSize},                  // WARP_SIZE
    {12, 65536},                      // MAX_REGISTERS_PER_BLOCK
    {13, 1980000},                    // CLOCK_RATE
    {14, 512},                        // TEXTURE_ALIGNMENT
    {15, 1},                          // GPU_OVERLAP
    {16, kMultiprocessors},           // MULTIPROCESSOR_COUNT
    {17, 0},                          // KERNEL_EXEC_TIMEOUT
    {18, 0},                          // INTEGRATED
    {19, 1},                          // CAN_MAP_HOST_MEMORY
    {20, 0},                          // COMPUTE_MODE
    {31, 1},                          // CONCURRENT_KERNELS
    {32, 0},                          // ECC_ENABLED
    {33, 1},                          // PCI_BUS_ID
    {34, 0},                          // PCI_DEVICE_ID
    {36, 2619000},                    // MEMORY_CLOCK_RATE
    {37, 5120},                       // GLOBAL_MEMORY_BUS_WIDTH
    {38, 50 << 20},                   // L2_CACHE_SIZE
    {39, kThreadsPerMultiprocessor},  // MAX_THREADS_PER_MULTIPROCESSOR
    {40, 3},                          // ASYNC_ENGINE_COUNT
    {41, 1},                          // UNIFIED_ADDRESSING
    {50, 0},                          // PCI_DOMAIN_ID
    {75, 0},                          // COMPUTE_CAPABILITY_MAJOR: from the environment
    {76, 0},                          // COMPUTE_CAPABILITY_MINOR
    {78, 1},                          // STREAM_PRIORITIES_SUPPORTED
    {81, kSharedPerMultiprocessor},   // MAX_SHARED_MEMORY_PER_MULTIPROCESSOR
    {82, 65536},                      // MAX_REGISTERS_PER_MULTIPROCESSOR
    {83, 1},                          // MANAGED_MEMORY
    {97, kSharedPerBlockOptin},       // MAX_SHARED_MEMORY_PER_BLOCK_OPTIN
    {106, 32},                        // MAX_BLOCKS_PER_MULTIPROCESSOR
    {111, 1024},                      // RESERVED_SHARED_MEMORY_PER_BLOCK
    {115, 0},                         // MEMORY_POOLS_SUPPORTED
};

}  // namespace

Driver& driver() {
  static Driver* instance = new Driver;  // never destroyed: threads may outlive main
  return *instance;
}

Device* device_of(CUdevice index) {
  auto& devices = driver().devices;
  return index < 0 || index >= static_cast<int>(devices.size()) ? nullptr : devices[index].get();
}

Device* device_of(CUcontext context) {
  for (const auto& device : driver().devices) {
    if (reinterpret_cast<CUcontext>(device.get()) == context) return device.get();
  }
  return nullptr;
}

Device* current_device() { return current != nullptr && current->retained > 0 ? current : nullptr; }

std::shared_ptr<Stream> find_stream(CUstream handle) {
  constexpr uintptr_t kLegacy = 1, kPerThread = 2;  // CU_STREAM_LEGACY, CU_STREAM_PER_THREAD
  const auto number = reinterpret_cast<uintptr_t>(handle);
  if (number <= kPerThread) {
    Device* device = current_device();
    if (device == nullptr) return nullptr;
    return number <= kLegacy ? device->null_stream : device->stream_of_thread();
  }
  return driver().streams.find(handle);
}

}  // namespace emulated

using namespace emulated;

EMULATED_API CUresult cuInit(unsigned flags) {
  std::lock_guard<std::recursive_mutex> lock(driver().mutex);
  EMULATED_RETURN_IF(flags != 0, CUDA_ERROR_INVALID_VALUE);
  EMULATED_RETURN_IF(driver().process != 0 && driver().process != getpid(),
                     CUDA_ERROR_NOT_INITIALIZED);
  if (driver().process == 0) {
    size_t count = environment_number("EMULATED_CUDA_DEVICES", 1);
    EMULATED_RETURN_IF(count == 0, CUDA_ERROR_NO_DEVICE);
    driver().memory_bytes = environment_number("EMULATED_CUDA_MEMORY", size_t{1} << 30);
    for (size_t index = 0; index < count; ++index) {
      auto device = std::make_unique<Device>();
      device->index = static_cast<int>(index);
      driver().devices.push_back(std::move(device));
    }
    driver().process = getpid();
  }
  return CUDA_SUCCESS;
}

EMULATED_API CUresult cuDriverGetVersion(int* version) {
  EMULATED_RETURN_IF(version == nullptr, CUDA_ERROR_INVALID_VALUE);
  *version = 13000;
  return CUDA_SUCCESS;
}

EMULATED_API CUresult cuGetErrorName(CUresult error, const char** text) {
  switch (error) {
#define EMULATED_CASE(name, value, description) \
  case value:                                   \
    *text = #name;                              \
    return CUDA_SUCCESS;
    EMULATED_CUDA_ERRORS(EMULATED_CASE)
#undef EMULATED_CASE
  }
  *text = nullptr;
  return CUDA_ERROR_INVALID_VALUE;
}

EMULATED_API CUresult cuGetErrorString(CUresult error, const char** text) {
  switch (error) {
#define EMULATED_CASE(name, value, description) \
  case value:                                   \
    *text = description;                        \
    return CUDA_SUCCESS;
    EMULATED_CUDA_ERRORS(EMULATED_CASE)
#undef EMULATED_CASE
  }
  *text = nullptr;
  return CUDA_ERROR_INVALID_VALUE;
}

EMULATED_API CUresult cuDeviceGetCount(int* count) {
  EMULATED_BEGIN();
  EMULATED_RETURN_IF(count == nullptr, CUDA_ERROR_INVALID_VALUE);
  *count = static_cast<int>(driver().devices.size());
  return CUDA_SUCCESS;
}

EMULATED_API CUresult cuDeviceGet(CUdevice* device, int ordinal) {
  EMULATED_BEGIN();
  EMULATED_RETURN_IF(device == nullptr, CUDA_ERROR_INVALID_VALUE);
  EMULATED_RETURN_IF(device_of(ordinal) == nullptr, CUDA_ERROR_INVALID_DEVICE);
  *device = ordinal;
  return CUDA_SUCCESS;
}

EMULATED_API CUresult cuDeviceGetName(char* name, int length, CUdevice device) {
  EMULATED_BEGIN();
  EMULATED_RETURN_IF(name == nullptr || length <= 0, CUDA_ERROR_INVALID_VALUE);
  EMULATED_RETURN_IF(device_of(device) == nullptr, CUDA_ERROR_INVALID_DEVICE);
  std::snprintf(name, length, "Emulated GPU");
  return CUDA_SUCCESS;
}

EMULATED_API CUresult cuDeviceTotalMem_v2(size_t* bytes, CUdevice device) {
  EMULATED_BEGIN();
  EMULATED_RETURN_IF(bytes == nullptr, CUDA_ERROR_INVALID_VALUE);
  EMULATED_RETURN_IF(device_of(device) == nullptr, CUDA_ERROR_INVALID_DEVICE);
  *bytes = driver().memory_bytes;
  return CUDA_SUCCESS;
}

EMULATED_API CUresult cuDeviceGetAttribute(int* value, int attribute, CUdevice device) {
  EMULATED_BEGIN();
  EMULATED_RETURN_IF(value == nullptr, CUDA_ERROR_INVALID_VALUE);
  EMULATED_RETURN_IF(device_of(device) == nullptr, CUDA_ERROR_INVALID_DEVICE);
  auto found = kAttributes.find(attribute);
  EMULATED_RETURN_IF(found == kAttributes.end(), CUDA_ERROR_INVALID_VALUE);
  constexpr int kBus = 33, kMajor = 75;
  *value = attribute == kBus     ? device + 1
           : attribute == kMajor ? static_cast<int>(environment_number("EMULATED_CUDA_MAJOR", 9))
                                 : found->second;
  return CUDA_SUCCESS;
}

EMULATED_API CUresult cuDeviceGetUuid_v2(CUuuid* uuid, CUdevice device) {
  EMULATED_BEGIN();
  EMULATED_RETURN_IF(uuid == nullptr, CUDA_ERROR_INVALID_VALUE);
  EMULATED_RETURN_IF(device_of(device) == nullptr, CUDA_ERROR_INVALID_DEVICE);
  std::memcpy(uuid->bytes, "emulated-gpu-000", 16);
  uuid->bytes[15] = static_cast<char>('0' + device);
  return CUDA_SUCCESS;
}

EMULATED_API CUresult cuDeviceGetPCIBusId(char* text, int length, CUdevice device) {
  EMULATED_BEGIN();
  EMULATED_RETURN_IF(text == nullptr || length < 13, CUDA_ERROR_INVALID_VALUE);
  EMULATED_RETURN_IF(device_of(device) == nullptr, CUDA_ERROR_INVALID_DEVICE);
  std::snprintf(text, length, "0000:%02X:00.0", static_cast<unsigned>(device + 1) & 0xFF);
  return CUDA_SUCCESS;
}

EMULATED_API CUresult cuDeviceCanAccessPeer(int* can, CUdevice device, CUdevice peer) {
  EMULATED_BEGIN();
  EMULATED_RETURN_IF(can == nullptr, CUDA_ERROR_INVALID_VALUE);
  EMULATED_RETURN_IF(device_of(device) == nullptr || device_of(peer) == nullptr,
                     CUDA_ERROR_INVALID_DEVICE);
  *can = device != peer;
  return CUDA_SUCCESS;
}

EMULATED_API CUresult cuDevicePrimaryCtxRetain(CUcontext* context, CUdevice index) {
  EMULATED_BEGIN();
  Device* device = device_of(index);
  EMULATED_RETURN_IF(context == nullptr, CUDA_ERROR_INVALID_VALUE);
  EMULATED_RETURN_IF(device == nullptr, CUDA_ERROR_INVALID_DEVICE);
  if (device->retained++ == 0) {
    device->null_stream = std::make_shared<Stream>();
    device->null_stream->device = device;
  }
  *context = reinterpret_cast<CUcontext>(device);
  return CUDA_SUCCESS;
}

EMULATED_API CUresult cuDevicePrimaryCtxRelease_v2(CUdevice index) {
  EMULATED_BEGIN();
  Device* device = device_of(index);
  EMULATED_RETURN_IF(device == nullptr, CUDA_ERROR_INVALID_DEVICE);
  EMULATED_RETURN_IF(device->retained == 0, CUDA_ERROR_INVALID_CONTEXT);
  if (--device->retained == 0) {
    run_device(device);
    release_all(index);
    for (const auto& stream : device->streams) {
      driver().streams.remove(reinterpret_cast<CUstream>(stream.get()));
    }
    device->streams.clear();
    device->thread_streams.clear();
    device->error = CUDA_SUCCESS;
  }
  return CUDA_SUCCESS;
}

EMULATED_API CUresult cuCtxSetCurrent(CUcontext context) {
  EMULATED_BEGIN();
  Device* device = device_of(context);
  EMULATED_RETURN_IF(context != nullptr && (device == nullptr || device->retained == 0),
                     CUDA_ERROR_INVALID_CONTEXT);
  current = device;
  return CUDA_SUCCESS;
}

EMULATED_API CUresult cuCtxGetCurrent(CUcontext* context) {
  EMULATED_BEGIN();
  EMULATED_RETURN_IF(context == nullptr, CUDA_ERROR_INVALID_VALUE);
  *context = reinterpret_cast<CUcontext>(current_device());
  return CUDA_SUCCESS;
}

EMULATED_API CUresult cuCtxGetDevice(CUdevice* index) {
  EMULATED_BEGIN_IN_CONTEXT();
  EMULATED_RETURN_IF(index == nullptr, CUDA_ERROR_INVALID_VALUE);
  *index = device->index;
  return CUDA_SUCCESS;
}

EMULATED_API CUresult cuCtxSynchronize() {
  EMULATED_BEGIN_IN_CONTEXT();
  for (const auto& stream : device->streams) {
    if (stream->capture == nullptr) continue;
    stream->capture->invalid = true;
    return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
  }
  return run_device(device);
}

EMULATED_API CUresult cuCtxEnablePeerAccess(CUcontext peer, unsigned flags) {
  EMULATED_BEGIN_IN_CONTEXT();
  Device* other = device_of(peer);
  EMULATED_RETURN_IF(other == nullptr || other == device, CUDA_ERROR_INVALID_CONTEXT);
  EMULATED_RETURN_IF(flags != 0, CUDA_ERROR_INVALID_VALUE);
  static std::vector<std::pair<Device*, Device*>> enabled;
  std::pair<Device*, Device*> pair{device, other};
  EMULATED_RETURN_IF(std::find(enabled.begin(), enabled.end(), pair) != enabled.end(),
                     CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED);
  enabled.push_back(pair);
  return CUDA_SUCCESS;
}
