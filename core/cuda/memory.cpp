// The seam of tensor/device_memory.h: where tensors on GPUs get their memory.
#include <mutex>
#include <set>

#include "base/error.h"
#include "cuda/allocator.h"
#include "cuda/device.h"
#include "cuda/graph.h"
#include "cuda/pinned.h"
#include "tensor/device_memory.h"

namespace flambeau::cuda {

namespace {

// Whether memory is page-locked by others, another library for one: copies of it are queued.
bool is_locked_by_others(const void* pointer) {
  constexpr int kMemoryType = 2, kHost = 1;  // CU_POINTER_ATTRIBUTE_MEMORY_TYPE
  int type = 0;
  const auto address = reinterpret_cast<DevicePointer>(pointer);
  return driver().pointer_attribute(&type, kMemoryType, address) == kSuccess && type == kHost;
}

void copy_to_device(void* to, int device, const void* from, size_t bytes, bool wait) {
  use(device);
  const bool pinned = is_pinned(from);
  // A graph keeps the address, not the values.
  require(pinned || !capturing(),
          "cuda graph: a copy from memory that is not pinned cannot be captured; use pin_memory(), "
          "or copy before the capture");
  check(driver().copy_to_device(reinterpret_cast<DevicePointer>(to), from, bytes,
                                current_stream(device)),
        "cuMemcpyHtoDAsync");
  // Of other memory the driver has made a copy of its own.
  if (!pinned && !is_locked_by_others(from)) return;
  if (wait || !pinned) {
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

// Lets the devices copy without the host in between, where the hardware can.
void enable_peers(int device, int peer) {
  static std::mutex mutex;
  static auto* const enabled = new std::set<std::pair<int, int>>;
  std::lock_guard lock(mutex);
  if (!enabled->insert({device, peer}).second) return;
  int can = 0;
  check(driver().can_access_peer(&can, device, peer), "cuDeviceCanAccessPeer");
  if (!can) return;
  use(device);
  driver().enable_peer_access(context_of(peer), 0);  // if it is refused, copies go by the host
}

void copy_between(void* to, int to_device, const void* from, int from_device, size_t bytes) {
  auto target = reinterpret_cast<DevicePointer>(to), source = reinterpret_cast<DevicePointer>(from);
  use(from_device);
  if (to_device == from_device) {
    check(driver().copy_on_device(target, source, bytes, current_stream(from_device)),
          "cuMemcpyDtoDAsync");
    return;
  }
  enable_peers(from_device, to_device);
  enable_peers(to_device, from_device);
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
