// Copies in another order, triangles and diagonals of matrices.
#include "base/thread_pool.h"
#include "ops/arithmetic.h"
#include "ops/creation.h"
#include "ops/cuda_runs.h"
#include "ops/gather.h"
#include "ops/portable.h"
#include "ops/reduction.h"
#include "ops/sizes.h"
#include "ops/views.h"
#include "program/reordered.h"
#include "tensor/copy.h"

namespace flambeau {
namespace {

void infer_same(Call& call) { call.expect(0, call.input(0).shape(), call.input(0).dtype()); }

// --- flip: ints are the dimensions

// Copies one line, or its mirror image.
template <class T>
void copy_row(T* to, const T* from, int64_t count, bool mirrored) {
  if (mirrored)
    std::reverse_copy(from, from + count, to);
  else
    std::copy(from, from + count, to);
}

void run_flip(Call& call) {
  Unrecorded scope;
  TensorRef x = contiguous(call.inputs[0]);
  if (x->numel() == 0) return;
  if (x->dim() == 0) return copy(call.output(), *x);
  const Dims& shape = x->shape();
  Dims mirrored(shape.size(), 0), strides = contiguous_strides(shape);
  for (int64_t d : call.attributes.ints) mirrored[d] = 1;
  int64_t length = shape.back(), rows = x->numel() / length;
  visit_width(x->dtype(), [&]<class T>() {
    T* to = call.output().data<T>();
    const T* from = x->data<T>();
    parallel_for(rows, std::max<int64_t>(1, kGrain / length), [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        int64_t source = 0, rest = row;
        for (int64_t d = shape.size() - 2; d >= 0; --d) {
          int64_t position = rest % shape[d];
          rest /= shape[d];
          source += (mirrored[d] ? shape[d] - 1 - position : position) * strides[d];
        }
        copy_row(to + row * length, from + source, length, mirrored.back());
      }
    });
  });
}

void flip_gradient(Gradient& gradient) {
  gradient.set(0, flip(gradient.g(), gradient.attributes().ints));
}

const Primitive kFlip{.name = "flip",
                      .infer = infer_same,
                      .run = run_flip,
                      .gradient = flip_gradient,
                      .run_cuda = run_flip_cuda};

// --- roll: ints are shifts, more_ints the dimensions

void run_roll(Call& call) {
  Unrecorded scope;
  TensorRef x = contiguous(call.inputs[0]);
  const Dims &shifts = call.attributes.ints, &dims = call.attributes.more_ints;
  if (x->numel() == 0 || x->dim() == 0) return copy(call.output(), *x);
  TensorRef from = x;
  for (int64_t i = 0; i < dims.size(); ++i) {
    TensorRef to = Tensor::empty(x->shape(), x->dtype());
    int64_t length = x->size(dims[i]), inner = item_size(x->dtype()), outer = 1;
    for (int64_t d = 0; d < x->dim(); ++d) {
      if (d < dims[i]) outer *= x->size(d);
      if (d > dims[i]) inner *= x->size(d);
    }
    int64_t shift = ((shifts[i] % length) + length) % length * inner, line = length * inner;
    for (int64_t k = 0; k < outer; ++k) {
      char* target = to->data<char>() + k * line;
      const char* source = from->data<char>() + k * line;
      std::memcpy(target + shift, source, line - shift);
      std::memcpy(target, source + line - shift, shift);
    }
    from = to;
  }
  copy(call.output(), *from);
}

void roll_gradient(Gradient& gradient) {
  Dims back = gradient.attributes().ints;
  for (int64_t& shift : back) shift = -shift;
  gradient.set(0, roll(gradient.g(), back, gradient.attributes().more_ints));
}

const Primitive kRoll{.name = "roll",
                      .infer = infer_same,
                      .run = run_roll,
                      .gradient = roll_gradient,
                      .run_cuda = run_roll_cuda};

// --- tril, triu: ints[0] is the diagonal

void infer_triangle(Call& call) {
  require(call.input(0).dim() >= 2, call.primitive.name,
          ": input tensor must have at least 2 dimensions, got shape ", call.input(0).shape());
  infer_same(call);
}

template <bool lower>
void run_triangle(Call& call) {
  Unrecorded scope;
  TensorRef x = contiguous(call.inputs[0]);
  int64_t rows = x->size(x->dim() - 2), columns = x->shape().back();
  int64_t diagonal = call.attributes.ints[0];
  if (x->numel() == 0) return;
  visit_width(x->dtype(), [&]<class T>() {
    int64_t grain = std::max<int64_t>(1, kGrain / columns);
    parallel_for(x->numel() / columns, grain, [&](int64_t begin, int64_t end) {
      for (int64_t line = begin; line < end; ++line) {
        const T* from = x->data<T>() + line * columns;
        T* to = call.output().data<T>() + line * columns;
        // The first column right of the diagonal (tril) or on it (triu).
        int64_t edge = std::clamp<int64_t>(line % rows + diagonal + lower, 0, columns);
        if (lower) {
          std::copy(from, from + edge, to);
          std::fill(to + edge, to + columns, T(0));
        } else {
          std::fill(to, to + edge, T(0));
          std::copy(from + edge, from + columns, to + edge);
        }
      }
    });
  });
}

// Keeps the diagonal from overflowing when it is added to a row number.
Attributes on_diagonal(int64_t diagonal) {
  constexpr int64_t kFar = int64_t(1) << 62;
  Attributes attributes;
  attributes.ints.push_back(std::clamp(diagonal, -kFar, kFar));
  return attributes;
}

void tril_gradient(Gradient& gradient) {
  gradient.set(0, tril(gradient.g(), gradient.attributes().ints[0]));
}
void triu_gradient(Gradient& gradient) {
  gradient.set(0, triu(gradient.g(), gradient.attributes().ints[0]));
}

const Primitive kTril{.name = "tril",
                      .infer = infer_triangle,
                      .run = run_triangle<true>,
                      .gradient = tril_gradient,
                      .run_cuda = run_tril_cuda};
const Primitive kTriu{.name = "triu",
                      .infer = infer_triangle,
                      .run = run_triangle<false>,
                      .gradient = triu_gradient,
                      .run_cuda = run_triu_cuda};

// --- diag_embed: ints = {offset, dim1, dim2}

void infer_diag_embed(Call& call) {
  const Tensor& x = call.input(0);
  const Dims& ints = call.attributes.ints;
  int64_t length = x.shape().back() + std::abs(ints[0]);
  Dims shape(x.shape().begin(), x.shape().end() - 1);
  for (int64_t d : {std::min(ints[1], ints[2]), std::max(ints[1], ints[2])}) {
    shape.insert(d, length);
  }
  call.expect(0, shape, x.dtype());
}

void run_diag_embed(Call& call) {
  Unrecorded scope;
  const Dims& ints = call.attributes.ints;
  fill(call.output(), 0);
  if (call.input(0).numel() == 0) return;
  copy(*diagonal(call.outputs[0], ints[0], ints[1], ints[2]), call.input(0));
}

void diag_embed_gradient(Gradient& gradient) {
  const Dims& ints = gradient.attributes().ints;
  gradient.set(0, diagonal(gradient.g(), ints[0], ints[1], ints[2]));
}

const Primitive kDiagEmbed{.name = "diag_embed",
                           .infer = infer_diag_embed,
                           .run = run_diag_embed,
                           .gradient = diag_embed_gradient,
                           .run_cuda = run_diag_embed};

// --- trace

void infer_trace(Call& call) {
  const Tensor& x = call.input(0);
  require(x.dim() == 2, "trace: expected a matrix, but got tensor with dim ", x.dim(),
          " and shape ", x.shape(), "; sum over diagonal(dim1=-2, dim2=-1) for batches");
  call.expect(0, {}, is_floating(x.dtype()) ? x.dtype() : DType::Int64);
}

void run_trace(Call& call) {
  Unrecorded scope;
  reduce(*diagonal(call.inputs[0], 0, 0, 1), 1, {Fold::Sum}, &call.output());
}

void trace_gradient(Gradient& gradient) {
  const Dims& shape = gradient.input_shape(0);
  TensorRef blank = zeros(shape, gradient.g()->dtype(), gradient.device());
  size_decides(shape[0], shape[1]);
  int64_t length = std::min(shape[0], shape[1]);
  TensorRef places =
      arange(0, length * (shape[1] + 1), shape[1] + 1, DType::Int64, gradient.device());
  gradient.set(0, put(blank, places, expand(gradient.g(), {length}), false));
}

const Primitive kTrace = everywhere({"trace", infer_trace, run_trace, trace_gradient});

void check_flip(const Call& call) {
  need_inputs(call, 1, 1);
  for (int i = 0; i < call.attributes.ints.size(); ++i) need_dimension(call, i);
}
void check_roll(const Call& call) {
  need_inputs(call, 1, 1);
  const Dims& dims = call.attributes.more_ints;
  need_ints(call, dims.size());
  for (int64_t d : dims) need(call, d >= 0 && d < call.input(0).dim(), "no such dimension");
}
void check_triangle(const Call& call) {
  need_inputs(call, 1, 1);
  need_ints(call, 1);
  int64_t diagonal = call.attributes.ints[0];
  need(call, std::abs(diagonal / 2) <= int64_t{1} << 61, "the diagonal is too far away");
}
void check_diag_embed(const Call& call) {
  need_inputs(call, 1, 1);
  need_ints(call, 3);
  const Dims& ints = call.attributes.ints;
  int64_t rank = call.input(0).dim();
  bool fits = rank > 0 && ints[1] != ints[2] && std::abs(ints[0] / 2) <= INT32_MAX;
  for (int i = 1; i < 3; ++i) fits = fits && ints[i] >= 0 && ints[i] <= rank;
  need(call, fits, "no such diagonal");
}
PORTABLE(kFlip, check_flip);
PORTABLE(kRoll, check_roll);
PORTABLE(kTril, check_triangle);
PORTABLE(kTriu, check_triangle);
PORTABLE(kDiagEmbed, check_diag_embed);
PORTABLE(kTrace, check_inputs<1>);

// Row and column numbers of a triangle, as a (2, count) tensor.
TensorRef triangle_indices(const char* op, int64_t rows, int64_t columns, int64_t offset,
                           DType dtype, bool lower) {
  require(rows >= 0 && columns >= 0, op, ": row and col must be non-negative, got ", rows, " and ",
          columns);
  require(dtype == DType::Int64 || dtype == DType::Int32, op, ": dtype must be int32 or int64, ",
          "got torch.", dtype_name(dtype));
  count_elements({rows, columns});
  auto ends = [&](int64_t row) {
    int64_t edge = std::clamp<int64_t>(row + offset + lower, 0, columns);
    return lower ? std::pair<int64_t, int64_t>{0, edge}
                 : std::pair<int64_t, int64_t>{edge, columns};
  };
  int64_t count = 0;
  for (int64_t row = 0; row < rows; ++row) count += ends(row).second - ends(row).first;
  TensorRef result = Tensor::empty({2, count}, dtype);
  visit_dtype(dtype, [&]<class T>() {
    T *row_out = result->data<T>(), *column_out = row_out + count;
    for (int64_t row = 0; row < rows; ++row) {
      auto [begin, end] = ends(row);
      for (int64_t column = begin; column < end; ++column) {
        *row_out++ = convert<T>(row);
        *column_out++ = convert<T>(column);
      }
    }
  });
  return result;
}

// Position i, repeats[i] times.
TensorRef repeated_positions(const TensorRef& repeats, std::optional<int64_t> output_size) {
  Unrecorded scope;
  require(repeats->dim() <= 1,
          "repeat_interleave: repeats must be 0-dim or 1-dim tensor, got shape ", repeats->shape());
  require(repeats->dtype() == DType::Int64 || repeats->dtype() == DType::Int32,
          "repeat_interleave: repeats has to be Long or Int tensor, got torch.",
          dtype_name(repeats->dtype()), "; convert it with .long()");
  TensorRef counts = contiguous(to_dtype(repeats, DType::Int64));
  if (!counts->device().is_cpu()) return repeated_positions_cuda(counts, output_size);
  const int64_t* count = counts->data<int64_t>();
  int64_t total = 0;
  for (int64_t i = 0; i < counts->numel(); ++i) {
    require(count[i] >= 0, "repeat_interleave: repeats can not be negative, got ", count[i]);
    require(!__builtin_add_overflow(total, count[i], &total),
            "repeat_interleave: too many elements; use smaller repeats");
  }
  require(
      !output_size || *output_size == total, "repeat_interleave: allocated size does not match ",
      "required size: output_size=", output_size.value_or(0), " but the repeats add up to ", total);
  TensorRef result = Tensor::empty({total}, DType::Int64);
  int64_t* out = result->data<int64_t>();
  for (int64_t i = 0; i < counts->numel(); ++i) out = std::fill_n(out, count[i], i);
  return result;
}

// Calls body(tensor, dims) on a tensor's dimensions in the order in which they lie, so that the
// result lies in that order, too.
template <class Body>
TensorRef as_it_lies(const TensorRef& x, Dims dims, Body body) {
  const Dims strides = dense_strides(*x);
  const Dims order = strides.empty() ? Dims() : memory_order(x->shape(), strides);
  if (order.empty()) return body(x, dims);
  Dims place(order.size());
  for (int64_t i = 0; i < order.size(); ++i) place[order[i]] = i;
  for (int64_t& d : dims) d = place[d];
  return permute(body(permute(x, order), dims), place);
}

}  // namespace

