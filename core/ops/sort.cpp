// sort, argsort, topk, kthvalue: Note [Sort keys].
#include "ops/sort.h"

#include "ops/cuda_runs.h"
#include "ops/portable.h"
#include "ops/reduction.h"
#include "ops/views.h"
#include "tensor/copy.h"

namespace flambeau {
namespace {

constexpr int64_t kRadixCount = 128;  // below, comparing is faster
constexpr int64_t kLongCount = 1 << 14;

// Least significant digit first, over bits [low, 64) of key(item); digits that are all equal are
// skipped. All digits are counted in one pass.
template <int digit_bits, class Item, class Key>
void radix_sort(Item* items, Item* scratch, int64_t count, int low, Key key) {
  constexpr int64_t kBuckets = 1 << digit_bits;
  constexpr int kMaxDigits = (64 + digit_bits - 1) / digit_bits;
  int64_t starts[kMaxDigits][kBuckets] = {};
  int digits = (64 - low + digit_bits - 1) / digit_bits;
  for (int64_t i = 0; i < count; ++i) {
    uint64_t bits = key(items[i]) >> low;
    for (int d = 0; d < digits; ++d) ++starts[d][bits >> d * digit_bits & (kBuckets - 1)];
  }
  Item *from = items, *to = scratch;
  for (int d = 0; d < digits; ++d) {
    int shift = low + d * digit_bits;
    auto digit = [&](const Item& item) { return key(item) >> shift & (kBuckets - 1); };
    int64_t* place = starts[d];
    if (place[digit(from[0])] == count) continue;
    int64_t sum = 0;
    for (int64_t bucket = 0; bucket < kBuckets; ++bucket) sum += std::exchange(place[bucket], sum);
    for (int64_t i = 0; i < count; ++i) to[place[digit(from[i])]++] = from[i];
    std::swap(from, to);
  }
  if (from != items) std::copy(from, from + count, items);
}

template <class Item, class Key>
void sort_by_key(Item* items, Item* scratch, int64_t count, int low, Key key) {
  if (count < (low ? kRadixCount : 4 * kRadixCount)) {
    std::sort(items, items + count);
  } else if (count < kLongCount) {
    radix_sort<8>(items, scratch, count, low, key);
  } else {
    radix_sort<11>(items, scratch, count, low, key);
  }
}

// The `count` smallest items in order, at the front. A heap of the best so far beats selection
// while it is small: most items lose against its top.
template <class Items>
void select_smallest(Items& items, int64_t count) {
  auto middle = items.begin() + count;
  if (count == 0) return;
  if (count * 8 <= static_cast<int64_t>(items.size())) {
    std::partial_sort(items.begin(), middle, items.end());
    return;
  }
  if (middle != items.end()) std::nth_element(items.begin(), middle - 1, items.end());
  std::sort(items.begin(), middle);
}

// Attributes of everything here: ints[0] is the dimension, flag what picked_gradient expects.

void infer_sort(Call& call) {
  const Tensor& x = call.input(0);
  call.output_count = 2;
  call.expect(0, x.shape(), x.dtype());
  call.expect(1, x.shape(), DType::Int64);
}

// Room for the first `length` results of every line.
struct Picked {
  TensorRef values, positions;

