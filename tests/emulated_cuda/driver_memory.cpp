#include <algorithm>
#include <cstring>

#include "driver.h"
#include "memory.h"

// Allocation, copies and fills.

using namespace emulated;

namespace {

template <typename T>
T* as(CUdeviceptr pointer) {
  return reinterpret_cast<T*>(static_cast<uintptr_t>(pointer));
}

uintptr_t address(const void* pointer) { return reinterpret_cast<uintptr_t>(pointer); }

// Source and destination are looked at again when the copy is executed: they may be gone.
CUresult submit_copy(const char* what, CUstream handle, void* to, const void* from, size_t bytes,
                     bool check_to, bool check_from, bool wait = false) {
  std::shared_ptr<Stream> stream = find_stream(handle);
  EMULATED_RETURN_IF(stream == nullptr, CUDA_ERROR_INVALID_HANDLE);
  auto check = [=] {
    bool good = (!check_to || check_range(what, address(to), bytes)) &&
                (!check_from || check_range(what, address(from), bytes));
    return good ? CUDA_SUCCESS : CUDA_ERROR_ILLEGAL_ADDRESS;
  };
  if (CUresult error = check()) return error;
  auto work = [=] {
    CUresult error = check();
    if (error == CUDA_SUCCESS && bytes != 0) std::memmove(to, from, bytes);
    return error;
  };
  return submit(stream, work, wait);
}

template <typename T>
CUresult submit_fill(const char* what, CUstream handle, CUdeviceptr to, T value, size_t count) {
  std::shared_ptr<Stream> stream = find_stream(handle);
  EMULATED_RETURN_IF(stream == nullptr, CUDA_ERROR_INVALID_HANDLE);
  EMULATED_RETURN_IF(to % sizeof(T) != 0, CUDA_ERROR_INVALID_VALUE);
  size_t bytes = count * sizeof(T);
  if (!check_range(what, to, bytes)) return CUDA_ERROR_ILLEGAL_ADDRESS;
  return submit(stream, [=] {
    if (!check_range(what, to, bytes)) return CUDA_ERROR_ILLEGAL_ADDRESS;
    std::fill_n(as<T>(to), count, value);
    return CUDA_SUCCESS;
  });
}

}  // namespace

EMULATED_API CUresult cuMemGetInfo_v2(size_t* free_bytes, size_t* total) {
  EMULATED_BEGIN_IN_CONTEXT();
  EMULATED_RETURN_IF(free_bytes == nullptr || total == nullptr, CUDA_ERROR_INVALID_VALUE);
  *total = driver().memory_bytes;
  *free_bytes = *total - used_memory(device->index);
  return CUDA_SUCCESS;
}

EMULATED_API CUresult cuMemAlloc_v2(CUdeviceptr* pointer, size_t bytes) {
  EMULATED_BEGIN_IN_CONTEXT();
  EMULATED_RETURN_IF(pointer == nullptr || bytes == 0, CUDA_ERROR_INVALID_VALUE);
  if (CUresult error = check_unsafe_call()) return error;
  EMULATED_RETURN_IF(bytes > driver().memory_bytes - used_memory(device->index),
                     CUDA_ERROR_OUT_OF_MEMORY);
  void* memory = allocate(MemoryKind::kDevice, device->index, bytes);
  EMULATED_RETURN_IF(memory == nullptr, CUDA_ERROR_OUT_OF_MEMORY);
  *pointer = address(memory);
  return CUDA_SUCCESS;
}

EMULATED_API CUresult cuMemFree_v2(CUdeviceptr pointer) {
  EMULATED_BEGIN_IN_CONTEXT();
  EMULATED_RETURN_IF(pointer == 0, CUDA_SUCCESS);
  if (CUresult error = check_unsafe_call()) return error;
  const Allocation* block = find_allocation(pointer);
  EMULATED_RETURN_IF(block == nullptr || block->kind != MemoryKind::kDevice,
                     CUDA_ERROR_INVALID_VALUE);
  CUresult error = run_device(driver().devices[block->device].get());
  if (!release(MemoryKind::kDevice, pointer)) return CUDA_ERROR_INVALID_VALUE;
  return error;
}

