// gather, scatter and their relatives: one index per element along one dimension.
#include "ops/gather.h"

#include "base/thread_pool.h"
#include "ops/arithmetic.h"
#include "ops/creation.h"
#include "ops/cuda_runs.h"
#include "ops/portable.h"
#include "ops/reduction.h"
#include "ops/views.h"
#include "tensor/copy.h"

namespace flambeau {

TensorRef checked_indices(const TensorRef& index, const IndexRule& rule) {
  require(index->dtype() == DType::Int64 || index->dtype() == DType::Int32, rule.op,
          "(): Expected dtype int32/int64 for index, got torch.", dtype_name(index->dtype()),
          "; convert it with .long()");
  Unrecorded scope;
  TensorRef dense = contiguous(to_dtype(index, DType::Int64));
  const int64_t* data = dense->data<int64_t>();
  int64_t count = dense->numel(), low = 0, high = -1;
  for (int64_t i = 0; i < count; ++i) {
    low = std::min(low, data[i]);
    high = std::max(high, data[i]);
  }
  int64_t floor = rule.from_end ? -rule.bound : 0;
  if (low < floor || high >= rule.bound) {
    int64_t wrong = high >= rule.bound ? high : low;
    std::string where = rule.dim < 0 ? "a tensor" : text("dimension ", rule.dim);
    fail(rule.kind, rule.op, "(): index ", wrong, " is out of bounds for ", where, " with size ",
         rule.bound, "; indices lie between ", floor, " and ", rule.bound - 1);
  }
  if (low >= 0) return dense;
  TensorRef wrapped = dense_copy(*dense, DType::Int64);
  int64_t* out = wrapped->data<int64_t>();
  for (int64_t i = 0; i < count; ++i) out[i] += out[i] < 0 ? rule.bound : 0;
  return wrapped;
}

namespace {

// A walk over an index tensor of `shape` in rows of its last dimension, beside two other tensors.
// `x` is stepped through without the indexed dimension, `y` with all.
struct Walk {
  Dims shape;
  int64_t dim;
  Dims x_strides, y_strides;
  int64_t rows, length;

