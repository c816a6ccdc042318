#pragma once

#include <string>

#include "cuda_types.h"

// Note [Emulated memory]: device memory is host memory of its own mappings. The last byte of an
// allocation lies at most one alignment step before a page that may not be touched, fresh memory
// is 0xFF (a NaN in every floating type), and freed addresses are kept unusable for a while.
// Only while work is executed may device memory be touched: host code that follows a device's
// pointer ends in a segmentation fault (DeviceMemoryOpen).

namespace emulated {

enum class MemoryKind { kDevice, kPinned, kRegistered };

struct Allocation {
  uintptr_t begin = 0;
  size_t bytes = 0;
  MemoryKind kind = MemoryKind::kDevice;
  int device = 0;
  uintptr_t mapping = 0;  // with the guard page; zero if registered
  size_t mapping_bytes = 0;
};

// All are called with the driver's lock held. Null if the system has no memory.
void* allocate(MemoryKind kind, int device, size_t bytes);
// False if `pointer` is not the begin of an allocation of this kind.
bool release(MemoryKind kind, uintptr_t pointer);
// All that was allocated in a context.
void release_all(int device);
bool register_host(int device, uintptr_t pointer, size_t bytes);

// All device memory can be touched while one of these exists; with the driver's lock held.
class DeviceMemoryOpen {
 public:
  DeviceMemoryOpen();
  ~DeviceMemoryOpen();
  DeviceMemoryOpen(const DeviceMemoryOpen&) = delete;
};

// The live allocation that contains this address, or null.
const Allocation* find_allocation(uintptr_t pointer);
// Whether all of [pointer, pointer + bytes) lies in one live allocation; else says so on stderr.
bool check_range(const char* what, uintptr_t pointer, size_t bytes);
// Whether this is an address of the process that no kernel may use: host memory that is not
// pinned, or freed memory. One past the end of an allocation is none.
bool is_forbidden(uintptr_t pointer);
bool is_pinned(uintptr_t pointer, size_t bytes);
// Device memory in use on a device.
size_t used_memory(int device);
// "0x7f...: 16 bytes past the end of the 4096 bytes at 0x7f...", for messages.
std::string describe_address(uintptr_t pointer);

// A buffer that ends at a guard page, for the dynamic shared memory of a block.
constexpr size_t kPage = 4096;

}  // namespace emulated
