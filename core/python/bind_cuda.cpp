// GPUs for flambeau/cuda: devices and their memory, and the libraries that are found. Streams,
// events and graphs are in bind_cuda_streams.cpp.
#include "python/bind_cuda.h"

#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "cuda/allocator.h"
#include "cuda/cublaslt.h"
#include "cuda/cudnn_attention.h"
#include "cuda/cudnn_convolution.h"
#include "cuda/library.h"
#include "cuda/math_settings.h"
#include "cuda/pinned.h"
#include "tensor/copy.h"

namespace nb = nanobind;

namespace flambeau::python {

namespace {

using cuda::LibraryName;

LibraryName library_named(const std::string& name) {
  static const std::pair<const char*, LibraryName> kNames[] = {{"driver", LibraryName::Driver},
                                                               {"nvrtc", LibraryName::Nvrtc},
                                                               {"cublaslt", LibraryName::CublasLt},
                                                               {"cudnn", LibraryName::Cudnn},
                                                               {"nccl", LibraryName::Nccl}};
  for (const auto& [known, value] : kNames) {
    if (name == known) return value;
  }
  fail(ErrorKind::Value, "cuda_library: no library is called ", name);
}

// Only names: a broken installation of Python's packages is no reason to fail here.
std::vector<std::string> find_directories() {
  WithGil gil;
  try {
    nb::object found = nb::module_::import_("flambeau.cuda._libraries").attr("directories")();
    return nb::cast<std::vector<std::string>>(found);
  } catch (nb::python_error&) {
    return {};
  }
}

nb::tuple cuda_library(const std::string& name) {
  return translated([&] {
    LibraryName which = library_named(name);
    const cuda::Library& library = cuda::library(which);
    return nb::make_tuple(library.path, cuda::version_of(which), library.problem);
  });
}

std::string cuda_problem() {
  std::string why;
  cuda::find_driver(&why);
  return why;
}

nb::dict properties(int device) {
  return translated([&] {
    const cuda::Properties& it = cuda::properties(checked_gpu(device));
    nb::dict fields;
    fields["name"] = it.name;
    fields["major"] = it.major;
    fields["minor"] = it.minor;
    fields["total_memory"] = it.total_memory;
    fields["multi_processor_count"] = it.multiprocessors;
    fields["uuid"] = it.uuid;
    fields["L2_cache_size"] = it.l2_cache;
    fields["warp_size"] = it.warp_size;
    fields["max_threads_per_block"] = it.threads_per_block;
    fields["max_threads_per_multi_processor"] = it.threads_per_multiprocessor;
    fields["regs_per_multiprocessor"] = it.registers_per_multiprocessor;
    fields["shared_memory_per_block"] = it.shared_memory_per_block;
    fields["shared_memory_per_block_optin"] = it.shared_memory_per_block_optin;
    fields["shared_memory_per_multiprocessor"] = it.shared_memory_per_multiprocessor;
    fields["clock_rate"] = it.clock_khz;
    fields["memory_clock_rate"] = it.memory_clock_khz;
    fields["memory_bus_width"] = it.memory_bus_bits;
    fields["is_integrated"] = it.integrated ? 1 : 0;
    fields["is_multi_gpu_board"] = 0;
    return fields;
  });
}

nb::dict statistics(int device) {
  return translated([&] {
    cuda::MemoryStatistics it = cuda::memory_statistics(checked_gpu(device));
    nb::dict fields;
    fields["allocated"] = it.allocated;
    fields["peak_allocated"] = it.peak_allocated;
    fields["reserved"] = it.reserved;
    fields["peak_reserved"] = it.peak_reserved;
    fields["allocations"] = it.allocations;
    fields["driver_allocations"] = it.driver_allocations;
    fields["retries"] = it.retries;
    fields["out_of_memory"] = it.out_of_memory;
    return fields;
  });
}

bool can_access_peer(int device, int peer) {
  return translated([&] {
    int can = 0;
    checked_gpu(device);
    checked_gpu(peer);
    cuda::use(device);
    cuda::check(cuda::driver().can_access_peer(&can, device, peer), "cuDeviceCanAccessPeer");
    return can != 0;
  });
}

// --- memory of the host that GPUs reach

bool is_pinned(const Tensor& tensor) {
  return tensor.device().is_cpu() && tensor.numel() > 0 &&
         cuda::is_pinned(tensor.storage()->data());
}

TensorRef empty_pinned(const Dims& shape, DType dtype) {
  size_t bytes = static_cast<size_t>(count_elements(shape)) * item_size(dtype);
  if (bytes == 0) return Tensor::empty(shape, dtype);
  void* memory = cuda::allocate_pinned(bytes);
  Ref<Storage> storage = Storage::wrap(memory, bytes, memory, cuda::deallocate_pinned);
  return Tensor::view(std::move(storage), shape, contiguous_strides(shape), 0, dtype);
}

}  // namespace

TensorRef pinned(const TensorRef& tensor) {
  require(tensor->device().is_cpu(), "pin_memory: cannot pin '", device_name(tensor->device()),
          "' memory; only dense CPU tensors can be pinned");
  if (is_pinned(*tensor)) return tensor;
  if (mode.tracing) recorder.untraceable("pin_memory(), which makes memory of another kind");
  TensorRef result = empty_pinned(tensor->shape(), tensor->dtype());
  const Dims strides = dense_strides(*tensor);
  if (!strides.empty()) {
    result->rebind(result->storage(), tensor->shape(), strides, 0, tensor->dtype());
  }
  copy(*result, *tensor);
  return result;
}

namespace {

// The switches of torch.backends, by the names of their fields.
std::atomic<bool>& math_setting(const std::string& name) {
  cuda::MathSettings& all = cuda::math_settings;
  const std::pair<const char*, std::atomic<bool>*> kNames[] = {
      {"deterministic", &all.deterministic},
      {"matmul_tf32", &all.matmul_tf32},
      {"cublas", &all.cublas},
      {"cudnn", &all.cudnn},
      {"cudnn_tf32", &all.cudnn_tf32},
      {"cudnn_benchmark", &all.cudnn_benchmark},
      {"cudnn_deterministic", &all.cudnn_deterministic},
      {"attention_cudnn", &all.attention_cudnn},
      {"attention_flash", &all.attention_flash},
      {"attention_efficient", &all.attention_efficient}};
  for (const auto& [known, setting] : kNames) {
    if (name == known) return *setting;
  }
  fail(ErrorKind::Value, "math_setting: no setting is called ", name);
}

void bind_memory(nb::module_& module) {
  // Of matrix products, convolutions and attention.
  module.def("cuda_plan_counts", [] {
    return std::vector<size_t>{cuda::matrix_plan_count(), cuda::convolution_plan_count(),
                               cuda::attention_plan_count()};
  });
  module.def("cuda_fused_products", &cuda::cublaslt_fused_count);
  module.def("cuda_memory_statistics", &statistics);
  module.def("cuda_reset_peaks",
             [](int device) { translated([&] { cuda::reset_peaks(checked_gpu(device)); }); });
  module.def("cuda_memory_info", [](int device) {
    return translated([&] { return cuda::memory_info(checked_gpu(device)); });
  });
  module.def("cuda_set_memory_fraction", [](double fraction, int device) {
    translated([&] { cuda::set_memory_fraction(fraction, checked_gpu(device)); });
  });
  module.def("cuda_device_of_pointer", [](intptr_t pointer) {
    return translated([&] { return cuda::device_of_pointer(reinterpret_cast<void*>(pointer)); });
  });
  module.def("cuda_allocate", [](size_t bytes, int device) {
    return translated(
        [&] { return reinterpret_cast<intptr_t>(cuda::allocate(bytes, checked_gpu(device))); });
  });
  module.def("cuda_deallocate", [](intptr_t pointer, int device) {
    translated([&] { cuda::deallocate(reinterpret_cast<void*>(pointer), checked_gpu(device)); });
  });
  module.def("cuda_empty_cache", [] { translated([] { cuda::empty_cache(); }); });
  module.def("is_pinned", [](nb::handle tensor) {
    return translated([&] { return is_pinned(*tensor_in("is_pinned", tensor)); });
  });
  module.def("pin_memory", [](nb::handle tensor) {
    return translated([&] {
      TensorRef x = tensor_in("pin_memory", tensor);
      TensorRef result = pinned(x);
      return result == x ? nb::borrow(tensor) : nb::steal(wrap(std::move(result)));
    });
  });
}

}  // namespace

int checked_gpu(int device) {
  return cuda::concrete({Device::Type::Cuda, checked_index(device)}).index;
}

int8_t checked_index(int device) {
  require(device >= -1 && device < 128, "cuda: invalid device ordinal ", device, "; there are ",
          cuda::device_count(), " GPUs");
  return static_cast<int8_t>(device);
}

TensorRef tensor_in(const char* function, nb::handle object) {
  if (!is_tensor(object.ptr())) {
    fail(ErrorKind::Type, function, ": expected a Tensor, got ", Py_TYPE(object.ptr())->tp_name);
  }
  return unwrap(object.ptr());
}

void bind_cuda(nb::module_& module) {
  cuda::set_library_directories(find_directories);
  module.def("cuda_library", &cuda_library,
             "cuda_library(name): where it is, its version's number, or why it was not found.");
  module.def("cuda_problem", &cuda_problem, "Why no GPU can be used; empty if one can.");
  module.def("cuda_device_count", &cuda::device_count);
  module.def("cuda_initialized", &cuda::initialized);
  module.def("cuda_current_device", [] { return translated([] { return checked_gpu(-1); }); });
  module.def("cuda_set_device",
             [](int device) { translated([&] { cuda::set_device(checked_gpu(device)); }); });
  module.def("cuda_synchronize", [](int device) {
    translated([&] {
      int gpu = checked_gpu(device);
      WithoutGil others;
      cuda::synchronize(gpu);
    });
  });
  module.def("cuda_properties", &properties);
  module.def("math_setting", [](const std::string& name) {
    return translated([&] { return math_setting(name).load(); });
  });
  module.def("set_math_setting", [](const std::string& name, bool value) {
    translated([&] {
      if (math_setting(name).exchange(value) != value) ++cuda::math_settings.changes;
    });
  });
  module.def("cuda_can_access_peer", &can_access_peer);
  bind_memory(module);
  bind_cuda_streams(module);
}

}  // namespace flambeau::python
