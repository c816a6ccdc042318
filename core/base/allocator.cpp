#include "base/allocator.h"

#include <pthread.h>
#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstdint>
#include <cstdlib>
#include <mutex>
#include <vector>

#include "base/error.h"
#include "base/system.h"

// Note [Size classes]: sizes are rounded up to multiples of 64 bytes up to 1 KiB, above that to
// one of four steps per doubling, so that a slightly smaller request reuses a block. The class
// follows from the requested size alone; no header, no table of live blocks.
//   small   < 32 KiB  per-thread lists; carved from slabs that stay until the process ends
//   medium  <  1 MiB  per-thread lists; from the C library, returned to it when too many are idle
//   large             shared lists; mapped at 2 MiB boundaries and advised to use huge pages,
//                     because a page fault per 4 KiB costs more than computing on the page
// Idle medium and large memory is bounded by Shared::limit.

namespace flambeau {
namespace {

constexpr size_t kMedium = size_t{32} << 10;
constexpr size_t kLarge = size_t{1} << 20;
constexpr size_t kHugePage = size_t{2} << 20;
constexpr size_t kSlab = size_t{256} << 10;
constexpr size_t kMostBytes = size_t{1} << 47;  // user address space
constexpr int kLinearClasses = kLinear / kLine;
constexpr int kClasses = kLinearClasses + 4 * (47 - 10);
// Those below kLarge, and kLarge itself.
static_assert(kThreadClasses == kLinearClasses + 4 * (20 - 10));

constexpr int class_of(size_t bytes) {
  if (bytes <= kLinear) return bytes == 0 ? 0 : static_cast<int>((bytes - 1) / kLine);
  size_t last = bytes - 1;
  int log = 63 - std::countl_zero(last);
  return kLinearClasses + 4 * (log - 10) + static_cast<int>(last >> (log - 2) & 3);
}
constexpr size_t class_bytes(int index) {
  if (index < kLinearClasses) return (index + 1) * kLine;
  int log = 10 + (index - kLinearClasses) / 4;
  return (size_t{1} << log) + (((index - kLinearClasses) % 4 + size_t{1}) << (log - 2));
}
static_assert(class_bytes(class_of(1025)) == 1280 && class_bytes(class_of(1280)) == 1280);
static_assert(class_of(kLarge) == kThreadClasses - 1 && class_bytes(class_of(kLarge)) == kLarge);

// Blocks that move together between a thread and the shared lists.
constexpr size_t kBatchBytes = size_t{64} << 10;
constexpr uint32_t batch_of(size_t bytes) {
  return static_cast<uint32_t>(std::clamp<size_t>(kBatchBytes / bytes, 1, 64));
}

static_assert(kMostLinear == 2 * batch_of(kLinear) && batch_of(kLine) == batch_of(kLinear));

struct IdleBlock {
  void* pointer;
  uint64_t time;
};

struct Shared {
  std::mutex mutex;
  FreeList lists[kThreadClasses];         // small ones; their memory is never returned
  std::vector<IdleBlock> idle[kClasses];  // medium and large ones, oldest first
  size_t idle_bytes = 0;
  uint64_t time = 0;
  std::atomic<int64_t> large_used{0};
  int64_t finished_used = 0;  // `used` of threads that have ended
  ThreadCache* threads = nullptr;
  char* slab = nullptr;
  size_t slab_left = 0;
  size_t memory = usable_memory();
  size_t limit = std::min(memory / 4, size_t{4} << 30);
  pthread_key_t key;
};

void finish_thread(void* cache);

// Never destroyed: other threads and static destructors may free blocks until the very end.
Shared& shared() {
  static Shared* const instance = [] {
    auto* fresh = new Shared;
    pthread_key_create(&fresh->key, finish_thread);
    pthread_atfork([] { shared().mutex.lock(); }, [] { shared().mutex.unlock(); },
                   [] { shared().mutex.unlock(); });
    return fresh;
  }();
  return *instance;
}

// --- the system ------------------------------------------------------------------------------

void* map_aligned(size_t bytes) {
  size_t mapped = bytes + kHugePage;
  void* base = mmap(nullptr, mapped, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (base == MAP_FAILED) return nullptr;
  uintptr_t start = reinterpret_cast<uintptr_t>(base);
  uintptr_t first = (start + kHugePage - 1) & ~(kHugePage - 1);
  if (first > start) munmap(base, first - start);
  size_t tail = start + mapped - (first + bytes);
  if (tail > 0) munmap(reinterpret_cast<void*>(first + bytes), tail);
  void* pointer = reinterpret_cast<void*>(first);
  madvise(pointer, bytes, MADV_HUGEPAGE);
  return pointer;
}

// A mapping below 2 MiB would get no huge page.
size_t mapped_bytes(int index) { return std::max(class_bytes(index), kHugePage); }

void* system_allocate(int index) {
  size_t bytes = class_bytes(index);
  return bytes < kLarge ? std::aligned_alloc(kLine, bytes) : map_aligned(mapped_bytes(index));
}
void system_free(void* pointer, int index) {
  if (class_bytes(index) < kLarge) {
    std::free(pointer);
  } else {
    munmap(pointer, mapped_bytes(index));
  }
}

// --- idle medium and large blocks (all with the mutex held) -----------------------------------

void* take_idle(Shared& all, int index) {
  std::vector<IdleBlock>& idle = all.idle[index];
  if (idle.empty()) return nullptr;
  void* pointer = idle.back().pointer;
  idle.pop_back();
  all.idle_bytes -= class_bytes(index);
  return pointer;
}

void shrink_idle(Shared& all, size_t limit) {
  while (all.idle_bytes > limit) {
    int oldest = -1;
    for (int i = 0; i < kClasses; ++i) {
      if (all.idle[i].empty()) continue;
      if (oldest < 0 || all.idle[i][0].time < all.idle[oldest][0].time) oldest = i;
    }
    system_free(all.idle[oldest][0].pointer, oldest);
    all.idle[oldest].erase(all.idle[oldest].begin());
    all.idle_bytes -= class_bytes(oldest);
  }
}

void give_idle(Shared& all, void* pointer, int index) {
  all.idle[index].push_back({pointer, ++all.time});
  all.idle_bytes += class_bytes(index);
  shrink_idle(all, all.limit);
}

[[noreturn, gnu::cold]] void fail_allocate(size_t bytes) {
  fail(ErrorKind::OutOfMemory, "allocate: ", bytes, " bytes requested, but only ", shared().memory,
       " bytes exist and ", allocated_bytes(), " are in use; use smaller tensors or free some");
}

void* system_allocate_or_fail(int index, size_t bytes) {
  void* pointer = system_allocate(index);
  if (!pointer) {
    release_cached_memory();
    pointer = system_allocate(index);
  }
  if (!pointer) fail_allocate(bytes);
  return pointer;
}

// --- small and medium blocks ------------------------------------------------------------------

ThreadCache& start_thread() {
  Shared& all = shared();
  auto* cache = new ThreadCache;
  this_thread = cache;
  pthread_setspecific(all.key, cache);
  std::lock_guard guard(all.mutex);
  cache->next = all.threads;
  all.threads = cache;
  return *cache;
}

// Moves `number` blocks of a thread's list to the shared ones; needs the mutex.
void give_back(Shared& all, FreeList& list, int index, uint32_t number) {
  for (; number > 0; --number) {
    if (class_bytes(index) < kMedium) {
      all.lists[index].push(list.pop());
    } else {
      give_idle(all, list.pop(), index);
    }
  }
}

void finish_thread(void* argument) {
  auto* cache = static_cast<ThreadCache*>(argument);
  Shared& all = shared();
  std::lock_guard guard(all.mutex);
  for (int i = 0; i < kThreadClasses; ++i)
    give_back(all, cache->lists[i], i, cache->lists[i].count);
  all.finished_used += cache->used.load();
  for (ThreadCache** link = &all.threads; *link; link = &(*link)->next) {
    if (*link == cache) {
      *link = cache->next;
      break;
    }
  }
  delete cache;
  this_thread = nullptr;
}

void* carve_small(Shared& all, size_t bytes) {
  if (all.slab_left < bytes) {
    auto* slab = static_cast<char*>(std::aligned_alloc(4096, kSlab));
    if (!slab) return nullptr;
    all.slab = slab;  // what is left of the old one is lost: less than one block per slab
    all.slab_left = kSlab;
  }
  void* pointer = all.slab;
  all.slab += bytes;
  all.slab_left -= bytes;
  return pointer;
}

[[gnu::noinline]] void* allocate_slowly(int index, size_t bytes) {
  ThreadCache& cache = this_thread ? *this_thread : start_thread();
  Shared& all = shared();
  FreeList& list = cache.lists[index];
  size_t rounded = class_bytes(index);
  void* pointer = nullptr;
  if (rounded < kMedium) {
    std::lock_guard guard(all.mutex);
    FreeList& common = all.lists[index];
    for (uint32_t i = batch_of(rounded); i > 0 && common.count > 0; --i) list.push(common.pop());
    if (list.count > 0) {
      pointer = list.pop();
    } else {
      pointer = carve_small(all, rounded);
    }
    if (!pointer) fail(ErrorKind::OutOfMemory, "allocate: ", bytes, " bytes requested, none left");
  } else {
    {
      std::lock_guard guard(all.mutex);
      pointer = take_idle(all, index);
    }
    if (!pointer) pointer = system_allocate_or_fail(index, bytes);
  }
  cache.count(static_cast<int64_t>(rounded));
  return pointer;
}

[[gnu::noinline]] void deallocate_slowly(void* pointer, int index) {
  ThreadCache& cache = this_thread ? *this_thread : start_thread();
  FreeList& list = cache.lists[index];
  list.push(pointer);
  cache.count(-static_cast<int64_t>(class_bytes(index)));
  uint32_t batch = batch_of(class_bytes(index));
  if (list.count <= 2 * batch) return;
  Shared& all = shared();
  std::lock_guard guard(all.mutex);
  give_back(all, list, index, batch);
}

// --- large blocks -----------------------------------------------------------------------------

void* allocate_large(size_t bytes) {
  Shared& all = shared();
  size_t used = static_cast<size_t>(all.large_used.load());
  if (bytes > kMostBytes || bytes + used > all.memory) fail_allocate(bytes);
  int index = class_of(bytes);
  void* pointer;
  {
    std::lock_guard guard(all.mutex);
    pointer = take_idle(all, index);
    if (!pointer && bytes + used + all.idle_bytes > all.memory) shrink_idle(all, 0);
  }
  if (!pointer) pointer = system_allocate_or_fail(index, bytes);
  all.large_used.fetch_add(static_cast<int64_t>(bytes));
  return pointer;
}

void deallocate_large(void* pointer, size_t bytes) {
  Shared& all = shared();
  all.large_used.fetch_sub(static_cast<int64_t>(bytes));
  std::lock_guard guard(all.mutex);
  give_idle(all, pointer, class_of(bytes));
}

}  // namespace

constinit thread_local ThreadCache* this_thread = nullptr;

void* allocate_generally(size_t bytes) {
  if (bytes >= kLarge) [[unlikely]]
    return allocate_large(bytes);
  int index = class_of(bytes);
  ThreadCache* cache = this_thread;
  if (!cache || !cache->lists[index].head) [[unlikely]]
    return allocate_slowly(index, bytes);
  cache->count(static_cast<int64_t>(class_bytes(index)));
  return cache->lists[index].pop();
}

void deallocate_generally(void* pointer, size_t bytes) {
  if (bytes >= kLarge) [[unlikely]]
    return deallocate_large(pointer, bytes);
  int index = class_of(bytes);
  ThreadCache* cache = this_thread;
  if (!cache || cache->lists[index].count >= 2 * batch_of(class_bytes(index))) [[unlikely]] {
    return deallocate_slowly(pointer, index);
  }
  cache->lists[index].push(pointer);
  cache->count(-static_cast<int64_t>(class_bytes(index)));
}

void release_cached_memory() {
  Shared& all = shared();
  std::lock_guard guard(all.mutex);
  if (ThreadCache* cache = this_thread) {
    for (int i = 0; i < kThreadClasses; ++i) {
      give_back(all, cache->lists[i], i, cache->lists[i].count);
    }
  }
  shrink_idle(all, 0);
}

size_t allocated_bytes() {
  Shared& all = shared();
  std::lock_guard guard(all.mutex);
  int64_t total = all.finished_used + all.large_used.load();
  for (ThreadCache* cache = all.threads; cache; cache = cache->next) total += cache->used.load();
  return static_cast<size_t>(std::max<int64_t>(total, 0));
}

size_t cached_bytes() {
  Shared& all = shared();
  std::lock_guard guard(all.mutex);
  size_t total = all.idle_bytes;
  for (int i = 0; i < kThreadClasses; ++i) total += all.lists[i].count * class_bytes(i);
  if (ThreadCache* cache = this_thread) {
    for (int i = 0; i < kThreadClasses; ++i) total += cache->lists[i].count * class_bytes(i);
  }
  return total;
}

}  // namespace flambeau
