// The one thread pool: started on first need, sized by the cgroup quota and the affinity mask.
#pragma once

#include <cstdint>
#include <type_traits>

namespace flambeau {

// A borrowed callable: two words, no allocation. Valid while the callable it was made from lives.
template <class>
class FunctionRef;
template <class Result, class... Arguments>
class FunctionRef<Result(Arguments...)> {
 public:
  template <class Callable>
    requires(!std::is_same_v<std::remove_cvref_t<Callable>, FunctionRef>)
  FunctionRef(Callable&& callable)
      : object_(const_cast<void*>(static_cast<const void*>(&callable))),
        call_([](void* object, Arguments... arguments) -> Result {
          return (*static_cast<std::remove_reference_t<Callable>*>(object))(arguments...);
        }) {}
  Result operator()(Arguments... arguments) const { return call_(object_, arguments...); }

 private:
  void* object_;
  Result (*call_)(void*, Arguments...);
};

// How many threads a parallel loop may use; 1 inside a loop (nested loops run serially).
int thread_count();
// torch.set_num_threads: for all loops from now on. Needs count >= 1.
void set_thread_count(int count);

// Calls body(begin, end) on disjoint ranges that cover [0, count); no range but the last is
// shorter than `grain`. Runs in the calling thread when count <= grain, when called from a body,
// or while another thread uses the pool. An exception from a body is thrown in the caller after
// all bodies have stopped. Splits depend only on count, grain and thread_count(); kernels must not
// let results depend on them.
void parallel_for(int64_t count, int64_t grain, FunctionRef<void(int64_t, int64_t)> body);

// Grain for elementwise work that costs about as much as an add (memory bound).
inline constexpr int64_t kGrain = 32768;

}  // namespace flambeau
