#include "program/emitter/executable_memory.h"

#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <utility>
#include <vector>

namespace flambeau::emitter {

namespace {

constexpr size_t kChunkPages = 64;
// All code together; beyond it programs run on the block machine.
constexpr size_t kMostBytes = size_t{64} << 20;

size_t page_bytes() {
  static const auto bytes = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  return bytes;
}

// Page runs are cut from larger chunks and kept by their length once given back.
class Pool {
 public:
  uint8_t* take(size_t pages) {
    std::lock_guard lock(mutex);
    if ((used_pages_ + pages) * page_bytes() > kMostBytes) return nullptr;
    uint8_t* start = nullptr;
    if (pages < free_.size() && !free_[pages].empty()) {
      start = free_[pages].back();
      free_[pages].pop_back();
    } else {
      start = cut(pages);
    }
    if (start) used_pages_ += pages;
    return start;
  }
  void give_back(uint8_t* start, size_t pages) {
    std::lock_guard lock(mutex);
    if (free_.size() <= pages) free_.resize(pages + 1);
    free_[pages].push_back(start);
    used_pages_ -= pages;
  }
  size_t used() {
    std::lock_guard lock(mutex);
    return used_pages_ * page_bytes();
  }

  std::mutex mutex;

 private:
  uint8_t* cut(size_t pages) {
    if (pages > rest_pages_) {
      const size_t wanted = std::max(pages, kChunkPages);
      void* chunk = mmap(nullptr, wanted * page_bytes(), PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
      if (chunk == MAP_FAILED) return nullptr;
      rest_ = static_cast<uint8_t*>(chunk);  // what was left of the last chunk is lost: < 64 pages
      rest_pages_ = wanted;
    }
    uint8_t* start = rest_;
    rest_ += pages * page_bytes();
    rest_pages_ -= pages;
    return start;
  }

  std::vector<std::vector<uint8_t*>> free_;  // by number of pages
  uint8_t* rest_ = nullptr;
  size_t rest_pages_ = 0, used_pages_ = 0;
};

// Never destroyed: programs may outlive static objects.
struct Shared {
  std::mutex writing;
  Pool pool;
};
Shared& shared();
void unlock_all() {
  shared().pool.mutex.unlock();
  shared().writing.unlock();
}
Shared& shared() {
  static Shared* the_one = [] {
    pthread_atfork(
        [] {
          shared().writing.lock();
          shared().pool.mutex.lock();
        },
        [] { unlock_all(); }, [] { unlock_all(); });
    return new Shared;
  }();
  return *the_one;
}
Pool& pool() { return shared().pool; }

std::atomic<bool> refusing{false};

}  // namespace

std::mutex& writing_mutex() { return shared().writing; }

ExecutableMemory::ExecutableMemory(std::span<const uint8_t> code) {
  const size_t pages = (code.size() + page_bytes() - 1) / page_bytes(),
               bytes = pages * page_bytes();
  uint8_t* start = pool().take(pages);
  if (!start) return;
  bool done = mprotect(start, bytes, PROT_READ | PROT_WRITE) == 0;
  if (done) {
    std::memcpy(start, code.data(), code.size());
    done = !refusing && mprotect(start, bytes, PROT_READ | PROT_EXEC) == 0;
  }
  if (!done) {
    pool().give_back(start, pages);
    return;
  }
  start_ = start;
  pages_ = pages;
  size_ = code.size();
}

ExecutableMemory::~ExecutableMemory() {
  if (start_) pool().give_back(start_, pages_);
}
ExecutableMemory::ExecutableMemory(ExecutableMemory&& other) noexcept
    : start_(std::exchange(other.start_, nullptr)),
      pages_(std::exchange(other.pages_, 0)),
      size_(other.size_) {}
ExecutableMemory& ExecutableMemory::operator=(ExecutableMemory&& other) noexcept {
  std::swap(start_, other.start_);
  std::swap(pages_, other.pages_);
  std::swap(size_, other.size_);
  return *this;
}

size_t ExecutableMemory::bytes_in_use() { return pool().used(); }
void ExecutableMemory::refuse(bool on) { refusing = on; }

}  // namespace flambeau::emitter
