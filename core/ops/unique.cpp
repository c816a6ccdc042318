// Distinct elements and slices.
#include <numeric>

#include "ops/creation.h"
#include "ops/cuda_runs.h"
#include "ops/gather.h"
#include "ops/reduction.h"
#include "ops/sort.h"
#include "ops/views.h"
#include "tensor/copy.h"

namespace flambeau {
namespace {

// What the unique functions find: `order` lists the elements (or slices) group by group,
// group g ends before ends[g], and groups come out in the order of the result.
struct Groups {
  std::vector<int64_t> order, ends;
};

template <class T>
bool same(T a, T b) {
  return convert<Compute<T>>(a) == convert<Compute<T>>(b);  // a NaN equals nothing
}

// Splits `order` wherever equal(previous, next) does not hold.
template <class Equal>
void split(Groups& groups, Equal equal) {
  int64_t count = groups.order.size();
  for (int64_t i = 1; i <= count; ++i) {
    if (i == count || !equal(groups.order[i - 1], groups.order[i])) groups.ends.push_back(i);
  }
}

template <class T>
Groups group_elements(const T* values, int64_t count, bool sorted) {
  Groups groups;
  groups.order.resize(count);
  std::iota(groups.order.begin(), groups.order.end(), int64_t(0));
  if (sorted) {
    using Item = SortItem<T>;
    std::vector<typename Item::Type> items(count), scratch(count);
    for (int64_t i = 0; i < count; ++i) items[i] = Item::make(values[i], i, false);
    sort_items(items.data(), scratch.data(), count);
    for (int64_t i = 0; i < count; ++i) groups.order[i] = Item::position(items[i]);
  }
  split(groups, [&](int64_t a, int64_t b) { return same(values[a], values[b]); });
  return groups;
}

// The same for slices of `width` elements, which are compared element by element.
template <class T>
Groups group_slices(const T* values, int64_t count, int64_t width, bool sorted) {
  Groups groups;
  groups.order.resize(count);
  std::iota(groups.order.begin(), groups.order.end(), int64_t(0));
  auto before = [=](int64_t a, int64_t b) {
    for (int64_t j = 0; j < width; ++j) {
      auto x = sort_key(values[a * width + j]), y = sort_key(values[b * width + j]);
      if (x != y) return x < y;
    }
    return false;
  };
  if (sorted) std::stable_sort(groups.order.begin(), groups.order.end(), before);
  split(groups, [=](int64_t a, int64_t b) {
    return std::equal(values + a * width, values + (a + 1) * width, values + b * width, same<T>);
  });
  return groups;
}

struct Found {
  TensorRef first;    // position of each group's first member
  TensorRef inverse;  // group of each element, if asked for
  TensorRef counts;
};

Found describe(const Groups& groups, bool return_inverse) {
  int64_t begin = 0, group = 0, count = groups.ends.size();
  TensorRef first = Tensor::empty({count}, DType::Int64),
            counts = Tensor::empty({count}, DType::Int64);
  TensorRef inverse;
  if (return_inverse) {
    inverse = Tensor::empty({static_cast<int64_t>(groups.order.size())}, DType::Int64);
  }
  for (int64_t end : groups.ends) {
    first->data<int64_t>()[group] = groups.order[begin];
    counts->data<int64_t>()[group] = end - begin;
    for (; inverse && begin < end; ++begin) inverse->data<int64_t>()[groups.order[begin]] = group;
    begin = end;
    ++group;
  }
  return {first, inverse, counts};
}

Result unique_of(const char* op, const TensorRef& input, bool sorted, bool return_inverse,
                 bool return_counts, const std::optional<int64_t>& dim) {
  Unrecorded scope;
  TensorRef values;
  Found found;
  if (dim) {
    int64_t d = wrap_dimension(*dim, input->dim(), op);
    Dims order{d};  // slices are compared in the order of the other dimensions
    for (int64_t e = 0; e < input->dim(); ++e) {
      if (e != d) order.push_back(e);
    }
    TensorRef x = input->dim() ? contiguous(permute(input, order)) : reshape(input, {1});
    int64_t count = x->size(0), width = count ? x->numel() / count : 0;
    require(count == 0 || width > 0, op, ": there is a zero-length dimension beside the one that ",
            "is searched, shape ", input->shape());
    if (!x->device().is_cpu()) {
      constexpr int64_t kMostColumns = 64;  // each is a sort of its own on a GPU
      if (count > 0 && (!sorted || width <= kMostColumns)) {
        return unique_slices_cuda(input, d, x, sorted, return_inverse, return_counts);
      }
      x = on_host(*x);
    }
    visit_dtype(x->dtype(), [&]<class T>() {
      found = describe(group_slices(x->data<T>(), count, width, sorted), return_inverse);
    });
    for (TensorRef* each : {&found.first, &found.inverse, &found.counts}) {
      if (*each) *each = placed(*each, input->device());
    }
    values = index_select(input, d, found.first);
  } else if (!input->device().is_cpu()) {
    return unique_elements_cuda(input, sorted, return_inverse, return_counts);
  } else {
    TensorRef x = reshape(contiguous(input), {-1});
    visit_dtype(x->dtype(), [&]<class T>() {
      found = describe(group_elements(x->data<T>(), x->numel(), sorted), return_inverse);
    });
    values = index_select(x, 0, found.first);
    if (return_inverse) found.inverse = reshape(found.inverse, input->shape());
  }
  if (!return_inverse && !return_counts) return values;
  TensorList results{values};
  if (return_inverse) results.push_back(found.inverse);
  if (return_counts) results.push_back(found.counts);
  return results;
}

}  // namespace

// --- Python

#define UNIQUE_RETURNS                                                                        \
  "    return_inverse (bool): also where each element's value is in the result.\n"            \
  "    return_counts (bool): also how often each occurs.\n    dim (int, optional): compare "  \
  "slices along this dimension instead of elements.\n\nReturns:\n    The values, or a tuple " \
  "(values, inverse, counts) with what was asked for. Every NaN is distinct.\n\n"             \
  "Raises:\n    IndexError: the dimension is out of range."

static Result unique(const TensorRef& input, bool sorted, bool return_inverse, bool return_counts,
                     const std::optional<int64_t>& dim) {
  return unique_of("unique", input, true, return_inverse, return_counts, dim);
}
OPERATOR_FORMS(unique, "unique",
               "input, sorted=True, return_inverse=False, return_counts=False, dim=None",
               kFunction | kMethod | kHost,
               "Distinct elements in ascending order.\n\nArgs:\n    input: a tensor of any dtype.\n"
               "    sorted (bool): accepted; results are always sorted.\n" UNIQUE_RETURNS);
static Result unique_consecutive(const TensorRef& input, bool return_inverse, bool return_counts,
                                 const std::optional<int64_t>& dim) {
  return unique_of("unique_consecutive", input, false, return_inverse, return_counts, dim);
}
OPERATOR_FORMS(unique_consecutive, "unique_consecutive",
               "input, return_inverse=False, return_counts=False, dim=None",
               kFunction | kMethod | kHost,
               "The first of every run of equal elements.\n\nArgs:\n    input: a tensor of any "
               "dtype.\n" UNIQUE_RETURNS);

}  // namespace flambeau