  Walk(const Dims& index_shape, int64_t indexed, const Dims& x, const Dims& y)
      : shape(index_shape), dim(indexed), x_strides(x), y_strides(y) {
    if (shape.empty()) {
      shape = {1};
      x_strides = y_strides = {0};
      dim = 0;
    }
    x_strides[dim] = 0;
    length = shape.back();
    rows = length ? count_elements(shape) / length : 0;
  }
  // Offsets of the first elements of a row.
  void row(int64_t index, int64_t& x, int64_t& y) const {
    x = y = 0;
    for (int64_t d = shape.size() - 2; d >= 0; --d) {
      int64_t position = index % shape[d];
      index /= shape[d];
      x += position * x_strides[d];
      y += position * y_strides[d];
    }
  }
  bool last() const { return dim == shape.size() - 1; }
  // Calls body(position in the index, offset in x, offset in y) for [begin, end) of each row.
  template <class Body>
  void visit(int64_t first_row, int64_t last_row, int64_t begin, int64_t end, Body&& body) const {
    int64_t x_step = x_strides.back(), y_step = y_strides.back();
    for (int64_t r = first_row; r < last_row; ++r) {
      int64_t x, y;
      row(r, x, y);
      for (int64_t i = begin; i < end; ++i) {
        body(r * length + i, x + i * x_step, y + i * y_step);
      }
    }
  }
  // In parallel; no two threads meet at one position of x, whose order of visits is fixed.
  template <class Body>
  void visit_all(Body&& body) const {
    if (last()) {
      int64_t grain = std::max<int64_t>(1, 8192 / std::max<int64_t>(length, 1));
      parallel_for(rows, grain, [&](int64_t a, int64_t b) { visit(a, b, 0, length, body); });
    } else {
      int64_t grain = std::max<int64_t>(64, 8192 / std::max<int64_t>(rows, 1));
      parallel_for(length, grain, [&](int64_t a, int64_t b) { visit(0, rows, a, b, body); });
    }
  }
};

int64_t stride_of(const Tensor& x, int64_t dim) { return x.dim() ? x.stride(dim) : 1; }
int64_t length_of(const Tensor& x, int64_t dim) { return x.dim() ? x.size(dim) : 1; }

IndexRule rule_of(const Call& call, int64_t dim) {
  return {call.primitive.name, length_of(call.input(0), dim), dim, ErrorKind::Runtime};
}

// --- gather

void infer_gather(Call& call) {
  const Tensor &x = call.input(0), &index = call.input(1);
  int64_t dim = call.attributes.ints[0];
  require(std::max<int64_t>(index.dim(), 1) == std::max<int64_t>(x.dim(), 1),
          "gather: Index tensor must have the same number of dimensions as input tensor, got ",
          index.shape(), " and ", x.shape(), "; use unsqueeze or expand on the index");
  for (int64_t d = 0; d < std::min(x.dim(), index.dim()); ++d) {
    require(d == dim || index.size(d) <= x.size(d), "gather: Size does not match at dimension ", d,
            " expected index ", index.shape(), " to be no larger than self ", x.shape(),
            " apart from dimension ", dim, "; narrow the index");
  }
  call.expect(0, index.shape(), x.dtype());
}

void run_gather(Call& call) {
  const Tensor& x = call.input(0);
  int64_t dim = call.attributes.ints[0], step = stride_of(x, dim);
  TensorRef index = checked_indices(call.inputs[1], gather_rule(call));
  const int64_t* at = index->data<int64_t>();
  Dims strides = x.dim() ? x.strides() : Dims{0};
  if (index->dim() == 0) strides = {0};
  Walk walk(index->shape(), dim, strides, strides);
  visit_width(x.dtype(), [&]<class T>() {
    const T* from = x.data<T>();
    T* out = call.output().data<T>();
    walk.visit_all([=](int64_t i, int64_t base, int64_t) { out[i] = from[base + at[i] * step]; });
  });
}

void gather_gradient(Gradient& gradient) {
  TensorRef blank = zeros(gradient.input_shape(0), gradient.g()->dtype(), gradient.device());
  gradient.set(0,
               scatter_add(blank, gradient.attributes().ints[0], gradient.input(1), gradient.g()));
}

const Primitive kGather{.name = "gather",
                        .infer = infer_gather,
                        .run = run_gather,
                        .gradient = gather_gradient,
                        .saved_inputs = 2,
                        .run_cuda = run_gather_cuda};

// --- scatter: inputs x, index, src (or scalars[0]); more_ints[0] is the way of combining

enum Combine : int64_t { kAssign, kAdd, kMultiply, kMean, kMax, kMin };

void infer_scatter(Call& call) {
  const Tensor &x = call.input(0), &index = call.input(1);
  const char* name = call.primitive.name;
  int64_t dim = call.attributes.ints[0];
  auto rank = [](const Tensor& t) { return std::max<int64_t>(t.dim(), 1); };
  call.expect(0, x.shape(), x.dtype());
  if (index.numel() == 0) return;
  require(rank(index) == rank(x), name, "(): Index tensor must have the same number of dimensions ",
          "as self tensor, got ", index.shape(), " and ", x.shape(),
          "; use unsqueeze or expand on the index");
  for (int64_t d = 0; d < std::min(x.dim(), index.dim()); ++d) {
    require(d == dim || index.size(d) <= x.size(d), name, "(): Expected index ", index.shape(),
            " to be no larger than self ", x.shape(), " apart from dimension ", dim);
  }
  if (!call.has(2)) return;
  const Tensor& src = call.input(2);
  require(src.dtype() == x.dtype(), name, "(): Expected self.dtype to be equal to src.dtype, got ",
          "torch.", dtype_name(x.dtype()), " and torch.", dtype_name(src.dtype()),
          "; convert src with .to(self.dtype)");
  require(rank(src) == rank(x), name, "(): src must have the same number of dimensions as self, ",
          "got ", src.shape(), " and ", x.shape());
  for (int64_t d = 0; d < std::min(src.dim(), index.dim()); ++d) {
    require(index.size(d) <= src.size(d), name, "(): Expected index ", index.shape(),
            " to be no larger size than src ", src.shape(), "; narrow the index");
  }
}

template <class T>
T combine_max(T a, T b) {
  return b > a || b != b ? b : a;
}
template <class T>
T combine_min(T a, T b) {
  return b < a || b != b ? b : a;
}

// out[index] = combine(out[index], src) for numbers that compute in A.
template <class T, class Source>
void scatter_numbers(const Walk& walk, int64_t how, T* out, int64_t step, const int64_t* at,
                     Source source) {
  using A = Compute<T>;
  auto update = [&](auto combine) {
    walk.visit_all([=](int64_t i, int64_t base, int64_t y) {
      T& place = out[base + at[i] * step];
      place = convert<T>(static_cast<A>(combine(convert<A>(place), convert<A>(source(y)))));
    });
  };
  switch (how) {
    case kAdd:
    case kMean:
      if constexpr (std::is_same_v<T, bool>) return update([](A a, A b) { return a || b; });
      return update([](A a, A b) { return a + b; });
    case kMultiply:
      if constexpr (std::is_same_v<T, bool>) return update([](A a, A b) { return a && b; });
      return update([](A a, A b) { return a * b; });
    case kMax:
      return update(combine_max<A>);
    case kMin:
      return update(combine_min<A>);
    default:
      walk.visit_all(
          [=](int64_t i, int64_t base, int64_t y) { out[base + at[i] * step] = source(y); });
  }
}

void run_scatter(Call& call) {
  if (call.input(1).numel() == 0) return;
  Tensor& out = call.output();
  int64_t dim = call.attributes.ints[0], step = stride_of(out, dim);
  int64_t how = call.attributes.more_ints[0];
  TensorRef index = checked_indices(call.inputs[1], rule_of(call, dim));
  const int64_t* at = index->data<int64_t>();
  TensorRef src = call.has(2) ? call.inputs[2] : nullptr;
  // src may share the memory that is being updated.
  if (src && src->storage() == out.storage()) src = dense_copy(*src, src->dtype());
  Dims strides = out.dim() && index->dim() ? out.strides() : Dims{0};
  Dims source_strides =
      src && src->dim() && index->dim() ? src->strides() : Dims(strides.size(), 0);
  Walk walk(index->shape(), dim, strides, source_strides);
  visit_dtype(out.dtype(), [&]<class T>() {
    T value = call.attributes.scalars[0].to<T>();
    if (src) {
      const T* from = src->data<T>();
      scatter_numbers(walk, how, out.data<T>(), step, at, [=](int64_t y) { return from[y]; });
    } else {
      scatter_numbers(walk, how, out.data<T>(), step, at, [=](int64_t) { return value; });
    }
  });
}

// The gradient of src: g at the indices, in a corner of zeros when src is larger than the index.
TensorRef source_gradient(Gradient& gradient) {
  const Dims& shape = gradient.input_shape(2);
  TensorRef index = gradient.input(1);
  TensorRef part = gather(gradient.g(), gradient.attributes().ints[0], index);
  if (part->shape() == shape) return part;
  TensorRef whole = zeros(shape, part->dtype(), part->device()), corner = whole;
  for (int64_t d = 0; d < shape.size(); ++d) corner = narrow(corner, d, 0, part->size(d));
  copy_(corner, part);
  return whole;
}

void scatter_gradient(Gradient& gradient) {
  int64_t dim = gradient.attributes().ints[0];
  if (gradient.needs(0)) {
    gradient.set(0, scatter(gradient.g(), dim, gradient.input(1), Scalar(0)));
  }
  if (gradient.input_count() > 2 && gradient.needs(2)) {
    gradient.set(2, source_gradient(gradient));
  }
}
void scatter_add_gradient(Gradient& gradient) {
  if (gradient.needs(0)) gradient.set(0, gradient.g());
  if (gradient.needs(2)) gradient.set(2, source_gradient(gradient));
}

constexpr Primitive scatter_primitive(const char* name, void (*rule)(Gradient&),
                                      const char* grad_name = nullptr) {
  return {.name = name,
          .infer = infer_scatter,
          .run = run_scatter,
          .gradient = rule,
          .saved_inputs = 2,
          .updates_input = true,
          .grad_name = grad_name,
          .run_cuda = run_scatter_cuda,
          .order_varies = always};
}
const Primitive kScatter = scatter_primitive("scatter", scatter_gradient);
const Primitive kScatterValue = scatter_primitive("scatter", scatter_gradient, "ScatterBackward1");
// With reduce=: not differentiable, as in PyTorch; scatter_reduce is.
const Primitive kScatterCombine = scatter_primitive("scatter", nullptr);
const Primitive kScatterAdd = scatter_primitive("scatter_add", scatter_add_gradient);

Attributes scatter_attributes(const char* op, const TensorRef& x, int64_t dim, int64_t how) {
  Attributes attributes;
  attributes.ints.push_back(wrap_dimension(dim, x->dim(), op));
  attributes.more_ints.push_back(how);
  return attributes;
}

TensorRef scatter_combine(const TensorRef& x, int64_t dim, const TensorRef& index,
                          const TensorOrScalar& source, const std::string& reduce) {
  require(reduce == "add" || reduce == "multiply",
          "scatter(): reduce argument must be either add or multiply, got ", reduce,
          "; scatter_reduce knows more");
  Attributes attributes = scatter_attributes("scatter", x, dim, reduce == "add" ? kAdd : kMultiply);
  attributes.scalars[0] = source.scalar;
  if (source.tensor)
    return apply(kScatterCombine, {x, index, source.tensor}, std::move(attributes));
  return apply(kScatterCombine, {x, index}, std::move(attributes));
}

// --- scatter_reduce: more_ints = {combine, include_self}

// Positions that an index names start from what the combination leaves unchanged.
Scalar neutral(int64_t how, DType dtype) {
  if (how == kAdd || how == kMean) return 0;
  if (how == kMultiply) return 1;
  if (is_floating(dtype)) {
    double infinity = std::numeric_limits<double>::infinity();
    return how == kMax ? -infinity : infinity;
  }
  return visit_dtype(dtype, [&]<class T>() -> Scalar {
    if constexpr (std::is_integral_v<T>) {
      using Limits = std::numeric_limits<T>;
      return static_cast<int64_t>(how == kMax ? Limits::min() : Limits::max());
    } else {
      return 0;
    }
  });
}

// How many values each position combined, at least one.
TensorRef combined_count(const TensorRef& x, int64_t dim, const TensorRef& index, bool self) {
  TensorRef counts = scatter_add(full(x->shape(), self, DType::Int64, x->device()), dim, index,
                                 ones(index->shape(), DType::Int64, x->device()));
  return masked_fill(counts, eq(counts, 0), 1);
}

void run_scatter_reduce(Call& call) {
  Unrecorded scope;
  int64_t dim = call.attributes.ints[0], how = call.attributes.more_ints[0];
  bool self = call.attributes.more_ints[1];
  const TensorRef &out = call.outputs[0], &index = call.inputs[1];
  TensorRef before = how == kMean ? dense_copy(*out, out->dtype()) : nullptr;
  if (!self) {
    TensorRef blank = scatter(out, dim, index, neutral(how, out->dtype()));
    copy(*out, *blank);
  }
  out->device().is_cpu() ? run_scatter(call) : run_scatter_cuda(call);
  if (how != kMean || index->numel() == 0) return;
  TensorRef counts = combined_count(out, dim, index, self);
  copy(*out, *(is_floating(out->dtype()) ? div(out, counts) : floor_divide(out, counts)));
}

// Shares g among the values that equal the extreme; the old value takes part if included.
void extreme_gradient(Gradient& gradient, int64_t dim, bool self) {
  TensorRef x = gradient.input(0), index = gradient.input(1), src = gradient.input(2);
  TensorRef out = gradient.output(), g = gradient.g();
  TensorRef own = to_dtype(eq(x, out), g->dtype());
  if (!self) own = scatter(own, dim, index, Scalar(0));
  TensorRef chosen = to_dtype(eq(src, gather(out, dim, index)), g->dtype());
  TensorRef count = scatter_add(own, dim, index, chosen);
  TensorRef share = div(g, masked_fill(count, eq(count, 0), 1));
  if (gradient.needs(0)) {
    TensorRef mine = mul(own, share);
    if (!self) {
      TensorRef keeps = scatter(ones(x->shape(), g->dtype(), g->device()), dim, index, Scalar(0));
      mine = mul(g, keeps);
    }
    gradient.set(0, mine);
  }
  if (gradient.needs(2)) gradient.set(2, mul(gather(share, dim, index), chosen));
}

void scatter_reduce_gradient(Gradient& gradient) {
  int64_t dim = gradient.attributes().ints[0], how = gradient.attributes().more_ints[0];
  bool self = gradient.attributes().more_ints[1];
  TensorRef x = gradient.input(0), index = gradient.input(1), src = gradient.input(2);
  require(src->shape() == index->shape(), "scatter_reduce(): the gradient needs src of the ",
          "index's shape, got ", src->shape(), " and ", index->shape(), "; narrow src first");
  if (how == kMax || how == kMin) return extreme_gradient(gradient, dim, self);
  TensorRef g = gradient.g();
  if (how == kMean) g = div(g, combined_count(x, dim, index, self));
  TensorRef own = g, others = g;
  if (how == kMultiply) {
    // out / value: exact unless a factor is zero, where PyTorch also needs nonzero values.
    TensorRef weighted = mul(g, gradient.output());
    own = div(weighted, x);
    others = weighted;
  }
  if (gradient.needs(0)) {
    if (!self)
      own = where(eq(scatter(ones(x->shape(), g->dtype(), g->device()), dim, index, Scalar(0)), 1),
                  gradient.g(), 0);
    gradient.set(0, own);
  }
  if (!gradient.needs(2)) return;
  TensorRef picked = gather(others, dim, index);
  gradient.set(2, how == kMultiply ? div(picked, src) : picked);
}

const Primitive kScatterReduce{.name = "scatter_reduce",
                               .infer = infer_scatter,
                               .run = run_scatter_reduce,
                               .gradient = scatter_reduce_gradient,
                               .saved_inputs = 7,
                               .saved_outputs = 1,
                               .updates_input = true,
                               .run_cuda = run_scatter_reduce,
                               .order_varies = always};

void check_gather(const Call& call) {
  need_inputs(call, 2, 2);
  need_ints(call, 1);
  need_dimension(call);
}
template <int more>
void check_scatter(const Call& call) {
  need_inputs(call, 2, 3);
  need_ints(call, 1);
  need_dimension(call);
  const Dims& ways = call.attributes.more_ints;
  need(call, ways.size() == more && ways[0] >= kAssign && ways[0] <= kMin,
       "no such way of combining");
}
PORTABLE(kGather, check_gather);
PORTABLE(kScatter, check_scatter<1>);
PORTABLE_AS(kScatterValue, "scatter.value", check_scatter<1>);
PORTABLE_AS(kScatterCombine, "scatter.reduce", check_scatter<1>);
PORTABLE(kScatterAdd, check_scatter<1>);
PORTABLE(kScatterReduce, check_scatter<2>);

}  // namespace

// attributes.flag: the indices are classes of a loss.
static TensorRef gather_either(const TensorRef& x, int64_t dim, const TensorRef& index,
                               bool classes) {
  Attributes attributes;
  attributes.ints.push_back(wrap_dimension(dim, x->dim(), "gather"));
  attributes.flag = classes;
  return apply(kGather, {x, index}, std::move(attributes));
}

TensorRef gather(const TensorRef& x, int64_t dim, const TensorRef& index) {
  return gather_either(x, dim, index, false);
}
IndexRule gather_rule(const Call& call) {
  const int64_t dim = call.attributes.ints[0], bound = length_of(call.input(0), dim);
  if (call.attributes.flag) return {"target", bound, dim, ErrorKind::Index};
  return {"gather", bound, dim, ErrorKind::Runtime};
}
TensorRef scatter(const TensorRef& x, int64_t dim, const TensorRef& index, const TensorRef& src) {
  return apply(kScatter, {x, index, src}, scatter_attributes("scatter", x, dim, kAssign));
}
TensorRef scatter(const TensorRef& x, int64_t dim, const TensorRef& index, Scalar value) {
  Attributes attributes = scatter_attributes("scatter", x, dim, kAssign);
  attributes.scalars[0] = value;
  return apply(kScatterValue, {x, index}, std::move(attributes));
}
TensorRef scatter_add(const TensorRef& x, int64_t dim, const TensorRef& index,
                      const TensorRef& src) {
  return apply(kScatterAdd, {x, index, src}, scatter_attributes("scatter_add", x, dim, kAdd));
}

// --- Python

#define INDEX_ERRORS                                                                           \
  "Raises:\n    RuntimeError: an index is out of range, or the shapes or dtypes do not fit.\n" \
  "    IndexError: the dimension is out of range."

static TensorRef gather_operator(const TensorRef& input, int64_t dim, const TensorRef& index,
                                 bool sparse_grad) {
  return gather(input, dim, index);
}
OPERATOR_FORMS(gather_operator, "gather", "input, dim, index, *, sparse_grad=False", kUsual,
               "Picks elements along a dimension: out[i][j] = input[i][index[i][j]] for dim=1.\n\n"
               "Args:\n    input: a tensor.\n    dim (int): the dimension that is indexed.\n"
               "    index: an int64 (or int32) tensor with as many dimensions, nowhere longer than "
               "the input except along dim.\n    sparse_grad (bool): accepted; gradients are "
               "dense.\n\nReturns:\n    A tensor of the index's shape.\n\n" INDEX_ERRORS);

static TensorRef gather_classes(const TensorRef& input, int64_t dim, const TensorRef& index) {
  return gather_either(input, dim, index, true);
}
OPERATOR_FORMS(gather_classes, "gather_classes", "input, dim, index", kPrivate,
               "gather for losses: a class out of range is an IndexError.");

#define SCATTER_DOC(what)                                                                          \
  what "\n\nArgs:\n    input: a tensor.\n    dim (int): the dimension that is indexed.\n"          \
       "    index: an int64 (or int32) tensor with as many dimensions, nowhere longer than the "   \
       "input (except along dim) or src.\n    src: the values, a tensor of the input's dtype (or " \
       "a number, where allowed).\n\nReturns:\n    A tensor like the input. Where an index "       \
       "occurs twice, values are taken in order.\n\n" INDEX_ERRORS
#define SCATTER_WRITE \
  SCATTER_DOC("Writes values along a dimension: out[i][index[i][j]] = src[i][j] for dim=1.")
#define SCATTER_COMBINE                                                                  \
  SCATTER_DOC(                                                                           \
      "Adds or multiplies values into a tensor along a dimension; reduce is \"add\" or " \
      "\"multiply\".")

static TensorRef scatter_tensor(const TensorRef& input, int64_t dim, const TensorRef& index,
                                const TensorRef& src) {
  return scatter(input, dim, index, src);
}
OPERATOR_FORMS(scatter_tensor, "scatter", "input, dim, index, src", kUsual | kInPlace,
               SCATTER_WRITE);
static TensorRef scatter_number(const TensorRef& input, int64_t dim, const TensorRef& index,
                                const Scalar& value) {
  return scatter(input, dim, index, value);
}
OPERATOR_FORMS(scatter_number, "scatter", "input, dim, index, value", kUsual | kInPlace,
               SCATTER_WRITE);
static TensorRef scatter_reduce_tensor(const TensorRef& input, int64_t dim, const TensorRef& index,
                                       const TensorRef& src, const std::string& reduce) {
  return scatter_combine(input, dim, index, {src, {}}, reduce);
}
OPERATOR_FORMS(scatter_reduce_tensor, "scatter", "input, dim, index, src, *, reduce",
               kUsual | kInPlace, SCATTER_COMBINE);
static TensorRef scatter_reduce_number(const TensorRef& input, int64_t dim, const TensorRef& index,
                                       const Scalar& value, const std::string& reduce) {
  return scatter_combine(input, dim, index, {nullptr, value}, reduce);
}
OPERATOR_FORMS(scatter_reduce_number, "scatter", "input, dim, index, value, *, reduce",
               kUsual | kInPlace, SCATTER_COMBINE);

#define SCATTER_ADD_DOC \
  SCATTER_DOC("Adds values along a dimension: out[i][index[i][j]] += src[i][j] for dim=1.")
OPERATOR_FORMS(scatter_add, "scatter_add", "input, dim, index, src", kUsual | kInPlace,
               SCATTER_ADD_DOC)
    .autocast("promote on cuda");
#define SCATTER_REDUCE_DOC                                                             \
  SCATTER_DOC(                                                                         \
      "Combines values into a tensor along a dimension; reduce is \"sum\", \"prod\", " \
      "\"mean\", \"amax\" or \"amin\", include_self says whether the old values take " \
      "part.")
static TensorRef scatter_reduce(const TensorRef& x, int64_t dim, const TensorRef& index,
                                const TensorRef& src, const std::string& reduce,
                                bool include_self) {
  static const std::pair<const char*, Combine> kWays[] = {
      {"sum", kAdd}, {"prod", kMultiply}, {"mean", kMean}, {"amax", kMax}, {"amin", kMin}};
  for (auto [name, how] : kWays) {
    if (reduce != name) continue;
    Attributes attributes = scatter_attributes("scatter_reduce", x, dim, how);
    attributes.more_ints.push_back(include_self);
    return apply(kScatterReduce, {x, index, src}, std::move(attributes));
  }
  fail("scatter_reduce(): reduce argument must be either sum, prod, mean, amax or amin, got ",
       reduce);
}
OPERATOR_FORMS(scatter_reduce, "scatter_reduce",
               "input, dim, index, src, reduce, *, include_self=True", kUsual | kInPlace,
               SCATTER_REDUCE_DOC);
static TensorRef take_along_dim(const TensorRef& input, const TensorRef& indices,
                                const std::optional<int64_t>& dim) {
  require(indices->dtype() == DType::Int64 || indices->dtype() == DType::Int32,
          "take_along_dim(): dtype of indices should be Long but got torch.",
          dtype_name(indices->dtype()), "; convert them with .long()");
  if (!dim) return gather(reshape(input, {-1}), 0, reshape(indices, {-1}));
  require(input->dim() == indices->dim(), "take_along_dim(): input and indices should have the ",
          "same number of dimensions, but got ", input->dim(), " dimensions for input, and ",
          indices->dim(), " dimensions for indices; use unsqueeze");
  int64_t d = wrap_dimension(*dim, input->dim(), "take_along_dim");
  if (input->dim() == 0) return gather(input, 0, indices);
  Dims x_shape = input->shape(), index_shape = indices->shape();
  x_shape[d] = index_shape[d] = 1;
  Dims common = broadcast_shapes("take_along_dim", x_shape, index_shape);
  x_shape = index_shape = common;
  x_shape[d] = input->size(d);
  index_shape[d] = indices->size(d);
  return gather(expand(input, x_shape), d, expand(indices, index_shape));
}
OPERATOR(take_along_dim, "input, indices, dim=None",
         "Picks elements along a dimension by indices that broadcast against the input.\n\n"
         "Args:\n    input: a tensor.\n    indices: an int64 tensor with as many dimensions, such "
         "as argmax and argsort give.\n    dim (int, optional): the dimension; without it both are "
         "flattened.\n\nReturns:\n    A tensor of the broadcast shape.\n\n" INDEX_ERRORS);

}  // namespace flambeau
