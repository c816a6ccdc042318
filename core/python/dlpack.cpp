// Tensors to and from other libraries by DLPack. The protocol around the capsules (which stream,
// which version) is in flambeau/_dlpack.py.
#include "python/dlpack.h"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>

#include <memory>

#include "cuda/allocator.h"
#include "python/bind_cuda.h"
#include "python/foreign_memory.h"
#include "tensor/copy.h"
#include "trace/recording.h"

namespace nb = nanobind;

namespace flambeau::python {

namespace {

// --- element types and devices

dlpack::DataType data_type(DType dtype) {
  using namespace dlpack;
  const TypeCode code = dtype == DType::Bool       ? kBool
                        : dtype == DType::BFloat16 ? kBfloat
                        : is_floating(dtype)       ? kFloat
                        : dtype == DType::UInt8    ? kUInt
                                                   : kInt;
  return {code, static_cast<uint8_t>(8 * item_size(dtype)), 1};
}

DType dtype_of(dlpack::DataType type) {
  for (int i = 0; i < kDTypeCount; ++i) {
    const dlpack::DataType known = data_type(static_cast<DType>(i));
    if (known.code == type.code && known.bits == type.bits && type.lanes == 1) {
      return static_cast<DType>(i);
    }
  }
  fail(ErrorKind::Buffer, "from_dlpack: elements of type code ", int{type.code}, " with ",
       int{type.bits}, " bits and ", type.lanes, " lanes have no dtype here; convert the array to ",
       "bool, uint8, int8 to int64, float16, bfloat16, float32 or float64 first");
}

dlpack::DeviceId device_id(Device device) {
  if (device.is_cpu()) return {dlpack::kCpu, 0};
  return {dlpack::kCuda, device.index};
}

Device device_of(const char* op, dlpack::DeviceId id) {
  if (id.type == dlpack::kCpu || id.type == dlpack::kCudaHost) return {};
  if (id.type != dlpack::kCuda) {
    fail(ErrorKind::Buffer, op, ": device type ", id.type, " is neither the CPU (1) nor an NVIDIA ",
         "GPU (2); copy the array to one of them first");
  }
  return cuda::concrete({Device::Type::Cuda, checked_index(id.index)});
}

// --- out

// The consumer's stream waits for the work that still writes the tensor.
void lend_to_stream(const Tensor& tensor, int64_t handle) {
  constexpr int64_t kLegacyDefault = 1;
  const int device = tensor.device().index;
  auto stream = reinterpret_cast<cuda::StreamHandle>(handle == kLegacyDefault ? 0 : handle);
  cuda::order_streams(device, cuda::current_stream(device), stream);
  // A stream of somebody else may be gone when the memory is free.
  if (cuda::is_own_stream(stream)) cuda::record_use(tensor.data(), device, stream);
}

// What a capsule's consumer gets. Lives until it calls the deleter.
template <class ManagedTensor>
struct Export {
  ManagedTensor managed;
  TensorRef tensor;
  std::unique_ptr<int64_t[]> layout;  // shape and strides
};

// Any thread may call it at any time, with Python's lock or without. While counts are not atomic
// (Note [Counts]) only the holder of the lock may change them; once nobody gets it any more the
// memory stays until the process ends.
template <class ManagedTensor>
void end_export(ManagedTensor* managed) {
  std::unique_ptr<Export<ManagedTensor>> held(
      static_cast<Export<ManagedTensor>*>(managed->context));
  auto drop = [&] {
    held->tensor->storage()->end_loan();
    held.reset();
  };
  if (!python_lock_can_be_had()) return static_cast<void>(held.release());
  if (counts_shared_for_good.load(std::memory_order_relaxed)) return drop();
  WithGil gil;
  drop();
}

// Of a capsule that nobody has consumed.
template <class ManagedTensor>
void destroy_capsule(PyObject* capsule) {
  if (!PyCapsule_IsValid(capsule, ManagedTensor::kName)) return;
  end_export(static_cast<ManagedTensor*>(PyCapsule_GetPointer(capsule, ManagedTensor::kName)));
}

template <class ManagedTensor>
PyObject* capsule_of(TensorRef tensor, uint64_t flags) {
  const int64_t dims = tensor->dim();
  auto held = std::make_unique<Export<ManagedTensor>>();
  held->layout = std::make_unique<int64_t[]>(2 * std::max<int64_t>(dims, 1));
  for (int64_t d = 0; d < dims; ++d) {
    held->layout[d] = tensor->size(d);
    // Where it cannot matter, consumers should not take it for a sign of gaps.
    held->layout[dims + d] = tensor->size(d) < 2 ? 1 : tensor->stride(d);
  }
  ManagedTensor& managed = held->managed;
  managed.tensor = {tensor->numel() ? tensor->data() : nullptr,
                    device_id(tensor->device()),
                    static_cast<int32_t>(dims),
                    data_type(tensor->dtype()),
                    held->layout.get(),
                    held->layout.get() + dims,
                    0};
  managed.context = held.get();
  managed.deleter = end_export<ManagedTensor>;
  if constexpr (std::is_same_v<ManagedTensor, dlpack::ManagedVersioned>) {
    managed.version = {1, 0};
    managed.flags = flags;
  }
  Owned capsule =
      Owned::check(PyCapsule_New(&managed, ManagedTensor::kName, destroy_capsule<ManagedTensor>));
  tensor->storage()->begin_loan();
  held->tensor = std::move(tensor);
  held.release();
  return capsule.release();
}

// target: where it should be; copy: must it be a copy, must it not be one; stream: the consumer's,
// which is to wait.
PyObject* to_dlpack(TensorRef tensor, bool versioned, std::optional<Device> target,
                    std::optional<bool> copy, std::optional<int64_t> stream) {
  if (mode.tracing) recorder.untraceable("the memory of a tensor (DLPack)");
  const Ref<Storage> memory = tensor->storage();
  if (target && !(*target == tensor->device())) {
    if (copy && !*copy) {
      fail(ErrorKind::Buffer, "__dlpack__: the tensor is on ", device_name(tensor->device()),
           " and cannot be on ", device_name(*target), " without a copy; leave copy=False out");
    }
    auto moved = Tensor::empty(tensor->shape(), tensor->dtype(), *target);
    flambeau::copy(*moved, *tensor);
    tensor = std::move(moved);
  } else if (copy.value_or(false)) {
    tensor = dense_copy(*tensor, tensor->dtype());
  } else {
    tensor = Tensor::view(*tensor);  // its layout may not change with the original's
  }
  const bool copied = tensor->storage() != memory;
  if (stream && !tensor->device().is_cpu()) lend_to_stream(*tensor, *stream);
  if (!versioned) return capsule_of<dlpack::Managed>(std::move(tensor), 0);
  return capsule_of<dlpack::ManagedVersioned>(std::move(tensor), copied ? dlpack::kCopied : 0);
}

// --- in

template <class ManagedTensor>
void release_import(void* owner) {
  auto* managed = static_cast<ManagedTensor*>(owner);
  if (managed->deleter) managed->deleter(managed);
}

ForeignMemory described(const dlpack::TensorView& view) {
  ForeignMemory memory{"from_dlpack", ErrorKind::Buffer};
  if (view.dims < 0 || (view.dims > 0 && !view.shape)) {
    fail(ErrorKind::Buffer, "from_dlpack: a tensor of ", view.dims, " dimensions without a shape");
  }
  memory.dtype = dtype_of(view.dtype);
  memory.device = device_of("from_dlpack", view.device);
  memory.shape = Dims(view.shape, view.shape + view.dims);
  for (int64_t length : memory.shape) {
    if (length < 0) {
      fail(ErrorKind::Buffer, "from_dlpack: sizes must not be negative, got ", memory.shape);
    }
  }
  memory.strides = view.strides ? Dims(view.strides, view.strides + view.dims)
                                : contiguous_strides(memory.shape);
  memory.data = static_cast<char*>(view.data) + view.byte_offset;
  if (!view.data) memory.data = nullptr;
  return memory;
}

void warn_about_writing(const char* what) {
  if (PyErr_WarnEx(PyExc_UserWarning, what, 1) < 0) throw PythonError();
}

template <class ManagedTensor>
TensorRef take(PyObject* capsule) {
  auto* managed = static_cast<ManagedTensor*>(PyCapsule_GetPointer(capsule, ManagedTensor::kName));
  if (!managed) throw PythonError();
  if constexpr (std::is_same_v<ManagedTensor, dlpack::ManagedVersioned>) {
    if (managed->version.major != 1) {
      fail(ErrorKind::Buffer, "from_dlpack: version 1 of DLPack is understood, got version ",
           managed->version.major, "; ask the array for __dlpack__(max_version=(1, 0))");
    }
    if (managed->flags & dlpack::kReadOnly) {
      warn_about_writing(
          "from_dlpack: the array is read-only, but tensors can be written to; make a copy with "
          "torch.from_dlpack(array, copy=True) before writing");
    }
  }
  TensorRef result =
      tensor_over(described(managed->tensor), managed, release_import<ManagedTensor>);
  // From here on the capsule's own destructor does nothing.
  PyCapsule_SetName(capsule, ManagedTensor::kUsedName);
  return result;
}

TensorRef from_capsule(PyObject* capsule) {
  if (mode.tracing) recorder.untraceable("from_dlpack(), the memory of another library");
  require(PyCapsule_CheckExact(capsule),
          "from_dlpack: an object with __dlpack__ or a DLPack capsule is required, got ",
          Py_TYPE(capsule)->tp_name);
  if (PyCapsule_IsValid(capsule, dlpack::ManagedVersioned::kName)) {
    return take<dlpack::ManagedVersioned>(capsule);
  }
  if (PyCapsule_IsValid(capsule, dlpack::Managed::kName)) return take<dlpack::Managed>(capsule);
  const char* name = PyCapsule_GetName(capsule);
  fail("from_dlpack: a capsule named 'dltensor' or 'dltensor_versioned' is required, got '",
       name ? name : "", "'; a capsule can be consumed once, ask the array for another one");
}

std::optional<Device> requested_device(nb::handle pair) {
  if (pair.is_none()) return std::nullopt;
  auto [type, index] = nb::cast<std::pair<int32_t, int32_t>>(pair);
  return device_of("__dlpack__", {type, index});
}

}  // namespace

void bind_dlpack(nb::module_& module) {
  module.def(
      "to_dlpack",
      [](nb::handle tensor, bool versioned, nb::handle device, std::optional<bool> copy,
         std::optional<int64_t> stream) {
        return translated([&] {
          TensorRef x = tensor_in("to_dlpack", tensor);
          return nb::steal(
              to_dlpack(std::move(x), versioned, requested_device(device), copy, stream));
        });
      },
      nb::arg(), nb::arg(), nb::arg().none(), nb::arg().none(), nb::arg().none(),
      "to_dlpack(tensor, versioned, device, copy, stream): a capsule that shares the memory.");
  module.def(
      "from_dlpack",
      [](nb::handle capsule) {
        return translated([&] { return nb::steal(wrap(from_capsule(capsule.ptr()))); });
      },
      "from_dlpack(capsule): a tensor that shares the memory.");
}

}  // namespace flambeau::python
