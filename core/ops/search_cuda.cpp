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

namespace {

// What the unique functions return beside the values. Elements (or slices) come in `order`, those
// that `begins` names begin a group at `starts`; `shape` is that of the inverse.
Result with_groups(TensorRef values, const TensorRef& begins, const TensorRef& starts,
                   const TensorRef& order, const Dims& shape, bool inverse, bool counts) {
  const Device device = begins->device();
  const int64_t count = begins->numel(), groups = starts->numel();
  TensorList results{std::move(values)};
  if (inverse) {
    TensorRef group = sub(cumsum(to_dtype(begins, DType::Int64), 0), 1);
    if (order) group = scatter(zeros({count}, DType::Int64, device), 0, order, group);
    results.push_back(reshape(group, shape));
  }
  if (counts) {
    TensorRef ends =
        cat({narrow(starts, 0, std::min<int64_t>(1, groups), std::max<int64_t>(groups - 1, 0)),
             full({std::min<int64_t>(1, groups)}, count, DType::Int64, device)},
            0);
    results.push_back(sub(ends, starts));
  }
  if (results.size() == 1) return results[0];
  return results;
}

// Neighbours that differ begin a group; a NaN differs from everything.
TensorRef group_begins(const TensorRef& values) {
  const int64_t count = values->size(0);
  TensorRef begins = ones({count}, DType::Bool, values->device());
  if (count < 2) return begins;
  TensorRef differs = ne(narrow(values, 0, 1, count - 1), narrow(values, 0, 0, count - 1));
  if (differs->dim() > 1) differs = amax(differs, {1});
  copy(*narrow(begins, 0, 1, count - 1), *differs);
  return begins;
}

}  // namespace

Result unique_elements_cuda(const TensorRef& input, bool sorted, bool return_inverse,
                            bool return_counts) {
  TensorRef values = reshape(contiguous(input), {-1}), order;
  if (sorted) {
    TensorList both = sort(values, 0);
    values = both[0];
    order = both[1];
  }
  TensorRef begins = group_begins(values);
  TensorRef starts = reshape(nonzero(begins), {-1});
  return with_groups(index_select(values, 0, starts), begins, starts, order, input->shape(),
                     return_inverse, return_counts);
}

// Sorted by the last column first: the sort is stable, so the first column decides in the end.
Result unique_slices_cuda(const TensorRef& input, int64_t dim, const TensorRef& slices, bool sorted,
                          bool return_inverse, bool return_counts) {
  const int64_t count = slices->size(0);
  TensorRef x = reshape(slices, {count, slices->numel() / count}), values = x, order;
  if (sorted) {
    order = arange(0, count, 1, DType::Int64, x->device());
    for (int64_t column = x->size(1) - 1; column >= 0; --column) {
      TensorRef keys = index_select(select(x, 1, column), 0, order);
      order = index_select(order, 0, sort(keys, 0)[1]);
    }
    values = index_select(x, 0, order);
  }
  TensorRef begins = group_begins(values);
  TensorRef starts = reshape(nonzero(begins), {-1});
  TensorRef first = order ? index_select(order, 0, starts) : starts;
  return with_groups(index_select(input, dim, first), begins, starts, order, {count},
                     return_inverse, return_counts);
}

}  // namespace flambeau
