#include "cuda/device.h"

#include <array>
#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <vector>

#include "base/error.h"
#include "cuda/allocator.h"
#include "cuda/error.h"
#include "cuda/library.h"

namespace flambeau::cuda {

namespace {

// A GPU of this process: its context is made at its first use and lives as long as the process.
struct Gpu {
  std::mutex mutex;  // of the first use; std::call_once needs thread-local memory of libstdc++
  std::atomic<bool> ready{false};
  ContextHandle context = nullptr;
  Properties properties;
};
Gpu gpus[kMostDevices];
std::atomic<bool> any_context{false};

// What is current in a thread.
struct Current {
  int device = 0;
  int context = -1;  // the device whose context the driver has as current
  std::array<Ref<Stream>, kMostDevices> streams;
};
Current& current() {
  // On the heap: see Note [Thread-local memory] in base/cpu.h.
  static thread_local const std::unique_ptr<Current> state = std::make_unique<Current>();
  return *state;
}

// From the driver's list of device attributes.
enum Attribute {
  kThreadsPerBlock = 1,
  kSharedPerBlock = 8,
  kWarpSize = 10,
  kClock = 13,
  kMultiprocessors = 16,
  kIntegrated = 18,
  kMemoryClock = 36,
  kMemoryBus = 37,
  kL2Cache = 38,
  kThreadsPerMultiprocessor = 39,
  kMajor = 75,
  kMinor = 76,
  kSharedPerMultiprocessor = 81,
  kRegistersPerMultiprocessor = 82,
  kSharedPerBlockOptin = 97,
};

int attribute(Attribute which, int device) {
  int value = 0;
  check(driver().device_attribute(&value, which, device), "cuDeviceGetAttribute");
  return value;
}

std::string uuid_of(int device) {
  unsigned char bytes[16] = {};
  if (driver().device_uuid(bytes, device) != kSuccess) return {};
  static const char kDigits[] = "0123456789abcdef";
  std::string result;
  for (int i = 0; i < 16; ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) result += '-';
    result += kDigits[bytes[i] >> 4];
    result += kDigits[bytes[i] & 15];
  }
  return result;
}

Properties read_properties(int device) {
  Properties p;
  char name[256] = {};
  check(driver().device_name(name, sizeof name, device), "cuDeviceGetName");
  check(driver().device_total_memory(&p.total_memory, device), "cuDeviceTotalMem");
  p.name = name;
  p.uuid = uuid_of(device);
  p.major = attribute(kMajor, device);
  p.minor = attribute(kMinor, device);
  p.multiprocessors = attribute(kMultiprocessors, device);
  p.warp_size = attribute(kWarpSize, device);
  p.threads_per_block = attribute(kThreadsPerBlock, device);
  p.threads_per_multiprocessor = attribute(kThreadsPerMultiprocessor, device);
  p.shared_memory_per_block = attribute(kSharedPerBlock, device);
  p.shared_memory_per_block_optin = attribute(kSharedPerBlockOptin, device);
  p.shared_memory_per_multiprocessor = attribute(kSharedPerMultiprocessor, device);
  p.l2_cache = attribute(kL2Cache, device);
  p.registers_per_multiprocessor = attribute(kRegistersPerMultiprocessor, device);
  p.clock_khz = attribute(kClock, device);
  p.memory_clock_khz = attribute(kMemoryClock, device);
  p.memory_bus_bits = attribute(kMemoryBus, device);
  p.integrated = attribute(kIntegrated, device) != 0;
  return p;
}

Gpu& gpu(int device) {
  const int count = device_count();
  if (count == 0) driver();  // says what is missing
  require(device >= 0 && device < count, "cuda: there is no GPU number ", device, ", only ", count,
          count == 1 ? " GPU is visible" : " GPUs are visible", "; see torch.cuda.device_count()");
  Gpu& chosen = gpus[device];
  require(
      !forked(),
      "cuda: Cannot re-initialize CUDA in forked subprocess. To use CUDA with multiprocessing, ",
      "you must use the 'spawn' start method; loader workers must make CPU tensors");
  if (chosen.ready.load(std::memory_order_acquire)) return chosen;
  // Now and not at the first kernel: looking for it runs Python, which a recording would notice.
  // Not under the lock: whoever has Python's may be waiting for ours.
  library(LibraryName::Nvrtc);
  std::lock_guard lock(chosen.mutex);
  if (chosen.ready.load(std::memory_order_acquire)) return chosen;
  chosen.properties = read_properties(device);
  check(driver().primary_context_retain(&chosen.context, device), "cuDevicePrimaryCtxRetain");
  any_context = true;
  chosen.ready.store(true, std::memory_order_release);
  return chosen;
}

}  // namespace

