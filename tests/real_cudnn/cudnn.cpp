#include <dlfcn.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>

// The real cuDNN (REAL_CUDNN) with a GPU that is not there (COMPUTE_CAPABILITY, as 900).

#define CUDNN_API extern "C" __attribute__((visibility("default"))) int

namespace {

enum Kind : int { kHeuristics = 4, kPlan = 5, kDeviceProperties = 38 };
constexpr int kHandleType = 0, kDescriptorType = 15, kCharType = 24;
constexpr int kHeuristicsMode = 200, kHeuristicsResults = 202, kHeuristicsDevice = 204;
constexpr int kPlanDevice = 407, kDeviceJson = 2702;
constexpr int kFallbackMode = 2;

void* real(const char* name) {
  static void* const library = [] {
    void* opened = dlopen(std::getenv("REAL_CUDNN"), RTLD_NOW | RTLD_GLOBAL);
    if (opened == nullptr) {
      std::fprintf(stderr, "real cuDNN: %s\n", dlerror());
      std::abort();
    }
    return opened;
  }();
  return dlsym(library, name);
}

int create(int kind, void** descriptor) {
  static auto* const call =
      reinterpret_cast<int (*)(int, void**)>(real("cudnnBackendCreateDescriptor"));
  return call(kind, descriptor);
}
int set(void* descriptor, int attribute, int type, int64_t count, const void* values) {
  static auto* const call = reinterpret_cast<int (*)(void*, int, int, int64_t, const void*)>(
      real("cudnnBackendSetAttribute"));
  return call(descriptor, attribute, type, count, values);
}
int finalize(void* descriptor) {
  static auto* const call = reinterpret_cast<int (*)(void*)>(real("cudnnBackendFinalize"));
  return call(descriptor);
}

std::map<void*, int> kinds, modes;
int refusals = 0, executions = 0;

// Whatever fails but the building of one of several plans.
int counted(int status, int kind) {
  if (status == 0 || kind == kPlan) return status;
  ++refusals;
  static auto* const explain =
      reinterpret_cast<void (*)(char*, size_t)>(real("cudnnGetLastErrorString"));
  char text[4096] = "";
  explain(text, sizeof text);
  std::fprintf(stderr, "real cuDNN: descriptor %d: %d %s\n", kind, status, text);
  return status;
}

// Field names as cuDNN 9.28 reads them; numbers of an A100 and an H100.
void* device_properties() {
  static void* const made = [] {
    const int version = std::atoi(std::getenv("COMPUTE_CAPABILITY"));
    const bool hopper = version >= 900;
    char text[2048];
    std::snprintf(
        text, sizeof text,
        R"({"deviceName":"%s","regsPerBlock":65536,"maxBlockSize":[1024,1024,64],)"
        R"("maxGridSize":[2147483647,65535,65535],"multiProcessorCount":%d,"warpSize":32,)"
        R"("maxSharedMemoryPerBlock":49152,"maxSharedMemoryPerBlockOptin":%d,)"
        R"("reservedSharedMemoryPerBlock":1024,"maxRegistersPerSM":65536,"maxCtasPerSM":32,)"
        R"("maxThreadsPerBlock":1024,"maxThreadsPerSM":2048,"pciDeviceId":0,"isTccDriver":0,)"
        R"("supportCoopLaunch":1,"totalGlobalMem":85899345920,"smClockRateKHz":%d,)"
        R"("memClockRateKHz":%d,"memoryBusWidth":5120,"l2CacheSize":%d,"cudaDeviceId":0,)"
        R"("deviceVer":%d,"driverVer":13000})",
        hopper ? "NVIDIA H100" : "NVIDIA A100", hopper ? 132 : 108, hopper ? 232448 : 166912,
        hopper ? 1980000 : 1410000, hopper ? 2619000 : 1593000, hopper ? 52428800 : 41943040,
        version);
    void* descriptor = nullptr;
    const auto length = static_cast<int64_t>(std::strlen(text));
    if (create(kDeviceProperties, &descriptor) != 0 ||
        set(descriptor, kDeviceJson, kCharType, length, text) != 0 || finalize(descriptor) != 0) {
      std::fprintf(stderr, "real cuDNN: the properties of a GPU are refused\n");
      std::abort();
    }
    return descriptor;
  }();
  return made;
}

}  // namespace

CUDNN_API real_cudnn_refusals() { return refusals; }
CUDNN_API real_cudnn_executions() { return executions; }

extern "C" __attribute__((visibility("default"))) size_t cudnnGetVersion() {
  return reinterpret_cast<size_t (*)()>(real("cudnnGetVersion"))();
}
CUDNN_API cudnnCreate(void** handle) {
  static char something;
  *handle = &something;
  return 0;
}
CUDNN_API cudnnSetStream(void*, void*) { return 0; }
CUDNN_API cudnnBackendCreateDescriptor(int kind, void** descriptor) {
  const int status = counted(create(kind, descriptor), kind);
  if (status == 0) kinds[*descriptor] = kind;
  return status;
}
CUDNN_API cudnnBackendDestroyDescriptor(void* descriptor) {
  kinds.erase(descriptor);
  modes.erase(descriptor);
  return reinterpret_cast<int (*)(void*)>(real("cudnnBackendDestroyDescriptor"))(descriptor);
}
CUDNN_API cudnnBackendSetAttribute(void* descriptor, int attribute, int type, int64_t count,
                                   const void* values) {
  if (type == kHandleType) return 0;
  if (attribute == kHeuristicsMode) modes[descriptor] = *static_cast<const int*>(values);
  return counted(set(descriptor, attribute, type, count, values), kinds[descriptor]);
}
CUDNN_API cudnnBackendFinalize(void* descriptor) {
  const int kind = kinds[descriptor];
  if (kind == kHeuristics || kind == kPlan) {
    void* const device = device_properties();
    set(descriptor, kind == kPlan ? kPlanDevice : kHeuristicsDevice, kDescriptorType, 1,
        static_cast<const void*>(&device));
  }
  return counted(finalize(descriptor), kind);
}
CUDNN_API cudnnBackendGetAttribute(void* descriptor, int attribute, int type, int64_t wanted,
                                   int64_t* count, void* values) {
  if (attribute == kHeuristicsResults && modes[descriptor] == kFallbackMode) {
    *count = 0;  // they ask for a handle
    return 0;
  }
  static auto* const call = reinterpret_cast<int (*)(void*, int, int, int64_t, int64_t*, void*)>(
      real("cudnnBackendGetAttribute"));
  return counted(call(descriptor, attribute, type, wanted, count, values), kinds[descriptor]);
}
CUDNN_API cudnnBackendExecute(void*, void*, void*) {
  ++executions;
  return 0;
}
