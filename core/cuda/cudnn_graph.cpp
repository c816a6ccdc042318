#include "cuda/cudnn_graph.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <mutex>

#include "base/error.h"
#include "cuda/device.h"
#include "cuda/library.h"
#include "cuda/math_settings.h"
#include "cuda/scratch.h"

namespace flambeau::cuda {

namespace {

#define FLAMBEAU_CUDNN_FUNCTIONS(F)                                                            \
  F(create, "cudnnCreate", (CudnnHandle * handle))                                             \
  F(set_stream, "cudnnSetStream", (CudnnHandle handle, StreamHandle stream))                   \
  F(descriptor_create, "cudnnBackendCreateDescriptor", (int kind, void** descriptor))          \
  F(descriptor_destroy, "cudnnBackendDestroyDescriptor", (void* descriptor))                   \
  F(set_attribute, "cudnnBackendSetAttribute",                                                 \
    (void* descriptor, int attribute, int type, int64_t count, const void* values))            \
  F(get_attribute, "cudnnBackendGetAttribute",                                                 \
    (void* descriptor, int attribute, int type, int64_t wanted, int64_t* count, void* values)) \
  F(finalize, "cudnnBackendFinalize", (void* descriptor))                                      \
  F(execute, "cudnnBackendExecute", (CudnnHandle handle, void* plan, void* pack))

struct Cudnn {
#define FLAMBEAU_CUDNN_FUNCTION(member, name, parameters) int(*member) parameters = nullptr;
  FLAMBEAU_CUDNN_FUNCTIONS(FLAMBEAU_CUDNN_FUNCTION)
#undef FLAMBEAU_CUDNN_FUNCTION
  bool complete = false;
};

const Cudnn& cudnn() {
  static const Cudnn loaded = [] {
    Cudnn functions;
    const Library& found = library(LibraryName::Cudnn);
    if (!found.handle) return functions;
    functions.complete = true;
#define FLAMBEAU_CUDNN_FUNCTION(member, name, parameters)                     \
  functions.member = reinterpret_cast<int(*) parameters>(found.symbol(name)); \
  functions.complete &= functions.member != nullptr;
    FLAMBEAU_CUDNN_FUNCTIONS(FLAMBEAU_CUDNN_FUNCTION)
#undef FLAMBEAU_CUDNN_FUNCTION
    return functions;
  }();
  return loaded;
}

// cudnnBackendAttributeType_t
constexpr int kHandle = 0, kDataType = 1, kBoolean = 2, kInt64 = 3, kVoidPointer = 6;
constexpr int kHeuristicMode = 8, kNumericalNote = 11, kBackendDescriptor = 15;
// cudnnBackendAttributeName_t
constexpr int kHeuristicsMode = 200, kHeuristicsGraph = 201, kHeuristicsResults = 202;
constexpr int kConfigEngine = 300;
constexpr int kPlanConfig = 401, kPlanWorkspace = 402;
constexpr int kGraphHandle = 800;
constexpr int kTensorAlignment = 900, kTensorType = 901, kTensorSizes = 902, kTensorStrides = 903;
constexpr int kTensorId = 906, kTensorVirtual = 907, kTensorByValue = 908;
constexpr int kPackIds = 1000, kPackData = 1001, kPackWorkspace = 1003;
constexpr int kEngineNotes = 1303;
// cudnnBackendHeurMode_t: the usual one, then engines that work without any claim to speed.
constexpr int kHeuristicModes[] = {3, 2};
// cudnnBackendNumericalNote_t
constexpr int kTensorCore = 0, kConvertsInputs = 1, kAnyOrder = 4;
constexpr size_t kMostNotes = 32;

constexpr size_t kWorkspaceLimit = size_t{1} << 30;
constexpr size_t kMostMeasured = 8;

// CUDNN_STATUS_NOT_SUPPORTED and its subkinds.
bool is_unsupported(int status) { return status >= 3000 && status < 4000; }

[[noreturn]] void fail_cudnn(int status, const char* what) {
  const char* meaning = status >= 5000   ? "the GPU could not execute it"
                        : status >= 4000 ? "an internal error"
                        : status >= 2000 ? "an argument is invalid"
                                         : "the library is not usable";
  fail("cuda: ", what, " failed with ", status, ": ", meaning,
       "; torch.backends.cudnn.enabled = False does without cuDNN");
}

// While something is described: what the library calls invalid (2000 ...) it only cannot do, too.
void check_cudnn(int status, const char* what) {
  if (status >= 2000 && status < 4000) throw CudnnRefusal();
  if (status != 0) fail_cudnn(status, what);
}

int data_type(DType dtype) {
  return dtype == DType::Float64    ? 1
         : dtype == DType::Float16  ? 2
         : dtype == DType::BFloat16 ? 9
                                    : 0;
}

std::vector<int> notes_of(const CudnnDescriptor& config) {
  const CudnnDescriptor engine(CudnnKind::Engine);
  void* into = engine.get();
  int64_t count = 0;
  check_cudnn(cudnn().get_attribute(config.get(), kConfigEngine, kBackendDescriptor, 1, &count,
                                    static_cast<void*>(&into)),
              "asking for an engine of cuDNN");
  std::vector<int> notes(kMostNotes);
  check_cudnn(cudnn().get_attribute(engine.get(), kEngineNotes, kNumericalNote, kMostNotes, &count,
                                    notes.data()),
              "asking for the properties of an engine of cuDNN");
  notes.resize(std::min<size_t>(count, kMostNotes));
  return notes;
}

bool satisfies(const CudnnDescriptor& config, CudnnDemands demands) {
  if (!demands.exact && !demands.deterministic) return true;
  for (int note : notes_of(config)) {
    if (demands.exact && (note == kTensorCore || note == kConvertsInputs)) return false;
    if (demands.deterministic && note == kAnyOrder) return false;
  }
  return true;
}

// What cuDNN proposes in a mode, best first.
std::vector<CudnnDescriptor> proposals(const CudnnDescriptor& graph, int mode) {
  CudnnDescriptor heuristics(CudnnKind::Heuristics);
  heuristics.set(kHeuristicsGraph, graph);
  heuristics.set_value(kHeuristicsMode, kHeuristicMode, &mode);
  const CudnnDescriptor asked = std::move(heuristics).finalize();
  int64_t count = 0;
  check_cudnn(cudnn().get_attribute(asked.get(), kHeuristicsResults, kBackendDescriptor, 0, &count,
                                    nullptr),
              "asking cuDNN for engines");
  std::vector<CudnnDescriptor> found;
  if (count == 0) return found;
  std::vector<void*> handles;
  for (int64_t i = 0; i < count; ++i) {
    handles.push_back(found.emplace_back(CudnnKind::EngineConfig).get());
  }
  check_cudnn(cudnn().get_attribute(asked.get(), kHeuristicsResults, kBackendDescriptor, count,
                                    &count, static_cast<void*>(handles.data())),
              "asking cuDNN for engines");
  found.erase(found.begin() + count, found.end());
  return found;
}

struct Handles {
  std::mutex mutex;  // a handle serves one call at a time
  std::map<int, CudnnHandle> of_device;
};
Handles& handles() {
  static auto* const all = new Handles;  // outlives the library's own statics
  return *all;
}

}  // namespace

bool cudnn_usable() { return math_settings.cudnn && cudnn().complete; }

std::unique_lock<std::mutex> cudnn_lock() { return std::unique_lock(handles().mutex); }

CudnnSession::CudnnSession(int device) : lock_(cudnn_lock()) {
  use(device);
  CudnnHandle& made = handles().of_device[device];
  int status = made ? 0 : cudnn().create(&made);
  if (status != 0) fail_cudnn(status, "cudnnCreate");
  status = cudnn().set_stream(made, current_stream(device));
  if (status != 0) fail_cudnn(status, "cudnnSetStream");
  handle = made;
}

int64_t alignment_of(const void* address) {
  const auto value = reinterpret_cast<uintptr_t>(address);
  return std::min<int64_t>(16, value & -value ? static_cast<int64_t>(value & -value) : 16);
}

// --- descriptors

CudnnDescriptor::CudnnDescriptor(CudnnKind kind) {
  check_cudnn(cudnn().descriptor_create(static_cast<int>(kind), &handle_),
              "cudnnBackendCreateDescriptor");
}
CudnnDescriptor::~CudnnDescriptor() {
  if (handle_) cudnn().descriptor_destroy(handle_);
}

CudnnDescriptor& CudnnDescriptor::set_value(int attribute, int type, const void* value,
                                            int64_t count) {
  check_cudnn(cudnn().set_attribute(handle_, attribute, type, count, value),
              "cudnnBackendSetAttribute");
  return *this;
}
CudnnDescriptor& CudnnDescriptor::set(int attribute, const CudnnDescriptor& value) {
  void* const handle = value.get();
  return set_value(attribute, kBackendDescriptor, static_cast<const void*>(&handle));
}
CudnnDescriptor& CudnnDescriptor::set(int attribute, int64_t value) {
  return set_value(attribute, kInt64, &value);
}
CudnnDescriptor& CudnnDescriptor::set(int attribute, std::span<const int64_t> values) {
  return set_value(attribute, kInt64, values.data(), static_cast<int64_t>(values.size()));
}
CudnnDescriptor& CudnnDescriptor::set(int attribute, DType value) {
  const int type = data_type(value);
  return set_value(attribute, kDataType, &type);
}
CudnnDescriptor& CudnnDescriptor::set(int attribute, bool value) {
  return set_value(attribute, kBoolean, &value);
}
CudnnDescriptor&& CudnnDescriptor::finalize() && {
  check_cudnn(cudnn().finalize(handle_), "cudnnBackendFinalize");
  return std::move(*this);
}

namespace {

CudnnDescriptor describe(int64_t id, DType dtype, std::span<const int64_t> sizes,
                         std::span<const int64_t> strides, int64_t alignment) {
  CudnnDescriptor tensor(CudnnKind::Tensor);
  tensor.set(kTensorId, id).set(kTensorType, dtype).set(kTensorAlignment, alignment);
  tensor.set(kTensorSizes, sizes).set(kTensorStrides, strides);
  return tensor;
}

}  // namespace

CudnnDescriptor cudnn_tensor(int64_t id, DType dtype, std::span<const int64_t> sizes,
                             std::span<const int64_t> strides, int64_t alignment) {
  return describe(id, dtype, sizes, strides, alignment).finalize();
}
CudnnDescriptor cudnn_host_scalar(int64_t id, int dims) {
  const std::vector<int64_t> ones(dims, 1);
  CudnnDescriptor scalar = describe(id, DType::Float32, ones, ones, sizeof(float));
  return std::move(scalar.set(kTensorByValue, true)).finalize();
}
CudnnDescriptor cudnn_virtual(int64_t id, std::span<const int64_t> sizes) {
  std::vector<int64_t> strides(sizes.size(), 1);
  for (size_t d = sizes.size() - 1; d > 0; --d) strides[d - 1] = strides[d] * sizes[d];
  CudnnDescriptor tensor = describe(id, DType::Float32, sizes, strides, 16);
  return std::move(tensor.set(kTensorVirtual, true)).finalize();
}

// --- plans

CudnnPlan::CudnnPlan(std::vector<CudnnDescriptor> parts, CudnnHandle handle, CudnnDemands demands)
    : parts_(std::move(parts)), demands_(demands) {
  CudnnDescriptor graph(CudnnKind::OperationGraph);
  graph.set(kCudnnGraphOperations, parts_.back());
  graph.set_value(kGraphHandle, kHandle, static_cast<const void*>(&handle));
  parts_.push_back(std::move(graph).finalize());
  modes_.assign(std::rbegin(kHeuristicModes), std::rend(kHeuristicModes));
}

bool CudnnPlan::propose_more() {
  while (proposed_.empty() && !modes_.empty()) {
    const int mode = modes_.back();
    modes_.pop_back();
    try {
      for (CudnnDescriptor& config : proposals(parts_.back(), mode)) {
        if (satisfies(config, demands_)) proposed_.push_back(std::move(config));
      }
    } catch (const CudnnRefusal&) {
      // What was proposed so far is what there is.
    }
    std::ranges::reverse(proposed_);
  }
  return !proposed_.empty();
}

bool CudnnPlan::build_next() {
  while (propose_more()) {
    CudnnDescriptor config = std::move(proposed_.back());
    proposed_.pop_back();
    CudnnDescriptor plan(CudnnKind::ExecutionPlan);
    plan.set(kPlanConfig, config);
    // An engine that cannot be built here, for whatever reason, is not the last one.
    if (cudnn().finalize(plan.get()) != 0) continue;
    int64_t bytes = 0, count = 0;
    check_cudnn(cudnn().get_attribute(plan.get(), kPlanWorkspace, kInt64, 1, &count, &bytes),
                "asking for the memory of a plan of cuDNN");
    if (bytes < 0 || static_cast<size_t>(bytes) > kWorkspaceLimit) continue;
    engines_.push_back({std::move(config), std::move(plan), static_cast<size_t>(bytes)});
    return true;
  }
  return false;
}

int CudnnPlan::run(const Engine& engine, CudnnHandle handle, std::span<const int64_t> ids,
                   std::span<void* const> data, int device) {
  const Scratch workspace(engine.workspace_bytes, device);
  void* const address = workspace.data();
  CudnnDescriptor pack(CudnnKind::VariantPack);
  pack.set(kPackIds, ids);
  pack.set_value(kPackData, kVoidPointer, static_cast<const void*>(data.data()),
                 static_cast<int64_t>(data.size()));
  pack.set_value(kPackWorkspace, kVoidPointer, static_cast<const void*>(&address));
  const CudnnDescriptor packed = std::move(pack).finalize();
  return cudnn().execute(handle, engine.plan.get(), packed.get());
}

bool CudnnPlan::execute(CudnnHandle handle, std::span<const int64_t> ids,
                        std::span<void* const> data, int device) {
  while (!engines_.empty() || build_next()) {
    const int status = run(engines_.front(), handle, ids, data, device);
    if (status == 0) return true;
    if (!is_unsupported(status)) fail_cudnn(status, "cudnnBackendExecute");
    engines_.erase(engines_.begin());
  }
  return false;
}

void CudnnPlan::measure(CudnnHandle handle, std::span<const int64_t> ids,
                        std::span<void* const> data, int device) {
  // Those that are a last resort only if there is nothing else.
  while (engines_.size() < kMostMeasured && (engines_.empty() || !proposed_.empty())) {
    if (!build_next()) break;
  }
  std::vector<std::pair<double, size_t>> times;
  for (size_t i = 0; i < engines_.size(); ++i) {
    // The first call loads the kernels.
    if (run(engines_[i], handle, ids, data, device) != 0) continue;
    Event begin(true, false), end(true, false);
    begin.record_handle(current_stream(device));
    if (run(engines_[i], handle, ids, data, device) != 0) continue;
    end.record_handle(current_stream(device));
    end.synchronize_only();
    times.emplace_back(begin.milliseconds_until(end), i);
  }
  std::ranges::sort(times);
  std::vector<Engine> ordered;
  for (const auto& [time, i] : times) ordered.push_back(std::move(engines_[i]));
  engines_ = std::move(ordered);
}

}  // namespace flambeau::cuda