  Picked(const Tensor& x, int64_t dim, int64_t length)
      : values(Tensor::empty(lines_shape(x.shape(), dim, length), x.dtype())),
        positions(Tensor::empty(values->shape(), DType::Int64)) {}
  // The first `count` items of a line are its results.
  template <class T>
  void take(const T* line_values, const typename SortItem<T>::Type* items, int64_t line,
            int64_t count) const {
    T* value = values->data<T>() + line * count;
    int64_t* position = positions->data<int64_t>() + line * count;
    for (int64_t i = 0; i < count; ++i) {
      position[i] = SortItem<T>::position(items[i]);
      value[i] = line_values[position[i]];
    }
  }
  void store(Call& call, int64_t dim) const {
    store_lines(call.output(0), values, dim);
    store_lines(call.output(1), positions, dim);
  }
};

void run_sort(Call& call) {
  Unrecorded scope;
  const TensorRef& x = call.inputs[0];
  int64_t dim = call.attributes.ints[0];
  bool descending = call.attributes.ints[1];
  Lines lines(x, dim);
  Picked picked(*x, dim, lines.length);
  visit_dtype(x->dtype(), [&]<class T>() {
    for_each_line<T>(lines, descending,
                     [&](const T* values, auto& items, auto& scratch, int64_t line) {
                       sort_items(items.data(), scratch.data(), lines.length);
                       picked.take<T>(values, items.data(), line, lines.length);
                     });
  });
  picked.store(call, dim);
}

const Primitive kSort{.name = "sort",
                      .infer = infer_sort,
                      .run = run_sort,
                      .gradient = picked_gradient,
                      .saved_outputs = 2,
                      .run_cuda = run_sort_cuda};
const Primitive kStableSort{.name = "sort",
                            .infer = infer_sort,
                            .run = run_sort,
                            .gradient = picked_gradient,
                            .saved_outputs = 2,
                            .grad_name = "SortBackward1",
                            .run_cuda = run_sort_cuda};

// ints = {dim, largest, k}
void infer_topk(Call& call) {
  infer_sort(call);
  if (call.input(0).dim() == 0) return;
  for (int i = 0; i < 2; ++i)
    call.specs[i].shape[call.attributes.ints[0]] = call.attributes.ints[2];
}

void run_topk(Call& call) {
  Unrecorded scope;
  const TensorRef& x = call.inputs[0];
  const Dims& ints = call.attributes.ints;
  int64_t dim = ints[0], k = ints[2];
  Lines lines(x, dim);
  Picked picked(*x, dim, k);
  visit_dtype(x->dtype(), [&]<class T>() {
    for_each_line<T>(lines, ints[1], [&](const T* values, auto& items, auto&, int64_t line) {
      select_smallest(items, k);
      picked.take<T>(values, items.data(), line, k);
    });
  });
  picked.store(call, dim);
}

const Primitive kTopk{.name = "topk",
                      .infer = infer_topk,
                      .run = run_topk,
                      .gradient = picked_gradient,
                      .saved_outputs = 2,
                      .run_cuda = run_topk_cuda};

// ints = {dim, k}, flag: keepdim
void infer_kthvalue(Call& call) {
  const Tensor& x = call.input(0);
  uint64_t mask = x.dim() ? 1ull << call.attributes.ints[0] : 0;
  Dims shape = reduced_shape(x.shape(), mask, call.attributes.flag);
  call.output_count = 2;
  call.expect(0, shape, x.dtype());
  call.expect(1, shape, DType::Int64);
}

void run_kthvalue(Call& call) {
  Unrecorded scope;
  const TensorRef& x = call.inputs[0];
  int64_t k = call.attributes.ints[1];
  Lines lines(x, call.attributes.ints[0]);
  visit_dtype(x->dtype(), [&]<class T>() {
    for_each_line<T>(lines, false, [&](const T* values, auto& items, auto&, int64_t line) {
      auto place = items.begin() + (k - 1);
      std::nth_element(items.begin(), place, items.end());
      int64_t position = SortItem<T>::position(*place);
      call.output(0).data<T>()[line] = values[position];
      call.output(1).data<int64_t>()[line] = position;
    });
  });
}

const Primitive kKthvalue{.name = "kthvalue",
                          .infer = infer_kthvalue,
                          .run = run_kthvalue,
                          .gradient = picked_gradient,
                          .saved_outputs = 2,
                          .run_cuda = run_kthvalue_cuda};

int64_t line_length(const Call& call) {
  const Tensor& x = call.input(0);
  return x.dim() ? x.size(call.attributes.ints[0]) : 1;
}
void check_sort(const Call& call) {
  check_dimension(call);
  need_ints(call, 2);
}
void check_topk(const Call& call) {
  check_dimension(call);
  need_ints(call, 3);
  int64_t k = call.attributes.ints[2];
  bool fits = call.input(0).dim() ? k >= 0 && k <= line_length(call) : k == 1;
  need(call, fits, "k is out of range");
}
void check_kthvalue(const Call& call) {
  check_dimension(call);
  need_ints(call, 2);
  int64_t k = call.attributes.ints[1];
  need(call, k >= 1 && k <= line_length(call), "k is out of range");
}
PORTABLE(kSort, check_sort);
PORTABLE_AS(kStableSort, "sort.stable", check_sort);
PORTABLE(kTopk, check_topk);
PORTABLE(kKthvalue, check_kthvalue);

TensorList pair_of(const Primitive& primitive, const TensorRef& x, Dims ints, bool keepdim) {
  TensorRef inputs[] = {x};
  Attributes attributes;
  attributes.ints = std::move(ints);
  attributes.flag = keepdim;
  Call call{primitive, inputs, std::move(attributes)};
  apply(call);
  return {call.outputs[0], call.outputs[1]};
}

const char* const kPicked[] = {"values", "indices"};

}  // namespace

void sort_items(uint64_t* items, uint64_t* scratch, int64_t count) {
  sort_by_key(items, scratch, count, 32, [](uint64_t item) { return item; });
}
void sort_items(WideItem* items, WideItem* scratch, int64_t count) {
  sort_by_key(items, scratch, count, 0, [](const WideItem& item) { return item.key; });
}

// The order of dimensions in which `from` stands at place `to`.
static Dims moved(int64_t count, int64_t from, int64_t to) {
  Dims order;
  for (int64_t d = 0; d < count; ++d) order.push_back(d);
  order.erase(from);
  order.insert(to, from);
  return order;
}

Lines::Lines(const TensorRef& input, int64_t dim) {
  bool last = input->dim() == 0 || dim == input->dim() - 1;
  length = input->dim() ? input->size(dim) : 1;
  require(length <= 0xFFFFFFFFll, "sort: lines of at most 2^32 - 1 elements, got ", length,
          "; split the tensor");
  x = contiguous(last ? input : permute(input, moved(input->dim(), dim, input->dim() - 1)));
  count = length ? x->numel() / length : 0;
}

Dims lines_shape(const Dims& shape, int64_t dim, int64_t length) {
  if (shape.empty()) return {length};
  Dims result = shape;
  result.erase(dim);
  result.push_back(length);
  return result;
}

void store_lines(const Tensor& out, const TensorRef& lines, int64_t dim) {
  if (out.dim() == 0) return copy(out, *reshape(lines, {}));
  copy(out, *permute(lines, moved(out.dim(), out.dim() - 1, dim)));
}

TensorList sort(const TensorRef& x, int64_t dim, bool descending) {
  return pair_of(kStableSort, x, {wrap_dimension(dim, x->dim(), "sort"), descending}, true);
}
TensorRef argsort(const TensorRef& x, int64_t dim, bool descending) {
  Unrecorded scope;
  return sort(x, dim, descending)[1];
}
TensorList topk(const TensorRef& x, int64_t k, int64_t dim, bool largest) {
  dim = wrap_dimension(dim, x->dim(), "topk");
  int64_t length = x->dim() ? x->size(dim) : 1;
  require(k >= 0 && k <= length, "topk: selected index k out of range: k between 0 and ", length,
          " is needed for dimension ", dim, " of shape ", x->shape(), ", got ", k);
  return pair_of(kTopk, x, {dim, largest, k}, true);
}

// --- Python

#define SORT_ARGUMENTS                                                                      \
  "Args:\n    input: a tensor of any dtype.\n    dim (int): the dimension to sort along.\n" \
  "    descending (bool): largest first.\n    stable (bool): accepted; the sort is always " \
  "stable.\n\n"
#define SORT_ERRORS "Raises:\n    IndexError: the dimension is out of range."
#define SORT_DOC                                                                               \
  "Elements in order along a dimension, and where they came from.\n\n" SORT_ARGUMENTS          \
  "Returns:\n    A named tuple (values, indices) of tensors of the input's shape. NaN counts " \
  "as larger than every number. Equal elements keep their order.\n\n" SORT_ERRORS

static Result sort_operator(const TensorRef& input, int64_t dim, bool descending,
                            const std::optional<bool>& stable) {
  dim = wrap_dimension(dim, input->dim(), "sort");
  const Primitive& primitive = stable ? kStableSort : kSort;  // they differ in name alone
  return Result::named("sort", kPicked, pair_of(primitive, input, {dim, descending}, true));
}
OPERATOR_FORMS(sort_operator, "sort", "input, dim=-1, descending=False, *, stable=None", kUsual,
               SORT_DOC);

static TensorRef argsort_operator(const TensorRef& input, int64_t dim, bool descending,
                                  bool stable) {
  return argsort(input, dim, descending);
}
OPERATOR_FORMS(argsort_operator, "argsort", "input, dim=-1, descending=False, stable=False",
               kFunction | kMethod,
               "Positions that would sort a tensor along a dimension.\n\n" SORT_ARGUMENTS
               "Returns:\n    An int64 tensor of the input's shape.\n\n" SORT_ERRORS);

static TensorRef msort(const TensorRef& input) { return sort(input, 0)[0]; }
OPERATOR(msort, "input",
         "Elements in order along the first dimension.\n\nArgs:\n    input: a tensor of any dtype, "
         "not 0-d.\n\nReturns:\n    A tensor of the input's shape.\n\n" SORT_ERRORS);

static Result topk_operator(const TensorRef& input, int64_t k, const std::optional<int64_t>& dim,
                            bool largest, bool sorted) {
  return Result::named("topk", kPicked, topk(input, k, dim.value_or(-1), largest));
}
OPERATOR_FORMS(topk_operator, "topk", "input, k, dim=None, largest=True, sorted=True", kUsual,
               "The k largest (smallest) elements along a dimension, and where they are.\n\n"
               "Args:\n    input: a tensor of any dtype.\n    k (int): how many.\n"
               "    dim (int, optional): the dimension; the last if not given.\n"
               "    largest (bool): largest or smallest.\n    sorted (bool): accepted; results are "
               "always in order.\n\nReturns:\n    A named tuple (values, indices).\n\n"
               "Raises:\n    RuntimeError: there are fewer than k elements.\n    IndexError: the "
               "dimension is out of range.");

static Result kthvalue(const TensorRef& input, int64_t k, int64_t dim, bool keepdim) {
  dim = wrap_dimension(dim, input->dim(), "kthvalue");
  int64_t length = input->dim() ? input->size(dim) : 1;
  require(k >= 1 && k <= length, "kthvalue(): selected number k out of range for dimension ", dim,
          ": k between 1 and ", length, " is needed, got ", k);
  return Result::named("kthvalue", kPicked, pair_of(kKthvalue, input, {dim, k}, keepdim));
}
OPERATOR(kthvalue, "input, k, dim=-1, keepdim=False",
         "The k-th smallest element along a dimension, and where it is.\n\n"
         "Args:\n    input: a tensor of any dtype.\n    k (int): counted from 1.\n    dim (int): "
         "the dimension.\n    keepdim (bool): whether it stays, with length 1.\n\n"
         "Returns:\n    A named tuple (values, indices).\n\n"
         "Raises:\n    RuntimeError: there are fewer than k elements.\n    IndexError: the "
         "dimension is out of range.");

}  // namespace flambeau