TensorRef flip(const TensorRef& x, const Dims& dims) {
  const Dims wrapped = wrap_dimensions(dims, x->dim(), "flip");
  return as_it_lies(x, wrapped, [](const TensorRef& x, const Dims& dims) {
    Attributes attributes;
    if (x->dim() > 0) attributes.ints = dims;
    return apply(kFlip, {x}, std::move(attributes));
  });
}

TensorRef roll(const TensorRef& x, const Dims& shifts, const Dims& dims) {
  require(!shifts.empty(), "roll: `shifts` required, got none");
  if (dims.empty() && shifts.size() == 1) {
    return view(roll(reshape(x, {-1}), shifts, {0}), x->shape());
  }
  require(shifts.size() == dims.size(),
          "roll: shifts and dimensions must align. shifts: ", shifts.size(),
          ", dims:", dims.size());
  Dims wrapped;
  for (int64_t d : dims) wrapped.push_back(wrap_dimension(d, x->dim(), "roll"));
  auto rolled = [&](const TensorRef& x, const Dims& dims) {
    Attributes attributes;
    attributes.ints = shifts;
    attributes.more_ints = dims;
    return apply(kRoll, {x}, std::move(attributes));
  };
  // PyTorch keeps channels last here, and no other order.
  if (format_of(*x) == MemoryFormat::Contiguous) return rolled(x, wrapped);
  return as_it_lies(x, wrapped, rolled);
}