int device_count() {
  static const int count = [] {
    int found = 0;
    const Driver* functions = find_driver();
    if (!functions || functions->device_count(&found) != kSuccess) return 0;
    return std::min(found, kMostDevices);
  }();
  return count;
}

bool initialized() { return any_context && !forked(); }

int current_device() { return current().device; }

void set_device(int device) {
  gpu(device);
  current().device = device;
}

Device concrete(Device device) {
  if (device.is_cpu()) return device;
  const int index = device.index < 0 ? current_device() : device.index;
  gpu(index);
  return {Device::Type::Cuda, static_cast<int8_t>(index)};
}

void use(int device) {
  Current& state = current();
  if (state.context == device && !forked()) [[likely]] {
    // Other libraries in this thread may have made theirs current since.
    ContextHandle found = nullptr;
    driver().context_get_current(&found);
    if (found == gpus[device].context) return;
  }
  Gpu& chosen = gpu(device);
  check(driver().context_set_current(chosen.context), "cuCtxSetCurrent");
  state.context = device;
}

ContextHandle context_of(int device) { return gpu(device).context; }

const Properties& properties(int device) { return gpu(device).properties; }

// --- streams

// Note [Handles of streams].
struct Handles {
  std::mutex mutex;
  std::map<std::pair<int, int>, std::vector<StreamHandle>> idle;  // by device and priority
  std::set<StreamHandle> all;
};
static Handles& handles() {
  static auto* const streams = new Handles;
  return *streams;
}

Ref<Stream> Stream::create(int device, int priority) {
  use(device);
  constexpr unsigned kNonBlocking = 1;
  StreamHandle handle = nullptr;
  Handles& known = handles();
  std::lock_guard lock(known.mutex);
  if (auto& idle = known.idle[{device, priority}]; !idle.empty()) {
    handle = idle.back();
    idle.pop_back();
  } else {
    check(driver().stream_create(&handle, kNonBlocking, priority), "cuStreamCreateWithPriority");
    known.all.insert(handle);
  }
  return Ref<Stream>::adopt(new Stream(device, handle, priority));
}

Ref<Stream> Stream::external(int device, StreamHandle handle) {
  gpu(device);
  return Ref<Stream>::adopt(new Stream(device, handle, 0, true));
}

bool is_own_stream(StreamHandle handle) {
  std::lock_guard lock(handles().mutex);
  return !handle || handles().all.contains(handle);
}

void order_streams(int device, StreamHandle earlier, StreamHandle later) {
  if (earlier == later) return;
  use(device);
  Event ready(false, false);
  ready.record_handle(earlier);
  check(driver().stream_wait_event(later, ready.handle(), 0), "cuStreamWaitEvent");
}

Ref<Stream> Stream::default_of(int device) {
  gpu(device);
  static Ref<Stream>* const streams = new Ref<Stream>[kMostDevices];
  static std::mutex mutex;
  std::lock_guard lock(mutex);
  if (!streams[device]) streams[device] = Ref<Stream>::adopt(new Stream(device, nullptr, 0));
  return streams[device];
}

// Work that is queued still runs.
Stream::~Stream() {
  if (!handle_ || external_ || forked()) return;
  std::lock_guard lock(handles().mutex);
  handles().idle[{device_, priority_}].push_back(handle_);
}

