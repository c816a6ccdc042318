#include "cuda/error.h"

#include <atomic>
#include <deque>
#include <mutex>

#include "cuda/device.h"
#include "cuda/launch.h"

namespace flambeau::cuda {

namespace {

struct ErrorSite {
  std::string op;
  ErrorKind kind;
  bool plain;  // `op` is the whole text
};
std::mutex mutex;
std::deque<ErrorSite>& sites() {
  static auto* const list = new std::deque<ErrorSite>;
  return *list;
}

std::atomic<ErrorSlot*> slots[kMostDevices];

}  // namespace

static int site_of(const char* op, ErrorKind kind, bool plain) {
  std::lock_guard lock(mutex);
  auto& list = sites();
  for (size_t i = 0; i < list.size(); ++i) {
    if (list[i].op == op && list[i].kind == kind) return static_cast<int>(i);
  }
  list.push_back({op, kind, plain});
  return static_cast<int>(list.size()) - 1;
}

int error_site(const char* op, ErrorKind kind) { return site_of(op, kind, false); }
int plain_error_site(const char* text, ErrorKind kind) { return site_of(text, kind, true); }

// The host's address serves kernels, too: with unified addressing mapped memory has one address.
ErrorSlot* error_slot(int device) {
  if (ErrorSlot* slot = slots[device].load(std::memory_order_acquire)) return slot;
  use(device);
  std::lock_guard lock(mutex);
  if (ErrorSlot* slot = slots[device].load(std::memory_order_acquire)) return slot;
  constexpr unsigned kPortable = 1, kMapped = 2;
  void* memory = nullptr;
  check(driver().host_allocate(&memory, sizeof(ErrorSlot), kPortable | kMapped), "cuMemHostAlloc");
  auto* slot = new (memory) ErrorSlot{};
  slots[device].store(slot, std::memory_order_release);
  return slot;
}

void raise_reported(int device) {
  ErrorSlot* slot = slots[device].load(std::memory_order_acquire);
  if (!slot || *static_cast<volatile int*>(&slot->state) != 2) [[likely]]
    return;
  const ErrorSlot found = *slot;
  *slot = {};
  ErrorSite site;
  {
    std::lock_guard lock(mutex);
    site = sites().at(found.site);
  }
  constexpr const char* kFound = " (found on the GPU, in an earlier call than the one that raises)";
  if (site.plain) fail(site.kind, site.op, kFound);
  fail(site.kind, site.op, ": index ", found.value, " is out of bounds for a dimension of size ",
       found.bound, kFound, "; check the indices, or run on the CPU to see the line");
}

}  // namespace flambeau::cuda
