#include "cudnn.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <set>

// cuDNN 9's graph interface for convolutions and attention: descriptors with their attributes,
// engines that differ in what they promise, plans, execution as work of the emulated stream
// (cudnn_work.cpp). All else is refused.

using cudnnStatus_t = int;

EMULATED_API CUresult cuCtxGetCurrent(CUcontext*);
EMULATED_API CUresult emulated_cuda_enqueue(CUstream, int (*run)(void*), void* data,
                                            void (*release)(void*));

namespace {

using namespace emulated;

constexpr cudnnStatus_t CUDNN_STATUS_SUCCESS = 0, CUDNN_STATUS_NOT_INITIALIZED = 1001;
constexpr cudnnStatus_t CUDNN_STATUS_BAD_PARAM = 2000;
constexpr cudnnStatus_t CUDNN_STATUS_BAD_PARAM_MISALIGNED_POINTER = 2003;
constexpr cudnnStatus_t CUDNN_STATUS_BAD_PARAM_NOT_FINALIZED = 2004;
constexpr cudnnStatus_t CUDNN_STATUS_BAD_PARAM_SHAPE_MISMATCH = 2008;
constexpr cudnnStatus_t CUDNN_STATUS_BAD_PARAM_ATTRIBUTE_TYPE = 2010;
constexpr cudnnStatus_t CUDNN_STATUS_NOT_SUPPORTED = 3000;
constexpr cudnnStatus_t CUDNN_STATUS_EXECUTION_FAILED = 5000;

// Numbers of cudnn_graph.h.
enum Type : int {
  kHandle = 0,
  kDataType,
  kBoolean,
  kInt64,
  kFloatType,
  kDoubleType,
  kPointer,
  kConvolutionMode,
  kHeuristicMode,
  kNote = 11,
  kPointwiseMode = 14,
  kDescriptor = 15
};
enum Kind : int {
  kConvolution = 1,
  kEngine,
  kEngineConfig,
  kHeuristics,
  kPlan,
  kForward = 10,
  kBackwardFilter,
  kBackwardData,
  kGraph = 15,
  kPack,
  kTensor,
  kAttention = 41,
  kAttentionBackward = 43,
  kBandMask = 44
};

struct Rule {
  int kind, attribute, type;
  size_t most;  // values
  bool required = true;
};
constexpr size_t kMany = 8;
const Rule kRules[] = {
    {kTensor, 900, kInt64, 1},
    {kTensor, 901, kDataType, 1},
    {kTensor, 902, kInt64, kMany},
    {kTensor, 903, kInt64, kMany},
    {kTensor, 906, kInt64, 1},
    {kTensor, 907, kBoolean, 1, false},
    {kTensor, 908, kBoolean, 1, false},
    {kConvolution, 100, kDataType, 1},
    {kConvolution, 101, kConvolutionMode, 1},
    {kConvolution, 102, kInt64, 3},
    {kConvolution, 103, kInt64, 3},
    {kConvolution, 104, kInt64, 3},
    {kConvolution, 105, kInt64, 3},
    {kConvolution, 106, kInt64, 1},
    {kForward, 702, kDescriptor, 1},
    {kForward, 703, kDescriptor, 1},
    {kForward, 704, kDescriptor, 1},
    {kForward, 705, kDescriptor, 1},
    {kBackwardData, 708, kDescriptor, 1},
    {kBackwardData, 709, kDescriptor, 1},
    {kBackwardData, 710, kDescriptor, 1},
    {kBackwardData, 711, kDescriptor, 1},
    {kBackwardFilter, 714, kDescriptor, 1},
    {kBackwardFilter, 715, kDescriptor, 1},
    {kBackwardFilter, 716, kDescriptor, 1},
    {kBackwardFilter, 717, kDescriptor, 1},
    {kAttention, 2800, kDescriptor, 1},
    {kAttention, 2801, kDescriptor, 1},
    {kAttention, 2802, kDescriptor, 1},
    {kAttention, 2803, kDescriptor, 1},
    {kAttention, 2804, kDescriptor, 1},
    {kAttention, 2805, kDescriptor, 1},
    {kAttention, 2811, kDescriptor, 1, false},
    {kAttention, 2812, kInt64, 1, false},
    {kAttention, 2813, kInt64, 1, false},
    {kAttentionBackward, 2851, kDescriptor, 1},
    {kAttentionBackward, 2852, kDescriptor, 1},
    {kAttentionBackward, 2853, kDescriptor, 1},
    {kAttentionBackward, 2854, kDescriptor, 1},
    {kAttentionBackward, 2855, kDescriptor, 1},
    {kAttentionBackward, 2856, kDescriptor, 1},
    {kAttentionBackward, 2859, kDescriptor, 1},
    {kAttentionBackward, 2860, kDescriptor, 1},
    {kAttentionBackward, 2861, kDescriptor, 1},
    {kAttentionBackward, 2862, kDescriptor, 1},
    {kAttentionBackward, 2867, kDescriptor, 1, false},
    {kAttentionBackward, 2868, kInt64, 1, false},
    {kAttentionBackward, 2869, kInt64, 1, false},
    {kBandMask, 3000, kDescriptor, 1},
    {kBandMask, 3005, kDescriptor, 1},
    {kBandMask, 3006, kDescriptor, 1},
    {kBandMask, 3007, kPointwiseMode, 1},
    {kGraph, 800, kHandle, 1, false},
    {kGraph, 801, kDescriptor, kMany},
    {kHeuristics, 200, kHeuristicMode, 1},
    {kHeuristics, 201, kDescriptor, 1},
    {kPlan, 401, kDescriptor, 1},
    {kPack, 1000, kInt64, 32},
    {kPack, 1001, kPointer, 32},
    {kPack, 1003, kPointer, 1, false},
};

struct Handle {
  CUstream stream = nullptr;
};

struct Descriptor;
using Shared = std::shared_ptr<Descriptor>;

struct Values {
  std::vector<char> bytes;
  std::vector<Shared> descriptors;
  template <typename T>
  std::vector<T> as() const {
    std::vector<T> result(bytes.size() / sizeof(T));
    std::memcpy(result.data(), bytes.data(), bytes.size());
    return result;
  }
};

struct Descriptor {
  int kind;
  bool finalized = false;
  std::map<int, Values> values;
  int engine = -1;  // of engine configurations and engines
  Shared graph;     // of engine configurations

