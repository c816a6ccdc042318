// The descriptors of cublasLt and their attributes, by the numbers of cublasLt.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "elements.h"

using cublasStatus_t = int;

#define EMULATED_CUBLAS_STATUSES(STATUS)     \
  STATUS(CUBLAS_STATUS_SUCCESS, 0)           \
  STATUS(CUBLAS_STATUS_NOT_INITIALIZED, 1)   \
  STATUS(CUBLAS_STATUS_INVALID_VALUE, 7)     \
  STATUS(CUBLAS_STATUS_EXECUTION_FAILED, 13) \
  STATUS(CUBLAS_STATUS_NOT_SUPPORTED, 15)
#define EMULATED_STATUS(name, value) constexpr cublasStatus_t name = value;
EMULATED_CUBLAS_STATUSES(EMULATED_STATUS)
#undef EMULATED_STATUS

using emulated::kDouble;
using emulated::kFloat;
using emulated::kHalf;
constexpr int kBfloat = 14;  // cudaDataType_t
enum ComputeType : int {
  k32F = 68,
  k32FPedantic = 69,
  k64F = 70,
  k64FPedantic = 71,
  k32FFast16F = 74,
  k32FFast16BF = 75,
  k32FFastTF32 = 77,
};
enum Epilogue : unsigned {
  kDefault = 1,
  kRelu = 2,
  kBias = 4,
  kGelu = 32,
  kGeluGradient = 64,  // DGELU, with kAuxiliary: what it is taken at
  kAuxiliary = 128,    // with kGelu: stores what it is taken of
  kSumsOfA = 256,      // BGRADA: the rows of op(A), to where a bias would be
  kSumsOfB = 512,      // BGRADB: the columns of op(B)
};
constexpr int kNoTranspose = 0, kTranspose = 1, kConjugate = 2;

struct MatmulDesc {
  int compute_type = k32F, scale_type = kFloat, pointer_mode = 0;
  int transpose_a = 0, transpose_b = 0, transpose_c = 0, fill_mode = 2;
  unsigned epilogue = kDefault;
  const void* bias = nullptr;
  int64_t bias_batch_stride = 0;
  int bias_type = -1;  // as the result's
  void* auxiliary = nullptr;
  int64_t auxiliary_leading = 0, auxiliary_batch_stride = 0;
  int auxiliary_type = -1;
};

struct Layout {
  unsigned type = kFloat;
  int order = 0;  // by columns
  uint64_t rows = 0, columns = 0;
  int64_t leading = 0;
  int batch_count = 1;
  int64_t batch_stride = 0;
};

struct Preference {
  unsigned search_mode = 0, reduction_mask = 0xFFFFFFFF;
  uint64_t workspace = 0;
  unsigned alignment[4] = {256, 256, 256, 256};
};

struct Algorithm {  // cublasLtMatmulAlgo_t
  uint64_t workspace;
  unsigned alignment[4];
  unsigned bias_alignment, auxiliary_alignment;
  uint64_t rest[4];
};
static_assert(sizeof(Algorithm) == 64);

struct HeuristicResult {  // cublasLtMatmulHeuristicResult_t
  Algorithm algorithm;
  size_t workspace;
  cublasStatus_t state;
  float waves;
  int reserved[4];
};

// An attribute: where it is and how many bytes it has.
struct Field {
  void* place = nullptr;
  size_t bytes = 0;
};
template <typename T>
Field field(T* member) {
  return {const_cast<std::remove_const_t<T>*>(member), sizeof(T)};
}

inline Field find_field(MatmulDesc* desc, int attribute) {
  switch (attribute) {  // CUBLASLT_MATMUL_DESC_*
    case 0:
      return field(&desc->compute_type);
    case 1:
      return field(&desc->scale_type);
    case 2:
      return field(&desc->pointer_mode);
    case 3:
      return field(&desc->transpose_a);
    case 4:
      return field(&desc->transpose_b);
    case 5:
      return field(&desc->transpose_c);
    case 6:
      return field(&desc->fill_mode);
    case 7:
      return field(&desc->epilogue);
    case 8:
      return field(&desc->bias);
    case 10:
      return field(&desc->bias_batch_stride);
    case 11:
      return field(&desc->auxiliary);
    case 12:
      return field(&desc->auxiliary_leading);
    case 13:
      return field(&desc->auxiliary_batch_stride);
    case 22:
      return field(&desc->auxiliary_type);
    case 26:
      return field(&desc->bias_type);
  }
  return {};
}

inline Field find_field(Layout* layout, int attribute) {
  switch (attribute) {  // CUBLASLT_MATRIX_LAYOUT_*
    case 0:
      return field(&layout->type);
    case 1:
      return field(&layout->order);
    case 2:
      return field(&layout->rows);
    case 3:
      return field(&layout->columns);
    case 4:
      return field(&layout->leading);
    case 5:
      return field(&layout->batch_count);
    case 6:
      return field(&layout->batch_stride);
  }
  return {};
}

inline Field find_field(Preference* preference, int attribute) {
  switch (attribute) {  // CUBLASLT_MATMUL_PREF_*
    case 0:
      return field(&preference->search_mode);
    case 1:
      return field(&preference->workspace);
    case 3:
      return field(&preference->reduction_mask);
    case 5:
      return field(&preference->alignment[0]);
    case 6:
      return field(&preference->alignment[1]);
    case 7:
      return field(&preference->alignment[2]);
    case 8:
      return field(&preference->alignment[3]);
  }
  return {};
}

template <typename T>
cublasStatus_t set_attribute(T* object, int attribute, const void* from, size_t bytes) {
  if (object == nullptr || from == nullptr) return CUBLAS_STATUS_INVALID_VALUE;
  Field found = find_field(object, attribute);
  if (found.place == nullptr || bytes != found.bytes) return CUBLAS_STATUS_INVALID_VALUE;
  std::memcpy(found.place, from, bytes);
  return CUBLAS_STATUS_SUCCESS;
}

template <typename T>
cublasStatus_t get_attribute(T* object, int attribute, void* to, size_t bytes, size_t* written) {
  if (object == nullptr) return CUBLAS_STATUS_INVALID_VALUE;
  Field found = find_field(object, attribute);
  if (found.place == nullptr) return CUBLAS_STATUS_INVALID_VALUE;
  if (written != nullptr) *written = found.bytes;
  if (bytes == 0 && written != nullptr) return CUBLAS_STATUS_SUCCESS;
  if (to == nullptr || bytes != found.bytes) return CUBLAS_STATUS_INVALID_VALUE;
  std::memcpy(to, found.place, bytes);
  return CUBLAS_STATUS_SUCCESS;
}

inline size_t element_bytes(unsigned type) { return type == kDouble ? 8 : type == kFloat ? 4 : 2; }
