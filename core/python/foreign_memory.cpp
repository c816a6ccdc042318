#include "python/foreign_memory.h"

#include <nanobind/stl/vector.h>

#include <memory>

#include "cuda/graph.h"
#include "python/bind_cuda.h"
#include "trace/recording.h"

namespace nb = nanobind;

namespace flambeau::python {

namespace {

constexpr int64_t kMostDims = 64;

// From the first byte to behind the last one.
size_t bytes_reached(const ForeignMemory& memory) {
  int64_t bytes = item_size(memory.dtype);
  for (int64_t d = 0; d < memory.shape.size(); ++d) {
    int64_t steps = 0;
    const bool fits =
        !__builtin_mul_overflow(memory.shape[d] - 1, memory.strides[d], &steps) &&
        !__builtin_mul_overflow(steps, static_cast<int64_t>(item_size(memory.dtype)), &steps) &&
        !__builtin_add_overflow(bytes, steps, &bytes);
    if (!fits) {
      fail(memory.error, memory.op, ": shape ", memory.shape, " with strides ", memory.strides,
           " reaches further than memory can");
    }
  }
  return static_cast<size_t>(bytes);
}

void check_layout(const ForeignMemory& memory) {
  if (memory.shape.size() > kMostDims) {
    fail(memory.error, memory.op, ": at most ", kMostDims, " dimensions are possible, got ",
         memory.shape.size());
  }
  for (int64_t d = 0; d < memory.shape.size(); ++d) {
    if (memory.shape[d] < 0) {
      fail(memory.error, memory.op, ": sizes must not be negative, got shape ", memory.shape);
    }
    if (memory.strides[d] < 0) {
      fail(memory.error, memory.op, ": strides must not be negative, got ", memory.strides,
           "; make a copy of the array first");
    }
  }
}

// A kernel that reads host memory, or from an odd address, would end the use of the GPU; loops on
// the CPU rely on the alignment of elements as well.
void check_address(const ForeignMemory& memory) {
  if (!memory.data) fail(memory.error, memory.op, ": the data is at address 0");
  if (reinterpret_cast<uintptr_t>(memory.data) % item_size(memory.dtype) != 0) {
    fail(memory.error, memory.op, ": the data lies at ", memory.data, ", which is no multiple of ",
         "the ", item_size(memory.dtype), " bytes of an element; make a copy of the array first");
  }
  if (memory.device.is_cpu()) return;
  const int device = cuda::device_of_pointer(memory.data);
  if (device != memory.device.index) {
    fail(memory.error, memory.op, ": the data is said to be on ", device_name(memory.device),
         ", but ", memory.data, " is ", device < 0 ? "no memory of a GPU" : "on another GPU");
  }
}

// Memory of a GPU that came while another stream than the default one was current.
struct LentToStream {
  void* owner;
  void (*release)(void*);
  Ref<cuda::Stream> stream;
};

// The other library may use the memory again at once, and knows nothing of our stream.
void release_after_stream(void* held) {
  std::unique_ptr<LentToStream> lent(static_cast<LentToStream*>(held));
  if (!cuda::forked() && !cuda::capturing()) {
    try {
      cuda::Event last(false, false);
      last.record(*lent->stream);
      last.synchronize_only();
    } catch (const Error&) {  // the GPU has failed, which the next call that waits will say
    }
  }
  lent->release(lent->owner);
}

Ref<Storage> storage_of(const ForeignMemory& memory, size_t bytes, void* owner,
                        void (*release)(void*)) {
  if (!memory.device.is_cpu()) {
    Ref<cuda::Stream> stream = cuda::current_stream_object(memory.device.index);
    if (stream->handle()) {
      owner = new LentToStream{owner, release, std::move(stream)};
      release = release_after_stream;
    }
  }
  return Storage::wrap(memory.data, bytes, owner, release, memory.device);
}

}  // namespace

bool python_lock_can_be_had() {
  if (!Py_IsInitialized()) return false;
#if PY_VERSION_HEX >= 0x030D0000
  return !Py_IsFinalizing() || PyGILState_Check();
#else
  return !_Py_IsFinalizing() || PyGILState_Check();
#endif
}

TensorRef tensor_over(const ForeignMemory& memory, void* owner, void (*release)(void*)) {
  check_layout(memory);
  size_t bytes = 0;
  if (count_elements(memory.shape) > 0) {
    check_address(memory);
    bytes = bytes_reached(memory);
  }
  return Tensor::view(storage_of(memory, bytes, owner, release), memory.shape, memory.strides, 0,
                      memory.dtype);
}

namespace {

void drop_object(void* owner) {
  if (!python_lock_can_be_had()) return;
  WithGil gil;
  Py_DECREF(static_cast<PyObject*>(owner));
}

PyObject* tensor_over_memory(intptr_t pointer, int device, const std::vector<int64_t>& shape,
                             const std::vector<int64_t>& strides, nb::handle dtype,
                             nb::handle owner) {
  if (mode.tracing) recorder.untraceable("the memory of another library");
  ForeignMemory memory{"__cuda_array_interface__", ErrorKind::Value};
  memory.data = reinterpret_cast<void*>(pointer);
  memory.device = cuda::concrete({Device::Type::Cuda, checked_index(device)});
  if (!as_dtype(dtype.ptr(), memory.dtype)) fail(ErrorKind::Type, "dtype: expected a torch.dtype");
  memory.shape = Dims(std::span(shape));
  memory.strides = Dims(std::span(strides));
  TensorRef result = tensor_over(memory, owner.ptr(), drop_object);
  Py_INCREF(owner.ptr());
  return wrap(std::move(result));
}

}  // namespace

void bind_foreign_memory(nb::module_& module) {
  module.def(
      "tensor_over_memory",
      [](intptr_t pointer, int device, const std::vector<int64_t>& shape,
         const std::vector<int64_t>& strides, nb::handle dtype, nb::handle owner) {
        return translated([&] {
          return nb::steal(tensor_over_memory(pointer, device, shape, strides, dtype, owner));
        });
      },
      "tensor_over_memory(pointer, device, shape, strides, dtype, owner): a tensor over memory of\n"
      "a GPU that `owner` keeps.");
  // The storage keeps its address for good, since nobody says when it is no longer used.
  module.def("expose_memory", [](nb::handle tensor) {
    translated([&] {
      if (mode.tracing) recorder.untraceable("the memory of a tensor (__cuda_array_interface__)");
      tensor_in("__cuda_array_interface__", tensor)->storage()->begin_loan();
    });
  });
}

}  // namespace flambeau::python
