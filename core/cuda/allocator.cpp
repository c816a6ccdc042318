#include "cuda/allocator.h"

#include <algorithm>
#include <atomic>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <unordered_map>
#include <vector>

#include "base/error.h"
#include "cuda/device.h"

namespace flambeau::cuda {

namespace {

// Note [Segments]: memory comes from the driver in segments, which are cut into blocks. A block
// that is freed joins its free neighbours. Small blocks have segments of their own, so that they
// do not break up large ones.
constexpr size_t kUnit = 512;       // blocks are multiples of this
constexpr size_t kSmall = 1 << 20;  // up to here a block is small
constexpr size_t kSmallSegment = 2 << 20;
constexpr size_t kMiddle = 10 << 20;  // up to here blocks share segments
constexpr size_t kMiddleSegment = 20 << 20;
constexpr size_t kRounding = 2 << 20;  // of larger segments

size_t round_up(size_t bytes, size_t unit) { return (bytes + unit - 1) / unit * unit; }

// Whose memory: a pool (0: everybody's; others belong to captured graphs), a stream, small or not.
struct Home {
  uint64_t pool;
  StreamHandle stream;
  bool small;
  auto operator<=>(const Home&) const = default;
};

struct Block {
  Home home;
  char* data;
  size_t bytes;
  bool in_use = false;
  int events = 0;  // pending uses by other streams
  Block* before = nullptr;
  Block* after = nullptr;  // neighbours in the segment
  std::vector<StreamHandle> other_streams;
};
struct BySize {
  bool operator()(const Block* a, const Block* b) const {
    return a->bytes != b->bytes ? a->bytes < b->bytes : a->data < b->data;
  }
};
using FreeBlocks = std::set<Block*, BySize>;

thread_local uint64_t pool_of_thread = 0;  // of the graph that this thread captures
std::atomic<int> captures{0};              // of all threads

// Where memory of a graph goes that is gone: its last replay may still run, on any stream, so only
// giving the memory back to the driver, which waits, ends its use.
constexpr uint64_t kReleased = UINT64_MAX;

class Cache {
 public:
  void* allocate(size_t bytes, int device);
  void deallocate(void* pointer, int device);
  void record_use(const void* pointer, StreamHandle stream);
  void empty(int device);
  void release_pool(uint64_t pool);
  MemoryStatistics statistics() {
    std::lock_guard lock(mutex_);
    return statistics_;
  }
  void reset_peaks() {
    std::lock_guard lock(mutex_);
    statistics_.peak_allocated = statistics_.allocated;
    statistics_.peak_reserved = statistics_.reserved;
  }
  void set_fraction(double fraction) {
    std::lock_guard lock(mutex_);
    fraction_ = fraction;
  }

 private:
  Block* find(const Home& home, size_t bytes);
  Block* add_segment(const Home& home, size_t bytes, int device);
  bool reserve(size_t bytes, int device, DevicePointer* pointer);
  void split(Block* block, size_t bytes);
  void make_free(Block* block);
  Block* join(Block* block, Block* next);
  Block* containing(const void* pointer);
  void await_uses(Block* block, int device);
  void take_back_waiting(int device);
  void free_segments(int device);
  [[noreturn]] void out_of_memory(size_t bytes, int device);

