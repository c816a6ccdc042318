// Memory for tensors and small objects. Small blocks come from per-thread free lists by size
// class, large ones from a process-wide cache that keeps freed memory (bounded), aligned to huge
// pages. Everything is aligned to 64 bytes.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace flambeau {

struct IdleSmallBlock {
  IdleSmallBlock* next;
};
struct FreeList {
  IdleSmallBlock* head = nullptr;
  uint32_t count = 0;

  void push(void* pointer) {
    auto* block = static_cast<IdleSmallBlock*>(pointer);
    block->next = head;
    head = block;
    ++count;
  }
  void* pop() {
    IdleSmallBlock* block = head;
    head = block->next;
    --count;
    return block;
  }
};

inline constexpr int kThreadClasses = 56;  // Note [Size classes]
inline constexpr size_t kLine = 64;
inline constexpr size_t kLinear = 1024;       // up to here the classes are one line apart,
inline constexpr uint32_t kMostLinear = 128;  // and a thread keeps so many idle blocks of each

// One per thread; only its thread writes it. Counters are atomic so that others may read them.
struct ThreadCache {
  FreeList lists[kThreadClasses];
  std::atomic<int64_t> used{0};  // bytes handed out here minus bytes taken back here
  ThreadCache* next = nullptr;

  void count(int64_t bytes) {
    used.store(used.load(std::memory_order_relaxed) + bytes, std::memory_order_relaxed);
  }
};
extern constinit thread_local ThreadCache* this_thread __attribute__((tls_model("initial-exec")));

void* allocate_generally(size_t bytes);
void deallocate_generally(void* pointer, size_t bytes);

// Never null; throws Error(OutOfMemory) with the size in the text. allocate(0) is valid. Inline,
// because a recorded operation makes four small objects, most of a size known to the compiler.
inline void* allocate(size_t bytes) {
  ThreadCache* cache = this_thread;
  const size_t index = (bytes - 1) / kLine;
  if (bytes - 1 >= kLinear || !cache || !cache->lists[index].head) [[unlikely]] {
    return allocate_generally(bytes);
  }
  cache->count(static_cast<int64_t>((index + 1) * kLine));
  return cache->lists[index].pop();
}
inline void deallocate(void* pointer, size_t bytes) {
  ThreadCache* cache = this_thread;
  const size_t index = (bytes - 1) / kLine;
  if (bytes - 1 >= kLinear || !cache || cache->lists[index].count >= kMostLinear) [[unlikely]] {
    return deallocate_generally(pointer, bytes);
  }
  cache->lists[index].push(pointer);
  cache->count(-static_cast<int64_t>((index + 1) * kLine));
}

// Returns cached memory to the system (torch.cuda.empty_cache's CPU twin; also used by tests).
void release_cached_memory();
// Bytes handed out and bytes kept in caches.
size_t allocated_bytes();
size_t cached_bytes();

}  // namespace flambeau
