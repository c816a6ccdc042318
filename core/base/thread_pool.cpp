#include "base/thread_pool.h"

#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <climits>
#include <exception>
#include <mutex>
#include <utility>

#include "base/error.h"
#include "base/ref.h"
#include "base/system.h"

namespace flambeau {
namespace {

// About 0.1 to 0.2 ms: long enough to bridge two kernels, short enough not to hurt neighbours.
constexpr int kSpins = 3000;
constexpr int kMaxThreads = 1024;
// Ranges per thread: a late or slow thread leaves its share to the others.
constexpr int kRangesPerThread = 4;
static_assert(kMaxThreads * kRangesPerThread < 1 << 16);  // see Open

thread_local bool inside_loop = false;

inline void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

void futex_wait(std::atomic<uint32_t>& word, uint32_t seen) {
  syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, seen, nullptr, nullptr, 0);
}
void futex_wake(std::atomic<uint32_t>& word, int count) {
  syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, count, nullptr, nullptr, 0);
}

// The parts of a loop that nobody has claimed yet, [first, last), and how many workers may help.
// The caller claims from the front and workers from the back: in loops over the same memory, each
// finds what it had the last time in its own cache.
struct Open {
  uint32_t first, last, helpers;

  static Open of(uint64_t word) {
    return {static_cast<uint32_t>(word & 0xffff), static_cast<uint32_t>(word >> 16 & 0xffff),
            static_cast<uint32_t>(word >> 32)};
  }
  uint64_t word() const { return uint64_t{helpers} << 32 | uint64_t{last} << 16 | first; }
};

// One loop at a time. A worker that claims a part by changing `open_` knows that the loop's other
// fields stay valid until it reports the part as done. Workers that come late find nothing to
// claim, so the caller never waits for a thread that has not started.
// Never freed: workers look at it until the process ends.
class Pool {
 public:
  // Makes sure that `count` workers exist, as far as the system lets us; returns how many do.
  int grow(int count);
  bool try_lock() { return mutex_.try_lock(); }
  void unlock() { mutex_.unlock(); }
  // Runs body(0) ... body(parts - 1) on the caller and up to `helpers` workers; needs the lock.
  void run(int parts, int helpers, FunctionRef<void(int64_t)> body);
  void work(int index);

 private:
  static bool may_claim(Open open, int index) {
    return open.first < open.last && index <= static_cast<int>(open.helpers);
  }
  bool claim_and_run(int index);
  void run_part(uint32_t part);
  void wait_until_done();

  alignas(64) std::atomic<uint64_t> open_{0};
  alignas(64) std::atomic<uint32_t> epoch_{0};  // counts loops; parked workers wait for a change
  std::atomic<int> parked_{0};
  alignas(64) std::atomic<uint32_t> done_{0};
  std::atomic<bool> caller_parked_{false};
  alignas(64) const FunctionRef<void(int64_t)>* body_ = nullptr;
  uint32_t parts_ = 0;
  std::atomic<bool> failed_{false};
  std::exception_ptr error_;
  std::mutex mutex_;
  int workers_ = 0;
};

struct Worker {
  Pool* pool;
  int index;
};

void Pool::run_part(uint32_t part) {
  if (!failed_.load(std::memory_order_relaxed)) {
    try {
      (*body_)(part);
    } catch (...) {
      if (!failed_.exchange(true)) error_ = std::current_exception();
    }
  }
  uint32_t parts = parts_;
  if (done_.fetch_add(1) + 1 == parts && caller_parked_.load()) futex_wake(done_, 1);
}

// Index 0 is the caller, workers count from 1.
bool Pool::claim_and_run(int index) {
  uint64_t word = open_.load(std::memory_order_relaxed);
  uint32_t part;
  Open rest;
  do {
    rest = Open::of(word);
    if (!may_claim(rest, index)) return false;
    part = index == 0 ? rest.first++ : --rest.last;
  } while (!open_.compare_exchange_weak(word, rest.word(), std::memory_order_acquire,
                                        std::memory_order_relaxed));
  run_part(part);
  return true;
}

void Pool::wait_until_done() {
  for (int i = 0; i < kSpins; ++i) {
    if (done_.load(std::memory_order_acquire) == parts_) return;
    pause();
  }
  caller_parked_.store(true);
  for (uint32_t done; (done = done_.load()) != parts_;) futex_wait(done_, done);
  caller_parked_.store(false);
}

