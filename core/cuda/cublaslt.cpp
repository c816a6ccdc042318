#include "cuda/cublaslt.h"

#include <array>
#include <atomic>
#include <bit>
#include <cmath>
#include <map>
#include <memory>
#include <mutex>

#include "base/recent_table.h"
#include "cuda/device.h"
#include "cuda/graph.h"
#include "cuda/library.h"
#include "cuda/math_settings.h"
#include "cuda/scratch.h"

namespace flambeau::cuda {

namespace {

// --- cuBLASLt's interface; names and numbers are those of cublasLt.h (CUDA 12 and 13)

using Handle = struct cublasLtContext*;
using Descriptor = void*;  // of operations, layouts and preferences

struct Algorithm {
  uint64_t data[8];
};
struct HeuristicResult {
  Algorithm algorithm;
  size_t workspace_bytes;
  int state;
  float waves;
  int reserved[4];
};

#define FLAMBEAU_CUBLASLT_FUNCTIONS(F)                                                            \
  F(create, "cublasLtCreate", (Handle * handle))                                                  \
  F(operation_create, "cublasLtMatmulDescCreate",                                                 \
    (Descriptor * operation, int compute_type, int scale_type))                                   \
  F(operation_set, "cublasLtMatmulDescSetAttribute",                                              \
    (Descriptor operation, int attribute, const void* value, size_t bytes))                       \
  F(operation_destroy, "cublasLtMatmulDescDestroy", (Descriptor operation))                       \
  F(layout_create, "cublasLtMatrixLayoutCreate",                                                  \
    (Descriptor * layout, int type, uint64_t rows, uint64_t columns, int64_t leading))            \
  F(layout_set, "cublasLtMatrixLayoutSetAttribute",                                               \
    (Descriptor layout, int attribute, const void* value, size_t bytes))                          \
  F(layout_destroy, "cublasLtMatrixLayoutDestroy", (Descriptor layout))                           \
  F(preference_create, "cublasLtMatmulPreferenceCreate", (Descriptor * preference))               \
  F(preference_set, "cublasLtMatmulPreferenceSetAttribute",                                       \
    (Descriptor preference, int attribute, const void* value, size_t bytes))                      \
  F(preference_destroy, "cublasLtMatmulPreferenceDestroy", (Descriptor preference))               \
  F(heuristic, "cublasLtMatmulAlgoGetHeuristic",                                                  \
    (Handle handle, Descriptor operation, Descriptor a, Descriptor b, Descriptor c, Descriptor d, \
     Descriptor preference, int wanted, HeuristicResult* results, int* found))                    \
  F(multiply, "cublasLtMatmul",                                                                   \
    (Handle handle, Descriptor operation, const void* alpha, const void* a, Descriptor a_layout,  \
     const void* b, Descriptor b_layout, const void* beta, const void* c, Descriptor c_layout,    \
     void* d, Descriptor d_layout, const Algorithm* algorithm, void* workspace,                   \
     size_t workspace_bytes, StreamHandle stream))

struct Cublas {
#define FLAMBEAU_CUBLASLT_FUNCTION(member, name, parameters) int(*member) parameters = nullptr;
  FLAMBEAU_CUBLASLT_FUNCTIONS(FLAMBEAU_CUBLASLT_FUNCTION)
#undef FLAMBEAU_CUBLASLT_FUNCTION
  std::string problem;  // not empty: it cannot be used
};

constexpr int kFloat32 = 0, kFloat64 = 1, kFloat16 = 2, kBFloat16 = 14;  // cudaDataType
constexpr int kCompute32 = 68, kCompute64 = 70, kComputeTf32 = 77;       // cublasComputeType_t
constexpr int kTransposeA = 3, kTransposeB = 4, kEpilogue = 7, kBiasPointer = 8;
constexpr int kAuxiliaryPointer = 11, kAuxiliaryLeading = 12;
constexpr int kBatchCount = 5, kBatchStride = 6;
constexpr int kWorkspaceLimit = 1;
constexpr int kAlignments[] = {5, 6, 7, 8};  // of a, b, c and d
constexpr uint32_t kEpilogueDefault = 1, kEpilogueRelu = 2, kEpilogueBias = 4, kEpilogueGelu = 32;
constexpr uint32_t kEpilogueGeluGradient = 64, kEpilogueAuxiliary = 128;
constexpr uint32_t kEpilogueSumsOfA = 256, kEpilogueSumsOfB = 512;
constexpr int kOperationTranspose = 1;
constexpr int kNotSupported = 15;

const Cublas& cublas() {
  static const Cublas loaded = [] {
    Cublas functions;
    const Library& found = library(LibraryName::CublasLt);
    if (!found.handle) {
      functions.problem = text("cuBLASLt was not found (", found.problem, ")");
      return functions;
    }
#define FLAMBEAU_CUBLASLT_FUNCTION(member, name, parameters)                  \
  functions.member = reinterpret_cast<int(*) parameters>(found.symbol(name)); \
  if (!functions.member) functions.problem = text(found.path, " lacks ", name);
    FLAMBEAU_CUBLASLT_FUNCTIONS(FLAMBEAU_CUBLASLT_FUNCTION)
#undef FLAMBEAU_CUBLASLT_FUNCTION
    return functions;
  }();
  return loaded;
}

void check_cublas(int result, const char* what) {
  if (result == 0) return;
  const char* meaning = result == 1    ? "the library is not initialised"
                        : result == 3  ? "it could not allocate memory"
                        : result == 7  ? "an argument is invalid"
                        : result == 8  ? "this GPU lacks what it needs"
                        : result == 13 ? "the GPU could not execute it"
                        : result == 15 ? "this is not supported"
                                       : "an internal error";
  fail("cuda: ", what, " failed with ", result, ": ", meaning);
}

// --- plans

int data_type(DType dtype) {
  return dtype == DType::Float64    ? kFloat64
         : dtype == DType::Float16  ? kFloat16
         : dtype == DType::BFloat16 ? kBFloat16
                                    : kFloat32;
}

struct DescriptorDeleter {
  int (*destroy)(Descriptor);
  void operator()(void* descriptor) const { destroy(descriptor); }
};
using OwnedDescriptor = std::unique_ptr<void, DescriptorDeleter>;

struct Plan {
  OwnedDescriptor operation;
  std::array<OwnedDescriptor, 4> layouts;  // a, b, c, d as cuBLASLt sees them
  Algorithm algorithm{};
  size_t workspace_bytes = 0;
  bool supported = false;
  bool keeps_nan = false;  // Note [Not-a-number in activations]; known to be so
};

// A row-major matrix is the transpose of a column-major one, cuBLASLt's kind: so out^T = b^T a^T,
// and its first operand is our second.
struct Columns {
  uint64_t rows, columns;
  int64_t leading, batch_stride;
};
Columns columns_of(const MatrixOperand& operand, int64_t rows, int64_t columns) {
  if (operand.transposed) std::swap(rows, columns);
  return {static_cast<uint64_t>(columns), static_cast<uint64_t>(rows),
          std::max<int64_t>(operand.leading, 1), operand.batch_stride};
}

OwnedDescriptor make_layout(const MatrixProduct& product, const Columns& matrix) {
  const Cublas& functions = cublas();
  Descriptor layout = nullptr;
  check_cublas(functions.layout_create(&layout, data_type(product.dtype), matrix.rows,
                                       matrix.columns, matrix.leading),
               "cublasLtMatrixLayoutCreate");
  OwnedDescriptor owned(layout, {functions.layout_destroy});
  if (product.batch > 1) {
    const auto count = static_cast<int32_t>(product.batch);
    check_cublas(functions.layout_set(layout, kBatchCount, &count, sizeof(count)),
                 "cublasLtMatrixLayoutSetAttribute");
    check_cublas(functions.layout_set(layout, kBatchStride, &matrix.batch_stride, sizeof(int64_t)),
                 "cublasLtMatrixLayoutSetAttribute");
  }
  return owned;
}

uint32_t epilogue_of(const MatrixProduct& product) {
  if (product.a_sums) return kEpilogueSumsOfB;
  if (product.b_sums) return kEpilogueSumsOfA;
  constexpr uint32_t kActivations[] = {0, kEpilogueRelu, kEpilogueGelu, kEpilogueGeluGradient};
  const uint32_t epilogue = kActivations[static_cast<int>(product.activation)] |
                            (product.bias ? kEpilogueBias : 0) |
                            (product.before ? kEpilogueAuxiliary : 0);
  return epilogue ? epilogue : kEpilogueDefault;
}

// What stands where cuBLASLt looks for a bias or writes sums.
const void* vector_of(const MatrixProduct& product) {
  return product.a_sums ? product.a_sums : product.b_sums ? product.b_sums : product.bias;
}

void set_pointers(const MatrixProduct& product, Descriptor operation) {
  auto set = [&](int attribute, const void* pointer) {
    if (!pointer) return;
    check_cublas(cublas().operation_set(operation, attribute, &pointer, sizeof(pointer)),
                 "cublasLtMatmulDescSetAttribute");
  };
  set(kBiasPointer, vector_of(product));
  set(kAuxiliaryPointer, product.before);
}

OwnedDescriptor make_operation(const MatrixProduct& product, bool tf32) {
  const Cublas& functions = cublas();
  const bool wide = product.dtype == DType::Float64;
  Descriptor operation = nullptr;
  check_cublas(functions.operation_create(&operation,
                                          wide   ? kCompute64
                                          : tf32 ? kComputeTf32
                                                 : kCompute32,
                                          wide ? kFloat64 : kFloat32),
               "cublasLtMatmulDescCreate");
  OwnedDescriptor owned(operation, {functions.operation_destroy});
  auto set = [&](int attribute, const auto& value) {
    check_cublas(functions.operation_set(operation, attribute, &value, sizeof(value)),
                 "cublasLtMatmulDescSetAttribute");
  };
  if (product.b.transposed) set(kTransposeA, int32_t{kOperationTranspose});
  if (product.a.transposed) set(kTransposeB, int32_t{kOperationTranspose});
  set(kEpilogue, epilogue_of(product));
  set_pointers(product, operation);  // their alignment may matter to the choice
  if (product.before) set(kAuxiliaryLeading, product.n);
  return owned;
}

// The largest power of two that divides an address, up to 256.
uint32_t alignment(const void* pointer) {
  const auto address = reinterpret_cast<uintptr_t>(pointer) | 256;
  return uint32_t{1} << std::countr_zero(address);
}

// As much as PyTorch gives by default to GPUs before Hopper; kernels that split k want it.
constexpr uint64_t kWorkspaceBytes = uint64_t{32} << 20;

// Asks for the best kernel; leaves `supported` false if there is none.
void choose(const MatrixProduct& product, Handle handle, Plan& plan) {
  const Cublas& functions = cublas();
  Descriptor preference = nullptr;
  check_cublas(functions.preference_create(&preference), "cublasLtMatmulPreferenceCreate");
  OwnedDescriptor owned(preference, {functions.preference_destroy});
  auto set = [&](int attribute, const auto& value) {
    check_cublas(functions.preference_set(preference, attribute, &value, sizeof(value)),
                 "cublasLtMatmulPreferenceSetAttribute");
  };
  set(kWorkspaceLimit, kWorkspaceBytes);
  const void* const pointers[] = {product.b.data, product.a.data, product.c.data, product.out};
  for (int i = 0; i < 4; ++i) set(kAlignments[i], alignment(pointers[i]));
  HeuristicResult result{};
  int found = 0;
  const int status = functions.heuristic(handle, plan.operation.get(), plan.layouts[0].get(),
                                         plan.layouts[1].get(), plan.layouts[2].get(),
                                         plan.layouts[3].get(), preference, 1, &result, &found);
  if (status == kNotSupported || (status == 0 && (found == 0 || result.state != 0))) return;
  check_cublas(status, "cublasLtMatmulAlgoGetHeuristic");
  plan.algorithm = result.algorithm;
  plan.workspace_bytes = result.workspace_bytes;
  plan.supported = true;
}

Plan make_plan(const MatrixProduct& product, Handle handle, bool tf32) {
  Plan plan;
  plan.operation = make_operation(product, tf32);
  const Columns matrices[] = {
      columns_of(product.b, product.k, product.n), columns_of(product.a, product.m, product.k),
      columns_of(product.c, product.m, product.n),
      columns_of({product.out, false, product.n, product.out_batch_stride}, product.m, product.n)};
  for (int i = 0; i < 4; ++i) plan.layouts[i] = make_layout(product, matrices[i]);
  choose(product, handle, plan);
  return plan;
}

using PlanKey = std::array<int64_t, 16>;

PlanKey key_of(const MatrixProduct& product, bool tf32) {
  const MatrixOperand &a = product.a, &b = product.b, &c = product.c;
  int64_t alignments = 0;
  for (const void* pointer : {a.data, b.data, c.data, static_cast<const void*>(product.out),
                              vector_of(product), static_cast<const void*>(product.before)}) {
    alignments = alignments << 10 | alignment(pointer);
  }
  const int64_t flags = (tf32 ? 1 : 0) | (a.transposed ? 2 : 0) | (b.transposed ? 4 : 0) |
                        (product.beta.to_double() == 0 ? 8 : 0);
  return {static_cast<int64_t>(product.dtype),
          product.device,
          product.m,
          product.n,
          product.k,
          product.batch,
          a.leading,
          b.leading,
          c.leading,
          a.batch_stride,
          b.batch_stride,
          c.batch_stride,
          product.out_batch_stride,
          alignments,
          flags,
          epilogue_of(product)};
}

struct Plans {
  // A plan's descriptor holds the bias of the call that uses it, so one call at a time.
  std::mutex mutex;
  std::map<int, Handle> handles;  // by device
  RecentTable<PlanKey, Plan, WordsHash> table{kMatrixPlans};
};
Plans& plans() {
  static auto* const all = new Plans;  // outlives the library's own statics
  return *all;
}

Handle handle_of(Plans& all, int device) {
  Handle& handle = all.handles[device];
  if (!handle) check_cublas(cublas().create(&handle), "cublasLtCreate");
  return handle;
}

// alpha and beta in the type that cuBLASLt scales with.
struct Scales {
  double wide[2];
  float narrow[2];
  bool is_wide;
  Scales(const MatrixProduct& product)
      : wide{product.alpha.to_double(), product.beta.to_double()},
        narrow{static_cast<float>(wide[0]), static_cast<float>(wide[1])},
        is_wide(product.dtype == DType::Float64) {}
  const void* at(int i) const {
    return is_wide ? static_cast<const void*>(&wide[i]) : static_cast<const void*>(&narrow[i]);
  }
};

// What cuBLASLt asks for, in its documents or without a word: vectors that begin at a multiple of
// 16 bytes, rows of a multiple of 8 elements where a Gelu is taken, and for gradients more than one
// element to add up (for sums, before version 12.3.4).
bool has_form(const MatrixProduct& product) {
  constexpr uint32_t kVectorAlignment = 16;
  const bool aligned = alignment(vector_of(product)) >= kVectorAlignment &&
                       alignment(product.before) >= kVectorAlignment;
  const bool gradient =
      product.a_sums || product.b_sums || product.activation == Activation::GeluGradient;
  return aligned && (!product.before || product.n % 8 == 0) && product.k > (gradient ? 1 : 0);
}

// One call of a plan, whose status is returned.
int run_plan(const MatrixProduct& product, Handle handle, Plan& plan) {
  set_pointers(product, plan.operation.get());
  const Scratch workspace(plan.workspace_bytes, product.device);
  const Scales scales(product);
  const int status = cublas().multiply(
      handle, plan.operation.get(), scales.at(0), product.b.data, plan.layouts[0].get(),
      product.a.data, plan.layouts[1].get(), scales.at(1), product.c.data, plan.layouts[2].get(),
      product.out, plan.layouts[3].get(), &plan.algorithm, workspace.data(), plan.workspace_bytes,
      current_stream(product.device));
  if (status == kNotSupported) plan.supported = false;
  return status;
}

// Note [Not-a-number in activations]: max(x, 0) as cuBLASLt computes it may be 0 for not-a-number
// (users report so), which would hide that a computation has gone wrong. So the first time that a
// plan with an activation is used, it computes not-a-number everywhere (alpha is one), and unless
// that is what arrives, it is not used again. While a graph is captured, nobody can look at
// results: plans that were not tried before are left alone then.
bool keeps_nan(const MatrixProduct& product, Handle handle, Plan& plan) {
  if (plan.keeps_nan || product.activation == Activation::None) return true;
  if (capturing()) return false;
  MatrixProduct trial = product;
  trial.alpha = std::nan("");
  const int status = run_plan(trial, handle, plan);
  if (status == kNotSupported) return false;
  check_cublas(status, "cublasLtMatmul");
  plan.keeps_nan = plan.supported = visit_dtype(product.dtype, [&]<class T>() {
    T first;
    const StreamHandle stream = current_stream(product.device);
    check(driver().copy_to_host(&first, reinterpret_cast<DevicePointer>(product.out), sizeof(T),
                                stream),
          "cuMemcpyDtoHAsync");
    check(driver().stream_synchronize(stream), "cuStreamSynchronize");
    return std::isnan(convert<double>(first));
  });
  return plan.keeps_nan;
}

std::atomic<size_t> fused_count{0};

}  // namespace

bool cublaslt_multiply(const MatrixProduct& given) {
  if (!is_floating(given.dtype) || !math_settings.cublas || !cublas().problem.empty()) return false;
  if (given.batch > INT32_MAX || !has_form(given)) return false;
  MatrixProduct product = given;
  if (product.beta.to_double() == 0) {
    product.c = {product.out, false, product.n, product.out_batch_stride};
  }
  const bool tf32 = product.dtype == DType::Float32 && math_settings.matmul_tf32;
  const bool sums = product.a_sums || product.b_sums;
  if (tf32 && sums) return false;  // sums are no products, and not to be rounded as such
  use(product.device);
  Plans& all = plans();
  std::lock_guard lock(all.mutex);
  const Handle handle = handle_of(all, product.device);
  const PlanKey key = key_of(product, tf32);
  Plan* plan = all.table.find(key);
  if (!plan) plan = &all.table.add(key, make_plan(product, handle, tf32));
  if (!plan->supported || !keeps_nan(product, handle, *plan)) return false;
  const int status = run_plan(product, handle, *plan);
  if (status == kNotSupported) return false;
  check_cublas(status, "cublasLtMatmul");
  if (sums || product.activation != Activation::None) ++fused_count;
  return true;
}

size_t cublaslt_fused_count() { return fused_count; }

std::string cublaslt_problem() { return cublas().problem; }

size_t matrix_plan_count() {
  std::lock_guard lock(plans().mutex);
  return plans().table.size();
}

}  // namespace flambeau::cuda
