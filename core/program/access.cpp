#include "program/access.h"

#include "tensor/copy.h"

namespace flambeau {

static const TransferKernels& transfers() {
  static const TransferKernels& table = *FLAMBEAU_CHOOSE(transfer_kernels);
  return table;
}

static DType own_dtype(Precision precision) {
  return precision == Precision::Float32   ? DType::Float32
         : precision == Precision::Float64 ? DType::Float64
                                           : DType::Int64;
}

Access::Access(const Tensor& tensor, const Dims& shape, bool row, Precision precision)
    : base_(tensor.data<char>()), shape_(shape) {
  int p = static_cast<int>(precision), d = static_cast<int>(tensor.dtype());
  load_ = transfers().loads[p][d];
  store_ = transfers().stores[p][d];
  item_size_ = item_size(tensor.dtype());
  precision_size_ = item_size(own_dtype(precision));
  direct_ = tensor.dtype() == own_dtype(precision);
  if (!row && tensor.contiguous() && tensor.shape() == shape) {  // the usual case, quickly
    contiguous_ = true;
    bytes_ = tensor.numel() * item_size_;
    int64_t numel = tensor.numel();
    shape_ = {numel};
    strides_ = {1};
    return;
  }
  Dims full = shape;
  if (row && tensor.dim() > 0) full.push_back(1);
  strides_ = broadcast_strides(tensor, full);
  if (full.size() > shape.size()) strides_.pop_back();
  bytes_ = item_size_;
  for (int64_t i = 0; i < shape.size(); ++i) {
    bytes_ += std::max<int64_t>(0, shape[i] - 1) * strides_[i] * item_size_;
  }
  merge_dimensions(shape_, {&strides_, 1});
  if (shape_.empty()) {
    shape_.push_back(1);
    strides_.push_back(0);
  }
  contiguous_ = shape_.size() == 1 && (strides_[0] == 1 || shape_[0] == 1);
}

bool Access::overlaps(const Access& other) const {
  return base_ < other.base_ + other.bytes_ && other.base_ < base_ + bytes_;
}

template <class Run>
void Access::walk(int64_t begin, int64_t count, Run&& run) const {
  const int64_t last = shape_.size() - 1, inner = shape_[last], step = strides_[last];
  int64_t rest = begin / inner, column = begin - rest * inner, offset = column * step;
  SmallVector<int64_t, 6> index(last);
  for (int64_t d = last - 1; d >= 0; --d) {
    index[d] = rest % shape_[d];
    rest /= shape_[d];
    offset += index[d] * strides_[d];
  }
  for (int64_t done = 0; done < count;) {
    int64_t length = std::min(inner - column, count - done);
    run(base_ + offset * item_size_, step, done, length);
    done += length;
    offset -= column * step;
    column = 0;
    for (int64_t d = last - 1; d >= 0; --d) {
      offset += strides_[d];
      if (++index[d] < shape_[d]) break;
      offset -= index[d] * strides_[d];
      index[d] = 0;
    }
  }
}

const void* Access::read(int64_t begin, int64_t count, void* scratch) const {
  if (count == 0) return scratch;
  if (contiguous_) {
    const char* from = base_ + begin * item_size_;
    if (prefetch_) {
      const char* next = from + count * item_size_;
      for (int64_t i = 0; i < count * item_size_; i += 64) __builtin_prefetch(next + i);
    }
    if (direct_) return from;
    load_(scratch, from, 1, count);
    return scratch;
  }
  const int64_t last = shape_.size() - 1, inner = shape_[last];
  if (direct_ && strides_[last] == 1 && begin % inner + count <= inner) {
    const void* found = nullptr;
    walk(begin, count, [&](const char* from, int64_t, int64_t, int64_t) { found = from; });
    return found;
  }
  walk(begin, count, [&](const char* from, int64_t step, int64_t done, int64_t length) {
    load_(static_cast<char*>(scratch) + done * precision_size_, from, step, length);
  });
  return scratch;
}

void Access::store(int64_t begin, int64_t count, const void* values) const {
  if (contiguous_) {
    store_(base_ + begin * item_size_, 1, values, count);
    return;
  }
  walk(begin, count, [&](char* to, int64_t step, int64_t done, int64_t length) {
    store_(to, step, static_cast<const char*>(values) + done * precision_size_, length);
  });
}

}  // namespace flambeau