TensorRef tril(const TensorRef& x, int64_t diagonal) {
  return apply(kTril, {x}, on_diagonal(diagonal));
}
TensorRef triu(const TensorRef& x, int64_t diagonal) {
  return apply(kTriu, {x}, on_diagonal(diagonal));
}

TensorRef diag_embed(const TensorRef& x, int64_t offset, int64_t dim1, int64_t dim2) {
  require(x->dim() > 0, "diag_embed: at least one dimension is needed, got a 0-d tensor");
  int64_t first = wrap_dimension(dim1, x->dim() + 1, "diag_embed");
  int64_t second = wrap_dimension(dim2, x->dim() + 1, "diag_embed");
  require(first != second, "diag_embed: diagonal dimensions cannot be identical ", dim1, ", ",
          dim2);
  Attributes attributes;
  attributes.ints = {offset, first, second};
  return apply(kDiagEmbed, {x}, std::move(attributes));
}

// --- Python

#define DIM_ERRORS "Raises:\n    IndexError: a dimension is out of range."

OPERATOR_FORMS(flip, "flip", "input, dims", kFunction | kMethod,
               "Reverses the order of the elements along dimensions.\n\n"
               "Args:\n    input: a tensor.\n    dims (ints): the dimensions.\n\n"
               "Returns:\n    A new tensor (not a view) of the same shape.\n\n" DIM_ERRORS
               "\n    RuntimeError: a dimension is named twice.\n\n"
               "Example:\n    >>> torch.arange(3).flip(0)\n    tensor([2, 1, 0])");
