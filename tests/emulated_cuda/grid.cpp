#include "grid.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>
#include <deque>
#include <memory>
#include <numeric>
#include <vector>

#include "fiber.h"
#include "memory.h"

// Note [Threads of a block]: a fiber runs one thread of the block after another, so a kernel that
// never waits is a plain loop. When a thread waits (for the block or for its warp), its fiber is
// suspended and another fiber goes on with the threads that have not started. Whoever arrives
// last at a meeting makes all others ready. If nothing is ready, nothing is left to start and
// some threads have not finished, they wait forever: the launch fails.
//
// Blocks run one after another in an order that differs from launch to launch, and so does the
// direction in which threads are started, so that code that relies on either is found out.

namespace emulated {
namespace {

enum class Status : unsigned char { kNotStarted, kRunning, kAtBarrier, kAtWarp, kExited };

struct Thread {
  EmulatedIndex index{};
  Fiber* fiber = nullptr;
  Status status = Status::kNotStarted;
  // What it brought to the meeting, then what it takes from there.
  EmulatedWarpKind kind{};
  unsigned mask = 0, source_lane = 0;
  unsigned long long value = 0;
};

// A read of shared memory or of another lane that nobody has written gives these bits.
constexpr unsigned long long kGarbage = ~0ull;
constexpr unsigned kAllLanes = 0xFFFFFFFF;

class Block {
 public:
  void run(const Launch& launch, void** parameters, EmulatedIndex index, bool backwards);
  bool stuck() const { return exited_ != count_; }
  void explain() const;
  void forget_fibers() { idle_.clear(), next_fiber_ = 0; }

  unsigned barrier(int predicate);
  unsigned long long warp(EmulatedWarpKind kind, unsigned mask, unsigned long long value,
                          unsigned source_lane);
  const EmulatedState& state() const { return *state_; }

 private:
  static void fiber_main(Fiber* fiber);
  void set_threads(EmulatedIndex size, bool backwards);
  void enter(Thread* thread);
  void wait(Thread* thread, Status status);
  void make_ready(Thread* thread);
  void release_barrier();
  void end_warp_meetings(unsigned warp);
  bool warp_meeting(unsigned warp, unsigned mask);
  Fiber* take_fiber();
  unsigned number(const Thread* thread) const { return thread - threads_.data(); }

