// How the block machine reads and writes a tensor by the row-major positions of a run's shape.
#pragma once

#include "program/kernels.h"

namespace flambeau {

class Access {
 public:
  Access() = default;
  // `tensor` broadcasts to `shape`. Row accesses pass the shape without its last axis, and
  // `row` = true: the tensor's last axis has length one and is not stepped through.
  Access(const Tensor& tensor, const Dims& shape, bool row, Precision precision);

  // One number wherever one looks.
  bool constant() const { return shape_.size() == 1 && strides_[0] == 0; }
  // Contiguous memory of the precision's own type: blocks are used where they are.
  bool direct() const { return direct_ && contiguous_; }
  bool overlaps(const Access& other) const;
  void use_direct(bool allowed) { direct_ = direct_ && allowed; }
  void set_base(void* base) { base_ = static_cast<char*>(base); }
  void set_prefetch(bool on) { prefetch_ = on; }

  // `count` numbers from position `begin`: in place where possible, else gathered in `scratch`.
  const void* read(int64_t begin, int64_t count, void* scratch) const;
  // Where results for these positions can be computed directly; null: store() them afterwards.
  void* place(int64_t begin) const { return direct() ? base_ + begin * item_size_ : nullptr; }
  void store(int64_t begin, int64_t count, const void* values) const;

 private:
  // Calls run(pointer, step, position, length) for every piece that one stride walks.
  template <class Run>
  void walk(int64_t begin, int64_t count, Run&& run) const;

  char* base_ = nullptr;
  Load load_ = nullptr;
  Store store_ = nullptr;
  int32_t item_size_ = 0;
  int32_t precision_size_ = 0;
  bool direct_ = false;  // the dtype is the precision's own
  bool contiguous_ = false;
  bool prefetch_ = false;
  int64_t bytes_ = 0;  // from base_ to the end of what it reaches
  Dims shape_;         // merged; at least one dimension
  Dims strides_;       // in elements
};

// The accesses of a run; no heap for the usual few.
class AccessList {
 public:
  explicit AccessList(size_t count) : count_(count), more_(count > kFew ? count : 0) {}
  size_t size() const { return count_; }
  Access& operator[](size_t i) { return count_ > kFew ? more_[i] : few_[i]; }
  const Access& operator[](size_t i) const { return count_ > kFew ? more_[i] : few_[i]; }
  Access* begin() { return count_ > kFew ? more_.data() : few_; }
  Access* end() { return begin() + count_; }

 private:
  static constexpr size_t kFew = 4;
  size_t count_;
  Access few_[kFew];
  std::vector<Access> more_;
};

}  // namespace flambeau
