#include "cuda/cudnn_attention.h"

#include <algorithm>
#include <limits>
#include <optional>
#include <vector>

#include "base/recent_table.h"
#include "cuda/cudnn_graph.h"
#include "cuda/graph.h"
#include "cuda/library.h"
#include "cuda/math_settings.h"

namespace flambeau::cuda {

namespace {

// The first version whose attention takes a graph for its scores.
constexpr int64_t kFirstVersion = 92100;

// cudnnBackendAttributeName_t: forward and backward pass number q, k, v, the output, the statistics
// and the scale in this order; then the graph of the scores with its ends.
constexpr int kForwardOperands = 2800, kForwardScores = 2811;
constexpr int kBackwardOperands = 2851, kBackwardScores = 2867;
constexpr int kGradients = 2859;  // dq, dk, dv, and that of the output
constexpr int kMaskInput = 3000, kMaskValue = 3005, kMaskOutput = 3006, kMaskComparison = 3007;
constexpr int kPointwiseMode = 14;    // cudnnBackendAttributeType_t
constexpr int kGreaterOrEqual = 303;  // cudnnPointwiseMode_t

// Of tensors in the graph.
enum Id : int64_t {
  kQ = 1,
  kK,
  kV,
  kOut,
  kSums,
  kScale,
  kDq,
  kDk,
  kDv,
  kG,
  kHidden,
  kScores,
  kSeen
};

using Strides = std::array<int64_t, 3>;

Strides dense_strides(int64_t heads, int64_t rows, int64_t columns) {
  return {heads * rows * columns, rows * columns, columns};
}

CudnnDescriptor matrix(const CudnnAttention& a, int64_t id, int64_t rows, int64_t columns,
                       const Strides& strides) {
  const int64_t sizes[] = {a.batch, a.heads, rows, columns};
  const int64_t steps[] = {strides[0], strides[1], strides[2], 1};
  return cudnn_tensor(id, a.dtype, sizes, steps, 16);
}

// The graph that hides keys behind the diagonal, as three descriptors and itself.
void add_mask(const CudnnAttention& a, std::vector<CudnnDescriptor>& parts) {
  const int64_t scores[] = {a.batch, a.heads, a.queries, a.keys};
  const size_t first = parts.size();
  parts.push_back(cudnn_virtual(kScores, scores));
  parts.push_back(cudnn_virtual(kSeen, scores));
  parts.push_back(cudnn_host_scalar(kHidden, 4));
  CudnnDescriptor mask(CudnnKind::DiagonalBandMask);
  mask.set(kMaskInput, parts[first]).set(kMaskOutput, parts[first + 1]);
  mask.set(kMaskValue, parts[first + 2]);
  mask.set_value(kMaskComparison, kPointwiseMode, &kGreaterOrEqual);
  parts.push_back(std::move(mask).finalize());
  CudnnDescriptor graph(CudnnKind::OperationGraph);
  graph.set(kCudnnGraphOperations, parts.back());
  parts.push_back(std::move(graph).finalize());
}

std::vector<CudnnDescriptor> describe(const CudnnAttention& a) {
  const bool backward = a.g != nullptr;
  std::vector<CudnnDescriptor> parts;
  parts.push_back(matrix(a, kQ, a.queries, a.features, a.q_strides));
  parts.push_back(matrix(a, kK, a.keys, a.features, a.k_strides));
  parts.push_back(matrix(a, kV, a.keys, a.values, a.v_strides));
  const Strides like_out = dense_strides(a.heads, a.queries, a.values);
  parts.push_back(matrix(a, kOut, a.queries, a.values, like_out));
  const int64_t sizes[] = {a.batch, a.heads, a.queries, 1};
  const int64_t strides[] = {a.heads * a.queries, a.queries, 1, 1};
  parts.push_back(cudnn_tensor(kSums, DType::Float32, sizes, strides, 16));
  parts.push_back(cudnn_host_scalar(kScale, 4));
  CudnnDescriptor operation(backward ? CudnnKind::AttentionBackward : CudnnKind::AttentionForward);
  for (int i = 0; i < 6; ++i) {
    operation.set((backward ? kBackwardOperands : kForwardOperands) + i, parts[i]);
  }
  if (backward) {
    const size_t first = parts.size();
    const Strides like_q = dense_strides(a.heads, a.queries, a.features);
    parts.push_back(matrix(a, kDq, a.queries, a.features, like_q));
    parts.push_back(matrix(a, kDk, a.keys, a.features, dense_strides(a.heads, a.keys, a.features)));
    parts.push_back(matrix(a, kDv, a.keys, a.values, dense_strides(a.heads, a.keys, a.values)));
    parts.push_back(matrix(a, kG, a.queries, a.values, like_out));
    for (int i = 0; i < 4; ++i) operation.set(kGradients + i, parts[first + i]);
  }
  if (a.causal) {
    add_mask(a, parts);
    const int scores = backward ? kBackwardScores : kForwardScores;
    operation.set(scores, parts.back());
    operation.set(scores + 1, int64_t{kScores}).set(scores + 2, int64_t{kSeen});
  }
  parts.push_back(std::move(operation).finalize());
  return parts;
}

// Engines read 16 bytes at once.
bool is_aligned(const void* data) { return alignment_of(data) == 16; }
bool is_aligned(const Strides& strides) {
  return std::ranges::all_of(strides, [](int64_t s) { return s % 8 == 0 && s > 0; });
}

bool is_describable(const CudnnAttention& a) {
  constexpr int64_t kMostFeatures = 256, kMostHeads = 65535;
  if (a.dtype != DType::Float16 && a.dtype != DType::BFloat16) return false;
  if (a.features % 8 != 0 || a.values % 8 != 0) return false;
  if (std::max(a.features, a.values) > kMostFeatures) return false;
  if (std::max(a.batch, a.heads) > kMostHeads) return false;
  if (std::max(a.queries, a.keys) > INT32_MAX) return false;
  if (std::min({a.batch, a.heads, a.queries, a.keys, a.features, a.values}) < 1) return false;
  for (const void* data : {a.q, a.k, a.v, static_cast<const void*>(a.out), a.g}) {
    if (data && !is_aligned(data)) return false;
  }
  return is_aligned(a.q_strides) && is_aligned(a.k_strides) && is_aligned(a.v_strides);
}

using PlanKey = std::array<int64_t, 18>;

PlanKey key_of(const CudnnAttention& a, bool deterministic) {
  PlanKey key{a.device,
              static_cast<int64_t>(a.dtype),
              a.causal | (a.g != nullptr) << 1 | deterministic << 2,
              a.batch,
              a.heads,
              a.queries,
              a.keys,
              a.features,
              a.values};
  auto at = key.begin() + 9;
  for (const auto* strides : {&a.q_strides, &a.k_strides, &a.v_strides}) {
    at = std::copy(strides->begin(), strides->end(), at);
  }
  return key;
}

// Note [Plans of attention]: cuDNN compiles a kernel for every set of shapes, which takes about a
// second. That pays in training, where shapes come back, and not where a sequence grows by a word
// at each call. So the kernel of our own computes until shapes have come back a few times.
constexpr int kPatience = 3;  // the call that makes the plan

struct Entry {
  int calls = 0;
  std::optional<CudnnPlan> plan;
};
using Plans = RecentTable<PlanKey, Entry, WordsHash>;
// Used under cudnn_lock().
Plans& plans() {
  static auto* const all = new Plans(kAttentionPlans);  // outlives the library's own statics
  return *all;
}

// Null: not yet.
CudnnPlan* plan_for(const CudnnAttention& a, CudnnHandle handle) {
  const bool deterministic = math_settings.cudnn_in_one_order();
  const bool alone = !math_settings.attention_flash && !math_settings.attention_efficient;
  const PlanKey key = key_of(a, deterministic);
  Entry* entry = plans().find(key);
  if (!entry) entry = &plans().add(key, {});
  if (!entry->plan) {
    const bool early = ++entry->calls < kPatience && !alone;
    if (early || capturing()) return nullptr;
    entry->plan =
        CudnnPlan::of([&] { return describe(a); }, handle, {.deterministic = deterministic});
  }
  return &*entry->plan;
}

}  // namespace

bool cudnn_attend(const CudnnAttention& a) {
  if (!math_settings.attention_cudnn || !is_describable(a) || !cudnn_usable()) return false;
  if (version_of(LibraryName::Cudnn) < kFirstVersion) return false;
  const CudnnSession session(a.device);
  CudnnPlan* const plan = plan_for(a, session.handle);
  if (!plan) return false;
  float scale = a.scale, hidden = -std::numeric_limits<float>::infinity();
  std::vector<int64_t> ids;
  std::vector<void*> data;
  auto pass = [&](int64_t id, const void* address) {
    ids.push_back(id);
    data.push_back(const_cast<void*>(address));
  };
  pass(kQ, a.q);
  pass(kK, a.k);
  pass(kV, a.v);
  pass(kOut, a.out);
  pass(kSums, a.log_sums);
  pass(kScale, &scale);
  if (a.causal) pass(kHidden, &hidden);
  if (a.g) {
    pass(kDq, a.dq);
    pass(kDk, a.dk);
    pass(kDv, a.dv);
    pass(kG, a.g);
  }
  return plan->execute(session.handle, ids, data, a.device);
}

size_t attention_plan_count() {
  const auto lock = cudnn_lock();
  return plans().size();
}

}  // namespace flambeau::cuda
