#include "cuda/driver.h"

#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <iterator>
#include <mutex>

#include "base/error.h"
#include "cuda/library.h"

namespace flambeau::cuda {

namespace {

struct State {
  Driver functions;
  bool usable = false;
  std::string problem;
};

const char* name_or(int (*name)(int, const char**), int result, const char* fallback) {
  const char* found = nullptr;
  return name && name(result, &found) == kSuccess && found ? found : fallback;
}

std::string describe(const Driver& driver, int result) {
  return text(name_or(driver.error_name, result, "unknown error"), " (", result,
              "): ", name_or(driver.error_text, result, "no description"));
}

std::atomic<bool> in_forked_child{false};

State load() {
  State state;
  const Library& library = cuda::library(LibraryName::Driver);
  if (!library.handle) {
    state.problem =
        "cuda: no NVIDIA driver was found (" + library.problem +
        "); install NVIDIA's driver, or use device='cpu'. `flambeau doctor` shows what is there";
    return state;
  }
  Driver& functions = state.functions;
  const char* missing = nullptr;
#define FLAMBEAU_DRIVER_FUNCTION(member, name, parameters)                      \
  functions.member = reinterpret_cast<int(*) parameters>(library.symbol(name)); \
  if (!functions.member) missing = name;
  FLAMBEAU_DRIVER_FUNCTIONS(FLAMBEAU_DRIVER_FUNCTION)
#undef FLAMBEAU_DRIVER_FUNCTION
  if (missing) {
    state.problem = text("cuda: the NVIDIA driver ", library.path, " is too old, it lacks ",
                         missing, "; update it to one for CUDA 12 or later");
    return state;
  }
  int result = functions.init(0), count = 0;
  if (result == kSuccess) result = functions.device_count(&count);
  if (result != kSuccess) {
    state.problem = "cuda: the NVIDIA driver could not be started, " + describe(functions, result) +
                    "; `flambeau doctor` shows what is there";
  } else if (count == 0) {
    state.problem =
        "cuda: there is an NVIDIA driver but no GPU that it may use; check "
        "CUDA_VISIBLE_DEVICES, or use device='cpu'";
  } else {
    state.usable = true;
    pthread_atfork(nullptr, nullptr, [] { in_forked_child = true; });
  }
  return state;
}

const State& state() {
  static const State loaded = load();
  return loaded;
}

}  // namespace

const Driver* find_driver(std::string* why) {
  const State& found = state();
  if (why) *why = found.problem;
  return found.usable ? &found.functions : nullptr;
}

const Driver& driver() {
  const State& found = state();
  require(found.usable, found.problem);
  return found.functions;
}

bool forked() { return in_forked_child.load(std::memory_order_relaxed); }

void check(int result, const char* what) {
  if (result == kSuccess) [[likely]]
    return;
  // After these every call of the context fails: faults of kernels, of memory and of the link.
  constexpr int kFaults[] = {214, 220, 700, 702, 710, 714, 715, 716, 717, 718, 719};
  const bool broken =
      std::find(std::begin(kFaults), std::end(kFaults), result) != std::end(kFaults);
  fail(result == kOutOfMemory ? ErrorKind::OutOfMemory : ErrorKind::Runtime, "cuda: ", what,
       " failed with ", describe(state().functions, result),
       broken ? "; the GPU cannot be used by this process any more, start it again" : "");
}

}  // namespace flambeau::cuda
