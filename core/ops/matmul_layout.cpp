#include "ops/matmul_layout.h"

namespace flambeau {

bool find_layout(const Tensor& x, MatrixLayout& layout) {
  int64_t d = x.dim() - 2, rows = x.size(d), columns = x.size(d + 1);
  int64_t down = x.stride(d), across = x.stride(d + 1);
  if ((across == 1 || columns <= 1) && (down >= columns || rows <= 1)) {
    layout = {false, std::max<int64_t>(rows <= 1 ? columns : down, 1)};
    return true;
  }
  if ((down == 1 || rows <= 1) && (across >= rows || columns <= 1)) {
    layout = {true, std::max<int64_t>(columns <= 1 ? rows : across, 1)};
    return true;
  }
  return false;
}

Dims Matrices::batch_strides(const Dims& shape) const {
  Dims result;
  int64_t lead = shape.size() - tensor->dim();
  for (int64_t d = 0; d < shape.size() - 2; ++d) {
    bool repeats = d < lead || tensor->size(d - lead) == 1;
    result.push_back(repeats ? 0 : tensor->stride(d - lead));
  }
  return result;
}

std::vector<int64_t> Matrices::offsets(const Dims& shape) const {
  Dims strides = batch_strides(shape);
  std::vector<int64_t> result{0};
  for (int64_t d = 0; d < strides.size(); ++d) {
    std::vector<int64_t> outer = std::move(result);
    result.clear();
    for (int64_t offset : outer) {
      for (int64_t i = 0; i < shape[d]; ++i) result.push_back(offset + i * strides[d]);
    }
  }
  return result;
}

TensorRef with_positive_step(const TensorRef& x) {
  return x->numel() > 1 && x->stride(0) < 1 ? dense_copy(*x, x->dtype()) : x;
}

void require_products(const char* op, DType dtype) {
  if (dtype == DType::Bool) {
    fail(ErrorKind::NotImplemented, op, ": not implemented for 'Bool'; convert with .float()");
  }
}

}  // namespace flambeau
