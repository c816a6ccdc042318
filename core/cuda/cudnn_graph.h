// cuDNN 9's graph interface, found at run time: an operation is described, engines that can compute
// it are asked for, one of them becomes a plan that is executed again and again.
//
// Written against cudnn_graph.h of cuDNN 9.28. The real library has accepted these descriptions and
// compiled plans for them without a GPU; they were executed on an emulation only
// (tests/emulated_cuda/cudnn*.cpp).
#pragma once

#include <mutex>
#include <span>
#include <utility>
#include <vector>

#include "cuda/driver.h"
#include "tensor/dtype.h"

namespace flambeau::cuda {

// Whether cuDNN is there, and not switched off (torch.backends.cudnn.enabled).
bool cudnn_usable();

using CudnnHandle = struct cudnnContext*;

// Values of cudnnBackendDescriptorType_t.
enum class CudnnKind : int {
  Convolution = 1,
  Engine = 2,
  EngineConfig = 3,
  Heuristics = 4,
  ExecutionPlan = 5,
  ConvolutionForward = 10,
  ConvolutionBackwardFilter = 11,
  ConvolutionBackwardData = 12,
  OperationGraph = 15,
  VariantPack = 16,
  Tensor = 17,
  AttentionForward = 41,
  AttentionBackward = 43,
  DiagonalBandMask = 44,
};

// CUDNN_ATTR_OPERATIONGRAPH_OPS: a graph's attribute.
inline constexpr int kCudnnGraphOperations = 801;

// Thrown where the library cannot do what is described: our own kernels have to.
struct CudnnRefusal {};

// One of the library's descriptors. Attributes are numbers of cudnnBackendAttributeName_t.
class CudnnDescriptor {
 public:
  explicit CudnnDescriptor(CudnnKind kind);
  ~CudnnDescriptor();
  CudnnDescriptor(CudnnDescriptor&& other) noexcept : handle_(std::exchange(other.handle_, {})) {}
  CudnnDescriptor& operator=(CudnnDescriptor&& other) noexcept {
    std::swap(handle_, other.handle_);
    return *this;
  }

  CudnnDescriptor& set(int attribute, const CudnnDescriptor& value);
  CudnnDescriptor& set(int attribute, int64_t value);
  CudnnDescriptor& set(int attribute, std::span<const int64_t> values);
  CudnnDescriptor& set(int attribute, DType value);
  CudnnDescriptor& set(int attribute, bool value);
  CudnnDescriptor& set_value(int attribute, int type, const void* value, int64_t count = 1);
  CudnnDescriptor&& finalize() &&;
  void* get() const { return handle_; }

 private:
  void* handle_ = nullptr;
};

// A tensor of the graph: strides in elements, the alignment of its address in bytes.
CudnnDescriptor cudnn_tensor(int64_t id, DType dtype, std::span<const int64_t> sizes,
                             std::span<const int64_t> strides, int64_t alignment);
// One float that the call passes from the host.
CudnnDescriptor cudnn_host_scalar(int64_t id, int dims);
// A tensor between two operations, which has no memory.
CudnnDescriptor cudnn_virtual(int64_t id, std::span<const int64_t> sizes);

// What an engine has to satisfy.
struct CudnnDemands {
  bool exact = false;          // float32 is not rounded for tensor cores
  bool deterministic = false;  // sums are added in one order
};

// An operation with its engines.
class CudnnPlan {
 public:
  CudnnPlan() = default;  // no engine
  // `parts` are all its descriptors, the operation last.
  CudnnPlan(std::vector<CudnnDescriptor> parts, CudnnHandle handle, CudnnDemands demands);
  // Of what `describe` returns; without an engine where the library refuses a part of that.
  template <class Describe>
  static CudnnPlan of(Describe describe, CudnnHandle handle, CudnnDemands demands) {
    try {
      return CudnnPlan(describe(), handle, demands);
    } catch (const CudnnRefusal&) {
      return CudnnPlan();
    }
  }

  // On the stream of the handle, by the first engine that does not refuse. False: there is none,
  // nothing happened.
  bool execute(CudnnHandle handle, std::span<const int64_t> ids, std::span<void* const> data,
               int device);
  // The fastest engines come first, as measured on this data.
  void measure(CudnnHandle handle, std::span<const int64_t> ids, std::span<void* const> data,
               int device);

 private:
  struct Engine {
    CudnnDescriptor config, plan;
    size_t workspace_bytes;
  };
  int run(const Engine& engine, CudnnHandle handle, std::span<const int64_t> ids,
          std::span<void* const> data, int device);
  // The next one that can be built becomes the last of engines_. False: there is no more.
  bool build_next();
  bool propose_more();  // false: proposed_ stays empty

  std::vector<CudnnDescriptor> parts_;  // the graph is the last one
  CudnnDemands demands_;
  std::vector<int> modes_;                 // of heuristics not asked yet, the first one last
  std::vector<CudnnDescriptor> proposed_;  // the best one last
  std::vector<Engine> engines_;            // built ones, the first is used
};

// Held while a handle or a table of plans is used.
std::unique_lock<std::mutex> cudnn_lock();

// The handle of a device, for work on its current stream, and the lock.
class CudnnSession {
 public:
  explicit CudnnSession(int device);
  CudnnHandle handle = nullptr;

 private:
  std::unique_lock<std::mutex> lock_;
};

// Of an address, at most 16 bytes: what engines ask for.
int64_t alignment_of(const void* address);

}  // namespace flambeau::cuda