static TensorRef fliplr(const TensorRef& input) {
  require(input->dim() >= 2, "fliplr: Input must be >= 2-d, got shape ", input->shape());
  return flip(input, {1});
}
OPERATOR_FORMS(fliplr, "fliplr", "input", kFunction | kMethod,
               "Reverses the columns: flip along dimension 1.\n\nArgs:\n    input: a tensor of at "
               "least 2 dimensions.\n\nReturns:\n    A new tensor of the same shape.\n\n"
               "Raises:\n    RuntimeError: there are fewer than 2 dimensions.");
static TensorRef flipud(const TensorRef& input) {
  require(input->dim() >= 1, "flipud: Input must be >= 1-d, got a 0-d tensor");
  return flip(input, {0});
}
OPERATOR_FORMS(flipud, "flipud", "input", kFunction | kMethod,
               "Reverses the rows: flip along dimension 0.\n\nArgs:\n    input: a tensor of at "
               "least 1 dimension.\n\nReturns:\n    A new tensor of the same shape.\n\n"
               "Raises:\n    RuntimeError: the input is 0-d.");

OPERATOR_FORMS(
    roll, "roll", "input, shifts, dims=()", kFunction | kMethod,
    "Shifts the elements along dimensions; what leaves at one end enters at the other."
    "\n\nArgs:\n    input: a tensor.\n    shifts (int or tuple of ints): places to move "
    "forwards.\n    dims (int or tuple of ints): the dimensions, as many; without them "
    "the flattened tensor is shifted.\n\nReturns:\n    A tensor of the same shape.\n\n" DIM_ERRORS
    "\n    RuntimeError: shifts and dims do not go together.");