  EmulatedState* state_ = nullptr;
  const Launch* launch_ = nullptr;
  void** parameters_ = nullptr;
  std::vector<Thread> threads_;
  unsigned count_ = 0, started_ = 0, exited_ = 0, at_barrier_ = 0, true_predicates_ = 0;
  struct WarpCounts {
    unsigned waiting = 0, exited = 0;
  };
  std::array<WarpCounts, kMaxThreads / kWarpSize> warps_;
  bool backwards_ = false;
  Thread* current_ = nullptr;
  std::deque<Thread*> ready_;
  std::vector<std::unique_ptr<Fiber>> fibers_;  // all that were ever needed
  size_t next_fiber_ = 0;                       // those from here on have never run
  std::vector<Fiber*> idle_;
};

Block& block = *new Block;  // the one that is running

void Block::set_threads(EmulatedIndex size, bool backwards) {
  count_ = size.x * size.y * size.z;
  backwards_ = backwards;
  started_ = exited_ = at_barrier_ = true_predicates_ = 0;
  warps_.fill({});
  ready_.clear();
  threads_.assign(count_, {});
  unsigned number = 0;
  for (unsigned z = 0; z < size.z; ++z)
    for (unsigned y = 0; y < size.y; ++y)
      for (unsigned x = 0; x < size.x; ++x) threads_[number++].index = {x, y, z};
}

void Block::run(const Launch& launch, void** parameters, EmulatedIndex index, bool backwards) {
  launch_ = &launch;
  parameters_ = parameters;
  state_ = launch.module->state;
  state_->block = index;
  set_threads(launch.block, backwards);
  std::memset(launch.module->shared_begin, 0xFF,
              launch.module->shared_end - launch.module->shared_begin);
  while (!ready_.empty() || started_ < count_) {
    Fiber* fiber;
    if (ready_.empty()) {
      fiber = take_fiber();
    } else {
      fiber = ready_.front()->fiber;
      enter(ready_.front());
      ready_.pop_front();
    }
    resume_fiber(fiber);
  }
}

// Makes a thread the one whose registers the kernel sees.
void Block::enter(Thread* thread) {
  current_ = thread;
  thread->status = Status::kRunning;
  state_->thread = thread->index;
  state_->lane = number(thread) % kWarpSize;
}

Fiber* Block::take_fiber() {
  if (!idle_.empty()) {
    Fiber* fiber = idle_.back();
    idle_.pop_back();
    return fiber;
  }
  if (next_fiber_ == fibers_.size()) fibers_.push_back(std::make_unique<Fiber>());
  Fiber* fiber = fibers_[next_fiber_++].get();
  prepare_fiber(fiber, &Block::fiber_main);
  return fiber;
}

void Block::fiber_main(Fiber* fiber) {
  for (;;) {
    while (block.started_ < block.count_) {
      unsigned position = block.started_++;
      Thread* thread = &block.threads_[block.backwards_ ? block.count_ - 1 - position : position];
      thread->fiber = fiber;
      block.enter(thread);
      block.launch_->kernel->call(block.parameters_);
      thread->status = Status::kExited;
      ++block.exited_;
      block.end_warp_meetings(block.number(thread) / kWarpSize);
    }
    block.idle_.push_back(fiber);
    suspend_fiber(fiber);
  }
}

// After a thread has exited: those of its warp that wait for it no longer do.
void Block::end_warp_meetings(unsigned warp) {
  ++warps_[warp].exited;
  if (warps_[warp].waiting == 0) return;
  unsigned first = warp * kWarpSize;
  for (unsigned other = first; other < std::min(first + kWarpSize, count_); ++other) {
    if (threads_[other].status == Status::kAtWarp) warp_meeting(warp, threads_[other].mask);
  }
}

void Block::wait(Thread* thread, Status status) {
  thread->status = status;
  suspend_fiber(thread->fiber);  // `enter` is called before it comes back
}

void Block::make_ready(Thread* thread) {
  thread->status = Status::kRunning;
  if (thread != current_) ready_.push_back(thread);
}

void Block::release_barrier() {
  for (Thread& thread : threads_) {
    thread.value = true_predicates_;
    make_ready(&thread);
  }
  at_barrier_ = true_predicates_ = 0;
}

unsigned Block::barrier(int predicate) {
  Thread* thread = current_;
  true_predicates_ += predicate != 0;
  if (++at_barrier_ == count_) {
    release_barrier();
  } else {
    wait(thread, Status::kAtBarrier);
  }
  return static_cast<unsigned>(thread->value);
}

// Ends the meeting of the lanes `mask` if all of them that have not exited are there.
bool Block::warp_meeting(unsigned warp, unsigned mask) {
  unsigned first = warp * kWarpSize;
  unsigned lanes = std::min(kWarpSize, count_ - first);
  // A quick look first: most calls are of threads that are not the last.
  unsigned named = __builtin_popcount(mask & (kAllLanes >> (kWarpSize - lanes)));
  if (warps_[warp].waiting + warps_[warp].exited < named) return false;
  unsigned present = 0, ballot = 0;
  EmulatedWarpKind kind{};
  for (unsigned lane = 0; lane < lanes; ++lane) {
    const Thread& thread = threads_[first + lane];
    if ((mask >> lane & 1) == 0 || thread.status == Status::kExited) continue;
    if (thread.status != Status::kAtWarp || thread.mask != mask) return false;
    if (present != 0 && thread.kind != kind) return false;
    kind = thread.kind;
    present |= 1u << lane;
    if (thread.value != 0) ballot |= 1u << lane;
  }
  std::array<unsigned long long, kWarpSize> values;
  values.fill(kGarbage);
  for (unsigned lane = 0; lane < lanes; ++lane) {
    if (present >> lane & 1) values[lane] = threads_[first + lane].value;
  }
  for (unsigned lane = 0; lane < lanes; ++lane) {
    if ((present >> lane & 1) == 0) continue;
    Thread& thread = threads_[first + lane];
    if (kind == kWarpShuffle) thread.value = values[thread.source_lane];
    if (kind == kWarpBallot) thread.value = ballot;
    if (kind == kWarpAll) thread.value = ballot == present;
    make_ready(&thread);
    --warps_[warp].waiting;
  }
  return true;
}

unsigned long long Block::warp(EmulatedWarpKind kind, unsigned mask, unsigned long long value,
                               unsigned source_lane) {
  Thread* thread = current_;
  thread->kind = kind;
  thread->mask = mask;
  thread->value = value;
  thread->source_lane = source_lane % kWarpSize;
  thread->status = Status::kAtWarp;
  ++warps_[number(thread) / kWarpSize].waiting;
  bool named = mask >> (number(thread) % kWarpSize) & 1;  // else it waits forever: an error
  if (!named || !warp_meeting(number(thread) / kWarpSize, mask)) wait(thread, Status::kAtWarp);
  return thread->value;
}

void Block::explain() const {
  unsigned at_barrier = 0, at_warp = 0;
  const Thread* example = nullptr;
  for (const Thread& thread : threads_) {
    at_barrier += thread.status == Status::kAtBarrier;
    at_warp += thread.status == Status::kAtWarp;
    if (thread.status == Status::kAtWarp && example == nullptr) example = &thread;
  }
  std::fprintf(stderr,
               "emulated CUDA: kernel %s waits forever in block (%u, %u, %u): of %u threads %u "
               "have exited, %u wait at __syncthreads, %u for their warp",
               launch_->kernel->name, state_->block.x, state_->block.y, state_->block.z, count_,
               exited_, at_barrier, at_warp);
  if (example != nullptr) {
    std::fprintf(stderr, " (thread %u with mask 0x%x)", number(example), example->mask);
  }
  std::fprintf(stderr, "\n");
}

// The dynamic shared memory ends at a page that may not be touched.
class SharedArena {
 public:
  void* take(size_t bytes) {
    constexpr size_t kMost = (kSharedPerBlockOptin + kPage - 1) / kPage * kPage;
    if (begin_ == nullptr) {
      void* mapping =
          mmap(nullptr, kMost + kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
      if (mapping == MAP_FAILED) return nullptr;
      begin_ = static_cast<char*>(mapping);
      mprotect(begin_ + kMost, kPage, PROT_NONE);
    }
    return begin_ + kMost - (bytes + 15) / 16 * 16;
  }

 private:
  char* begin_ = nullptr;
};

// Faults of a kernel end the launch, not the process; those of other threads are no kernel's.
sigjmp_buf fault_return;
pthread_t kernel_thread;
volatile sig_atomic_t fault_signal = 0;
void* fault_address = nullptr;

void on_fault(int signal, siginfo_t* information, void*) {
  if (!pthread_equal(pthread_self(), kernel_thread)) {
    ::signal(signal, SIG_DFL);
    return;  // and it faults again
  }
  fault_signal = signal;
  fault_address = information->si_addr;
  siglongjmp(fault_return, 1);
}

class FaultHandlers {
 public:
  FaultHandlers() {
    kernel_thread = pthread_self();
    static char stack[size_t{64} << 10];  // a kernel may have used up its own
    stack_t alternative{};
    alternative.ss_sp = stack;
    alternative.ss_size = sizeof stack;
    sigaltstack(&alternative, &old_stack_);
    struct sigaction action{};
    action.sa_sigaction = on_fault;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    for (size_t i = 0; i < kSignals.size(); ++i) sigaction(kSignals[i], &action, &old_[i]);
  }
  ~FaultHandlers() {
    for (size_t i = 0; i < kSignals.size(); ++i) sigaction(kSignals[i], &old_[i], nullptr);
    sigaltstack(&old_stack_, nullptr);
  }

