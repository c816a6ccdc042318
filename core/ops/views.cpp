// Views as geometry: each one maps shape, strides and offset to new ones; gradients follow.
#include "ops/views.h"

#include "ops/creation.h"
#include "ops/cuda_runs.h"
#include "ops/portable.h"
#include "ops/sizes.h"
#include "tensor/copy.h"

namespace flambeau {

int64_t wrap_dimension(int64_t dimension, int64_t count, const char* op) {
  size_decides(dimension);
  int64_t range = std::max<int64_t>(count, 1);  // a 0-d tensor accepts 0 and -1
  if (dimension < -range || dimension >= range) {
    fail(ErrorKind::Index, op, ": Dimension out of range (expected to be in range of [", -range,
         ", ", range - 1, "], but got ", dimension, ")");
  }
  return dimension < 0 ? dimension + range : dimension;
}

Dims wrap_dimensions(const Dims& dimensions, int64_t count, const char* op) {
  Dims result;
  for (int64_t dimension : dimensions) {
    int64_t wrapped = wrap_dimension(dimension, count, op);
    require(std::find(result.begin(), result.end(), wrapped) == result.end(), op, ": dim ", wrapped,
            " appears multiple times in the list of dims");
    result.push_back(wrapped);
  }
  return result;
}

namespace {

// Where a view's elements lie in its input's storage.
struct Layout {
  Dims shape, strides;
  int64_t offset = 0;
};
using Rearrange = void (*)(Layout& layout, const Attributes& attributes);

template <Rearrange rearrange>
void infer_view(Call& call) {
  const Tensor& x = call.input(0);
  Layout layout{x.shape(), x.strides(), x.offset()};
  rearrange(layout, call.attributes);
  call.expect(0, layout.shape, x.dtype());
  call.specs[0].strides = layout.strides;
  call.specs[0].offset = layout.offset;
}

// The input's gradient is zero where the view does not look: for views that leave elements out.
template <Rearrange rearrange>
void scatter_rule(Gradient& gradient) {
  const Dims& shape = gradient.input_shape(0);
  Layout layout{shape, contiguous_strides(shape), 0};
  rearrange(layout, gradient.attributes());
  TensorRef flat = strided_sum(gradient.g(), count_elements(shape), layout.strides, layout.offset);
  gradient.set(0, view(flat, shape));
}

void reshape_rule(Gradient& gradient) {
  gradient.set(0, reshape(gradient.g(), gradient.input_shape(0)));
}

// The engine sums a gradient of a larger shape to the receiver's.
void same_rule(Gradient& gradient) { gradient.set(0, gradient.g()); }

void do_permute(Layout& layout, const Attributes& attributes) {
  Layout from = layout;
  for (int64_t d = 0; d < attributes.ints.size(); ++d) {
    layout.shape[d] = from.shape[attributes.ints[d]];
    layout.strides[d] = from.strides[attributes.ints[d]];
  }
}
void permute_rule(Gradient& gradient) {
  const Dims& order = gradient.attributes().ints;
  Dims inverse(order.size());
  for (int64_t d = 0; d < order.size(); ++d) inverse[order[d]] = d;
  gradient.set(0, permute(gradient.g(), inverse));
}

void do_transpose(Layout& layout, const Attributes& attributes) {
  int64_t a = attributes.ints[0], b = attributes.ints[1];
  std::swap(layout.shape[a], layout.shape[b]);
  std::swap(layout.strides[a], layout.strides[b]);
}
void transpose_rule(Gradient& gradient) {
  const Dims& pair = gradient.attributes().ints;
  gradient.set(0, transpose(gradient.g(), pair[0], pair[1]));
}

void do_select(Layout& layout, const Attributes& attributes) {
  int64_t dim = attributes.ints[0];
  layout.offset += attributes.ints[1] * layout.strides[dim];
  layout.shape.erase(dim);
  layout.strides.erase(dim);
}

void do_slice(Layout& layout, const Attributes& attributes) {
  int64_t dim = attributes.ints[0], step = attributes.ints[3];
  if (attributes.ints[2] > 0) layout.offset += attributes.ints[1] * layout.strides[dim];
  layout.shape[dim] = attributes.ints[2];
  layout.strides[dim] *= step;
}

void do_squeeze(Layout& layout, const Attributes& attributes) {
  Layout from = layout;
  layout.shape.clear();
  layout.strides.clear();
  for (int64_t d = 0; d < from.shape.size(); ++d) {
    const Dims& drop = attributes.ints;
    if (std::find(drop.begin(), drop.end(), d) != drop.end()) continue;
    layout.shape.push_back(from.shape[d]);
    layout.strides.push_back(from.strides[d]);
  }
}

void do_unsqueeze(Layout& layout, const Attributes& attributes) {
  int64_t dim = attributes.ints[0];
  int64_t step = dim < layout.shape.size() ? layout.shape[dim] * layout.strides[dim] : 1;
  layout.shape.insert(dim, 1);
  layout.strides.insert(dim, step);
}

void do_diagonal(Layout& layout, const Attributes& attributes) {
  int64_t offset = attributes.ints[0], a = attributes.ints[1], b = attributes.ints[2];
  int64_t rows = layout.shape[a], columns = layout.shape[b];
  int64_t length =
      offset >= 0 ? std::min(rows, columns - offset) : std::min(rows + offset, columns);
  length = std::max<int64_t>(length, 0);
  int64_t step = layout.strides[a] + layout.strides[b];
  if (length > 0) {
    layout.offset += offset >= 0 ? offset * layout.strides[b] : -offset * layout.strides[a];
  }
  for (int64_t d : {std::max(a, b), std::min(a, b)}) {
    layout.shape.erase(d);
    layout.strides.erase(d);
  }
  layout.shape.push_back(length);
  layout.strides.push_back(step);
}

void do_unfold(Layout& layout, const Attributes& attributes) {
  int64_t dim = attributes.ints[0], length = attributes.ints[1], step = attributes.ints[2];
  int64_t stride = layout.shape.empty() ? 1 : layout.strides[dim];
  if (!layout.shape.empty()) {
    layout.shape[dim] = (layout.shape[dim] - length) / step + 1;
    layout.strides[dim] = step * stride;
  }
  layout.shape.push_back(length);
  layout.strides.push_back(stride);
}

// Set by the public functions, which know that it is possible.
void do_strides(Layout& layout, const Attributes& attributes) {
  layout.shape = attributes.ints;
  layout.strides = attributes.more_ints;
}
void do_as_strided(Layout& layout, const Attributes& attributes) {
  do_strides(layout, attributes);
  layout.offset = attributes.scalars[0].to_int();
}

const Primitive kView{"view", infer_view<do_strides>, nullptr, reshape_rule, 0, 0, true};
const Primitive kExpand{"expand", infer_view<do_strides>, nullptr, same_rule, 0, 0, true};
const Primitive kPermute{"permute", infer_view<do_permute>, nullptr, permute_rule, 0, 0, true};
const Primitive kTranspose{"transpose", infer_view<do_transpose>, nullptr, transpose_rule, 0, 0,
                           true};
const Primitive kT{"t", infer_view<do_transpose>, nullptr, transpose_rule, 0, 0, true};
const Primitive kSelect{"select", infer_view<do_select>, nullptr, scatter_rule<do_select>, 0, 0,
                        true};
const Primitive kSlice{"slice", infer_view<do_slice>, nullptr, scatter_rule<do_slice>, 0, 0, true};
const Primitive kSqueeze{"squeeze", infer_view<do_squeeze>, nullptr, reshape_rule, 0, 0, true};
const Primitive kUnsqueeze{"unsqueeze", infer_view<do_unsqueeze>, nullptr, reshape_rule, 0, 0,
                           true};
const Primitive kDiagonal{
    "diagonal", infer_view<do_diagonal>, nullptr, scatter_rule<do_diagonal>, 0, 0, true};
const Primitive kUnfold{"unfold", infer_view<do_unfold>, nullptr, scatter_rule<do_unfold>, 0, 0,
                        true};

void as_strided_rule(Gradient& gradient) {
  // Relative to the input as if it were contiguous: exact for inputs that are.
  const Attributes& attributes = gradient.attributes();
  const Dims& shape = gradient.input_shape(0);
  int64_t offset = attributes.scalars[0].to_int() - attributes.scalars[1].to_int();
  require(attributes.flag != 0,
          "as_strided: the gradient of a non-contiguous input is not supported; call "
          "contiguous() on the input first");
  TensorRef flat = strided_sum(gradient.g(), count_elements(shape), attributes.more_ints, offset);
  gradient.set(0, view(flat, shape));
}
const Primitive kAsStrided{"as_strided", infer_view<do_as_strided>, nullptr, as_strided_rule, 0, 0,
                           true};

// strided_sum: out[offset + sum(index * strides)] += x[index]
void infer_strided_sum(Call& call) {
  call.expect(0, {call.attributes.ints[0]}, call.input(0).dtype());
}
void run_strided_sum(Call& call) {
  const Tensor& x = call.input(0);
  Tensor& out = call.output();
  fill(out, Scalar(0));
  if (x.numel() == 0) return;
  const Dims &shape = x.shape(), &to = call.attributes.more_ints;
  int64_t offset = call.attributes.ints[1];
  if (!call.attributes.flag) {  // no two elements meet
    copy(*Tensor::view(out.storage(), shape, to, out.offset() + offset, x.dtype()), x);
    return;
  }
  visit_dtype(x.dtype(), [&]<class T>() {
    const T* from = x.data<T>();
    T* target = out.data<T>() + offset;
    Dims index(shape.size(), 0);
    int64_t read = 0, write = 0;
    for (int64_t n = 0; n < x.numel(); ++n) {
      using C = Compute<T>;
      target[write] =
          convert<T>(static_cast<C>(convert<C>(target[write]) + convert<C>(from[read])));
      for (int64_t d = shape.size() - 1; d >= 0; --d) {
        read += x.stride(d);
        write += to[d];
        if (++index[d] < shape[d]) break;
        read -= x.stride(d) * shape[d];
        write -= to[d] * shape[d];
        index[d] = 0;
      }
    }
  });
}
void strided_sum_rule(Gradient& gradient) {
  const Attributes& attributes = gradient.attributes();
  const Dims& shape = attributes.flag ? attributes.ints : attributes.ints;
  Dims view_shape(shape.begin() + 2, shape.end());
  TensorRef g = contiguous(gradient.g());
  gradient.set(0,
               as_strided(g, view_shape, attributes.more_ints, attributes.ints[1] + g->offset()));
}
const Primitive kStridedSum{.name = "strided_sum",
                            .infer = infer_strided_sum,
                            .run = run_strided_sum,
                            .gradient = strided_sum_rule,
                            .run_cuda = run_strided_sum_cuda,
                            .order_varies = always};

void check_strided_sum(const Call& call) {
  need_inputs(call, 1, 1);
  const Dims &ints = call.attributes.ints, &strides = call.attributes.more_ints;
  const Dims& shape = call.input(0).shape();
  need(call, ints.size() >= 2 && ints[0] >= 0 && ints[1] >= 0 && strides.size() == shape.size(),
       "a length, an offset and a stride for every dimension are required");
  __int128 last = ints[1];
  for (int64_t d = 0; d < shape.size(); ++d) {
    need(call, strides[d] >= 0, "strides must not be negative");
    last += static_cast<__int128>(std::max<int64_t>(shape[d] - 1, 0)) * strides[d];
  }
  need(call, call.input(0).numel() == 0 || last < ints[0], "the strides lead out of the result");
  need(call, call.attributes.flag || !elements_meet(shape, strides), "elements meet in the result");
}
PORTABLE(kStridedSum, check_strided_sum);

// -1 in a shape stands for what is left over.
Dims complete_shape(const Dims& shape, int64_t count, const char* op) {
  Dims result = shape;
  int64_t known = 1, unknown = -1;
  for (int64_t d = 0; d < shape.size(); ++d) {
    if (shape[d] == -1) {
      require(unknown < 0, op, ": only one dimension can be inferred, got ", shape);
      unknown = d;
    } else {
      require(shape[d] >= 0, op, ": invalid shape dimension ", shape[d], " in ", shape);
      known *= shape[d];
    }
  }
  if (unknown >= 0) {
    require(known != 0 || count != 0, op, ": cannot reshape tensor of 0 elements into shape ",
            shape, " because the unspecified dimension size -1 can be any value and is ambiguous");
    if (known > 0 && count % known == 0) result[unknown] = count / known;
    known = result[unknown] >= 0 ? known * result[unknown] : -1;
  }
  if (known != count) {
    fail(op, ": shape '", shape, "' is invalid for input of size ", count,
         "; the product of the new sizes must be the number of elements");
  }
  return result;
}

TensorRef apply_strides(const Primitive& primitive, const TensorRef& x, const Dims& shape,
                        const Dims& strides) {
  Attributes attributes;
  attributes.ints = shape;
  attributes.more_ints = strides;
  return apply(primitive, {x}, std::move(attributes));
}

TensorRef apply_ints(const Primitive& primitive, const TensorRef& x, const Dims& ints) {
  Attributes attributes;
  attributes.ints = ints;
  return apply(primitive, {x}, std::move(attributes));
}

}  // namespace

const Primitive& view_primitive() { return kView; }
const Primitive& expand_primitive() { return kExpand; }

TensorRef view(const TensorRef& x, const Dims& shape) {
  Dims whole = complete_shape(shape, x->numel(), "view"), strides;
  require(view_strides(*x, whole, strides), "view: size ", whole,
          " is not compatible with input tensor's size ", x->shape(), " and stride ", x->strides(),
          " (at least one dimension spans across two contiguous subspaces); use .reshape(...) "
          "instead");
  return apply_strides(kView, x, whole, strides);
}

TensorRef reshape(const TensorRef& x, const Dims& shape) {
  Dims whole = complete_shape(shape, x->numel(), "reshape"), strides;
  if (view_strides(*x, whole, strides)) return apply_strides(kView, x, whole, strides);
  if (mode.tracing) recorder.note_copy(*x, whole);
  return view(clone(x), whole);
}

static TensorRef flatten(const TensorRef& x, int64_t start_dim, int64_t end_dim) {
  if (x->dim() == 0) return reshape(x, {1});
  int64_t start = wrap_dimension(start_dim, x->dim(), "flatten");
  int64_t end = wrap_dimension(end_dim, x->dim(), "flatten");
  require(start <= end, "flatten: start_dim (", start_dim, ") cannot come after end_dim (", end_dim,
          "); exchange them");
  if (start == end) return x;
  Dims shape;
  for (int64_t d = 0; d < x->dim(); ++d) {
    if (d <= start || d > end) {
      shape.push_back(x->size(d));
    } else {
      shape[start] *= x->size(d);
    }
  }
  return reshape(x, shape);
}

TensorRef expand(const TensorRef& x, const Dims& shape) {
  int64_t lead = shape.size() - x->dim();
  require(lead >= 0, "expand: the number of sizes provided (", shape.size(),
          ") must be greater or equal to the number of dimensions in the tensor (", x->dim(), ")");
  Dims whole = shape;
  for (int64_t d = 0; d < shape.size(); ++d) {
    if (shape[d] != -1) continue;
    require(d >= lead, "expand: the expanded size of the tensor (-1) isn't allowed in a leading, ",
            "non-existing dimension ", d);
    whole[d] = x->size(d - lead);
  }
  for (int64_t d = 0; d < x->dim(); ++d) {
    require(x->size(d) == 1 || x->size(d) == whole[lead + d],
            "expand: The expanded size of the tensor (", whole[lead + d],
            ") must match the existing size (", x->size(d), ") at non-singleton dimension ",
            lead + d, ". Target sizes: ", whole, ". Tensor sizes: ", x->shape());
  }
  return apply_strides(kExpand, x, whole, broadcast_strides(*x, whole));
}

TensorRef permute(const TensorRef& x, const Dims& dimensions) {
  require(dimensions.size() == x->dim(), "permute: number of dimensions in the tensor input (",
          x->dim(), ") does not match the length of the desired ordering of dimensions ",
          dimensions);
  return apply_ints(kPermute, x, wrap_dimensions(dimensions, x->dim(), "permute"));
}

TensorRef transpose(const TensorRef& x, int64_t dim0, int64_t dim1) {
  int64_t a = wrap_dimension(dim0, x->dim(), "transpose");
  int64_t b = wrap_dimension(dim1, x->dim(), "transpose");
  if (x->dim() == 0) return apply_ints(kPermute, x, {});
  return apply_ints(kTranspose, x, {a, b});
}

TensorRef transpose_last(const TensorRef& x) { return transpose(x, -2, -1); }

TensorRef select(const TensorRef& x, int64_t dim, int64_t index) {
  if (x->dim() == 0) fail(ErrorKind::Index, "select: cannot be applied to a 0-dim tensor");
  int64_t d = wrap_dimension(dim, x->dim(), "select"), length = x->size(d);
  if (index < -length || index >= length) {
    fail(ErrorKind::Index, "select: index ", index, " is out of bounds for dimension ", d,
         " with size ", length);
  }
  size_decides(index, 0);
  return apply_ints(kSelect, x, {d, index < 0 ? index + length : index});
}

TensorRef slice(const TensorRef& x, int64_t dim, int64_t start, int64_t end, int64_t step) {
  if (x->dim() == 0) fail(ErrorKind::Index, "slice: cannot be applied to a 0-dim tensor");
  if (step <= 0) fail(ErrorKind::Value, "slice: step must be greater than zero, got ", step);
  int64_t d = wrap_dimension(dim, x->dim(), "slice"), length = x->size(d);
  size_decides(start, 0);
  size_decides(end, 0);
  if (start < 0) start += length;
  if (end < 0) end += length;
  size_decides(start, 0);
  size_decides(start, length);
  size_decides(end, length);
  size_decides(end, start);
  start = std::clamp<int64_t>(start, 0, length);
  end = std::clamp<int64_t>(end, start, length);
  int64_t count = (end - start + step - 1) / step;
  if (step > 1) size_quotient(end - start + step - 1, step, count);
  return apply_ints(kSlice, x, {d, start, count, step});
}

TensorRef narrow(const TensorRef& x, int64_t dim, int64_t start, int64_t length) {
  require(x->dim() > 0, "narrow: cannot be applied to a 0-dim tensor");
  int64_t d = wrap_dimension(dim, x->dim(), "narrow"), size = x->size(d);
  if (start < -size || start > size) {
    fail(ErrorKind::Index, "narrow: start out of range (expected to be in range of [", -size, ", ",
         size, "], but got ", start, ")");
  }
  size_decides(start, 0);
  if (start < 0) start += size;
  require(length >= 0 && start + length <= size, "narrow: start (", start, ") + length (", length,
          ") exceeds dimension size (", size, ")");
  return apply_ints(kSlice, x, {d, start, length, 1});
}

TensorRef squeeze(const TensorRef& x, int64_t dim) {
  int64_t d = wrap_dimension(dim, x->dim(), "squeeze");
  bool drop = x->dim() > 0 && x->size(d) == 1;
  return apply_ints(kSqueeze, x, drop ? Dims{d} : Dims{});
}

TensorRef unsqueeze(const TensorRef& x, int64_t dim) {
  return apply_ints(kUnsqueeze, x, {wrap_dimension(dim, x->dim() + 1, "unsqueeze")});
}

TensorRef as_strided(const TensorRef& x, const Dims& shape, const Dims& strides, int64_t offset) {
  require(shape.size() == strides.size(), "as_strided: mismatch in length of strides and shape, ",
          "got ", shape, " and ", strides);
  int64_t last = offset, count = count_elements(shape);
  for (int64_t d = 0; d < shape.size(); ++d) {
    require(strides[d] >= 0, "as_strided: Negative strides are not supported at the moment, got ",
            strides);
    int64_t reach = 0;
    bool overflow = __builtin_mul_overflow(std::max<int64_t>(shape[d] - 1, 0), strides[d], &reach);
    require(!overflow && !__builtin_add_overflow(last, reach, &last),
            "as_strided: the strides reach too far");
  }
  int64_t available = x->storage()->bytes() / item_size(x->dtype());
  require(offset >= 0 && (count == 0 || last < available), "as_strided: setStorage: sizes ", shape,
          ", strides ", strides, ", storage offset ", offset, " requiring ", last + 1,
          " elements are out of bounds for storage of ", available, " elements");
  Attributes attributes;
  attributes.ints = shape;
  attributes.more_ints = strides;
  attributes.scalars[0] = Scalar(offset);
  attributes.scalars[1] = Scalar(x->offset());
  attributes.flag = x->contiguous();
  return apply(kAsStrided, {x}, std::move(attributes));
}

TensorRef strided_sum(const TensorRef& x, int64_t length, const Dims& strides, int64_t offset) {
  Attributes attributes;
  attributes.ints = {length, offset};
  for (int64_t extent : x->shape()) attributes.ints.push_back(extent);
  attributes.more_ints = strides;
  attributes.flag = elements_meet(x->shape(), strides);
  return apply(kStridedSum, {x}, std::move(attributes));
}

TensorRef diagonal(const TensorRef& x, int64_t offset, int64_t dim1, int64_t dim2) {
  int64_t a = wrap_dimension(dim1, x->dim(), "diagonal");
  int64_t b = wrap_dimension(dim2, x->dim(), "diagonal");
  require(a != b && x->dim() >= 2, "diagonal: diagonal dimensions cannot be identical ", dim1, ", ",
          dim2);
  return apply_ints(kDiagonal, x, {offset, a, b});
}

TensorRef unfold(const TensorRef& x, int64_t dim, int64_t length, int64_t step) {
  int64_t d = wrap_dimension(dim, x->dim(), "unfold");
  int64_t available = x->dim() ? x->size(d) : 1;
  require(length >= 0 && length <= available, "unfold: maximum size for tensor at dimension ", d,
          " is ", available, " but size is ", length);
  require(step > 0, "unfold: step is ", step, " but must be > 0");
  return apply_ints(kUnfold, x, {d, length, step});
}

// The same bytes as elements of another type; the last dimension is scaled by the sizes' ratio.
TensorRef view_dtype(const TensorRef& x, DType dtype) {
  int from = item_size(x->dtype()), to = item_size(dtype);
  Dims shape = x->shape(), strides = x->strides();
  int64_t offset = x->offset() * from;
  if (from != to) {
    require(x->dim() > 0, "view: self.dim() cannot be 0 to view torch.", dtype_name(x->dtype()),
            " as torch.", dtype_name(dtype), " (different element sizes)");
    require(x->size(-1 + x->dim()) <= 1 || strides.back() == 1, "view: self.stride(-1) must be 1 ",
            "to view torch.", dtype_name(x->dtype()), " as torch.", dtype_name(dtype), ", but got ",
            strides.back());
    int64_t bytes = shape.back() * from;
    bool fits = bytes % to == 0 && offset % to == 0;
    for (int64_t d = 0; d + 1 < x->dim(); ++d) {
      fits = fits && strides[d] * from % to == 0;
      strides[d] = strides[d] * from / to;
    }
    require(fits, "view: self.size(-1) and strides must be divisible by ", to, " bytes to view ",
            "torch.", dtype_name(x->dtype()), " as torch.", dtype_name(dtype), ", got shape ",
            x->shape());
    shape.back() = bytes / to;
  }
  auto result = Tensor::view(x->storage(), shape, strides, offset / to, dtype);
  result->set_inference(x->inference());
  return result;
}

static TensorRef t(const TensorRef& input) {
  require(input->dim() <= 2, "t: expects a tensor with <= 2 dimensions, but self is ", input->dim(),
          "D; use transpose(dim0, dim1)");
  if (input->dim() < 2) return apply_ints(kPermute, input, input->dim() ? Dims{0} : Dims{});
  return apply_ints(kT, input, {0, 1});
}

static TensorRef squeeze_all(const TensorRef& input) {
  Dims drop;
  for (int64_t d = 0; d < input->dim(); ++d) {
    if (input->size(d) == 1) drop.push_back(d);
  }
  return apply_ints(kSqueeze, input, drop);
}
static TensorRef squeeze_dims(const TensorRef& input, const Dims& dim) {
  Dims drop;
  for (int64_t d : wrap_dimensions(dim, input->dim(), "squeeze")) {
    if (input->dim() && input->size(d) == 1) drop.push_back(d);
  }
  return apply_ints(kSqueeze, input, drop);
}
static TensorRef as_strided_call(const TensorRef& input, const Dims& size, const Dims& stride,
                                 std::optional<int64_t> storage_offset) {
  return as_strided(input, size, stride, storage_offset.value_or(input->offset()));
}

static constexpr uint32_t kView_ = kFunction | kMethod;
OPERATOR_FORMS(view, "view", "input, shape", kMethod,
               "The same elements under another shape, sharing memory.\n\nArgs:\n    shape: ints; "
               "one may be -1 and is inferred.\n\nRaises:\n    RuntimeError: the strides do not "
               "allow it; use reshape, which copies when it must.");
OPERATOR_FORMS(view_dtype, "view", "input, dtype", kMethod,
               "The same bytes as elements of another type; not differentiable.");
OPERATOR_FORMS(reshape, "reshape", "input, shape", kView_,
               "The same elements under another shape; a view where possible, else a copy.\n\n"
               "Args:\n    shape: ints; one may be -1 and is inferred.");
OPERATOR_FORMS(flatten, "flatten", "input, start_dim=0, end_dim=-1", kView_,
               "Joins the dimensions from start_dim to end_dim into one; a view where possible, "
               "else a copy.\n\nArgs:\n    start_dim, end_dim: first and last dimension to join."
               "\n\nRaises:\n    RuntimeError: start_dim comes after end_dim.");
OPERATOR_FORMS(expand, "expand", "input, size", kMethod,
               "Repeats dimensions of length 1 without copying.\n\nArgs:\n    size: the new shape; "
               "-1 keeps a length; new dimensions may be added in front.");
OPERATOR_FORMS(expand, "broadcast_to", "input, size", kView_,
               "Repeats dimensions of length 1 without copying, as expand.");
OPERATOR_FORMS(permute, "permute", "input, dims", kView_,
               "A view with the dimensions in another order.");
OPERATOR_FORMS(transpose, "transpose", "input, dim0, dim1", kView_ | kInPlace,
               "A view with two dimensions exchanged.");
OPERATOR_FORMS(transpose, "swapaxes", "input, axis0, axis1", kView_,
               "A view with two dimensions exchanged, as transpose.");
OPERATOR_FORMS(transpose, "swapdims", "input, dim0, dim1", kView_,
               "A view with two dimensions exchanged, as transpose.");
OPERATOR_FORMS(t, "t", "input", kView_ | kInPlace,
               "The transposed matrix as a view; vectors and scalars stay as they are.");
OPERATOR_FORMS(select, "select", "input, dim, index", kView_,
               "The slice at one index of a dimension, which disappears; a view.");
OPERATOR_FORMS(narrow, "narrow", "input, dim, start, length", kView_,
               "The elements from start to start + length of a dimension; a view.");
OPERATOR_FORMS(squeeze, "squeeze", "input, dim", kView_ | kInPlace,
               "Drops a dimension of length 1; without `dim` all of them. A view.");
OPERATOR_FORMS(squeeze_dims, "squeeze", "input, dim", kView_ | kInPlace,
               "Drops dimensions of length 1. A view.");
OPERATOR_FORMS(squeeze_all, "squeeze", "input", kView_ | kInPlace,
               "Drops all dimensions of length 1. A view.");
OPERATOR_FORMS(unsqueeze, "unsqueeze", "input, dim", kView_ | kInPlace,
               "Inserts a dimension of length 1 at `dim`. A view.");
OPERATOR_FORMS(diagonal, "diagonal", "input, offset=0, dim1=0, dim2=1", kView_,
               "The diagonal of two dimensions as a last dimension; a view.");
OPERATOR_FORMS(unfold, "unfold", "input, dimension, size, step", kMethod,
               "All slices of length `size` along a dimension, `step` apart, as a last dimension; "
               "a view.");
OPERATOR_FORMS(as_strided_call, "as_strided", "input, size, stride, storage_offset=None", kView_,
               "A view with any shape, strides and offset (in elements) within the storage.");

}  // namespace flambeau
