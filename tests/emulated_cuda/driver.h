#pragma once

#include <unistd.h>

#include <cstdio>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "stream.h"

// What the files of the driver share: its state, and how a call begins.

namespace emulated {

struct LoadedModule;
struct Function;

// Objects that callers hold handles of. A handle that is not in the table is not dereferenced.
template <typename Object, typename Handle>
class Handles {
 public:
  Handle add(std::shared_ptr<Object> object) {
    auto handle = reinterpret_cast<Handle>(object.get());
    objects_[handle] = std::move(object);
    return handle;
  }
  std::shared_ptr<Object> find(Handle handle) const {
    auto found = objects_.find(handle);
    return found == objects_.end() ? nullptr : found->second;
  }
  bool remove(Handle handle) { return objects_.erase(handle) != 0; }

 private:
  std::unordered_map<Handle, std::shared_ptr<Object>> objects_;
};

struct Driver {
  std::recursive_mutex mutex;
  pid_t process = 0;  // which has initialized it; a forked child cannot use it
  size_t memory_bytes = 0;
  std::vector<std::unique_ptr<Device>> devices;
  Handles<Stream, CUstream> streams;
  Handles<Event, CUevent> events;
  Handles<LoadedModule, CUmodule> modules;
  Handles<Function, CUfunction> functions;
  Handles<Graph, CUgraph> graphs;
  Handles<std::vector<Work>, CUgraphExec> executables;
};

Driver& driver();
// The device of the calling thread's current context, or null.
Device* current_device();
// Null if the handle is that of no context.
Device* device_of(CUcontext context);
Device* device_of(CUdevice device);
// Null if the handle is not of a live stream of a live context.
std::shared_ptr<Stream> find_stream(CUstream handle);

#define EMULATED_RETURN_IF(condition, error) \
  do {                                       \
    if (condition) return error;             \
  } while (0)

// Begins a call: takes the lock, and returns if cuInit has not been called ...
#define EMULATED_BEGIN()                                                \
  std::lock_guard<std::recursive_mutex> lock(emulated::driver().mutex); \
  EMULATED_RETURN_IF(emulated::driver().process != getpid(), CUDA_ERROR_NOT_INITIALIZED)
// ... or the thread has no usable context, which it names `device`.
#define EMULATED_BEGIN_IN_CONTEXT()                                  \
  EMULATED_BEGIN();                                                  \
  Device* device = current_device();                                 \
  EMULATED_RETURN_IF(device == nullptr, CUDA_ERROR_INVALID_CONTEXT); \
  EMULATED_RETURN_IF(device->error != CUDA_SUCCESS, device->error)

}  // namespace emulated
