// Searching in sorted sequences, and counting.
#include <cmath>

#include "base/thread_pool.h"
#include "ops/creation.h"
#include "ops/cuda_runs.h"
#include "ops/pointwise.h"
#include "ops/reduction.h"
#include "ops/sort.h"
#include "ops/views.h"
#include "tensor/copy.h"

namespace flambeau {
namespace {

// --- searchsorted: flag is `right`, dtype that of the result

// The first place where `value` can be inserted; after its equals if `right`. A NaN goes last.
template <class A>
int64_t search(const A* sorted, const int64_t* order, int64_t count, A value, bool right) {
  int64_t begin = 0, end = count;
  while (begin < end) {
    int64_t middle = begin + (end - begin) / 2;
    A found = sorted[order ? order[middle] : middle];
    bool before = right ? !(found > value) : !(found >= value);
    if (before)
      begin = middle + 1;
    else
      end = middle;
  }
  return begin;
}

void infer_search(Call& call) { call.expect(0, call.input(1).shape(), call.attributes.dtype); }

template <class A>
void search_all(const Tensor& sorted, const Tensor* order, const Tensor& values, Tensor& out,
                bool right) {
  int64_t length = sorted.dim() ? sorted.shape().back() : 1;
  int64_t per_line = sorted.dim() <= 1 ? values.numel() : values.shape().back();
  const A *from = sorted.data<A>(), *value = values.data<A>();
  const int64_t* places = order ? order->data<int64_t>() : nullptr;
  parallel_for(values.numel(), 1024, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      int64_t line = i / per_line * length;
      int64_t place =
          search(from + line, places ? places + line : nullptr, length, value[i], right);
      if (out.dtype() == DType::Int32)
        out.data<int32_t>()[i] = static_cast<int32_t>(place);
      else
        out.data<int64_t>()[i] = place;
    }
  });
}

// inputs: sequence, values, sorter (optional)
void run_search(Call& call) {
  Unrecorded scope;
  bool floating = is_floating(call.input(0).dtype()) || is_floating(call.input(1).dtype());
  DType dtype = floating ? DType::Float64 : DType::Int64;
  TensorRef sorted = contiguous(to_dtype(call.inputs[0], dtype));
  TensorRef values = contiguous(to_dtype(call.inputs[1], dtype));
  TensorRef order = call.has(2) ? contiguous(call.inputs[2]) : nullptr;
  if (values->numel() == 0) return;
  if (floating) {
    search_all<double>(*sorted, order.get(), *values, call.output(), call.attributes.flag);
  } else {
    search_all<int64_t>(*sorted, order.get(), *values, call.output(), call.attributes.flag);
  }
}

const Primitive kSearch{
    .name = "searchsorted", .infer = infer_search, .run = run_search, .run_cuda = run_search_cuda};

void check_sorter(const Tensor& sequence, const Tensor& sorter) {
  require(sorter.shape() == sequence.shape(),
          "searchsorted(): boundary and sorter must have the same size, but got boundary tensor ",
          sequence.shape(), " and got sorter tensor ", sorter.shape());
  require(sorter.dtype() == DType::Int64,
          "searchsorted(): sorter must be a tensor of long dtype but got torch.",
          dtype_name(sorter.dtype()));
  TensorRef dense = on_host(sorter);
  int64_t length = sequence.shape().back();
  for (int64_t i = 0; i < dense->numel(); ++i) {
    int64_t place = dense->data<int64_t>()[i];
    if (place < 0 || place >= length) {
      fail(ErrorKind::Index, "searchsorted(): sorter index out of range: ", place,
           " for a sequence of length ", length);
    }
  }
}

TensorRef search_in(const TensorRef& sequence, const TensorRef& values, bool out_int32, bool right,
                    const TensorRef& sorter) {
  Attributes attributes;
  attributes.flag = right;
  attributes.dtype = out_int32 ? DType::Int32 : DType::Int64;
  if (sorter) {
    check_sorter(*sequence, *sorter);
    return apply(kSearch, {sequence, values, sorter}, std::move(attributes));
  }
  return apply(kSearch, {sequence, values}, std::move(attributes));
}

