// Storage: a block of memory. Tensor: a strided view of one. Neither knows any operation.
#pragma once

#include <atomic>

#include "base/object.h"
#include "base/small_vector.h"
#include "tensor/device.h"
#include "tensor/dtype.h"
#include "tensor/scalar.h"

namespace flambeau {

class Storage : public RefCounted {
 public:
  // Memory of our own, uninitialised. Throws Error(OutOfMemory) when it cannot be had.
  static Ref<Storage> create(size_t bytes, Device device = {});
  // Memory of somebody else's: release(owner) is called when the last tensor leaves.
  static Ref<Storage> wrap(void* data, size_t bytes, void* owner, void (*release)(void*),
                           Device device = {});
  // The same memory with a version counter of its own (`tensor.data`).
  static Ref<Storage> alias(const Ref<Storage>& other);
  static void destroy(Storage* storage);

  char* data() const { return data_; }
  size_t bytes() const { return bytes_; }
  Device device() const { return device_; }
  // False for memory of another library, or of another storage (`tensor.data`).
  bool owns_memory() const { return !release_; }
  // How often the memory was written to in place; all views of the storage share it.
  uint32_t version() const { return version_; }
  void bump_version() { ++version_; }
  // A recorded in-place write went through a view: other views of it have a history now.
  bool history_through_view() const { return history_through_view_; }
  void set_history_through_view() { history_through_view_ = true; }
  // Gives the storage a larger block (resize_, out=); keeps the old bytes. RuntimeError while
  // somebody else knows the address: between begin_loan() and end_loan().
  void grow(size_t bytes);
  void begin_loan() { loans_.fetch_add(1, std::memory_order_relaxed); }
  void end_loan() { loans_.fetch_sub(1, std::memory_order_relaxed); }

  // Between begin_mark() and end_mark() all memory that this thread makes carries the mark, so
  // that a recording can tell it from what was there before. 0: none.
  static uint32_t begin_mark();
  static void end_mark(uint32_t outer = 0);  // the mark that memory gets from now on
  uint32_t mark() const { return mark_; }

 private:
  Storage() = default;
  static Ref<Storage> create_on(Device device, size_t bytes);
  char* data_ = nullptr;
  size_t bytes_ = 0;
  void* owner_ = nullptr;             // null: our own memory
  void (*release_)(void*) = nullptr;  // called with owner_
  uint32_t version_ = 0;
  uint32_t mark_ = 0;
  Device device_;
  bool history_through_view_ = false;
  bool inline_ = false;        // data follows this header in one block
  uint32_t inline_bytes_ = 0;  // how much of it the block holds
  std::atomic<uint32_t> loans_{0};
};
static_assert(sizeof(Storage) <= 64, "the header of a small block shares its first cache line");

// What autograd keeps about a tensor; defined in autograd/.
class AutogradMeta;
class Node;
class Tensor;
// When the tensor is destroyed, or gets another history.
void destroy_autograd_meta(Tensor& tensor);
void release_history(Node* node);

using TensorRef = Ref<Tensor>;

Dims contiguous_strides(const Dims& shape);
// Number of elements; RuntimeError for negative sizes or more than 2^63 bytes.
int64_t count_elements(const Dims& shape);

class Tensor : public RefCounted {
 public:
  // Uninitialised, contiguous.
  static TensorRef empty(const Dims& shape, DType dtype, Device device = {});
  // A view of a storage; offset in elements. The caller has checked the bounds.
  static TensorRef view(Ref<Storage> storage, const Dims& shape, const Dims& strides,
                        int64_t offset, DType dtype);
  // All of another tensor, as it lies there.
  static TensorRef view(const Tensor& other);
  static void destroy(Tensor* tensor);

  const Dims& shape() const { return shape_; }
  const Dims& strides() const { return strides_; }
  int64_t dim() const { return shape_.size(); }
  int64_t size(int64_t d) const { return shape_[d]; }
  int64_t stride(int64_t d) const { return strides_[d]; }
  int64_t numel() const { return numel_; }
  int64_t offset() const { return byte_offset_ / item_size(dtype_); }  // in elements
  DType dtype() const { return dtype_; }
  Device device() const { return storage_->device(); }
  bool contiguous() const { return contiguous_; }
  const Ref<Storage>& storage() const { return storage_; }
  uint32_t version() const { return storage_->version(); }

  // The first element.
  void* data() const { return storage_->data() + byte_offset_; }
  template <class T>
  T* data() const {
    return static_cast<T*>(data());
  }

  // Nobody but the holder of the one reference can see the memory.
  bool exclusive() const {
    return use_count() == 1 && storage_->use_count() == 1 && storage_->owns_memory();
  }

  // True when operations on this tensor must be recorded: a leaf that requires a gradient, or a
  // result of one. Kept here so that the fast path reads one byte.
  bool requires_grad() const {
    return requires_grad_ || (tracked_view_ && storage_->history_through_view());
  }
  // A view that autograd follows: it requires a gradient once its base does.
  void set_tracked_view(bool value) { tracked_view_ = value; }
  void set_requires_grad_flag(bool value) { requires_grad_ = value; }
  AutogradMeta* autograd() const { return autograd_; }
  void set_autograd(AutogradMeta* meta) { autograd_ = meta; }  // takes ownership
  // The node that made it, and which of its results it is. Null for leaves, and for views whose
  // history is out of date.
  Node* history() const { return history_; }
  int32_t history_output() const { return history_output_; }
  void set_history(Node* node, int32_t output) {  // takes over a count
    history_output_ = output;
    if (Node* before = std::exchange(history_, node)) release_history(before);
  }

  // Created under inference_mode: may not be recorded later.
  bool inference() const { return inference_; }
  void set_inference(bool value) { inference_ = value; }
  // A 0-d tensor made from a Python number counts as that number in type promotion.
  bool wrapped_number() const { return wrapped_number_; }
  void set_wrapped_number(bool value) { wrapped_number_ = value; }

  // The Python object that stands for this tensor, if there is one now (borrowed).
  void* python() const { return python_; }
  void set_python(void* object) { python_ = object; }

  // Makes this tensor a view of other memory (`x.data = y`, `set_`, out= resizing).
  void rebind(Ref<Storage> storage, const Dims& shape, const Dims& strides, int64_t offset,
              DType dtype);
  // The same view of other memory of the same layout; offset in elements.
  void move_to(Ref<Storage> storage, int64_t offset) {
    storage_ = std::move(storage);
    byte_offset_ = offset * item_size(dtype_);
  }

 private:
  void update_geometry();

  DType dtype_ = DType::Float32;  // the small fields share a word with the count
  bool contiguous_ = true;
  bool requires_grad_ = false;
  bool tracked_view_ = false;
  Ref<Storage> storage_;
  AutogradMeta* autograd_ = nullptr;
  void* python_ = nullptr;
  int64_t numel_ = 0;
  int64_t byte_offset_ = 0;
  Node* history_ = nullptr;
  int32_t history_output_ = 0;
  bool inference_ = false;
  bool wrapped_number_ = false;
  Dims shape_;
  Dims strides_;
};

static_assert(sizeof(Tensor) <= 192, "a tensor is made for every result: three cache lines");

}  // namespace flambeau