void Pool::run(int parts, int helpers, FunctionRef<void(int64_t)> body) {
  CountsShared scope;  // Note [Counts]
  body_ = &body;
  parts_ = parts;
  done_.store(0, std::memory_order_relaxed);
  failed_.store(false, std::memory_order_relaxed);
  open_.store(Open{0, parts_, static_cast<uint32_t>(helpers)}.word());
  epoch_.fetch_add(1);
  // Workers that may not help wake up for nothing now and then; that is rare (a lowered count).
  if (parked_.load() > 0) futex_wake(epoch_, helpers < workers_ ? INT_MAX : parts - 1);
  inside_loop = true;
  while (claim_and_run(0)) {
  }
  wait_until_done();
  inside_loop = false;
  if (failed_.load(std::memory_order_relaxed)) {
    std::rethrow_exception(std::exchange(error_, nullptr));
  }
}

void Pool::work(int index) {
  inside_loop = true;
  for (int idle = 0;;) {
    if (claim_and_run(index)) {
      idle = 0;
    } else if (++idle < kSpins) {
      pause();
    } else {
      uint32_t epoch = epoch_.load();
      parked_.fetch_add(1);
      if (!may_claim(Open::of(open_.load()), index)) futex_wait(epoch_, epoch);
      parked_.fetch_sub(1);
      idle = 0;
    }
  }
}

void* worker_main(void* argument) {
  Worker worker = *static_cast<Worker*>(argument);
  delete static_cast<Worker*>(argument);
  worker.pool->work(worker.index);
  return nullptr;
}

int Pool::grow(int count) {
  if (workers_ >= count) return workers_;
  // Signals belong to the interpreter's main thread.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  while (workers_ < count) {
    pthread_t thread;
    auto* worker = new Worker{this, workers_ + 1};
    if (pthread_create(&thread, &attributes, worker_main, worker) != 0) {
      delete worker;
      break;
    }
    ++workers_;
  }
  pthread_attr_destroy(&attributes);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return workers_;
}

std::atomic<Pool*> the_pool{nullptr};
std::mutex start_mutex;

// A forked child has none of the workers: it forgets the pool and starts its own when needed.
void before_fork() { start_mutex.lock(); }
void after_fork_in_parent() { start_mutex.unlock(); }
void after_fork_in_child() {
  the_pool.store(nullptr);
  inside_loop = false;
  start_mutex.unlock();
}

Pool& pool() {
  Pool* pool = the_pool.load(std::memory_order_acquire);
  if (pool) return *pool;
  std::lock_guard guard(start_mutex);
  if (Pool* other = the_pool.load()) return *other;
  static const int registered =
      pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
  (void)registered;
  pool = new Pool;
  the_pool.store(pool, std::memory_order_release);
  return *pool;
}

std::atomic<int>& configured_count() {
  static std::atomic<int> count{std::clamp(usable_processors(), 1, kMaxThreads)};
  return count;
}

}  // namespace

int thread_count() { return inside_loop ? 1 : configured_count().load(std::memory_order_relaxed); }

void set_thread_count(int count) {
  if (count < 1) {
    fail(ErrorKind::Runtime, "set_num_threads: a positive number is required, got ", count,
         "; pass 1 to run on the calling thread alone");
  }
  configured_count().store(std::min(count, kMaxThreads));
}

void parallel_for(int64_t count, int64_t grain, FunctionRef<void(int64_t, int64_t)> body) {
  if (count <= 0) return;
  grain = std::max<int64_t>(grain, 1);
  int threads = count <= grain ? 1 : thread_count();
  int64_t parts = std::min<int64_t>(count / grain, int64_t{threads} * kRangesPerThread);
  if (threads == 1 || parts < 2) return body(0, count);
  Pool& workers = pool();
  if (!workers.try_lock()) return body(0, count);
  std::lock_guard guard(workers, std::adopt_lock);
  int helpers = workers.grow(threads - 1);
  int64_t length = (count + parts - 1) / parts;
  if (grain >= 64) length = (length + 63) / 64 * 64;  // ranges start on a cache line
  parts = (count + length - 1) / length;
  workers.run(static_cast<int>(parts), std::min(helpers, threads - 1),
              [&](int64_t part) { body(part * length, std::min(count, (part + 1) * length)); });
}

}  // namespace flambeau