#define TRIANGLE_DOC(which, elsewhere)                                                            \
  which " triangle of a matrix, or of each matrix of a batch; zero " elsewhere                    \
        ".\n\n"                                                                                   \
        "Args:\n    input: (*, n, m).\n    diagonal (int): the last diagonal that is kept; 0 is " \
        "the "                                                                                    \
        "main one, positive ones lie above it.\n\nReturns:\n    A tensor of the same shape.\n\n"  \
        "Raises:\n    RuntimeError: there are fewer than 2 dimensions."
OPERATOR_FORMS(tril, "tril", "input, diagonal=0", kUsual | kInPlace,
               TRIANGLE_DOC("Lower", "above"));
OPERATOR_FORMS(triu, "triu", "input, diagonal=0", kUsual | kInPlace,
               TRIANGLE_DOC("Upper", "below"));

#define TRIANGLE_INDICES_DOC(which)                                                               \
  "Rows and columns of the " which                                                                \
  " triangle of a matrix, row by row.\n\n"                                                        \
  "Args:\n    row, col (int): the matrix' size.\n    offset (int): the last diagonal that "       \
  "belongs to it.\n    dtype (dtype): int64 or int32.\n    device (device, optional): where the " \
  "result is.\n\n"                                                                                \
  "Returns:\n    A tensor (2, count).\n\nRaises:\n    RuntimeError: a size is negative."
