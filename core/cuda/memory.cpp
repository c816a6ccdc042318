// The seam of tensor/device_memory.h: where tensors on GPUs get their memory.
#include "base/error.h"
#include "cuda/allocator.h"
#include "cuda/device.h"
#include "cuda/pinned.h"
#include "tensor/device_memory.h"

namespace flambeau::cuda {

namespace {

// By another library: the driver then reads the memory when the copy happens, as with ours.
bool page_locked_elsewhere(const void* memory) {
  constexpr int kMemoryType = 2;
  int type = 0;
  const auto address = reinterpret_cast<DevicePointer>(memory);
  return driver().pointer_attribute(&type, kMemoryType, address) == kSuccess;
}

void copy_to_device(void* to, int device, const void* from, size_t bytes, bool wait) {
  use(device);
  check(driver().copy_to_device(reinterpret_cast<DevicePointer>(to), from, bytes,
                                current_stream(device)),
        "cuMemcpyHtoDAsync");
  const bool ours = is_pinned(from);
  if (!ours && !page_locked_elsewhere(from)) return;  // the driver has made a copy of its own
  if (wait || !ours) {
    synchronize_stream(device);
  } else {
    record_pinned_use(from, device);
  }
}

void copy_to_host(void* to, const void* from, int device, size_t bytes, bool wait) {
  use(device);
  check(driver().copy_to_host(to, reinterpret_cast<DevicePointer>(from), bytes,
                              current_stream(device)),
        "cuMemcpyDtoHAsync");
  if (!wait && is_pinned(to)) {
    record_pinned_use(to, device);
  } else {
    synchronize_stream(device);
  }
}

void copy_between(void* to, int to_device, const void* from, int from_device, size_t bytes) {
  auto target = reinterpret_cast<DevicePointer>(to), source = reinterpret_cast<DevicePointer>(from);
  use(from_device);
  if (to_device == from_device) {
    check(driver().copy_on_device(target, source, bytes, current_stream(from_device)),
          "cuMemcpyDtoDAsync");
    return;
  }
  // The target's stream must not use the memory before the copy, nor the copy before the stream.
  Event ready(false, false), copied(false, false);
  ready.record(*current_stream_object(to_device));
  ready.wait(*current_stream_object(from_device));
  use(from_device);
  check(driver().copy_to_peer(target, context_of(to_device), source, context_of(from_device), bytes,
                              current_stream(from_device)),
        "cuMemcpyPeerAsync");
  copied.record(*current_stream_object(from_device));
  copied.wait(*current_stream_object(to_device));
}

void copy_bytes(void* to, Device to_device, const void* from, Device from_device, size_t bytes,
                bool wait) {
  if (bytes == 0) return;
  if (to_device.is_cpu()) return copy_to_host(to, from, from_device.index, bytes, wait);
  if (from_device.is_cpu()) return copy_to_device(to, to_device.index, from, bytes, wait);
  copy_between(to, to_device.index, from, from_device.index, bytes);
}

bool install() {
  device_memory.concrete = concrete;
  device_memory.allocate = [](size_t bytes, Device device) {
    return allocate(bytes, device.index);
  };
  device_memory.deallocate = [](void* pointer, Device device) {
    deallocate(pointer, device.index);
  };
  device_memory.copy_bytes = copy_bytes;
  return true;
}
const bool installed = install();

}  // namespace

}  // namespace flambeau::cuda