 private:
  static constexpr std::array kSignals{SIGSEGV, SIGBUS, SIGILL, SIGFPE};
  struct sigaction old_[kSignals.size()];
  stack_t old_stack_{};
};

CUresult report_fault(const Launch& launch) {
  const EmulatedState& state = block.state();
  bool memory = fault_signal == SIGSEGV || fault_signal == SIGBUS;
  std::string what =
      memory ? "touched " + describe_address(reinterpret_cast<uintptr_t>(fault_address))
      : fault_signal == SIGILL ? "used a misaligned address or an index outside an array"
                               : "divided an integer by zero";
  std::fprintf(stderr, "emulated CUDA: kernel %s %s in thread (%u, %u, %u) of block (%u, %u, %u)\n",
               launch.kernel->name, what.c_str(), state.thread.x, state.thread.y, state.thread.z,
               state.block.x, state.block.y, state.block.z);
  return memory                   ? CUDA_ERROR_ILLEGAL_ADDRESS
         : fault_signal == SIGILL ? CUDA_ERROR_MISALIGNED_ADDRESS
                                  : CUDA_ERROR_LAUNCH_FAILED;
}

// Visits 0 .. count - 1 in an order of its own: position -> (position * step + start) % count.
struct Order {
  explicit Order(unsigned long long blocks) : count(blocks) {
    static unsigned long long seed = 1;
    seed = seed * 6364136223846793005ull + 1442695040888963407ull;
    start = (seed >> 33) % count;
    step = (seed >> 40) % count | 1;
    while (std::gcd(step, count) != 1) ++step;
    backwards = seed >> 32 & 1;
  }
  unsigned long long operator()(unsigned long long position) const {
    return static_cast<unsigned long long>(
        (static_cast<unsigned __int128>(position) * step + start) % count);
  }
  unsigned long long count, start = 0, step = 1;
  bool backwards = false;
};

CUresult run_blocks(const Launch& launch, void** parameters) {
  EmulatedState* state = launch.module->state;
  unsigned long long columns = launch.grid.x, rows = launch.grid.y;
  Order order(columns * rows * launch.grid.z);
  for (unsigned long long position = 0; position < order.count; ++position) {
    unsigned long long number = order(position);
    EmulatedIndex index{static_cast<unsigned>(number % columns),
                        static_cast<unsigned>(number / columns % rows),
                        static_cast<unsigned>(number / columns / rows)};
    std::memset(state->dynamic_shared, 0xFF, launch.dynamic_shared);
    block.run(launch, parameters, index, order.backwards);
    if (!block.stuck()) continue;
    block.explain();
    block.forget_fibers();
    return CUDA_ERROR_LAUNCH_FAILED;
  }
  return CUDA_SUCCESS;
}

}  // namespace

CUresult run_grid(const Launch& launch, void** parameters) {
  static SharedArena arena;
  EmulatedState* state = launch.module->state;
  state->block_size = launch.block;
  state->grid = launch.grid;
  state->dynamic_shared = arena.take(launch.dynamic_shared);
  FaultHandlers handlers;
  if (sigsetjmp(fault_return, 1) == 0) return run_blocks(launch, parameters);
  block.forget_fibers();
  return report_fault(launch);
}

const EmulatedRuntime runtime = {
    [](int predicate) { return block.barrier(predicate); },
    [](EmulatedWarpKind kind, unsigned mask, unsigned long long value, unsigned source_lane) {
      return block.warp(kind, mask, value, source_lane);
    },
};

}  // namespace emulated