static TensorRef tril_indices(int64_t row, int64_t col, int64_t offset,
                              const std::optional<DType>& dtype,
                              const std::optional<Device>& device) {
  return placed(
      triangle_indices("tril_indices", row, col, offset, dtype.value_or(DType::Int64), true),
      device.value_or(Device{}));
}
OPERATOR_FORMS(tril_indices, "tril_indices", "row, col, offset=0, *, dtype=None, device=None",
               kFunction, TRIANGLE_INDICES_DOC("lower"));
static TensorRef triu_indices(int64_t row, int64_t col, int64_t offset,
                              const std::optional<DType>& dtype,
                              const std::optional<Device>& device) {
  return placed(
      triangle_indices("triu_indices", row, col, offset, dtype.value_or(DType::Int64), false),
      device.value_or(Device{}));
}
OPERATOR_FORMS(triu_indices, "triu_indices", "row, col, offset=0, *, dtype=None, device=None",
               kFunction, TRIANGLE_INDICES_DOC("upper"));

static TensorRef trace(const TensorRef& input) { return apply(kTrace, {input}); }
OPERATOR_FORMS(trace, "trace", "input", kFunction | kMethod,
               "Sum of the diagonal of a matrix.\n\nArgs:\n    input: (n, m).\n\nReturns:\n    A "
               "0-d tensor; int64 for integers.\n\nRaises:\n    RuntimeError: the input is not a "
               "matrix.")
    .autocast("float32 on cpu");

static TensorRef diag(const TensorRef& input, int64_t diagonal_) {
  require(input->dim() == 1 || input->dim() == 2, "diag(): Supports 1D or 2D tensors. Got ",
          input->dim(), "D; see diagonal and diag_embed");
  if (input->dim() == 1) return diag_embed(input, diagonal_, 0, 1);
  return clone(diagonal(input, diagonal_, 0, 1));
}
OPERATOR(
    diag, "input, diagonal=0",
    "A vector as the diagonal of a matrix, or the diagonal of a matrix as a vector.\n\n"
    "Args:\n    input: (n,) or (n, m).\n    diagonal (int): which one; positive ones lie above "
    "the main diagonal.\n\nReturns:\n    A matrix, or a vector (a copy).\n\n"
    "Raises:\n    RuntimeError: the input has another number of dimensions.");

OPERATOR_FORMS(
    diag_embed, "diag_embed", "input, offset=0, dim1=-2, dim2=-1", kFunction | kMethod,
    "The last dimension as diagonals of new matrices.\n\n"
    "Args:\n    input: (*, n).\n    offset (int): which diagonal.\n    dim1, dim2 (int): "
    "where the matrices' dimensions go.\n\nReturns:\n    A tensor of one dimension more, "
    "zero beside the diagonals.\n\n" DIM_ERRORS "\n    RuntimeError: dim1 and dim2 are equal.");

static TensorRef repeat_along(const TensorRef& x, const TensorRef& positions,
                              const std::optional<int64_t>& dim) {
  return index_select(dim ? x : reshape(x, {-1}), dim.value_or(0), positions);
}
#define REPEAT_DOC                                                                               \
  "Repeats every element, or every slice along a dimension.\n\n"                                 \
  "Args:\n    input: a tensor.\n    repeats (int or int64 tensor): how often; one number for "   \
  "all, or one for each.\n    dim (int, optional): the dimension; without it the flattened "     \
  "tensor is repeated.\n    output_size (int, optional): the length of the result, checked.\n\n" \
  "Returns:\n    A tensor.\n\nRaises:\n    RuntimeError: a negative number, or not one for "     \
  "each slice.\n\nExample:\n    >>> torch.tensor([1, 2]).repeat_interleave(2)\n"                 \
  "    tensor([1, 1, 2, 2])"