EMULATED_API CUresult cuMemHostAlloc(void** pointer, size_t bytes, unsigned) {
  EMULATED_BEGIN_IN_CONTEXT();
  EMULATED_RETURN_IF(pointer == nullptr || bytes == 0, CUDA_ERROR_INVALID_VALUE);
  if (CUresult error = check_unsafe_call()) return error;
  *pointer = allocate(MemoryKind::kPinned, device->index, bytes);
  return *pointer == nullptr ? CUDA_ERROR_OUT_OF_MEMORY : CUDA_SUCCESS;
}

EMULATED_API CUresult cuMemFreeHost(void* pointer) {
  EMULATED_BEGIN_IN_CONTEXT();
  if (CUresult error = check_unsafe_call()) return error;
  bool released = release(MemoryKind::kPinned, address(pointer));
  return released ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

EMULATED_API CUresult cuMemHostGetDevicePointer_v2(CUdeviceptr* pointer, void* host,
                                                   unsigned flags) {
  EMULATED_BEGIN_IN_CONTEXT();
  EMULATED_RETURN_IF(pointer == nullptr || flags != 0 || !is_pinned(address(host), 1),
                     CUDA_ERROR_INVALID_VALUE);
  *pointer = address(host);
  return CUDA_SUCCESS;
}

EMULATED_API CUresult cuMemHostRegister_v2(void* pointer, size_t bytes, unsigned) {
  EMULATED_BEGIN_IN_CONTEXT();
  EMULATED_RETURN_IF(pointer == nullptr || bytes == 0, CUDA_ERROR_INVALID_VALUE);
  if (CUresult error = check_unsafe_call()) return error;
  bool registered = register_host(device->index, address(pointer), bytes);
  return registered ? CUDA_SUCCESS : CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED;
}

EMULATED_API CUresult cuMemHostUnregister(void* pointer) {
  EMULATED_BEGIN_IN_CONTEXT();
  if (CUresult error = check_unsafe_call()) return error;
  bool released = release(MemoryKind::kRegistered, address(pointer));
  return released ? CUDA_SUCCESS : CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED;
}

// Pageable memory is copied to a staging buffer before the call returns, pinned memory is read
// when the copy is executed.
EMULATED_API CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void* from, size_t bytes,
                                           CUstream handle) {
  EMULATED_BEGIN_IN_CONTEXT();
  EMULATED_RETURN_IF(from == nullptr && bytes != 0, CUDA_ERROR_INVALID_VALUE);
  if (is_pinned(address(from), bytes)) {
    return submit_copy("cuMemcpyHtoDAsync", handle, as<void>(to), from, bytes, true, true);
  }
  std::shared_ptr<Stream> stream = find_stream(handle);
  EMULATED_RETURN_IF(stream == nullptr, CUDA_ERROR_INVALID_HANDLE);
  if (stream->capture != nullptr) {
    std::fprintf(
        stderr, "emulated CUDA: cuMemcpyHtoDAsync: a graph would read pageable memory at replay\n");
    return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
  }
  if (!check_range("cuMemcpyHtoDAsync", to, bytes)) return CUDA_ERROR_ILLEGAL_ADDRESS;
  std::string staging(static_cast<const char*>(from), bytes);
  return submit(stream, [to, staging = std::move(staging)] {
    if (!check_range("cuMemcpyHtoDAsync", to, staging.size())) return CUDA_ERROR_ILLEGAL_ADDRESS;
    std::memcpy(as<void>(to), staging.data(), staging.size());
    return CUDA_SUCCESS;
  });
}

// A copy to pageable memory ends before the call returns.
EMULATED_API CUresult cuMemcpyDtoHAsync_v2(void* to, CUdeviceptr from, size_t bytes,
                                           CUstream handle) {
  EMULATED_BEGIN_IN_CONTEXT();
  EMULATED_RETURN_IF(to == nullptr && bytes != 0, CUDA_ERROR_INVALID_VALUE);
  bool pinned = is_pinned(address(to), bytes);
  return submit_copy("cuMemcpyDtoHAsync", handle, to, as<void>(from), bytes, pinned, true, !pinned);
}

