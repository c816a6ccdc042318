#include "cuda/pinned.h"

#include <algorithm>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "base/error.h"
#include "cuda/device.h"
#include "cuda/graph.h"

namespace flambeau::cuda {

namespace {

struct Block {
  char* data;
  size_t bytes;  // a power of two
  // One mark for each stream, behind its last copy.
  std::vector<std::pair<StreamHandle, std::unique_ptr<Event>>> uses;
  bool captured = false;  // a graph copies it at every replay

  bool idle() {
    while (!uses.empty() && uses.back().second->done()) uses.pop_back();
    return uses.empty() && !captured;
  }
};

struct State {
  std::mutex mutex;
  std::map<const char*, Block*> used;
  std::multimap<size_t, Block*> free;
};
State& state() {
  static auto* const memory = new State;  // outlives every tensor
  return *memory;
}

Block* containing(const void* pointer) {
  auto& used = state().used;
  auto next = used.upper_bound(static_cast<const char*>(pointer));
  if (next == used.begin()) return nullptr;
  Block* block = std::prev(next)->second;
  return static_cast<const char*>(pointer) < block->data + block->bytes ? block : nullptr;
}

}  // namespace

void* allocate_pinned(size_t wanted) {
  size_t bytes = 4096;
  while (bytes < wanted) bytes *= 2;
  use(current_device());
  State& my = state();
  std::lock_guard lock(my.mutex);
  auto [begin, end] = my.free.equal_range(bytes);
  for (auto place = begin; place != end; ++place) {
    if (!place->second->idle()) continue;
    Block* block = place->second;
    my.free.erase(place);
    my.used[block->data] = block;
    return block->data;
  }
  constexpr unsigned kPortable = 1;
  void* memory = nullptr;
  check(driver().host_allocate(&memory, bytes, kPortable), "cuMemHostAlloc (pin_memory)");
  auto* block = new Block{static_cast<char*>(memory), bytes, {}};
  my.used[block->data] = block;
  return block->data;
}

void deallocate_pinned(void* pointer) {
  if (forked()) return;
  State& my = state();
  std::lock_guard lock(my.mutex);
  auto found = my.used.find(static_cast<const char*>(pointer));
  Block* block = found->second;
  my.used.erase(found);
  my.free.emplace(block->bytes, block);
}

bool is_pinned(const void* pointer) {
  if (!initialized()) return false;
  std::lock_guard lock(state().mutex);
  return containing(pointer) != nullptr;
}

void record_pinned_use(const void* pointer, int device) {
  use(device);
  std::lock_guard lock(state().mutex);
  Block* block = containing(pointer);
  if (!block) return;
  if (capturing()) {
    block->captured = true;
    return;
  }
  const StreamHandle stream = current_stream(device);
  auto found = std::find_if(block->uses.begin(), block->uses.end(), [&](const auto& use) {
    return use.first == stream && use.second->device() == device;
  });
  if (found == block->uses.end()) {
    found = block->uses.insert(found, {stream, std::make_unique<Event>(false, false)});
  }
  found->second->record_handle(stream);
}

}  // namespace flambeau::cuda