static TensorRef repeat_interleave_tensor(const TensorRef& input, const TensorRef& repeats,
                                          const std::optional<int64_t>& dim,
                                          const std::optional<int64_t>& output_size) {
  int64_t d = dim ? wrap_dimension(*dim, input->dim(), "repeat_interleave") : 0;
  int64_t length = !dim ? input->numel() : input->dim() ? input->size(d) : 1;
  TensorRef counts = repeats;
  if (counts->numel() == 1) counts = expand(reshape(counts, {1}), {length});
  require(counts->numel() == length, "repeat_interleave: repeats must have the same size as input ",
          "along dim, but got repeats.size(0) = ", counts->numel(), " and input.size(", d,
          ") = ", length);
  return repeat_along(input, repeated_positions(counts, output_size), dim);
}
OPERATOR_FORMS(repeat_interleave_tensor, "repeat_interleave",
               "input, repeats, dim=None, *, output_size=None", kFunction | kMethod, REPEAT_DOC);
static TensorRef repeat_interleave_number(const TensorRef& input, int64_t repeats,
                                          const std::optional<int64_t>& dim,
                                          const std::optional<int64_t>& output_size) {
  return repeat_interleave_tensor(input, full({1}, repeats, DType::Int64, input->device()), dim,
                                  output_size);
}
OPERATOR_FORMS(repeat_interleave_number, "repeat_interleave",
               "input, repeats, dim=None, *, output_size=None", kFunction | kMethod, REPEAT_DOC);
static TensorRef repeat_interleave_positions(const TensorRef& repeats,
                                             const std::optional<int64_t>& output_size) {
  return repeated_positions(repeats, output_size);
}
OPERATOR_FORMS(
    repeat_interleave_positions, "repeat_interleave", "repeats, *, output_size=None", kFunction,
    "Position i repeated repeats[i] times.\n\nArgs:\n    repeats: an int64 vector.\n"
    "    output_size (int, optional): the length of the result, checked.\n\n"
    "Returns:\n    An int64 vector.\n\nRaises:\n    RuntimeError: a number is negative.");

static TensorRef one_hot(const TensorRef& tensor, int64_t num_classes) {
  require(tensor->dtype() == DType::Int64,
          "one_hot: one_hot is only applicable to index tensor of ", "type LongTensor, got torch.",
          dtype_name(tensor->dtype()), "; convert it with .long()");
  Unrecorded scope;
  TensorRef index = contiguous(tensor);
  if (!index->device().is_cpu()) return one_hot_cuda(index, num_classes);
  const int64_t* at = index->data<int64_t>();
  int64_t count = index->numel(), high = -1, low = 0;
  for (int64_t i = 0; i < count; ++i) {
    high = std::max(high, at[i]);
    low = std::min(low, at[i]);
  }
  require(low >= 0, "one_hot: Class values must be non-negative, got ", low);
  require(count > 0 || num_classes > 0,
          "one_hot: Can not infer total number of classes from empty tensor; pass num_classes");
  int64_t classes = num_classes == -1 ? high + 1 : num_classes;
  require(classes > 0, "one_hot: num_classes should be positive, got ", num_classes);
  require(high < classes, "one_hot: Class values must be smaller than num_classes, got ", high,
          " with num_classes=", classes);
  Dims shape = index->shape();
  shape.push_back(classes);
  TensorRef result = zeros(shape, DType::Int64);
  int64_t* out = result->data<int64_t>();
  for (int64_t i = 0; i < count; ++i) out[i * classes + at[i]] = 1;
  return result;
}
OPERATOR_FORMS(one_hot, "one_hot", "tensor, num_classes=-1", kFunctional,
               "Vectors that are 1 at one place and 0 elsewhere.\n\nArgs:\n    tensor: int64 class "
               "numbers of any shape.\n    num_classes (int): the vectors' length; the largest "
               "number plus one if -1.\n\nReturns:\n    An int64 tensor with one dimension more."
               "\n\nRaises:\n    RuntimeError: a number is negative or too large.");

}  // namespace flambeau