EMULATED_API CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr to, CUdeviceptr from, size_t bytes,
                                           CUstream handle) {
  EMULATED_BEGIN_IN_CONTEXT();
  return submit_copy("cuMemcpyDtoDAsync", handle, as<void>(to), as<void>(from), bytes, true, true);
}

EMULATED_API CUresult cuMemcpyPeerAsync(CUdeviceptr to, CUcontext to_context, CUdeviceptr from,
                                        CUcontext from_context, size_t bytes, CUstream handle) {
  EMULATED_BEGIN_IN_CONTEXT();
  EMULATED_RETURN_IF(device_of(to_context) == nullptr || device_of(from_context) == nullptr,
                     CUDA_ERROR_INVALID_CONTEXT);
  return submit_copy("cuMemcpyPeerAsync", handle, as<void>(to), as<void>(from), bytes, true, true);
}

EMULATED_API CUresult cuMemsetD8Async(CUdeviceptr to, unsigned char value, size_t count,
                                      CUstream handle) {
  EMULATED_BEGIN_IN_CONTEXT();
  return submit_fill("cuMemsetD8Async", handle, to, value, count);
}

EMULATED_API CUresult cuMemsetD16Async(CUdeviceptr to, unsigned short value, size_t count,
                                       CUstream handle) {
  EMULATED_BEGIN_IN_CONTEXT();
  return submit_fill("cuMemsetD16Async", handle, to, value, count);
}

EMULATED_API CUresult cuMemsetD32Async(CUdeviceptr to, unsigned value, size_t count,
                                       CUstream handle) {
  EMULATED_BEGIN_IN_CONTEXT();
  return submit_fill("cuMemsetD32Async", handle, to, value, count);
}

EMULATED_API CUresult cuPointerGetAttribute(void* data, int attribute, CUdeviceptr pointer) {
  EMULATED_BEGIN();
  const Allocation* block = find_allocation(pointer);
  EMULATED_RETURN_IF(data == nullptr || block == nullptr, CUDA_ERROR_INVALID_VALUE);
  bool on_device = block->kind == MemoryKind::kDevice;
  switch (attribute) {
    case 1:  // CONTEXT
      *static_cast<void**>(data) = driver().devices[block->device].get();
      return CUDA_SUCCESS;
    case 2:  // MEMORY_TYPE
      *static_cast<int*>(data) = on_device ? CU_MEMORYTYPE_DEVICE : CU_MEMORYTYPE_HOST;
      return CUDA_SUCCESS;
    case 3:  // DEVICE_POINTER
      *static_cast<CUdeviceptr*>(data) = pointer;
      return CUDA_SUCCESS;
    case 4:  // HOST_POINTER
      EMULATED_RETURN_IF(on_device, CUDA_ERROR_INVALID_VALUE);
      *static_cast<void**>(data) = as<void>(pointer);
      return CUDA_SUCCESS;
    case 8:  // IS_MANAGED
      *static_cast<int*>(data) = 0;
      return CUDA_SUCCESS;
    case 9:  // DEVICE_ORDINAL
      *static_cast<int*>(data) = block->device;
      return CUDA_SUCCESS;
    case 11:  // RANGE_START_ADDR
      *static_cast<CUdeviceptr*>(data) = block->begin;
      return CUDA_SUCCESS;
    case 12:  // RANGE_SIZE
      *static_cast<size_t*>(data) = block->bytes;
      return CUDA_SUCCESS;
  }
  return CUDA_ERROR_INVALID_VALUE;
}

// For the other emulated libraries: is this device memory that they may use?
EMULATED_API int emulated_cuda_check_range(const char* what, const void* pointer, size_t bytes) {
  std::lock_guard<std::recursive_mutex> lock(driver().mutex);
  return check_range(what, address(pointer), bytes);
}