  bool has(int attribute) const { return values.contains(attribute); }
  template <typename T>
  std::vector<T> all(int attribute) const {
    return values.at(attribute).as<T>();
  }
  template <typename T>
  T one(int attribute) const {
    return all<T>(attribute).at(0);
  }
  const Shared& part(int attribute) const { return values.at(attribute).descriptors.at(0); }
};

// Descriptors live while anything refers to them, but only these may be used by a caller.
std::map<Descriptor*, Shared>& alive() {
  static auto* const all = new std::map<Descriptor*, Shared>;
  return *all;
}
Shared find(void* descriptor) {
  auto found = alive().find(static_cast<Descriptor*>(descriptor));
  return found == alive().end() ? nullptr : found->second;
}

size_t width_of(int type) {
  return type == kBoolean                                                               ? 1
         : type == kInt64 || type == kDoubleType || type == kPointer || type == kHandle ? 8
                                                                                        : 4;
}

// --- engines: those that round or add in any order are faster

struct Engine {
  std::vector<int> notes;
  size_t workspace_bytes;
  bool builds = true;
};
constexpr int kTensorCore = 0, kNondeterministic = 4;
const Engine kEngines[] = {{{}, 0, false},
                           {{kTensorCore, kNondeterministic}, 0},
                           {{kNondeterministic}, 512},
                           {{kTensorCore}, 1024},
                           {{}, 4096}};
constexpr int kFallbackMode = 2, kUsualMode = 3;
int last_engine = -1, executed = 0;
bool last_channels_last = false;  // of the last convolution

bool is_attention(int kind) { return kind == kAttention || kind == kAttentionBackward; }

std::vector<int> engines_for(const Descriptor& graph, int mode) {
  const Descriptor& operation = *graph.values.at(801).descriptors.at(0);
  if (mode == kFallbackMode)
    return is_attention(operation.kind) ? std::vector<int>{} : std::vector{4};
  if (operation.kind == kAttention) return {0, 3};
  if (operation.kind == kAttentionBackward) return {0, 1, 3};
  return {0, 1, 2, 3, 4};
}

// --- operations

GraphTensor tensor_of(const Descriptor& from) {
  GraphTensor tensor;
  tensor.id = from.one<int64_t>(906);
  tensor.type = from.one<int>(901);
  tensor.sizes = from.all<int64_t>(902);
  tensor.strides = from.all<int64_t>(903);
  tensor.alignment = from.one<int64_t>(900);
  tensor.is_virtual = from.has(907) && from.one<char>(907) != 0;
  tensor.by_value = from.has(908) && from.one<char>(908) != 0;
  return tensor;
}

bool is_sixteen_bit(const GraphTensor& tensor) {
  return tensor.type == kHalf || tensor.type == kBfloat;
}

// Whether no two elements share a place, and none is unused.
bool is_dense(const GraphTensor& tensor) {
  std::vector<std::pair<int64_t, int64_t>> dims;
  for (size_t d = 0; d < tensor.sizes.size(); ++d) {
    if (tensor.sizes[d] != 1) dims.emplace_back(tensor.strides[d], tensor.sizes[d]);
  }
  std::ranges::sort(dims);
  int64_t step = 1;
  for (const auto& [stride, size] : dims) {
    if (stride != step) return false;
    step *= size;
  }
  return true;
}

bool channels_come_last(const GraphTensor& tensor) {
  return tensor.sizes[1] > 1 && tensor.strides[1] == 1 && tensor.strides.back() != 1;
}

struct ConvolutionNames {
  int first;  // alpha; beta, the convolution, w, x, y follow in this order or with x before w
  int w, x, y;
  GraphKind kind;
};

cudnnStatus_t check_convolution(const GraphWork& work, const Descriptor& c) {
  const GraphTensor &x = work["x"], &w = work["w"], &y = work["y"];
  const size_t axes = work.padding.size();
  if (x.sizes.size() != axes + 2 || w.sizes.size() != axes + 2 || y.sizes.size() != axes + 2 ||
      axes < 2) {
    return CUDNN_STATUS_BAD_PARAM;
  }
  if (w.type != x.type || y.type != x.type) return CUDNN_STATUS_NOT_SUPPORTED;
  if (c.one<int>(100) != (x.type == kDouble ? kDouble : kFloat)) return CUDNN_STATUS_NOT_SUPPORTED;
  if (c.one<int>(101) != 1 || !is_dense(x) || !is_dense(w) || !is_dense(y)) {
    return CUDNN_STATUS_NOT_SUPPORTED;
  }
  for (const GraphTensor* a : {&x, &w, &y}) {
    for (const GraphTensor* b : {&x, &w, &y}) {
      const bool told = a->sizes[1] > 1 && b->sizes[1] > 1 && a->strides[1] != a->strides.back() &&
                        b->strides[1] != b->strides.back();
      if (told && channels_come_last(*a) != channels_come_last(*b)) {
        return CUDNN_STATUS_NOT_SUPPORTED;
      }
    }
  }
  // As far as NVIDIA's tables go, nobody convolves doubles in this order.
  if (x.type == kDouble && channels_come_last(x)) return CUDNN_STATUS_NOT_SUPPORTED;
  bool good = x.sizes[0] == y.sizes[0] && w.sizes[0] == y.sizes[1] && w.sizes[1] > 0 &&
              x.sizes[1] % w.sizes[1] == 0 && w.sizes[0] % (x.sizes[1] / w.sizes[1]) == 0;
  const auto after = c.all<int64_t>(104);
  for (size_t i = 0; i < axes; ++i) {
    const int64_t window = work.dilation[i] * (w.sizes[2 + i] - 1) + 1;
    const int64_t room = x.sizes[2 + i] + work.padding[i] + after[i] - window;
    good = good && work.padding[i] >= 0 && after[i] >= 0 && room >= 0 &&
           y.sizes[2 + i] == room / work.stride[i] + 1;
  }
  return good ? CUDNN_STATUS_SUCCESS : CUDNN_STATUS_BAD_PARAM_SHAPE_MISMATCH;
}

cudnnStatus_t make_convolution(const Descriptor& operation, GraphWork& work) {
  const ConvolutionNames names =
      operation.kind == kForward ? ConvolutionNames{700, 703, 704, 705, GraphKind::Forward}
      : operation.kind == kBackwardData
          ? ConvolutionNames{706, 709, 710, 711, GraphKind::BackwardData}
          : ConvolutionNames{712, 715, 716, 717, GraphKind::BackwardFilter};
  const Descriptor& c = *operation.part(names.first + 2);
  work.kind = names.kind;
  work.tensors["w"] = tensor_of(*operation.part(names.w));
  work.tensors["x"] = tensor_of(*operation.part(names.x));
  work.tensors["y"] = tensor_of(*operation.part(names.y));
  work.dilation = c.all<int64_t>(102);
  work.stride = c.all<int64_t>(103);
  work.padding = c.all<int64_t>(105);
  const bool wide = work["x"].type == kDouble;
  for (int i = 0; i < 2; ++i) {
    const Values& scale = operation.values.at(names.first + i);
    if (scale.bytes.size() != (wide ? 8U : 4U)) return CUDNN_STATUS_BAD_PARAM_ATTRIBUTE_TYPE;
    if ((wide ? scale.as<double>()[0] : scale.as<float>()[0]) != 1 - i) {
      return CUDNN_STATUS_NOT_SUPPORTED;
    }
  }
  return check_convolution(work, c);
}

cudnnStatus_t make_mask(const Descriptor& operation, int first, GraphWork& work) {
  const Descriptor& graph = *operation.part(first);
  if (graph.kind != kGraph || !operation.has(first + 1) || !operation.has(first + 2)) {
    return CUDNN_STATUS_BAD_PARAM;
  }
  const Descriptor& mask = *graph.values.at(801).descriptors.at(0);
  constexpr int kGreaterOrEqual = 303;
  if (mask.kind != kBandMask || mask.one<int>(3007) != kGreaterOrEqual) {
    return CUDNN_STATUS_NOT_SUPPORTED;
  }
  const GraphTensor x = tensor_of(*mask.part(3000)), y = tensor_of(*mask.part(3006));
  const std::vector<int64_t> scores = {work["q"].sizes[0], work["q"].sizes[1], work["q"].sizes[2],
                                       work["k"].sizes[2]};
  if (x.sizes != scores || y.sizes != scores || !x.is_virtual || !y.is_virtual ||
      x.id != operation.one<int64_t>(first + 1) || y.id != operation.one<int64_t>(first + 2)) {
    return CUDNN_STATUS_BAD_PARAM;
  }
  work.causal = true;
  work.tensors["masked"] = tensor_of(*mask.part(3005));
  return work["masked"].by_value ? CUDNN_STATUS_SUCCESS : CUDNN_STATUS_NOT_SUPPORTED;
}

cudnnStatus_t check_attention(const GraphWork& work, bool backward) {
  const GraphTensor &q = work["q"], &k = work["k"], &v = work["v"];
  const GraphTensor &stats = work["stats"], &scale = work["scale"];
  std::vector<std::pair<const GraphTensor*, std::vector<int64_t>>> shapes;
  if (q.sizes.size() != 4 || k.sizes.size() != 4 || v.sizes.size() != 4)
    return CUDNN_STATUS_BAD_PARAM;
  const int64_t batch = q.sizes[0], heads = q.sizes[1];
  shapes.push_back({&k, {batch, heads, k.sizes[2], q.sizes[3]}});
  shapes.push_back({&v, {batch, heads, k.sizes[2], v.sizes[3]}});
  shapes.push_back({&work["out"], {batch, heads, q.sizes[2], v.sizes[3]}});
  if (backward) {
    shapes.push_back({&work["dq"], q.sizes});
    shapes.push_back({&work["dk"], k.sizes});
    shapes.push_back({&work["dv"], v.sizes});
    shapes.push_back({&work["dout"], work["out"].sizes});
  }
  shapes.push_back({&q, q.sizes});
  for (const auto& [tensor, sizes] : shapes) {
    if (tensor->sizes != sizes) return CUDNN_STATUS_BAD_PARAM_SHAPE_MISMATCH;
    if (!is_sixteen_bit(*tensor) || tensor->type != q.type || tensor->strides[3] != 1 ||
        tensor->sizes[3] % 8 != 0 || tensor->sizes[3] > 256 || tensor->alignment < 16) {
      return CUDNN_STATUS_NOT_SUPPORTED;
    }
    for (int d = 0; d < 3; ++d) {
      if (tensor->strides[d] % 8 != 0 || tensor->strides[d] <= 0) return CUDNN_STATUS_NOT_SUPPORTED;
    }
  }
  const std::vector<int64_t> rows = {batch, heads, q.sizes[2], 1};
  if (stats.sizes != rows || stats.type != kFloat) return CUDNN_STATUS_BAD_PARAM_SHAPE_MISMATCH;
  return scale.by_value && scale.type == kFloat ? CUDNN_STATUS_SUCCESS : CUDNN_STATUS_NOT_SUPPORTED;
}

cudnnStatus_t make_attention(const Descriptor& operation, GraphWork& work) {
  const bool backward = operation.kind == kAttentionBackward;
  const int first = backward ? 2851 : 2800;
  const char* names[] = {"q", "k", "v", "out", "stats", "scale"};
  for (int i = 0; i < 6; ++i) work.tensors[names[i]] = tensor_of(*operation.part(first + i));
  const char* gradients[] = {"dq", "dk", "dv", "dout"};
  for (int i = 0; backward && i < 4; ++i) {
    work.tensors[gradients[i]] = tensor_of(*operation.part(2859 + i));
  }
  work.kind = backward ? GraphKind::AttentionBackward : GraphKind::Attention;
  const int graph = backward ? 2867 : 2811;
  if (operation.has(graph)) {
    if (cudnnStatus_t status = make_mask(operation, graph, work)) return status;
  }
  return check_attention(work, backward);
}

cudnnStatus_t make_work(const Descriptor& graph, GraphWork& work) {
  const Values& operations = graph.values.at(801);
  if (operations.descriptors.size() != 1) return CUDNN_STATUS_NOT_SUPPORTED;
  const Descriptor& operation = *operations.descriptors[0];
  if (operation.kind == kBandMask) return CUDNN_STATUS_SUCCESS;  // part of an attention
  if (is_attention(operation.kind)) return make_attention(operation, work);
  return make_convolution(operation, work);
}

// --- execution

cudnnStatus_t bind(GraphTensor& tensor, const std::vector<int64_t>& ids,
                   const std::vector<void*>& data) {
  const auto found = std::ranges::find(ids, tensor.id);
  if (found == ids.end() || data[static_cast<size_t>(found - ids.begin())] == nullptr) {
    return CUDNN_STATUS_BAD_PARAM;
  }
  tensor.data = data[static_cast<size_t>(found - ids.begin())];
  if (tensor.by_value) {
    tensor.value = tensor.load(0);
  } else if (reinterpret_cast<uintptr_t>(tensor.data) % static_cast<uintptr_t>(tensor.alignment)) {
    return CUDNN_STATUS_BAD_PARAM_MISALIGNED_POINTER;
  }
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t execute(Handle* handle, const Descriptor& plan, const Descriptor& pack) {
  const Descriptor& config = *plan.part(401);
  const Engine& engine = kEngines[config.engine];
  auto work = std::make_unique<GraphWork>();
  if (cudnnStatus_t status = make_work(*config.graph, *work)) return status;
  const auto ids = pack.all<int64_t>(1000);
  const auto data = pack.all<void*>(1001);
  if (ids.size() != data.size() || std::set(ids.begin(), ids.end()).size() != ids.size()) {
    return CUDNN_STATUS_BAD_PARAM;
  }
  for (auto& [name, tensor] : work->tensors) {
    if (cudnnStatus_t status = bind(tensor, ids, data)) return status;
    if (!tensor.by_value && !tensor.in_memory(("cuDNN: " + name).c_str())) {
      return CUDNN_STATUS_BAD_PARAM;
    }
  }
  if (work->causal) work->masked = (*work)["masked"].value;
  work->workspace_bytes = engine.workspace_bytes;
  work->workspace = pack.has(1003) ? pack.one<void*>(1003) : nullptr;
  if (engine.workspace_bytes != 0 && work->workspace == nullptr) return CUDNN_STATUS_BAD_PARAM;
  work->rounds = std::ranges::count(engine.notes, kTensorCore) != 0;
  last_engine = config.engine;
  if (work->tensors.contains("x")) last_channels_last = channels_come_last((*work)["x"]);
  ++executed;
  auto release = [](void* work) { delete static_cast<GraphWork*>(work); };
  const CUresult error =
      emulated_cuda_enqueue(handle->stream, &run_graph_work, work.release(), release);
  return error == CUDA_SUCCESS ? CUDNN_STATUS_SUCCESS : CUDNN_STATUS_EXECUTION_FAILED;
}

cudnnStatus_t check_complete(const Descriptor& descriptor) {
  for (const Rule& rule : kRules) {
    if (rule.kind == descriptor.kind && rule.required && !descriptor.has(rule.attribute)) {
      return CUDNN_STATUS_BAD_PARAM;
    }
  }
  for (const auto& [attribute, values] : descriptor.values) {
    for (const Shared& part : values.descriptors) {
      if (!part->finalized) return CUDNN_STATUS_BAD_PARAM_NOT_FINALIZED;
    }
  }
  return CUDNN_STATUS_SUCCESS;
}

bool is_scale(int kind, int attribute) {
  const int first = kind == kForward ? 700 : kind == kBackwardData ? 706 : 712;
  return (kind == kForward || kind == kBackwardData || kind == kBackwardFilter) &&
         (attribute == first || attribute == first + 1);
}

}  // namespace

#define CUDNN_API EMULATED_API cudnnStatus_t

// For tests: the engine of the last execution, how many there were, and the last convolution's
// layout.
EMULATED_API int emulated_cudnn_last_engine() { return last_engine; }
EMULATED_API int emulated_cudnn_executed() { return executed; }
EMULATED_API int emulated_cudnn_last_channels_last() { return last_channels_last; }

EMULATED_API size_t cudnnGetVersion() { return 92800; }

CUDNN_API cudnnCreate(Handle** handle) {
  CUcontext context = nullptr;
  if (handle == nullptr) return CUDNN_STATUS_BAD_PARAM;
  if (cuCtxGetCurrent(&context) != 0 || context == nullptr) return CUDNN_STATUS_NOT_INITIALIZED;
  *handle = new Handle;
  return CUDNN_STATUS_SUCCESS;
}

CUDNN_API cudnnSetStream(Handle* handle, CUstream stream) {
  if (handle == nullptr) return CUDNN_STATUS_BAD_PARAM;
  handle->stream = stream;
  return CUDNN_STATUS_SUCCESS;
}

CUDNN_API cudnnBackendCreateDescriptor(int kind, void** descriptor) {
  const bool known =
      kind == kEngine || kind == kEngineConfig ||
      std::ranges::any_of(kRules, [&](const Rule& rule) { return rule.kind == kind; });
  if (!known) return CUDNN_STATUS_NOT_SUPPORTED;
  auto made = std::make_shared<Descriptor>();
  made->kind = kind;
  alive()[made.get()] = made;
  *descriptor = made.get();
  return CUDNN_STATUS_SUCCESS;
}

CUDNN_API cudnnBackendDestroyDescriptor(void* descriptor) {
  return alive().erase(static_cast<Descriptor*>(descriptor)) == 1 ? CUDNN_STATUS_SUCCESS
                                                                  : CUDNN_STATUS_BAD_PARAM;
}

CUDNN_API cudnnBackendSetAttribute(void* descriptor, int attribute, int type, int64_t count,
                                   const void* values) {
  const Shared to = find(descriptor);
  if (!to || to->finalized || count < 1 || values == nullptr) return CUDNN_STATUS_BAD_PARAM;
  if (!is_scale(to->kind, attribute)) {
    const Rule* rule = std::ranges::find_if(kRules, [&](const Rule& rule) {
      return rule.kind == to->kind && rule.attribute == attribute;
    });
    if (rule == std::end(kRules) || count > static_cast<int64_t>(rule->most)) {
      return CUDNN_STATUS_BAD_PARAM;
    }
    if (rule->type != type) return CUDNN_STATUS_BAD_PARAM_ATTRIBUTE_TYPE;
  }
  Values& kept = to->values[attribute];
  kept = {};
  if (type == kDescriptor) {
    for (int64_t i = 0; i < count; ++i) {
      kept.descriptors.push_back(find(static_cast<void* const*>(values)[i]));
      if (!kept.descriptors.back()) return CUDNN_STATUS_BAD_PARAM;
    }
    return CUDNN_STATUS_SUCCESS;
  }
  const auto* bytes = static_cast<const char*>(values);
  kept.bytes.assign(bytes, bytes + static_cast<size_t>(count) * width_of(type));
  return CUDNN_STATUS_SUCCESS;
}

CUDNN_API cudnnBackendFinalize(void* descriptor) {
  const Shared made = find(descriptor);
  if (!made || made->finalized) return CUDNN_STATUS_BAD_PARAM;
  if (cudnnStatus_t status = check_complete(*made)) return status;
  if (made->kind == kTensor && made->all<int64_t>(902).size() != made->all<int64_t>(903).size()) {
    return CUDNN_STATUS_BAD_PARAM;
  }
  if (made->kind == kGraph) {
    GraphWork work;
    if (cudnnStatus_t status = make_work(*made, work)) return status;
  }
  if (made->kind == kPlan && !kEngines[made->part(401)->engine].builds) {
    return CUDNN_STATUS_NOT_SUPPORTED;
  }
  made->finalized = true;
  return CUDNN_STATUS_SUCCESS;
}

CUDNN_API cudnnBackendGetAttribute(void* descriptor, int attribute, int type, int64_t wanted,
                                   int64_t* count, void* values) {
  const Shared from = find(descriptor);
  if (!from || count == nullptr) return CUDNN_STATUS_BAD_PARAM;
  if (from->kind == kHeuristics && attribute == 202 && type == kDescriptor && from->finalized) {
    const int mode = from->one<int>(200);
    if (mode != kUsualMode && mode != kFallbackMode) return CUDNN_STATUS_NOT_SUPPORTED;
    const auto engines = engines_for(*from->part(201), mode);
    *count = static_cast<int64_t>(engines.size());
    for (int64_t i = 0; i < std::min(wanted, *count); ++i) {
      const Shared config = find(static_cast<void**>(values)[i]);
      if (!config || config->kind != kEngineConfig) return CUDNN_STATUS_BAD_PARAM;
      config->engine = engines[static_cast<size_t>(i)];
      config->graph = from->part(201);
      config->finalized = true;
    }
    return CUDNN_STATUS_SUCCESS;
  }
  if (from->kind == kEngineConfig && attribute == 300 && type == kDescriptor && wanted == 1) {
    const Shared engine = find(*static_cast<void**>(values));
    if (!engine || engine->kind != kEngine) return CUDNN_STATUS_BAD_PARAM;
    engine->engine = from->engine;
    *count = 1;
    return CUDNN_STATUS_SUCCESS;
  }
  if (from->kind == kEngine && attribute == 1303 && type == kNote && from->engine >= 0) {
    const std::vector<int>& notes = kEngines[from->engine].notes;
    *count = static_cast<int64_t>(notes.size());
    const auto room = static_cast<size_t>(std::min(wanted, *count));
    std::copy_n(notes.begin(), room, static_cast<int*>(values));
    return CUDNN_STATUS_SUCCESS;
  }
  if (from->kind == kPlan && attribute == 402 && type == kInt64 && wanted == 1 && from->finalized) {
    *static_cast<int64_t*>(values) =
        static_cast<int64_t>(kEngines[from->part(401)->engine].workspace_bytes);
    *count = 1;
    return CUDNN_STATUS_SUCCESS;
  }
  return CUDNN_STATUS_BAD_PARAM;
}

CUDNN_API cudnnBackendExecute(Handle* handle, void* plan, void* pack) {
  const Shared what = find(plan), with = find(pack);
  if (handle == nullptr || !what || !with || what->kind != kPlan || with->kind != kPack) {
    return CUDNN_STATUS_BAD_PARAM;
  }
  if (!what->finalized || !with->finalized) return CUDNN_STATUS_BAD_PARAM_NOT_FINALIZED;
  return execute(handle, *what, *with);
}
