#include "fiber.h"

#include <sys/mman.h>

#include <cstdint>
#include <cstdlib>
#ifndef __x86_64__
#include <ucontext.h>
#endif

namespace emulated {
namespace {

constexpr size_t kGuardBytes = 4096;

char* map_stack() {
  void* mapping = mmap(nullptr, kStackBytes + kGuardBytes, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapping == MAP_FAILED) std::abort();
  mprotect(mapping, kGuardBytes, PROT_NONE);
  return static_cast<char*>(mapping);
}

}  // namespace

#ifdef __x86_64__

// emulated_switch(save, load): pushes the registers that a call must keep, stores the stack
// pointer in *save, takes `load` as the stack pointer and pops what was pushed there.
extern "C" void emulated_switch(void** save, void* load);
asm(R"(
.text
.type emulated_switch,@function
emulated_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size emulated_switch,.-emulated_switch
)");

namespace {
void* resumer = nullptr;  // stack pointer of whoever resumed the running fiber
Fiber* starting = nullptr;

void first_frame() {
  Fiber* fiber = starting;
  fiber->entry(fiber);
  std::abort();
}
}  // namespace

void prepare_fiber(Fiber* fiber, void (*entry)(Fiber*)) {
  if (fiber->stack == nullptr) fiber->stack = map_stack();
  fiber->entry = entry;
  // Six registers, the address that `ret` jumps to, and a place for its own return address: the
  // stack pointer is then 8 past a multiple of 16, as after any call.
  auto top = reinterpret_cast<void**>(fiber->stack + kGuardBytes + kStackBytes);
  top -= 8;
  top[6] = reinterpret_cast<void*>(&first_frame);
  top[7] = nullptr;
  fiber->stack_pointer = top;
}

void resume_fiber(Fiber* fiber) {
  starting = fiber;
  emulated_switch(&resumer, fiber->stack_pointer);
}

void suspend_fiber(Fiber* fiber) { emulated_switch(&fiber->stack_pointer, resumer); }

#else  // other processors: the C library's slower switch

namespace {
ucontext_t resumer;

void first_frame(unsigned high, unsigned low) {
  auto fiber = reinterpret_cast<Fiber*>(static_cast<uintptr_t>(high) << 32 | low);
  fiber->entry(fiber);
  std::abort();
}
}  // namespace

void prepare_fiber(Fiber* fiber, void (*entry)(Fiber*)) {
  if (fiber->stack == nullptr) {
    fiber->stack = map_stack();
    fiber->stack_pointer = new ucontext_t;
  }
  fiber->entry = entry;
  auto context = static_cast<ucontext_t*>(fiber->stack_pointer);
  getcontext(context);
  context->uc_stack.ss_sp = fiber->stack + kGuardBytes;
  context->uc_stack.ss_size = kStackBytes;
  context->uc_link = nullptr;
  auto address = reinterpret_cast<uintptr_t>(fiber);
  makecontext(context, reinterpret_cast<void (*)()>(&first_frame), 2,
              static_cast<unsigned>(address >> 32), static_cast<unsigned>(address));
}

void resume_fiber(Fiber* fiber) {
  swapcontext(&resumer, static_cast<ucontext_t*>(fiber->stack_pointer));
}

void suspend_fiber(Fiber* fiber) {
  swapcontext(static_cast<ucontext_t*>(fiber->stack_pointer), &resumer);
}

#endif

}  // namespace emulated