bool Stream::done() const {
  use(device_);
  int result = driver().stream_query(handle_);
  if (result != kNotReady) check(result, "cuStreamQuery");
  return result == kSuccess;
}

void Stream::synchronize() const {
  use(device_);
  check(driver().stream_synchronize(handle_), "cuStreamSynchronize");
  raise_reported(device_);
}

std::pair<int, int> stream_priorities(int device) {
  use(device);
  int least = 0, greatest = 0;
  check(driver().stream_priority_range(&least, &greatest), "cuCtxGetStreamPriorityRange");
  return {greatest, least};
}

StreamHandle current_stream(int device) {
  const Ref<Stream>& stream = current().streams[device];
  return stream ? stream->handle() : nullptr;
}

Ref<Stream> current_stream_object(int device) {
  gpu(device);
  const Ref<Stream>& stream = current().streams[device];
  return stream ? stream : Stream::default_of(device);
}

void set_current_stream(Ref<Stream> stream) {
  const int device = stream->device();
  current().streams[device] = std::move(stream);
}

// --- events

Event::~Event() {
  if (handle_ && !forked()) driver().event_destroy(handle_);
}

void Event::record(const Stream& stream) {
  require(device_ < 0 || device_ == stream.device(), "cuda: an event of GPU ", device_,
          " cannot be recorded in a stream of GPU ", stream.device(), "; make another event");
  use(stream.device());
  record_handle(stream.handle());
}

void Event::record_handle(StreamHandle stream) {
  constexpr unsigned kBlocking = 1, kWithoutTiming = 2;
  if (!handle_) {
    const unsigned flags = (blocking_ ? kBlocking : 0) | (timing_ ? 0 : kWithoutTiming);
    check(driver().event_create(&handle_, flags), "cuEventCreate");
    device_ = current().context;
  }
  check(driver().event_record(handle_, stream), "cuEventRecord");
}

void Event::wait(const Stream& stream) const {
  if (!handle_) return;
  use(stream.device());
  check(driver().stream_wait_event(stream.handle(), handle_, 0), "cuStreamWaitEvent");
}

bool Event::done() const {
  if (!handle_) return true;
  use(device_);
  int result = driver().event_query(handle_);
  if (result != kNotReady) check(result, "cuEventQuery");
  return result == kSuccess;
}

void Event::synchronize_only() const {
  if (!handle_) return;
  use(device_);
  check(driver().event_synchronize(handle_), "cuEventSynchronize");
}

void Event::synchronize() const {
  if (!handle_) return;
  synchronize_only();
  raise_reported(device_);
}

double Event::milliseconds_until(const Event& end) const {
  require(timing_ && end.timing_, "elapsed_time: both events must be made with enable_timing=True");
  require(handle_ && end.handle_, "elapsed_time: both events must be recorded before");
  use(device_);
  float milliseconds = 0;
  int result = driver().event_elapsed_time(&milliseconds, handle_, end.handle_);
  require(result != kNotReady,
          "elapsed_time: the events have not happened yet; call synchronize() "
          "on the later one first");
  check(result, "cuEventElapsedTime");
  return milliseconds;
}

// --- addresses

int device_of_pointer(const void* pointer) {
  constexpr int kMemoryType = 2, kDeviceOrdinal = 9, kOnDevice = 2;
  const auto address = reinterpret_cast<DevicePointer>(pointer);
  int type = 0, device = -1;
  const bool known = driver().pointer_attribute(&type, kMemoryType, address) == kSuccess &&
                     type == kOnDevice &&
                     driver().pointer_attribute(&device, kDeviceOrdinal, address) == kSuccess;
  return known ? device : -1;
}

// --- waiting

void synchronize(int device) {
  use(device);
  check(driver().context_synchronize(), "cuCtxSynchronize");
  raise_reported(device);
}

void synchronize_stream(int device) {
  use(device);
  check(driver().stream_synchronize(current_stream(device)), "cuStreamSynchronize");
  raise_reported(device);
}

}  // namespace flambeau::cuda
