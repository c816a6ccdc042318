// A number of elements fixed at run time, up to N of them without a heap allocation.
#pragma once

#include <algorithm>
#include <memory>
#include <span>

namespace flambeau {

// Costs one store while it is empty; elements beyond `size()` are never constructed.
template <class T, int N>
class InlineArray {
 public:
  InlineArray() {}
  explicit InlineArray(int count) { resize(count); }
  InlineArray(const InlineArray& other) : InlineArray(other.count_) {
    std::copy(other.begin(), other.end(), begin());
  }
  InlineArray& operator=(const InlineArray&) = delete;
  ~InlineArray() {
    if (count_ > N) {
      delete[] heap_;
    } else {
      std::destroy_n(inline_, count_);
    }
  }
  void resize(int count) {  // once
    if (count > N) {
      heap_ = new T[count];
    } else {
      std::uninitialized_default_construct_n(inline_, count);
    }
    count_ = count;
  }
  int size() const { return count_; }
  T* begin() { return count_ > N ? heap_ : inline_; }
  T* end() { return begin() + count_; }
  T& operator[](int i) { return begin()[i]; }
  const T* begin() const { return count_ > N ? heap_ : inline_; }
  const T* end() const { return begin() + count_; }
  const T& operator[](int i) const { return begin()[i]; }
  operator std::span<T>() { return {begin(), static_cast<size_t>(count_)}; }
  operator std::span<const T>() const { return {begin(), static_cast<size_t>(count_)}; }

 private:
  int count_ = 0;
  union {
    T* heap_;
    T inline_[N];
  };
};

}  // namespace flambeau
