// A vector of trivially copyable values that needs no heap for up to N of them.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <initializer_list>
#include <ostream>
#include <span>
#include <type_traits>

namespace flambeau {

template <class T, int N>
class SmallVector {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  // Not defaulted: `T x{}` of anything that holds one would then clear the inline values first.
  SmallVector() {}
  explicit SmallVector(int64_t size, T value = T{}) { resize(size, value); }
  SmallVector(std::initializer_list<T> values) { assign(values.begin(), values.end()); }
  SmallVector(std::span<const T> values) { assign(values.data(), values.data() + values.size()); }
  SmallVector(const T* first, const T* last) { assign(first, last); }
  SmallVector(const SmallVector& other) { copy(other); }
  template <int M>
  SmallVector(const SmallVector<T, M>& other) {
    copy_other(other);
  }
  SmallVector(SmallVector&& other) noexcept { take(other); }
  SmallVector& operator=(const SmallVector& other) {
    if (this != &other) copy(other);
    return *this;
  }
  template <int M>
  SmallVector& operator=(const SmallVector<T, M>& other) {
    copy_other(other);
    return *this;
  }
  SmallVector& operator=(SmallVector&& other) noexcept {
    if (this != &other) {
      if (heap_) std::free(heap_);
      heap_ = nullptr;
      take(other);
    }
    return *this;
  }
  ~SmallVector() {
    if (heap_) std::free(heap_);
  }

  T* data() { return heap_ ? heap_ : inline_; }
  const T* data() const { return heap_ ? heap_ : inline_; }
  int64_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  T& operator[](int64_t i) { return data()[i]; }
  const T& operator[](int64_t i) const { return data()[i]; }
  T* begin() { return data(); }
  T* end() { return data() + size_; }
  const T* begin() const { return data(); }
  const T* end() const { return data() + size_; }
  T& back() { return data()[size_ - 1]; }
  const T& back() const { return data()[size_ - 1]; }
  operator std::span<const T>() const { return {data(), static_cast<size_t>(size_)}; }

  void clear() { size_ = 0; }
  void push_back(T value) {
    reserve(size_ + 1);
    data()[size_++] = value;
  }
  void pop_back() { --size_; }
  void insert(int64_t at, T value) {
    reserve(size_ + 1);
    T* p = data();
    std::memmove(p + at + 1, p + at, (size_ - at) * sizeof(T));
    p[at] = value;
    ++size_;
  }
  void erase(int64_t at) {
    T* p = data();
    std::memmove(p + at, p + at + 1, (size_ - at - 1) * sizeof(T));
    --size_;
  }
  void resize(int64_t size, T value = T{}) {
    reserve(size);
    for (int64_t i = size_; i < size; ++i) data()[i] = value;
    size_ = static_cast<int32_t>(size);
  }
  void assign(const T* first, const T* last) {
    size_ = 0;
    reserve(last - first);
    if (first != last) std::memmove(data(), first, (last - first) * sizeof(T));
    size_ = static_cast<int32_t>(last - first);
  }
  template <int M>
  bool operator==(const SmallVector<T, M>& other) const {
    if (size_ != other.size()) return false;
    const T *a = data(), *b = other.data();
    for (int32_t i = 0; i < size_; ++i) {  // inline: std::equal would call memcmp
      if (!(a[i] == b[i])) return false;
    }
    return true;
  }

 private:
  template <class, int>
  friend class SmallVector;
  void reserve(int64_t capacity) {
    if (capacity <= capacity_) return;
    int64_t grown = std::max<int64_t>(capacity, 2 * capacity_);
    T* fresh = static_cast<T*>(std::malloc(grown * sizeof(T)));
    std::memcpy(fresh, data(), size_ * sizeof(T));
    if (heap_) std::free(heap_);
    heap_ = fresh;
    capacity_ = static_cast<int32_t>(grown);
  }
  // All inline values, used or not: a copy of fixed length needs no call.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
  void copy_inline(const SmallVector& other) {
    std::memcpy(static_cast<void*>(inline_), other.inline_, sizeof(inline_));
  }
  template <int M>
  void copy_other(const SmallVector<T, M>& other) {
    constexpr int kBoth = N < M ? N : M;
    if (heap_ || other.heap_ || other.size_ > kBoth) return assign(other.begin(), other.end());
    size_ = other.size_;
    std::memcpy(static_cast<void*>(inline_), other.inline_, kBoth * sizeof(T));
  }
#pragma GCC diagnostic pop
  void copy(const SmallVector& other) {
    if (heap_ || other.heap_) return assign(other.begin(), other.end());
    size_ = other.size_;
    copy_inline(other);
  }
  void take(SmallVector& other) {
    size_ = other.size_;
    capacity_ = other.capacity_;
    heap_ = other.heap_;
    if (!heap_) copy_inline(other);
    other.heap_ = nullptr;
    other.size_ = 0;
    other.capacity_ = N;
  }

  int32_t size_ = 0;
  int32_t capacity_ = N;
  T* heap_ = nullptr;
  T inline_[N];
};

// Shapes, strides and lists of dimensions: no heap for up to six dimensions.
using Dims = SmallVector<int64_t, 6>;

// Prints as PyTorch prints a shape: [2, 3].
inline std::ostream& operator<<(std::ostream& stream, const Dims& dims) {
  stream << '[';
  for (int64_t i = 0; i < dims.size(); ++i) stream << (i ? ", " : "") << dims[i];
  return stream << ']';
}

}  // namespace flambeau