  std::mutex mutex_;
  std::map<Home, FreeBlocks> free_;
  std::unordered_map<const void*, Block*> used_;
  std::map<const char*, std::pair<Block*, size_t>> segments_;  // first block, bytes
  // Blocks behind a mark in another stream, in the order of the marks.
  std::map<StreamHandle, std::deque<std::pair<std::unique_ptr<Event>, Block*>>> waiting_;
  std::vector<Block*> postponed_;  // to be marked when no graph is captured any more
  MemoryStatistics statistics_;
  double fraction_ = 1;
};

Cache& cache(int device) {
  static auto* const caches = new Cache[kMostDevices];  // outlives every tensor
  return caches[device];
}

Block* Cache::find(const Home& home, size_t bytes) {
  auto place = free_.find(home);
  if (place == free_.end()) return nullptr;
  Block key{home, nullptr, bytes};
  auto found = place->second.lower_bound(&key);
  if (found == place->second.end()) return nullptr;
  Block* block = *found;
  // A large block is not broken up for one much smaller.
  if (bytes > kMiddle && block->bytes > bytes + bytes / 4 + kMiddle) return nullptr;
  place->second.erase(found);
  return block;
}

bool Cache::reserve(size_t bytes, int device, DevicePointer* pointer) {
  const auto limit = static_cast<double>(properties(device).total_memory) * fraction_;
  if (static_cast<double>(statistics_.reserved) + static_cast<double>(bytes) > limit) return false;
  const int result = driver().memory_allocate(pointer, bytes);
  if (result == kOutOfMemory) return false;
  check(result, "cuMemAlloc");
  return true;
}

Block* Cache::add_segment(const Home& home, size_t bytes, int device) {
  const size_t segment = home.small         ? kSmallSegment
                         : bytes <= kMiddle ? kMiddleSegment
                                            : round_up(bytes, kRounding);
  DevicePointer pointer = 0;
  if (!reserve(segment, device, &pointer)) {
    ++statistics_.retries;
    free_segments(device);
    if (!reserve(segment, device, &pointer)) out_of_memory(bytes, device);
  }
  auto* block = new Block{home, reinterpret_cast<char*>(pointer), segment};
  segments_[block->data] = {block, segment};
  statistics_.reserved += static_cast<int64_t>(segment);
  statistics_.peak_reserved = std::max(statistics_.peak_reserved, statistics_.reserved);
  ++statistics_.driver_allocations;
  return block;
}

void Cache::out_of_memory(size_t bytes, int device) {
  ++statistics_.out_of_memory;
  size_t free = 0, total = 0;
  driver().memory_info(&free, &total);
  constexpr double kMiB = 1 << 20;
  fail(ErrorKind::OutOfMemory, "CUDA out of memory: tried to allocate ",
       static_cast<double>(bytes) / kMiB, " MiB on GPU ", device, ", which has ",
       static_cast<double>(total) / kMiB, " MiB, of which ", static_cast<double>(free) / kMiB,
       " MiB are free; tensors of this process take ",
       static_cast<double>(statistics_.allocated) / kMiB, " MiB, and ",
       static_cast<double>(statistics_.reserved - statistics_.allocated) / kMiB,
       " MiB are cached for reuse. Use smaller batches, or delete tensors that are not needed");
}

// Leaves `bytes` in the block and makes the rest a free one, where that is worth it.
void Cache::split(Block* block, size_t bytes) {
  const size_t rest = block->bytes - bytes;
  if (block->home.small ? rest < kUnit : rest < kSmall) return;
  auto* remainder = new Block{block->home, block->data + bytes, rest};
  remainder->before = block;
  remainder->after = block->after;
  if (block->after) block->after->before = remainder;
  block->after = remainder;
  block->bytes = bytes;
  free_[remainder->home].insert(remainder);
}

void* Cache::allocate(size_t wanted, int device) {
  const size_t bytes = round_up(std::max<size_t>(wanted, 1), kUnit);
  const Home home{pool_of_thread, current_stream(device), bytes <= kSmall};
  use(device);
  std::lock_guard lock(mutex_);
  if ((!waiting_.empty() || !postponed_.empty()) && !pool_of_thread) take_back_waiting(device);
  Block* block = find(home, bytes);
  if (!block) block = add_segment(home, bytes, device);
  split(block, bytes);
  block->in_use = true;
  used_[block->data] = block;
  ++statistics_.allocations;
  statistics_.allocated += static_cast<int64_t>(block->bytes);
  statistics_.peak_allocated = std::max(statistics_.peak_allocated, statistics_.allocated);
  return block->data;
}

Block* Cache::join(Block* block, Block* next) {
  block->bytes += next->bytes;
  block->after = next->after;
  if (next->after) next->after->before = block;
  delete next;
  return block;
}

void Cache::make_free(Block* block) {
  auto idle = [](const Block* b) { return b && !b->in_use && b->events == 0; };
  FreeBlocks& blocks = free_[block->home];
  block->in_use = false;
  if (idle(block->after)) {
    blocks.erase(block->after);
    join(block, block->after);
  }
  if (idle(block->before)) {
    blocks.erase(block->before);
    block = join(block->before, block);
  }
  blocks.insert(block);
}

// Tensors are dropped anywhere: in threads that never used the GPU, while a graph is captured,
// while an exception is on its way, after a fault of the GPU. So nothing is raised here.
void Cache::deallocate(void* pointer, int device) {
  std::lock_guard lock(mutex_);
  auto found = used_.find(pointer);
  if (found == used_.end()) return;
  Block* block = found->second;
  used_.erase(found);
  statistics_.allocated -= static_cast<int64_t>(block->bytes);
  if (block->other_streams.empty()) return make_free(block);
  // A mark in a stream that is captured would be one in the graph.
  if (captures > 0) {
    ++block->events;
    postponed_.push_back(block);
  } else {
    await_uses(block, device);
    if (block->events == 0) make_free(block);
  }
}

// Puts a mark behind what the other streams have now. Where the driver refuses, a stream of
// somebody else is gone, the GPU has failed or the process ends; then everything is waited for.
void Cache::await_uses(Block* block, int device) {
  const std::vector<StreamHandle> streams = std::exchange(block->other_streams, {});
  try {
    use(device);
    for (StreamHandle stream : streams) {
      auto event = std::make_unique<Event>(false, false);
      event->record_handle(stream);
      waiting_[stream].emplace_back(std::move(event), block);
      ++block->events;
    }
  } catch (const Error&) {
    driver().context_synchronize();
  }
}

void Cache::take_back_waiting(int device) {
  if (captures == 0) {
    for (Block* block : std::exchange(postponed_, {})) {
      await_uses(block, device);
      if (--block->events == 0) make_free(block);
    }
  }
  for (auto place = waiting_.begin(); place != waiting_.end();) {
    auto& marks = place->second;
    while (!marks.empty() && marks.front().first->done()) {
      Block* block = marks.front().second;
      marks.pop_front();
      if (--block->events == 0) make_free(block);
    }
    place = marks.empty() ? waiting_.erase(place) : std::next(place);
  }
}

// The block that is in use at an address, null if the memory is not of this cache.
Block* Cache::containing(const void* pointer) {
  if (auto found = used_.find(pointer); found != used_.end()) return found->second;
  const auto* address = static_cast<const char*>(pointer);
  auto segment = segments_.upper_bound(address);
  if (segment == segments_.begin()) return nullptr;
  for (Block* block = std::prev(segment)->second.first; block; block = block->after) {
    if (address < block->data + block->bytes) return block->in_use ? block : nullptr;
  }
  return nullptr;
}

void Cache::record_use(const void* pointer, StreamHandle stream) {
  std::lock_guard lock(mutex_);
  Block* block = containing(pointer);
  if (!block || block->home.stream == stream) return;
  auto& streams = block->other_streams;
  if (std::find(streams.begin(), streams.end(), stream) == streams.end()) streams.push_back(stream);
}

// Gives whole segments that are free back to the driver; cuMemFree waits for the GPU.
void Cache::free_segments(int device) {
  if (pool_of_thread) return;  // a capture forbids waiting
  for (auto& [stream, marks] : waiting_) {
    for (auto& entry : marks) entry.first->synchronize_only();
  }
  take_back_waiting(device);
  std::erase_if(segments_, [&](auto& entry) {
    auto [block, bytes] = entry.second;
    const bool of_graph = block->home.pool && block->home.pool != kReleased;
    if (block->in_use || block->events || block->bytes != bytes || of_graph) return false;
    free_[block->home].erase(block);
    check(driver().memory_free(reinterpret_cast<DevicePointer>(block->data)), "cuMemFree");
    statistics_.reserved -= static_cast<int64_t>(bytes);
    delete block;
    return true;
  });
}

void Cache::empty(int device) {
  std::lock_guard lock(mutex_);
  free_segments(device);
}

void Cache::release_pool(uint64_t pool) {
  std::lock_guard lock(mutex_);
  for (auto place = free_.begin(); place != free_.end();) {
    place = place->first.pool == pool ? free_.erase(place) : std::next(place);
  }
  for (auto& [data, segment] : segments_) {
    if (segment.first->home.pool != pool) continue;
    for (Block* block = segment.first; block; block = block->after) {
      block->home.pool = kReleased;
      if (!block->in_use && block->events == 0) free_[block->home].insert(block);
    }
  }
}

}  // namespace

void* allocate(size_t bytes, int device) { return cache(device).allocate(bytes, device); }
void deallocate(void* pointer, int device) {
  if (!forked()) cache(device).deallocate(pointer, device);
}
void record_use(const void* pointer, int device, StreamHandle stream) {
  use(device);
  cache(device).record_use(pointer, stream);
}

void empty_cache() {
  if (!initialized()) return;
  for (int device = 0; device < device_count(); ++device) {
    if (cache(device).statistics().reserved == 0) continue;
    use(device);
    cache(device).empty(device);
  }
}

MemoryStatistics memory_statistics(int device) { return cache(device).statistics(); }
void reset_peaks(int device) { cache(device).reset_peaks(); }

std::pair<size_t, size_t> memory_info(int device) {
  use(device);
  size_t free = 0, total = 0;
  check(driver().memory_info(&free, &total), "cuMemGetInfo");
  return {free, total};
}

void set_memory_fraction(double fraction, int device) {
  require(fraction >= 0 && fraction <= 1,
          "set_per_process_memory_fraction: a number between 0 and "
          "1 is needed, got ",
          fraction);
  cache(device).set_fraction(fraction);
}

GraphMemory::GraphMemory(int device) : device_(device) {
  static std::atomic<uint64_t> last{0};
  pool_ = ++last;
}
GraphMemory::~GraphMemory() {
  if (!forked()) cache(device_).release_pool(pool_);
}
void GraphMemory::begin() {
  pool_of_thread = pool_;
  ++captures;
}
void GraphMemory::end() {
  pool_of_thread = 0;
  --captures;
}

}  // namespace flambeau::cuda
