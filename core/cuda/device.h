// GPUs, streams and events. What is current belongs to the thread, as in PyTorch.
#pragma once

#include "base/object.h"
#include "cuda/driver.h"
#include "tensor/device.h"

namespace flambeau::cuda {

inline constexpr int kMostDevices = 64;  // of a process

// GPUs that can be used; 0 without a driver. Never raises, initialises nothing but the driver.
int device_count();
// Whether any context was made in this process, and not by the one that forked it.
bool initialized();
int current_device();
// RuntimeError for a number that is not there.
void set_device(int device);
// A device with its number filled in; RuntimeError if there is no such GPU.
Device concrete(Device device);
// Makes the device's context current for driver calls of this thread.
void use(int device);
ContextHandle context_of(int device);

struct Properties {
  std::string name;
  std::string uuid;
  size_t total_memory = 0;
  int major = 0, minor = 0;  // compute capability
  int multiprocessors = 0;
  int warp_size = 32;
  int threads_per_block = 1024;
  int threads_per_multiprocessor = 0;
  size_t shared_memory_per_block = 0;        // without asking
  size_t shared_memory_per_block_optin = 0;  // after function_set_attribute
  size_t shared_memory_per_multiprocessor = 0;
  size_t l2_cache = 0;
  int registers_per_multiprocessor = 0;
  int clock_khz = 0, memory_clock_khz = 0, memory_bus_bits = 0;
  bool integrated = false;
};
const Properties& properties(int device);

// Makes another device current for a scope.
class DeviceScope {
 public:
  explicit DeviceScope(int device) : before_(current_device()) { set_device(device); }
  ~DeviceScope() { set_device(before_); }
  DeviceScope(const DeviceScope&) = delete;

 private:
  int before_;
};

// An ordered queue of work. Handle null: the default stream.
//
// Note [Handles of streams]: a stream of ours that is not used any more is kept for the next one
// that is wanted. So a handle stays valid: memory may be free only after its last use in a stream
// is marked, and by then the Stream object may be gone.
class Stream : public Object {
 public:
  static Ref<Stream> create(int device, int priority = 0);
  static Ref<Stream> default_of(int device);
  // Somebody else's, who keeps it while it is used.
  static Ref<Stream> external(int device, StreamHandle handle);
  ~Stream() override;

  int device() const { return device_; }
  StreamHandle handle() const { return handle_; }
  int priority() const { return priority_; }
  bool done() const;
  void synchronize() const;

 private:
  Stream(int device, StreamHandle handle, int priority, bool external = false)
      : device_(device), handle_(handle), priority_(priority), external_(external) {}
  int device_;
  StreamHandle handle_;
  int priority_;
  bool external_;
};
// Whether the handle is one of Stream::create() or the default stream, and so stays valid.
bool is_own_stream(StreamHandle handle);
// What `later` gets from now on waits for what `earlier` has now; both of one GPU.
void order_streams(int device, StreamHandle earlier, StreamHandle later);
// Greatest and least priority (numbers fall as priority rises).
std::pair<int, int> stream_priorities(int device);

// The stream that this thread's work on the device goes to.
StreamHandle current_stream(int device);
Ref<Stream> current_stream_object(int device);
void set_current_stream(Ref<Stream> stream);

// A mark in a stream.
class Event : public Object {
 public:
  Event(bool timing, bool blocking) : timing_(timing), blocking_(blocking) {}
  ~Event() override;
  void record(const Stream& stream);
  void record_handle(StreamHandle stream);  // of the device whose context is current
  void wait(const Stream& stream) const;    // the stream waits for the mark
  bool done() const;
  void synchronize() const;
  void synchronize_only() const;  // without raising what kernels have reported
  double milliseconds_until(const Event& end) const;
  EventHandle handle() const { return handle_; }
  int device() const { return device_; }  // -1: not recorded yet

 private:
  EventHandle handle_ = nullptr;
  int device_ = -1;
  bool timing_, blocking_;
};

// The GPU whose memory the address is in, -1 if it is in none's.
int device_of_pointer(const void* pointer);

// Waits for all work on the device, then raises what kernels have reported (cuda/error.h).
void synchronize(int device);
// Waits for the current stream; the same otherwise.
void synchronize_stream(int device);

}  // namespace flambeau::cuda
