#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string_view>
#include <vector>

#include "cublaslt_descriptors.h"
#include "cuda_types.h"

// cublasLt's matrix product, computed on the host as work of the emulated stream. Only what
// column-major real matrices need; all else is CUBLAS_STATUS_NOT_SUPPORTED.

EMULATED_API CUresult cuCtxGetCurrent(CUcontext*);
EMULATED_API CUresult emulated_cuda_enqueue(CUstream, int (*run)(void*), void* data,
                                            void (*release)(void*));
EMULATED_API int emulated_cuda_check_range(const char* what, const void* pointer, size_t bytes);

namespace {

using emulated::load_element;
using emulated::rounded_to_tf32;
using emulated::store_element;

// Everything that a product needs when it is executed.
struct Product {
  MatmulDesc desc;
  Layout a, b, c, d;
  double alpha = 1, beta = 0;
  const void *pa = nullptr, *pb = nullptr, *pc = nullptr;
  void *pd = nullptr, *workspace = nullptr;
  size_t workspace_bytes = 0;

  uint64_t m() const { return d.rows; }
  uint64_t n() const { return d.columns; }
  uint64_t k() const { return desc.transpose_a != kNoTranspose ? a.rows : a.columns; }
  unsigned bias_type() const {
    return desc.bias_type < 0 ? d.type : static_cast<unsigned>(desc.bias_type);
  }
  bool sums() const { return (desc.epilogue & (kSumsOfA | kSumsOfB)) != 0; }
  bool uses_bias() const { return sums() || (desc.epilogue & kBias) != 0; }
  bool uses_auxiliary() const { return (desc.epilogue & kAuxiliary) != 0; }
  // The bias, or the sums, as one column.
  Layout bias_layout() const {
    const uint64_t length = desc.epilogue & kSumsOfB ? n() : m();
    return {bias_type(),           0, length, 1, static_cast<int64_t>(length), d.batch_count,
            desc.bias_batch_stride};
  }
  Layout auxiliary_layout() const {
    return {
        d.type, 0, m(), n(), desc.auxiliary_leading, d.batch_count, desc.auxiliary_batch_stride};
  }
};

// What EMULATED_CUBLASLT_FUSION says: "0" refuses all but biases, "nan" loses not-a-number in
// max(x, 0), as users report of the real library.
std::string_view fusion() {
  const char* value = std::getenv("EMULATED_CUBLASLT_FUSION");
  return value ? value : "";
}

cublasStatus_t check_types(const MatmulDesc& desc, const Product& product) {
  unsigned a = product.a.type, c = product.c.type;
  if (a != product.b.type || c != product.d.type) return CUBLAS_STATUS_NOT_SUPPORTED;
  bool good = false;
  switch (desc.compute_type) {
    case k64F:
    case k64FPedantic:
      good = desc.scale_type == kDouble && a == kDouble && c == kDouble;
      break;
    case k32F:
    case k32FPedantic:
      good =
          desc.scale_type == kFloat && ((a == kFloat && c == kFloat) ||
                                        ((a == kHalf || a == kBfloat) && (c == a || c == kFloat)));
      break;
    case k32FFast16F:
    case k32FFast16BF:
    case k32FFastTF32:
      good = desc.scale_type == kFloat && a == kFloat && c == kFloat;
      break;
  }
  return good ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_NOT_SUPPORTED;
}

cublasStatus_t check_auxiliary(const Product& product) {
  const MatmulDesc& desc = product.desc;
  constexpr int kMultiple = 8;
  const bool strided = product.d.batch_count == 1 || desc.auxiliary_batch_stride % kMultiple == 0;
  const bool good = desc.auxiliary != nullptr && desc.auxiliary_leading % kMultiple == 0 &&
                    desc.auxiliary_leading >= static_cast<int64_t>(product.m()) && strided;
  if (!good) return CUBLAS_STATUS_INVALID_VALUE;
  const bool same =
      desc.auxiliary_type < 0 || static_cast<unsigned>(desc.auxiliary_type) == product.d.type;
  return same ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_NOT_SUPPORTED;
}

cublasStatus_t check_epilogue(const Product& product) {
  constexpr unsigned kKnown[] = {kDefault,
                                 kBias,
                                 kRelu,
                                 kRelu | kBias,
                                 kGelu,
                                 kGelu | kBias,
                                 kGelu | kAuxiliary,
                                 kGelu | kAuxiliary | kBias,
                                 kGeluGradient | kAuxiliary,
                                 kSumsOfA,
                                 kSumsOfB};
  const unsigned epilogue = product.desc.epilogue;
  if (std::find(std::begin(kKnown), std::end(kKnown), epilogue) == std::end(kKnown)) {
    return CUBLAS_STATUS_NOT_SUPPORTED;
  }
  const bool more = epilogue != kDefault && epilogue != kBias;
  if (more && (fusion() == "0" || product.d.type == kDouble)) return CUBLAS_STATUS_NOT_SUPPORTED;
  // The gradients of an inner length of 1 are those that some version does not support.
  const bool gradient = product.sums() || (epilogue & kGeluGradient) != 0;
  if (gradient && product.k() == 1) return CUBLAS_STATUS_INVALID_VALUE;
  if (product.uses_bias() && product.bias_type() != product.d.type) {
    return CUBLAS_STATUS_NOT_SUPPORTED;
  }
  return product.uses_auxiliary() ? check_auxiliary(product) : CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t check_shapes(const Product& product) {
  const MatmulDesc& desc = product.desc;
  bool ta = desc.transpose_a != kNoTranspose, tb = desc.transpose_b != kNoTranspose;
  uint64_t inner_b = tb ? product.b.columns : product.b.rows;
  bool good = product.m() > 0 && product.n() > 0 && product.k() > 0 &&
              (ta ? product.a.columns : product.a.rows) == product.m() &&
              (tb ? product.b.rows : product.b.columns) == product.n() && inner_b == product.k() &&
              product.c.rows == product.m() && product.c.columns == product.n();
  for (const Layout* layout : {&product.a, &product.b, &product.c, &product.d}) {
    if (layout->order != 0) return CUBLAS_STATUS_NOT_SUPPORTED;
    good = good && layout->leading >= static_cast<int64_t>(layout->rows) &&
           layout->batch_count >= 1 && layout->batch_count == product.d.batch_count;
  }
  for (int transpose : {desc.transpose_a, desc.transpose_b}) {
    good = good && transpose >= kNoTranspose && transpose <= kConjugate;
  }
  return good ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_INVALID_VALUE;
}

cublasStatus_t check(const Product& product) {
  constexpr int kFull = 2;
  if (cublasStatus_t status = check_shapes(product)) return status;
  if (cublasStatus_t status = check_types(product.desc, product)) return status;
  if (product.desc.pointer_mode != 0 || product.desc.transpose_c != kNoTranspose ||
      product.desc.fill_mode != kFull) {
    return CUBLAS_STATUS_NOT_SUPPORTED;
  }
  return check_epilogue(product);
}

// From the first element to the last of all batches; strides may be negative or zero.
bool check_matrix(const char* what, const void* pointer, const Layout& layout) {
  int64_t matrix = (static_cast<int64_t>(layout.columns) - 1) * layout.leading +
                   static_cast<int64_t>(layout.rows);
  int64_t last = (layout.batch_count - 1) * layout.batch_stride;
  int64_t begin = std::min<int64_t>(0, last), end = std::max<int64_t>(0, last) + matrix;
  auto bytes = static_cast<int64_t>(element_bytes(layout.type));
  return emulated_cuda_check_range(what, static_cast<const char*>(pointer) + begin * bytes,
                                   static_cast<size_t>((end - begin) * bytes)) != 0;
}

bool check_memory(const Product& product) {
  bool good = check_matrix("cublasLtMatmul: A", product.pa, product.a) &&
              check_matrix("cublasLtMatmul: B", product.pb, product.b) &&
              check_matrix("cublasLtMatmul: D", product.pd, product.d);
  if (product.beta != 0) {
    good = good && check_matrix("cublasLtMatmul: C", product.pc, product.c);
  }
  if (product.uses_bias()) {
    good = good && check_matrix("cublasLtMatmul: bias", product.desc.bias, product.bias_layout());
  }
  if (product.uses_auxiliary()) {
    good = good && check_matrix("cublasLtMatmul: auxiliary", product.desc.auxiliary,
                                product.auxiliary_layout());
  }
  return good && emulated_cuda_check_range("cublasLtMatmul: workspace", product.workspace,
                                           product.workspace_bytes) != 0;
}

// What the tensor cores see of a float in the fast modes.
float rounded(int compute_type, float value) {
  switch (compute_type) {
    case k32FFast16F:
      return emulated_half_to_float(emulated_float_to_half(value));
    case k32FFast16BF:
      return emulated_bfloat_to_float(emulated_float_to_bfloat(value));
    case k32FFastTF32:
      return rounded_to_tf32(value);
  }
  return value;
}

// op(matrix) of one batch by columns, in the type that is computed in.
template <typename T>
std::vector<T> unpack(const Product& product, const void* base, const Layout& layout, int batch,
                      bool transpose) {
  uint64_t rows = transpose ? layout.columns : layout.rows;
  uint64_t columns = transpose ? layout.rows : layout.columns;
  int64_t row_step = transpose ? layout.leading : 1;
  int64_t column_step = transpose ? 1 : layout.leading;
  std::vector<T> values(rows * columns);
  for (uint64_t j = 0; j < columns; ++j) {
    for (uint64_t i = 0; i < rows; ++i) {
      int64_t index = batch * layout.batch_stride + static_cast<int64_t>(i) * row_step +
                      static_cast<int64_t>(j) * column_step;
      auto value = static_cast<T>(load_element(layout.type, base, index));
      if constexpr (std::is_same_v<T, float>) value = rounded(product.desc.compute_type, value);
      values[i + j * rows] = value;
    }
  }
  return values;
}

template <typename T>
T activation(unsigned epilogue, T x, T at) {
  constexpr T kFactor = T(0.79788456080286535588), kCubic = T(0.044715);
  if (epilogue & kRelu) return x > 0 || (x != x && fusion() != "nan") ? x : T(0);
  if (epilogue & kGelu) {  // by tanh, as the library's
    return T(0.5) * x * (T(1) + std::tanh(kFactor * (x + kCubic * x * x * x)));
  }
  if (epilogue & kGeluGradient) {
    const T along = std::tanh(kFactor * (at + kCubic * at * at * at));
    const T slope = kFactor * (T(1) + T(3) * kCubic * at * at);
    return x * (T(0.5) * (T(1) + along) + T(0.5) * at * (T(1) - along * along) * slope);
  }
  return x;
}

// The sums of a factor over the inner dimension, whose elements are `inner_step` apart.
template <typename T>
void add_up(const Product& product, const std::vector<T>& factor, uint64_t length, uint64_t step,
            uint64_t inner_step, int batch) {
  for (uint64_t i = 0; i < length; ++i) {
    T sum = 0;
    for (uint64_t p = 0; p < product.k(); ++p) sum += factor[i * step + p * inner_step];
    const int64_t index = batch * product.desc.bias_batch_stride + static_cast<int64_t>(i);
    store_element(product.bias_type(), const_cast<void*>(product.desc.bias), index, sum);
  }
}

template <typename T>
void multiply(const Product& product, int batch) {
  uint64_t m = product.m(), n = product.n(), k = product.k();
  std::vector<T> a =
      unpack<T>(product, product.pa, product.a, batch, product.desc.transpose_a != kNoTranspose);
  std::vector<T> b =
      unpack<T>(product, product.pb, product.b, batch, product.desc.transpose_b != kNoTranspose);
  if (product.desc.epilogue & kSumsOfA) add_up(product, a, m, 1, m, batch);
  if (product.desc.epilogue & kSumsOfB) add_up(product, b, n, k, 1, batch);
  auto alpha = static_cast<T>(product.alpha), beta = static_cast<T>(product.beta);
  std::vector<T> column(m);
  for (uint64_t j = 0; j < n; ++j) {
    std::fill(column.begin(), column.end(), T(0));
    for (uint64_t p = 0; p < k; ++p) {
      T factor = b[p + j * k];
      const T* from = &a[p * m];
      for (uint64_t i = 0; i < m; ++i) column[i] += factor * from[i];
    }
    for (uint64_t i = 0; i < m; ++i) {
      auto row = static_cast<int64_t>(i), column_of = static_cast<int64_t>(j);
      T value = alpha * column[i];
      if (product.beta != 0) {
        int64_t index = batch * product.c.batch_stride + row + column_of * product.c.leading;
        value += beta * static_cast<T>(load_element(product.c.type, product.pc, index));
      }
      if (product.desc.epilogue & kBias) {
        int64_t index = batch * product.desc.bias_batch_stride + row;
        value += static_cast<T>(load_element(product.bias_type(), product.desc.bias, index));
      }
      T at = 0;
      if (product.uses_auxiliary()) {
        int64_t index = batch * product.desc.auxiliary_batch_stride + row +
                        column_of * product.desc.auxiliary_leading;
        if (product.desc.epilogue & kGeluGradient) {
          at = static_cast<T>(load_element(product.d.type, product.desc.auxiliary, index));
        } else {
          store_element(product.d.type, product.desc.auxiliary, index, value);
        }
      }
      int64_t index = batch * product.d.batch_stride + row + column_of * product.d.leading;
      store_element(product.d.type, product.pd, index,
                    activation(product.desc.epilogue, value, at));
    }
  }
}

// The largest power of two that divides an address, up to 256.
unsigned alignment_of(const void* pointer) {
  return 1u << std::countr_zero(reinterpret_cast<uintptr_t>(pointer) | 256);
}

int run_product(void* data) {
  const Product& product = *static_cast<Product*>(data);
  // Its kernels read and write vectors by packs, whatever was asked for.
  constexpr unsigned kPack = 16;
  if ((product.uses_bias() && alignment_of(product.desc.bias) < kPack) ||
      (product.uses_auxiliary() && alignment_of(product.desc.auxiliary) < kPack)) {
    return emulated::CUDA_ERROR_MISALIGNED_ADDRESS;
  }
  if (!check_memory(product)) return emulated::CUDA_ERROR_ILLEGAL_ADDRESS;
  // Whoever keeps values in the workspace is found out.
  if (product.workspace_bytes != 0) {
    std::memset(product.workspace, 0xFF, product.workspace_bytes);
  }
  for (int batch = 0; batch < product.d.batch_count; ++batch) {
    if (product.desc.scale_type == kDouble) {
      multiply<double>(product, batch);
    } else {
      multiply<float>(product, batch);
    }
  }
  return emulated::CUDA_SUCCESS;
}

uint64_t preferred_workspace(uint64_t most) {
  constexpr uint64_t kWanted = 64 << 10;
  return std::min(most, kWanted);
}

bool aligned(const void* pointer, uint64_t bytes) {
  return bytes == 0 || reinterpret_cast<uintptr_t>(pointer) % bytes == 0;
}

int initialized_byte;  // its address is every handle

}  // namespace

#define CUBLAS_API EMULATED_API cublasStatus_t

EMULATED_API size_t cublasLtGetVersion() { return 130000; }

EMULATED_API const char* cublasLtGetStatusName(cublasStatus_t status) {
  switch (status) {
#define EMULATED_CASE(name, value) \
  case value:                      \
    return #name;
    EMULATED_CUBLAS_STATUSES(EMULATED_CASE)
#undef EMULATED_CASE
  }
  return "unknown";
}

EMULATED_API const char* cublasLtGetStatusString(cublasStatus_t status) {
  return cublasLtGetStatusName(status);
}

CUBLAS_API cublasLtCreate(void** handle) {
  CUcontext context = nullptr;
  if (handle == nullptr) return CUBLAS_STATUS_INVALID_VALUE;
  if (cuCtxGetCurrent(&context) != 0 || context == nullptr) return CUBLAS_STATUS_NOT_INITIALIZED;
  *handle = &initialized_byte;
  return CUBLAS_STATUS_SUCCESS;
}

CUBLAS_API cublasLtDestroy(void* handle) {
  return handle == &initialized_byte ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_NOT_INITIALIZED;
}

CUBLAS_API cublasLtMatmulDescCreate(MatmulDesc** desc, int compute_type, int scale_type) {
  if (desc == nullptr) return CUBLAS_STATUS_INVALID_VALUE;
  *desc = new MatmulDesc;
  (*desc)->compute_type = compute_type;
  (*desc)->scale_type = scale_type;
  return CUBLAS_STATUS_SUCCESS;
}

CUBLAS_API cublasLtMatmulDescDestroy(MatmulDesc* desc) {
  delete desc;
  return CUBLAS_STATUS_SUCCESS;
}

CUBLAS_API cublasLtMatmulDescSetAttribute(MatmulDesc* desc, int attribute, const void* from,
                                          size_t bytes) {
  return set_attribute(desc, attribute, from, bytes);
}

CUBLAS_API cublasLtMatmulDescGetAttribute(MatmulDesc* desc, int attribute, void* to, size_t bytes,
                                          size_t* written) {
  return get_attribute(desc, attribute, to, bytes, written);
}

CUBLAS_API cublasLtMatrixLayoutCreate(Layout** layout, unsigned type, uint64_t rows,
                                      uint64_t columns, int64_t leading) {
  if (layout == nullptr) return CUBLAS_STATUS_INVALID_VALUE;
  *layout = new Layout{type, 0, rows, columns, leading};
  return CUBLAS_STATUS_SUCCESS;
}

CUBLAS_API cublasLtMatrixLayoutDestroy(Layout* layout) {
  delete layout;
  return CUBLAS_STATUS_SUCCESS;
}

CUBLAS_API cublasLtMatrixLayoutSetAttribute(Layout* layout, int attribute, const void* from,
                                            size_t bytes) {
  return set_attribute(layout, attribute, from, bytes);
}

CUBLAS_API cublasLtMatrixLayoutGetAttribute(Layout* layout, int attribute, void* to, size_t bytes,
                                            size_t* written) {
  return get_attribute(layout, attribute, to, bytes, written);
}

CUBLAS_API cublasLtMatmulPreferenceCreate(Preference** preference) {
  if (preference == nullptr) return CUBLAS_STATUS_INVALID_VALUE;
  *preference = new Preference;
  return CUBLAS_STATUS_SUCCESS;
}

CUBLAS_API cublasLtMatmulPreferenceDestroy(Preference* preference) {
  delete preference;
  return CUBLAS_STATUS_SUCCESS;
}

CUBLAS_API cublasLtMatmulPreferenceSetAttribute(Preference* preference, int attribute,
                                                const void* from, size_t bytes) {
  return set_attribute(preference, attribute, from, bytes);
}

CUBLAS_API cublasLtMatmulAlgoGetHeuristic(void* handle, MatmulDesc* desc, Layout* a, Layout* b,
                                          Layout* c, Layout* d, Preference* preference,
                                          int requested, HeuristicResult* results, int* returned) {
  if (handle != &initialized_byte) return CUBLAS_STATUS_NOT_INITIALIZED;
  if (!desc || !a || !b || !c || !d || !preference || requested < 1 || !results || !returned) {
    return CUBLAS_STATUS_INVALID_VALUE;
  }
  *returned = 0;
  Product product{*desc, *a, *b, *c, *d};
  if (cublasStatus_t status = check(product)) return status;
  HeuristicResult result{};
  result.workspace = preferred_workspace(preference->workspace);
  result.waves = 1;
  result.algorithm.workspace = result.workspace;
  std::copy_n(preference->alignment, 4, result.algorithm.alignment);
  result.algorithm.bias_alignment = alignment_of(desc->bias);
  result.algorithm.auxiliary_alignment = alignment_of(desc->auxiliary);
  results[0] = result;
  *returned = 1;
  return CUBLAS_STATUS_SUCCESS;
}

CUBLAS_API cublasLtMatmul(void* handle, MatmulDesc* desc, const void* alpha, const void* a,
                          Layout* a_layout, const void* b, Layout* b_layout, const void* beta,
                          const void* c, Layout* c_layout, void* d, Layout* d_layout,
                          const Algorithm* algorithm, void* workspace, size_t workspace_bytes,
                          CUstream stream) {
  if (handle != &initialized_byte) return CUBLAS_STATUS_NOT_INITIALIZED;
  if (!desc || !alpha || !a || !a_layout || !b || !b_layout || !beta || !c_layout || !d ||
      !d_layout) {
    return CUBLAS_STATUS_INVALID_VALUE;
  }
  auto product =
      std::make_unique<Product>(Product{*desc, *a_layout, *b_layout, *c_layout, *d_layout});
  if (cublasStatus_t status = check(*product)) return status;
  bool is_double = desc->scale_type == kDouble;
  auto scalar = [&](const void* value) -> double {
    return load_element(is_double ? kDouble : kFloat, value, 0);
  };
  product->alpha = scalar(alpha);
  product->beta = scalar(beta);
  bool bad_c =
      (product->beta != 0 && c == nullptr) || (c == d && c_layout->leading != d_layout->leading);
  bool bad_bias = product->uses_bias() && desc->bias == nullptr;
  bool bad_workspace = workspace_bytes != 0 && !aligned(workspace, 256);
  if (bad_c || bad_bias || bad_workspace) return CUBLAS_STATUS_INVALID_VALUE;
  product->pa = a, product->pb = b, product->pc = c, product->pd = d;
  if (algorithm != nullptr) {
    if (workspace_bytes < algorithm->workspace) return CUBLAS_STATUS_INVALID_VALUE;
    const void* pointers[] = {a, b, c, d};
    for (int index = 0; index < 4; ++index) {
      if (!aligned(pointers[index], algorithm->alignment[index])) {
        return CUBLAS_STATUS_INVALID_VALUE;
      }
    }
    if ((product->uses_bias() && !aligned(desc->bias, algorithm->bias_alignment)) ||
        (product->uses_auxiliary() && !aligned(desc->auxiliary, algorithm->auxiliary_alignment))) {
      return CUBLAS_STATUS_INVALID_VALUE;
    }
    product->workspace = workspace;
    product->workspace_bytes = algorithm->workspace;
  }
  if (!check_memory(*product)) return CUBLAS_STATUS_INVALID_VALUE;
  auto release = [](void* data) { delete static_cast<Product*>(data); };
  CUresult error = emulated_cuda_enqueue(stream, &run_product, product.release(), release);
  return error == emulated::CUDA_SUCCESS ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_EXECUTION_FAILED;
}