TensorRef searchsorted_of(const TensorRef& sequence, const TensorRef& values, bool out_int32,
                          bool right, const std::optional<std::string>& side,
                          const std::optional<TensorRef>& sorter) {
  if (side) {
    require(*side == "left" || *side == "right", "searchsorted(): side can only be 'left' or ",
            "'right' but got ", *side);
    require(!(right && *side == "left"), "searchsorted(): side and right can't be set to ",
            "opposites, got side of left while right was True");
    right = *side == "right";
  }
  bool fits = sequence->dim() > 0;
  if (sequence->dim() > 1) {
    fits = values->dim() == sequence->dim();
    for (int64_t d = 0; fits && d < sequence->dim() - 1; ++d) {
      fits = values->size(d) == sequence->size(d);
    }
  }
  require(fits,
          "searchsorted(): boundaries tensor should be 1 dimension or the first N-1 dimensions",
          " of boundaries tensor and input value tensor must match, but we got boundaries tensor ",
          sequence->shape(), " and input value tensor ", values->shape());
  return search_in(sequence, values, out_int32, right, sorter ? *sorter : TensorRef());
}

TensorRef bucketize_of(const TensorRef& values, const TensorRef& boundaries, bool out_int32,
                       bool right) {
  require(boundaries->dim() == 1,
          "bucketize(): boundaries tensor must be 1 dimension, but got dim(", boundaries->dim(),
          ")");
  return search_in(boundaries, values, out_int32, right, nullptr);
}

TensorRef number(Scalar value, Device device) { return full({}, value, value.dtype(), device); }

}  // namespace

TensorRef places_after(const TensorRef& sorted, const TensorRef& values) {
  return search_in(sorted, values, false, true, nullptr);
}

// --- Python

#define SEARCH_DOC                                                                              \
  "Places where values would be inserted into a sorted sequence.\n\n"                           \
  "Args:\n    sorted_sequence: (*, n), ascending along the last dimension.\n    input (tensor " \
  "or number): the values, (*, m); any shape if the sequence is 1-D.\n    out_int32 (bool): "   \
  "int32 instead of int64 results.\n    right (bool): after equal elements instead of before "  \
  "them.\n    side (str, optional): \"left\" or \"right\", the same in words.\n    sorter "     \
  "(optional): positions that sort the sequence.\n\n"                                           \
  "Returns:\n    An integer tensor of the values' shape.\n\n"                                   \
  "Raises:\n    RuntimeError: the shapes do not fit."

static TensorRef searchsorted(const TensorRef& sorted_sequence, const TensorRef& input,
                              bool out_int32, bool right, const std::optional<std::string>& side,
                              const std::optional<TensorRef>& sorter) {
  return searchsorted_of(sorted_sequence, input, out_int32, right, side, sorter);
}
OPERATOR_FORMS(searchsorted, "searchsorted",
               "sorted_sequence, input, *, out_int32=False, right=False, side=None, sorter=None",
               kFunction | kOut, SEARCH_DOC);
static TensorRef searchsorted_number(const TensorRef& sorted_sequence, const Scalar& input,
                                     bool out_int32, bool right,
                                     const std::optional<std::string>& side,
                                     const std::optional<TensorRef>& sorter) {
  return searchsorted_of(sorted_sequence, number(input, sorted_sequence->device()), out_int32,
                         right, side, sorter);
}
OPERATOR_FORMS(searchsorted_number, "searchsorted",
               "sorted_sequence, input, *, out_int32=False, right=False, side=None, sorter=None",
               kFunction | kOut, SEARCH_DOC);

#define BUCKETIZE_DOC                                                                         \
  "The bucket that each value falls into.\n\nArgs:\n    input (tensor or number): the "       \
  "values.\n    boundaries: (n,), ascending.\n    out_int32 (bool): int32 instead of int64 "  \
  "results.\n    right (bool): whether a value that equals a boundary goes to the bucket on " \
  "its right.\n\nReturns:\n    An integer tensor of the values' shape, from 0 to n.\n\n"      \
  "Raises:\n    RuntimeError: boundaries is not a vector."
static TensorRef bucketize(const TensorRef& input, const TensorRef& boundaries, bool out_int32,
                           bool right) {
  return bucketize_of(input, boundaries, out_int32, right);
}
OPERATOR_FORMS(bucketize, "bucketize", "input, boundaries, *, out_int32=False, right=False",
               kFunction | kOut, BUCKETIZE_DOC);
static TensorRef bucketize_number(const Scalar& input, const TensorRef& boundaries, bool out_int32,
                                  bool right) {
  return bucketize_of(number(input, boundaries->device()), boundaries, out_int32, right);
}
OPERATOR_FORMS(bucketize_number, "bucketize", "input, boundaries, *, out_int32=False, right=False",
               kFunction | kOut, BUCKETIZE_DOC);

