#include "tensor/tensor.h"

#include <new>

#include "base/allocator.h"
#include "tensor/device_memory.h"

namespace flambeau {

// Small blocks carry their header: one allocation instead of two.
static constexpr size_t kHeader = 64;
static constexpr size_t kInlineLimit = 8192;

DeviceMemory device_memory;

static thread_local uint32_t current_mark __attribute__((tls_model("initial-exec"))) = 0;

uint32_t Storage::begin_mark() {
  static std::atomic<uint32_t> last{0};
  current_mark = last.fetch_add(1) + 1;
  return current_mark;
}

void Storage::end_mark(uint32_t outer) { current_mark = outer; }

// Memory of a GPU; the header is ours as always.
Ref<Storage> Storage::create_on(Device device, size_t bytes) {
  device = device_memory.concrete(device);
  return wrap(device_memory.allocate(bytes, device), bytes, nullptr, nullptr, device);
}

Ref<Storage> Storage::create(size_t bytes, Device device) {
  if (!device.is_cpu()) [[unlikely]]
    return create_on(device, bytes);
  bool small = bytes <= kInlineLimit;
  auto* block = static_cast<char*>(allocate(kHeader + (small ? bytes : 0)));
  auto* storage = new (block) Storage;
  storage->bytes_ = bytes;
  storage->mark_ = current_mark;
  storage->inline_ = small;
  storage->inline_bytes_ = small ? static_cast<uint32_t>(bytes) : 0;
  if (small) {
    storage->data_ = block + kHeader;
    return Ref<Storage>::adopt(storage);
  }
  try {
    storage->data_ = static_cast<char*>(allocate(bytes));
  } catch (...) {
    deallocate(block, kHeader);
    throw;
  }
  return Ref<Storage>::adopt(storage);
}

Ref<Storage> Storage::wrap(void* data, size_t bytes, void* owner, void (*release)(void*),
                           Device device) {
  auto* storage = new (allocate(kHeader)) Storage;
  storage->data_ = static_cast<char*>(data);
  storage->bytes_ = bytes;
  storage->owner_ = owner;
  storage->release_ = release;
  storage->mark_ = current_mark;
  storage->device_ = device;
  return Ref<Storage>::adopt(storage);
}

Ref<Storage> Storage::alias(const Ref<Storage>& other) {
  Ref<Storage> owner = other;
  owner->begin_loan();
  auto release = [](void* held) {
    auto lender = Ref<Storage>::adopt(static_cast<Storage*>(held));
    lender->end_loan();
  };
  return wrap(other->data_, other->bytes_, owner.leak(), release, other->device_);
}

void Storage::destroy(Storage* storage) {
  if (storage->release_) {
    storage->release_(storage->owner_);
  } else if (!storage->device_.is_cpu()) [[unlikely]] {
    device_memory.deallocate(storage->data_, storage->device_);
  } else if (!storage->inline_) {
    deallocate(storage->data_, storage->bytes_);
  }
  size_t block = kHeader + storage->inline_bytes_;
  storage->~Storage();
  deallocate(storage, block);
}

void Storage::grow(size_t bytes) {
  if (bytes <= bytes_) return;
  require(!release_, "resize_: the storage belongs to another library (a NumPy array or an alias) ",
          "and cannot grow from ", bytes_, " to ", bytes, " bytes; clone() the tensor first");
  require(loans_.load(std::memory_order_relaxed) == 0,
          "resize_: others use the same memory (numpy(), .data, DLPack and the like), so it ",
          "cannot grow from ", bytes_, " to ", bytes, " bytes; clone() the tensor first");
  if (!device_.is_cpu()) {
    auto* grown = static_cast<char*>(device_memory.allocate(bytes, device_));
    device_memory.copy_bytes(grown, device_, data_, device_, bytes_, true);
    device_memory.deallocate(data_, device_);
    data_ = grown;
    bytes_ = bytes;
    return;
  }
  auto* fresh = static_cast<char*>(allocate(bytes));
  std::memcpy(fresh, data_, bytes_);
  if (!inline_) deallocate(data_, bytes_);
  inline_ = false;
  data_ = fresh;
  bytes_ = bytes;
}

static void set_contiguous(Dims& strides, const Dims& shape) {
  strides.resize(shape.size());
  int64_t step = 1;
  for (int64_t d = shape.size() - 1; d >= 0; --d) {
    strides[d] = step;
    step *= std::max<int64_t>(shape[d], 1);
  }
}

Dims contiguous_strides(const Dims& shape) {
  Dims strides;
  set_contiguous(strides, shape);
  return strides;
}

int64_t count_elements(const Dims& shape) {
  if (shape.size() == 1 && shape[0] >= 0 && shape[0] <= INT32_MAX) return shape[0];
  int64_t count = 1;
  bool empty = false, overflow = false;
  for (int64_t length : shape) {
    if (length < 0) {
      fail("empty: sizes must not be negative, got negative dimension ", length, " in ", shape);
    }
    empty |= length == 0;
    overflow |= __builtin_mul_overflow(count, std::max<int64_t>(length, 1), &count);
  }
  if (empty) return 0;
  if (overflow || count > std::numeric_limits<int64_t>::max() / 16) {
    fail(ErrorKind::OutOfMemory, "empty: shape ", shape,
         " has more elements than any memory can hold; check the sizes");
  }
  return count;
}

TensorRef Tensor::empty(const Dims& shape, DType dtype, Device device) {
  int64_t count = count_elements(shape);
  auto storage = Storage::create(static_cast<size_t>(count) * item_size(dtype), device);
  auto* tensor = new (allocate(sizeof(Tensor))) Tensor;
  tensor->storage_ = std::move(storage);
  tensor->shape_ = shape;
  set_contiguous(tensor->strides_, shape);
  tensor->numel_ = count;
  tensor->dtype_ = dtype;
  return TensorRef::adopt(tensor);
}

TensorRef Tensor::view(Ref<Storage> storage, const Dims& shape, const Dims& strides, int64_t offset,
                       DType dtype) {
  auto* tensor = new (allocate(sizeof(Tensor))) Tensor;
  auto ref = TensorRef::adopt(tensor);
  tensor->rebind(std::move(storage), shape, strides, offset, dtype);
  return ref;
}

TensorRef Tensor::view(const Tensor& other) {
  auto* tensor = new (allocate(sizeof(Tensor))) Tensor;
  tensor->dtype_ = other.dtype_;
  tensor->contiguous_ = other.contiguous_;
  tensor->storage_ = other.storage_;
  tensor->numel_ = other.numel_;
  tensor->byte_offset_ = other.byte_offset_;
  tensor->shape_ = other.shape_;
  tensor->strides_ = other.strides_;
  return TensorRef::adopt(tensor);
}

void Tensor::rebind(Ref<Storage> storage, const Dims& shape, const Dims& strides, int64_t offset,
                    DType dtype) {
  storage_ = std::move(storage);
  shape_ = shape;
  strides_ = strides;
  dtype_ = dtype;
  byte_offset_ = offset * item_size(dtype);
  update_geometry();
}

void Tensor::update_geometry() {
  numel_ = count_elements(shape_);
  contiguous_ = true;
  int64_t step = 1;
  for (int64_t d = dim() - 1; d >= 0 && numel_ > 0; --d) {
    if (shape_[d] == 1) continue;
    if (strides_[d] != step) {
      contiguous_ = false;
      return;
    }
    step *= shape_[d];
  }
}

void Tensor::destroy(Tensor* tensor) {
  if (tensor->autograd_) destroy_autograd_meta(*tensor);
  tensor->set_history(nullptr, 0);
  tensor->~Tensor();
  deallocate(tensor, sizeof(Tensor));
}

}  // namespace flambeau
