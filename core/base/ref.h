// Intrusive reference counting: the count lives in the object, a Ref is one pointer.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <utility>

namespace flambeau {

// Note [Counts]: an atomic increment takes as long as a small kernel, and a recorded operation
// needs twenty. So counts change by plain instructions while only one thread can be in the core:
// the one that holds Python's lock. Two things let a second one in, and set `counts_shared` before
// they do: a parallel loop, for as long as it runs (thread_pool.cpp), and giving up Python's lock
// (WithoutGil in python/common.h). The latter happens only once there is a second Python thread;
// from then on counts are atomic for good, because threads that were let in may stay.
inline std::atomic<bool> counts_shared{false};
inline std::atomic<bool> counts_shared_for_good{false};

inline void share_counts_for_good() {
  counts_shared_for_good.store(true, std::memory_order_relaxed);
  counts_shared.store(true, std::memory_order_relaxed);
}

// Lets other threads change counts for a scope.
class CountsShared {
 public:
  CountsShared() { counts_shared.store(true, std::memory_order_relaxed); }
  ~CountsShared() {
    counts_shared.store(counts_shared_for_good.load(std::memory_order_relaxed),
                        std::memory_order_relaxed);
  }
};

// Base of everything that several owners share; moves of a Ref never touch the count.
class RefCounted {
 public:
  RefCounted() = default;
  RefCounted(const RefCounted&) = delete;
  RefCounted& operator=(const RefCounted&) = delete;
  void retain() const {
    if (counts_shared.load(std::memory_order_relaxed)) [[unlikely]] {
      count_.fetch_add(1, std::memory_order_relaxed);
    } else {
      count_.store(count_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    }
  }
  // True when the caller dropped the last reference and must destroy the object.
  bool release() const {
    if (counts_shared.load(std::memory_order_relaxed)) [[unlikely]] {
      return count_.fetch_sub(1, std::memory_order_acq_rel) == 1;
    }
    uint32_t left = count_.load(std::memory_order_relaxed) - 1;
    count_.store(left, std::memory_order_relaxed);
    return left == 0;
  }
  // False when the last reference is gone already and the object is being destroyed.
  bool try_retain() const {
    uint32_t count = count_.load(std::memory_order_relaxed);
    if (!counts_shared.load(std::memory_order_relaxed)) {
      if (count > 0) retain();
      return count > 0;
    }
    while (count > 0) {
      if (count_.compare_exchange_weak(count, count + 1, std::memory_order_relaxed)) return true;
    }
    return false;
  }
  uint32_t use_count() const { return count_.load(std::memory_order_acquire); }

 protected:
  ~RefCounted() = default;
  mutable std::atomic<uint32_t> count_{1};
};

// Owning pointer. `T` provides `static void destroy(T*)`, called when the last owner leaves.
template <class T>
class Ref {
 public:
  Ref() = default;
  Ref(std::nullptr_t) {}
  Ref(const Ref& other) : pointer_(other.pointer_) {
    if (pointer_) pointer_->retain();
  }
  Ref(Ref&& other) noexcept : pointer_(std::exchange(other.pointer_, nullptr)) {}
  template <class U>
    requires(!std::is_same_v<T, U> && std::is_convertible_v<U*, T*>)
  Ref(Ref<U> other) : pointer_(other.leak()) {}
  ~Ref() { reset(); }
  Ref& operator=(Ref other) noexcept {
    std::swap(pointer_, other.pointer_);
    return *this;
  }

  // Takes over a count that the caller owns (a fresh object has a count of one).
  static Ref adopt(T* pointer) {
    Ref ref;
    ref.pointer_ = pointer;
    return ref;
  }
  static Ref share(T* pointer) {
    if (pointer) pointer->retain();
    return adopt(pointer);
  }
  T* leak() { return std::exchange(pointer_, nullptr); }
  void reset() {
    if (T* pointer = std::exchange(pointer_, nullptr)) {
      if (pointer->release()) T::destroy(pointer);
    }
  }

  T* get() const { return pointer_; }
  T* operator->() const { return pointer_; }
  T& operator*() const { return *pointer_; }
  explicit operator bool() const { return pointer_ != nullptr; }
  bool operator==(const Ref& other) const { return pointer_ == other.pointer_; }

 private:
  T* pointer_ = nullptr;
};

}  // namespace flambeau