static TensorRef bincount(const TensorRef& input, const std::optional<TensorRef>& weights,
                          int64_t minlength) {
  Unrecorded scope;
  if (is_floating(input->dtype()) || input->dtype() == DType::Bool) {
    fail(ErrorKind::NotImplemented, "bincount: an integer tensor is needed, got torch.",
         dtype_name(input->dtype()), "; convert it with .long()");
  }
  require(minlength >= 0, "bincount: minlength should be >= 0, got ", minlength);
  TensorRef x = contiguous(to_dtype(input, DType::Int64));
  if (!x->device().is_cpu()) return bincount_cuda(x, weights.value_or(nullptr), minlength);
  const int64_t *data = x->data<int64_t>(), *end = data + x->numel();
  require(x->dim() == 1 && std::all_of(data, end, [](int64_t i) { return i >= 0; }),
          "bincount only supports 1-d non-negative integral inputs, got shape ", x->shape(),
          "; flatten it");
  int64_t length = minlength;
  for (const int64_t* i = data; i < end; ++i) length = std::max(length, *i + 1);
  if (!weights) {
    TensorRef counts = zeros({length}, DType::Int64);
    for (const int64_t* i = data; i < end; ++i) ++counts->data<int64_t>()[*i];
    return counts;
  }
  require((*weights)->shape() == x->shape(), "bincount: weights should be 1-d and have the same ",
          "length as input, got ", (*weights)->shape(), " and ", x->shape());
  DType dtype = (*weights)->dtype() == DType::Float32 ? DType::Float32 : DType::Float64;
  TensorRef dense = contiguous(to_dtype(*weights, dtype)), sums = zeros({length}, dtype);
  visit_dtype(dtype, [&]<class T>() {
    if constexpr (std::is_floating_point_v<T>) {
      for (int64_t i = 0; i < x->numel(); ++i) sums->data<T>()[data[i]] += dense->data<T>()[i];
    }
  });
  return sums;
}
OPERATOR_FORMS(
    bincount, "bincount", "input, weights=None, minlength=0", kFunction | kMethod,
    "How often each number occurs.\n\nArgs:\n    input: a vector of integers that are not "
    "negative.\n    weights (optional): what each occurrence counts, (n,).\n"
    "    minlength (int): the result is at least so long.\n\n"
    "Returns:\n    An int64 tensor (floating with weights); entry i is for number i.\n\n"
    "Raises:\n    RuntimeError: the input is negative somewhere, or not a vector.");

static TensorRef histc(const TensorRef& input, int64_t bins, const Scalar& min, const Scalar& max) {
  Unrecorded scope;
  if (!is_floating(input->dtype())) {
    fail(ErrorKind::NotImplemented, "histc: a tensor of a floating dtype is needed, got torch.",
         dtype_name(input->dtype()), "; convert it with .float()");
  }
  require(bins > 0, "histc(): bins must be > 0, got ", bins);
  TensorRef x = contiguous(to_dtype(input, DType::Float64));
  double low = min.to_double(), high = max.to_double();
  if (low == high && x->numel() > 0) {
    TensorRef least = on_host(*amin(x, {})), most = on_host(*amax(x, {}));
    low = *least->data<double>();
    high = *most->data<double>();
  }
  if (low == high) {
    low -= 1;
    high += 1;
  }
  require(std::isfinite(low) && std::isfinite(high), "histc: range of [", low, ", ", high,
          "] is not finite; pass min and max");
  require(low < high, "histc: max must be larger than min, got ", low, " and ", high);
  if (!x->device().is_cpu()) return histc_cuda(x, bins, low, high, input->dtype());
  const double *data = x->data<double>(), *end = data + x->numel();
  std::vector<double> counts(bins);
  for (const double* value = data; value < end; ++value) {
    if (!(*value >= low && *value <= high)) continue;
    int64_t bin = static_cast<int64_t>((*value - low) / (high - low) * static_cast<double>(bins));
    ++counts[std::min(bin, bins - 1)];
  }
  TensorRef result = Tensor::empty({bins}, input->dtype());
  visit_dtype(input->dtype(), [&]<class T>() {
    for (int64_t i = 0; i < bins; ++i) result->data<T>()[i] = convert<T>(counts[i]);
  });
  return result;
}
OPERATOR(histc, "input, bins=100, min=0, max=0",
         "Histogram with bins of equal width.\n\nArgs:\n    input: a tensor of a floating dtype.\n"
         "    bins (int): how many.\n    min, max (number): the range; that of the input if both "
         "are equal. Elements outside are not counted.\n\nReturns:\n    A vector of the input's "
         "dtype.\n\nRaises:\n    RuntimeError: the range is empty or not finite.");

}  // namespace flambeau
