#include "memory.h"

#include <sys/mman.h>

#include <cstdio>
#include <cstring>
#include <deque>
#include <iterator>
#include <map>
#include <vector>

namespace emulated {
namespace {

constexpr size_t kAlignment = 256;  // what cuMemAlloc promises
constexpr unsigned char kFresh = 0xFF;
constexpr size_t kQuarantined = 4096;  // freed ranges that stay unusable

// Never destroyed: destructors of the program may still free memory.
auto& live = *new std::map<uintptr_t, Allocation>;
auto& used = *new std::map<int, size_t>;
auto& quarantine = *new std::deque<Allocation>;

size_t round_up(size_t bytes, size_t step) { return (bytes + step - 1) / step * step; }

// The allocation that begins last among those at or below the address.
const Allocation* at_or_below(uintptr_t pointer) {
  auto after = live.upper_bound(pointer);
  return after == live.begin() ? nullptr : &std::prev(after)->second;
}

int open_scopes = 0;

// Device memory's pages, apart from the guard page.
void protect(const Allocation& block, int protection) {
  if (block.kind != MemoryKind::kDevice || block.mapping == 0) return;
  mprotect(reinterpret_cast<void*>(block.mapping), block.mapping_bytes - kPage, protection);
}
void protect_all(int protection) {
  for (const auto& [begin, block] : live) protect(block, protection);
}

// The bytes between the end of an allocation and its guard page still are as they were made.
void check_margin(const Allocation& block) {
  uintptr_t guard = block.mapping + block.mapping_bytes - kPage;
  for (uintptr_t at = block.begin + block.bytes; at < guard; ++at) {
    if (*reinterpret_cast<unsigned char*>(at) == kFresh) continue;
    std::fprintf(stderr, "emulated CUDA: something wrote at %s\n", describe_address(at).c_str());
    return;
  }
}

}  // namespace

DeviceMemoryOpen::DeviceMemoryOpen() {
  if (open_scopes++ == 0) protect_all(PROT_READ | PROT_WRITE);
}
DeviceMemoryOpen::~DeviceMemoryOpen() {
  if (--open_scopes == 0) protect_all(PROT_NONE);
}

void* allocate(MemoryKind kind, int device, size_t bytes) {
  size_t usable = round_up(bytes, kAlignment);
  size_t mapping_bytes = round_up(usable, kPage) + kPage;
  void* mapping =
      mmap(nullptr, mapping_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapping == MAP_FAILED) return nullptr;
  auto base = reinterpret_cast<uintptr_t>(mapping);
  uintptr_t guard = base + mapping_bytes - kPage;
  mprotect(reinterpret_cast<void*>(guard), kPage, PROT_NONE);
  uintptr_t begin = guard - usable;
  std::memset(reinterpret_cast<void*>(begin), kFresh, usable);
  live[begin] = {begin, bytes, kind, device, base, mapping_bytes};
  if (kind == MemoryKind::kDevice) used[device] += bytes;
  if (open_scopes == 0) protect(live[begin], PROT_NONE);
  return reinterpret_cast<void*>(begin);
}

bool release(MemoryKind kind, uintptr_t pointer) {
  auto found = live.find(pointer);
  if (found == live.end() || found->second.kind != kind) return false;
  Allocation block = found->second;
  if (block.mapping != 0) {
    protect(block, PROT_READ | PROT_WRITE);
    check_margin(block);
    void* mapping = reinterpret_cast<void*>(block.mapping);
    madvise(mapping, block.mapping_bytes, MADV_DONTNEED);
    mprotect(mapping, block.mapping_bytes, PROT_NONE);
    quarantine.push_back(block);
  }
  if (kind == MemoryKind::kDevice) used[block.device] -= block.bytes;
  live.erase(found);
  if (quarantine.size() > kQuarantined) {
    const Allocation& oldest = quarantine.front();
    munmap(reinterpret_cast<void*>(oldest.mapping), oldest.mapping_bytes);
    quarantine.pop_front();
  }
  return true;
}

void release_all(int device) {
  std::vector<Allocation> blocks;
  for (const auto& [begin, block] : live) {
    if (block.device == device) blocks.push_back(block);
  }
  for (const Allocation& block : blocks) release(block.kind, block.begin);
}

bool register_host(int device, uintptr_t pointer, size_t bytes) {
  const Allocation* last = at_or_below(pointer + bytes - 1);
  if (last != nullptr && last->begin + last->bytes > pointer) return false;
  live[pointer] = {pointer, bytes, MemoryKind::kRegistered, device};
  return true;
}

const Allocation* find_allocation(uintptr_t pointer) {
  const Allocation* block = at_or_below(pointer);
  return block != nullptr && pointer < block->begin + block->bytes ? block : nullptr;
}

bool check_range(const char* what, uintptr_t pointer, size_t bytes) {
  if (bytes == 0) return true;
  const Allocation* block = find_allocation(pointer);
  if (block != nullptr && bytes <= block->begin + block->bytes - pointer) return true;
  uintptr_t bad = block == nullptr ? pointer : block->begin + block->bytes;
  std::fprintf(stderr, "emulated CUDA: %s: %zu bytes at 0x%zx reach %s\n", what, bytes,
               static_cast<size_t>(pointer), describe_address(bad).c_str());
  return false;
}

bool is_forbidden(uintptr_t pointer) {
  constexpr uintptr_t kLowest = 0x10000, kEnd = uintptr_t{1} << 47;
  if (pointer < kLowest || pointer >= kEnd || find_allocation(pointer) != nullptr) return false;
  const Allocation* block = at_or_below(pointer);
  if (block != nullptr && pointer <= block->begin + block->bytes) return false;
  unsigned char resident;
  return mincore(reinterpret_cast<void*>(pointer / kPage * kPage), 1, &resident) == 0;
}

bool is_pinned(uintptr_t pointer, size_t bytes) {
  const Allocation* block = find_allocation(pointer);
  return block != nullptr && block->kind != MemoryKind::kDevice &&
         bytes <= block->begin + block->bytes - pointer;
}

size_t used_memory(int device) { return used[device]; }

std::string describe_address(uintptr_t pointer) {
  char text[200];
  for (const Allocation& block : quarantine) {
    if (pointer - block.begin >= block.bytes) continue;
    std::snprintf(text, sizeof text, "0x%zx: freed, it was in the %zu bytes at 0x%zx",
                  static_cast<size_t>(pointer), block.bytes, static_cast<size_t>(block.begin));
    return text;
  }
  const Allocation* block = at_or_below(pointer);
  if (block == nullptr || pointer - (block->begin + block->bytes) > (size_t{1} << 30)) {
    std::snprintf(text, sizeof text, "0x%zx: no allocation", static_cast<size_t>(pointer));
  } else {
    std::snprintf(text, sizeof text, "0x%zx: %zu bytes past the end of the %zu bytes at 0x%zx",
                  static_cast<size_t>(pointer),
                  static_cast<size_t>(pointer - (block->begin + block->bytes)), block->bytes,
                  static_cast<size_t>(block->begin));
  }
  return text;
}

}  // namespace emulated
