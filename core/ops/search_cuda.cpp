// The GPU's side of search.cpp.
#include "ops/arithmetic.h"
#include "ops/creation.h"
#include "ops/cuda_layout.h"
#include "ops/cuda_runs.h"
#include "ops/gather.h"
#include "ops/reduction.h"
#include "ops/sort.h"
#include "ops/views.h"
#include "tensor/copy.h"

namespace flambeau {

using namespace cuda_ops;

void run_search_cuda(Call& call) {
  static const cuda::KernelFile file{"ops/search.cu"};
  Unrecorded scope;
  const bool floating = is_floating(call.input(0).dtype()) || is_floating(call.input(1).dtype());
  const DType dtype = floating ? DType::Float64 : DType::Int64;
  TensorRef sorted = contiguous(to_dtype(call.inputs[0], dtype));
  TensorRef values = contiguous(to_dtype(call.inputs[1], dtype));
  TensorRef order = call.has(2) ? contiguous(call.inputs[2]) : nullptr;
  const int64_t count = values->numel();
  if (count == 0) return;
  const int64_t length = sorted->dim() ? sorted->shape().back() : 1;
  const int64_t per_line = sorted->dim() <= 1 ? count : values->shape().back();
  const Tensor& out = call.output();
  const int device = out.device().index;
  const cuda::Function& kernel = file.get(
      "search", {{"A", cuda::type_name(dtype)}, {"OUT", cuda::type_name(out.dtype())}}, device);
  cuda::launch(kernel, grid_for(count, device), {kThreads}, 0, out.data(), sorted->data(),
               order ? order->data() : nullptr, values->data(), length, per_line,
               static_cast<int>(call.attributes.flag), count);
}

// The least and the greatest of some integers, read by the host at once.
static std::pair<int64_t, int64_t> range_of(const TensorRef& x) {
  TensorRef both = cat({reshape(amin(x, {}), {1}), reshape(amax(x, {}), {1})}, 0);
  TensorRef host = on_host(*both);
  return {host->data<int64_t>()[0], host->data<int64_t>()[1]};
}

// Sums of floats come in any order, as in PyTorch.
TensorRef bincount_cuda(const TensorRef& x, const TensorRef& weights, int64_t minlength) {
  auto [low, high] = x->numel() ? range_of(x) : std::pair<int64_t, int64_t>{0, -1};
  require(x->dim() == 1 && low >= 0,
          "bincount only supports 1-d non-negative integral inputs, got shape ", x->shape(),
          "; flatten it");
  Dims shape{std::max(minlength, high + 1)};
  if (!weights) {
    return scatter_add(zeros(shape, DType::Int64, x->device()), 0, x,
                       ones(x->shape(), DType::Int64, x->device()));
  }
  require(weights->shape() == x->shape(), "bincount: weights should be 1-d and have the same ",
          "length as input, got ", weights->shape(), " and ", x->shape());
  DType dtype = weights->dtype() == DType::Float32 ? DType::Float32 : DType::Float64;
  return scatter_add(zeros(shape, dtype, x->device()), 0, x, to_dtype(weights, dtype));
}

TensorRef histc_cuda(const TensorRef& x, int64_t bins, double low, double high, DType dtype) {
  TensorRef flat = reshape(x, {-1});
  TensorRef inside = logical_and(ge(flat, low), le(flat, high));
  TensorRef share = mul(div(sub(flat, low), high - low), static_cast<double>(bins));
  TensorRef bin = minimum(to_dtype(share, DType::Int64), bins - 1);
  // What lies outside goes to a bin that is dropped.
  bin = where(inside, bin, bins);
  TensorRef counts = scatter_add(zeros({bins + 1}, DType::Int64, x->device()), 0, bin,
                                 ones(bin->shape(), DType::Int64, x->device()));
  return contiguous(to_dtype(narrow(counts, 0, 0, bins), dtype));
}

TensorRef one_hot_cuda(const TensorRef& index, int64_t num_classes) {
  require(index->numel() > 0 || num_classes > 0,
          "one_hot: Can not infer total number of classes from empty tensor; pass num_classes");
  int64_t classes = num_classes;
  if (num_classes == -1) {  // otherwise nothing is read by the host, and kernels check
    auto [low, high] = range_of(index);
    require(low >= 0, "one_hot: Class values must be non-negative, got ", low);
    classes = high + 1;
  }
  require(classes > 0, "one_hot: num_classes should be positive, got ", num_classes);
  Dims shape = index->shape();
  shape.push_back(classes);
  return scatter(zeros(shape, DType::Int64, index->device()), -1, unsqueeze(index, -1), Scalar(1));
}

// Position p belongs to the first i whose running count exceeds p.
TensorRef repeated_positions_cuda(const TensorRef& counts, std::optional<int64_t> output_size) {
  const int64_t count = counts->numel();
  if (count == 0) return zeros({0}, DType::Int64, counts->device());
  TensorRef flat = reshape(counts, {-1}), ends = cumsum(flat, 0);
  int64_t total = output_size.value_or(0);
  if (!output_size) {
    TensorRef both =
        on_host(*cat({reshape(amin(flat, {}), {1}), narrow(ends, 0, count - 1, 1)}, 0));
    const int64_t least = both->data<int64_t>()[0];
    require(least >= 0, "repeat_interleave: repeats can not be negative, got ", least);
    total = both->data<int64_t>()[1];
  }
  TensorRef places = arange(0, total, 1, DType::Int64, counts->device());
  return places_after(ends, places);
}

// Neighbours in sorted order that differ begin a group; a NaN differs from everything.
Result unique_elements_cuda(const TensorRef& input, bool sorted, bool return_inverse,
                            bool return_counts) {
  TensorRef x = reshape(contiguous(input), {-1}), order;
  const int64_t count = x->numel();
  const Device device = x->device();
  TensorRef values = x;
  if (sorted) {
    TensorList both = sort(x, 0);
    values = both[0];
    order = both[1];
  }
  TensorRef begins = ones({count}, DType::Bool, device);
  if (count > 1) {
    TensorRef differs = ne(narrow(values, 0, 1, count - 1), narrow(values, 0, 0, count - 1));
    copy(*narrow(begins, 0, 1, count - 1), *differs);
  }
  TensorRef starts = reshape(nonzero(begins), {-1});
  const int64_t groups = starts->numel();
  TensorList results{index_select(values, 0, starts)};
  if (return_inverse) {
    TensorRef group = sub(cumsum(to_dtype(begins, DType::Int64), 0), 1);
    if (order) group = scatter(zeros({count}, DType::Int64, device), 0, order, group);
    results.push_back(reshape(group, input->shape()));
  }
  if (return_counts) {
    TensorRef ends =
        cat({narrow(starts, 0, std::min<int64_t>(1, groups), std::max<int64_t>(groups - 1, 0)),
             full({std::min<int64_t>(1, groups)}, count, DType::Int64, device)},
            0);
    results.push_back(sub(ends, starts));
  }
  if (results.size() == 1) return results[0];
  return results;
}

}  // namespace flambeau
