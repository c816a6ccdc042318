// Whole slices at the positions that a vector of indices names; take and put on flat tensors;
// embedding.
#include "base/thread_pool.h"
#include "ops/arithmetic.h"
#include "ops/creation.h"
#include "ops/cuda_runs.h"
#include "ops/gather.h"
#include "ops/portable.h"
#include "ops/reduction.h"
#include "ops/views.h"
#include "tensor/copy.h"

namespace flambeau {
namespace {

// A dense tensor as outer x length x inner, around one dimension.
struct Around {
  int64_t outer = 1, length = 1, inner = 1;

  Around(const Dims& shape, int64_t dim) {
    for (int64_t d = 0; d < shape.size(); ++d) {
      (d < dim ? outer : d > dim ? inner : length) *= shape[d];
    }
  }
};

int64_t length_of(const Tensor& x, int64_t dim) { return x.dim() ? x.size(dim) : 1; }

void require_vector(const char* op, const Tensor& index) {
  if (index.dim() > 1) {
    fail(ErrorKind::Index, op, "(): Index is supposed to be a vector, got shape ", index.shape(),
         "; flatten it first");
  }
}

// --- index_select

void infer_index_select(Call& call) {
  const Tensor &x = call.input(0), &index = call.input(1);
  require_vector("index_select", index);
  Dims shape = x.shape();
  if (x.dim()) {
    shape[call.attributes.ints[0]] = index.numel();
  } else if (index.numel() != 1) {
    fail(ErrorKind::Index, "index_select(): Index to scalar can have only 1 value, got ",
         index.numel(), " value(s)");
  }
  call.expect(0, shape, x.dtype());
}

// Copies rows of `width` bytes; `count` of them for each of `outer` blocks.
void copy_rows(char* to, const char* from, const int64_t* at, int64_t outer, int64_t count,
               int64_t length, int64_t width) {
  int64_t grain = std::max<int64_t>(1, 4 * kGrain / std::max<int64_t>(width, 64));
  parallel_for(outer * count, grain, [=](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      int64_t block = i / count, row = at[i % count];
      std::memcpy(to + i * width, from + (block * length + row) * width, width);
    }
  });
}

void run_index_select(Call& call) {
  int64_t dim = call.attributes.ints[0];
  Unrecorded scope;
  TensorRef x = contiguous(call.inputs[0]);
  Around around(x->shape(), dim);
  TensorRef index = checked_indices(call.inputs[1], {"index_select", length_of(*x, dim), dim});
  copy_rows(call.output().data<char>(), x->data<char>(), index->data<int64_t>(), around.outer,
            index->numel(), around.length, around.inner * item_size(x->dtype()));
}

void index_select_gradient(Gradient& gradient) {
  TensorRef blank = zeros(gradient.input_shape(0), gradient.g()->dtype(), gradient.device());
  gradient.set(0, index_add(blank, gradient.attributes().ints[0], gradient.input(1), gradient.g()));
}

const Primitive kIndexSelect{.name = "index_select",
                             .infer = infer_index_select,
                             .run = run_index_select,
                             .gradient = index_select_gradient,
                             .saved_inputs = 2,
                             .run_cuda = run_index_select_cuda};

// --- index_add, index_copy: inputs x, index, source

void infer_indexed(Call& call) {
  const Tensor &x = call.input(0), &index = call.input(1), &source = call.input(2);
  const char* name = call.primitive.name;
  int64_t dim = call.attributes.ints[0];
  require_vector(name, index);
  require(source.dtype() == x.dtype(), name, "(): self (torch.", dtype_name(x.dtype()),
          ") and source (torch.", dtype_name(source.dtype()),
          ") must have the same scalar type; convert source with .to(self.dtype)");
  if (index.numel() != length_of(source, dim < source.dim() ? dim : 0)) {
    fail(call.attributes.flag ? ErrorKind::Index : ErrorKind::Runtime, name,
         "(): Number of indices (", index.numel(), ") should be equal to source.size(dim), got ",
         "source of shape ", source.shape(), " for dim ", dim);
  }
  Dims expected = x.shape();
  if (x.dim()) expected[dim] = index.numel();
  require(source.shape() == expected || (source.numel() == 1 && count_elements(expected) == 1),
          name, "(): source tensor shape must match self tensor shape, excluding the specified ",
          "dimension ", dim, ". Got self.shape = ", x.shape(), " source.shape = ", source.shape());
  call.expect(0, x.shape(), x.dtype());
}

// to[at[i]] += alpha * from[i] for rows of `inner` numbers. Threads share out the rows of `to`, so
// the order of additions is fixed.
template <class T>
void add_rows(T* to, const T* from, const int64_t* at, int64_t count, int64_t length, int64_t inner,
              T alpha, bool scaled) {
  using A = Compute<T>;
  A factor = convert<A>(alpha);
  int64_t grain = inner >= 8 ? std::max<int64_t>(1, length * kGrain / (count * inner + 1)) : length;
  parallel_for(length, std::max<int64_t>(grain, 1), [&](int64_t begin, int64_t end) {
    for (int64_t i = 0; i < count; ++i) {
      if (at[i] < begin || at[i] >= end) continue;
      T* row = to + at[i] * inner;
      const T* values = from + i * inner;
      for (int64_t j = 0; j < inner; ++j) {
        A value = convert<A>(values[j]);
        if (scaled) value = static_cast<A>(value * factor);
        if constexpr (std::is_same_v<T, bool>)
          row[j] = row[j] || value;
        else
          row[j] = convert<T>(static_cast<A>(convert<A>(row[j]) + value));
      }
    }
  });
}

void run_index_add(Call& call) {
  Unrecorded scope;
  int64_t dim = call.attributes.ints[0];
  const TensorRef& out = call.outputs[0];
  TensorRef index =
      checked_indices(call.inputs[1], {"index_add", length_of(*out, dim), dim, ErrorKind::Runtime});
  if (out->numel() == 0 || index->numel() == 0) return;
  TensorRef source = contiguous(call.inputs[2]), target = contiguous(out);
  if (source->storage() == target->storage()) source = dense_copy(*source, source->dtype());
  Around around(out->shape(), dim);
  Scalar alpha = call.attributes.scalars[0];
  visit_dtype(out->dtype(), [&]<class T>() {
    int64_t count = index->numel();
    for (int64_t block = 0; block < around.outer; ++block) {
      add_rows(target->data<T>() + block * around.length * around.inner,
               source->data<T>() + block * count * around.inner, index->data<int64_t>(), count,
               around.length, around.inner, alpha.to<T>(), alpha.to_double() != 1);
    }
  });
  if (target != out) copy(*out, *target);
}

void index_add_gradient(Gradient& gradient) {
  if (gradient.needs(0)) gradient.set(0, gradient.g());
  if (!gradient.needs(2)) return;
  int64_t dim = gradient.attributes().ints[0];
  Scalar alpha = gradient.attributes().scalars[0];
  TensorRef picked = index_select(gradient.g(), dim, gradient.input(1));
  gradient.set(2, alpha.to_double() == 1 ? picked : mul(picked, alpha));
}

void run_index_copy(Call& call) {
  Unrecorded scope;
  int64_t dim = call.attributes.ints[0];
  const TensorRef& out = call.outputs[0];
  TensorRef index = checked_indices(call.inputs[1], {"index_copy_", length_of(*out, dim), dim});
  if (out->numel() == 0) return;
  TensorRef source = contiguous(call.inputs[2]), target = contiguous(out);
  if (source->storage() == target->storage()) source = dense_copy(*source, source->dtype());
  Around around(out->shape(), dim);
  int64_t width = around.inner * item_size(out->dtype()), count = index->numel();
  const int64_t* at = index->data<int64_t>();
  for (int64_t i = 0; i < around.outer * count; ++i) {
    int64_t row = i / count * around.length + at[i % count];
    std::memcpy(target->data<char>() + row * width, source->data<char>() + i * width, width);
  }
  if (target != out) copy(*out, *target);
}

void index_copy_gradient(Gradient& gradient) {
  int64_t dim = gradient.attributes().ints[0];
  TensorRef index = gradient.input(1);
  if (gradient.needs(0)) gradient.set(0, index_fill(gradient.g(), dim, index, 0));
  if (gradient.needs(2)) gradient.set(2, index_select(gradient.g(), dim, index));
}

const Primitive kIndexAdd{.name = "index_add",
                          .infer = infer_indexed,
                          .run = run_index_add,
                          .gradient = index_add_gradient,
                          .saved_inputs = 2,
                          .updates_input = true,
                          .run_cuda = run_index_add_cuda};
const Primitive kIndexCopy{.name = "index_copy",
                           .infer = infer_indexed,
                           .run = run_index_copy,
                           .gradient = index_copy_gradient,
                           .saved_inputs = 2,
                           .updates_input = true,
                           .run_cuda = run_index_copy_cuda,
                           .order_varies = always};

// --- index_fill: scalars[0] is the value

void infer_index_fill(Call& call) {
  require_vector("index_fill", call.input(1));
  call.expect(0, call.input(0).shape(), call.input(0).dtype());
}

void run_index_fill(Call& call) {
  Unrecorded scope;
  int64_t dim = call.attributes.ints[0];
  const TensorRef& out = call.outputs[0];
  TensorRef index = checked_indices(
      call.inputs[1], {"index_fill", length_of(*out, dim), dim, ErrorKind::Index, true});
  for (int64_t i = 0; i < index->numel(); ++i) {
    TensorRef slice = out->dim() ? select(out, dim, index->data<int64_t>()[i]) : out;
    fill(*slice, call.attributes.scalars[0]);
  }
}

void index_fill_gradient(Gradient& gradient) {
  gradient.set(0, index_fill(gradient.g(), gradient.attributes().ints[0], gradient.input(1), 0));
}

const Primitive kIndexFill{.name = "index_fill",
                           .infer = infer_index_fill,
                           .run = run_index_fill,
                           .gradient = index_fill_gradient,
                           .saved_inputs = 2,
                           .updates_input = true,
                           .run_cuda = run_index_fill_cuda};

// --- take, put

void infer_take(Call& call) { call.expect(0, call.input(1).shape(), call.input(0).dtype()); }

void run_take(Call& call) {
  Unrecorded scope;
  TensorRef x = contiguous(call.inputs[0]);
  TensorRef index =
      checked_indices(call.inputs[1], {"take", x->numel(), -1, ErrorKind::Index, true});
  copy_rows(call.output().data<char>(), x->data<char>(), index->data<int64_t>(), 1, index->numel(),
            x->numel(), item_size(x->dtype()));
}

void take_gradient(Gradient& gradient) {
  TensorRef blank = zeros(gradient.input_shape(0), gradient.g()->dtype(), gradient.device());
  gradient.set(0, put(blank, gradient.input(1), gradient.g(), true));
}

const Primitive kTake{.name = "take",
                      .infer = infer_take,
                      .run = run_take,
                      .gradient = take_gradient,
                      .saved_inputs = 2,
                      .run_cuda = run_take_cuda};

void infer_put(Call& call) {
  const Tensor &x = call.input(0), &index = call.input(1), &source = call.input(2);
  if (index.numel() != source.numel()) {
    fail(ErrorKind::Index, "put_(): Expected source and index to have the same number of elements,",
         " but got source.numel() = ", source.numel(), ", index.numel() = ", index.numel());
  }
  require(source.dtype() == x.dtype(), "put_(): Expected source to be torch.",
          dtype_name(x.dtype()), " as self, got torch.", dtype_name(source.dtype()));
  call.expect(0, x.shape(), x.dtype());
}

void run_put(Call& call) {
  Unrecorded scope;
  const TensorRef& out = call.outputs[0];
  TensorRef index =
      checked_indices(call.inputs[1], {"put", out->numel(), -1, ErrorKind::Index, true});
  TensorRef source = contiguous(call.inputs[2]), target = contiguous(out);
  if (source->storage() == target->storage()) source = dense_copy(*source, source->dtype());
  const int64_t* at = index->data<int64_t>();
  bool accumulate = call.attributes.flag;
  visit_dtype(out->dtype(), [&]<class T>() {
    if (accumulate) {
      add_rows(target->data<T>(), source->data<T>(), at, index->numel(), out->numel(), 1, T{},
               false);
      return;
    }
    for (int64_t i = 0; i < index->numel(); ++i) target->data<T>()[at[i]] = source->data<T>()[i];
  });
  if (target != out) copy(*out, *target);
}

void put_gradient(Gradient& gradient) {
  TensorRef g = gradient.g(), index = gradient.input(1);
  if (gradient.needs(0)) {
    bool accumulate = gradient.attributes().flag;
    gradient.set(
        0, accumulate ? g : put(g, index, zeros(index->shape(), g->dtype(), g->device()), false));
  }
  if (gradient.needs(2)) gradient.set(2, reshape(take(g, index), gradient.input_shape(2)));
}

const Primitive kPut{.name = "put",
                     .infer = infer_put,
                     .run = run_put,
                     .gradient = put_gradient,
                     .saved_inputs = 2,
                     .updates_input = true,
                     .run_cuda = run_put_cuda,
                     .order_varies = unless_flagged};  // sums are sorted first

// --- embedding: ints = {padding_idx, scale_grad_by_freq}

void infer_embedding(Call& call) {
  const Tensor &weight = call.input(0), &indices = call.input(1);
  require(weight.dim() == 2, "embedding: 'weight' must be 2-D, got shape ", weight.shape());
  require(
      indices.dtype() == DType::Int64 || indices.dtype() == DType::Int32,
      "embedding: Expected tensor for argument 'indices' to have one of the scalar types Long, ",
      "Int; but got torch.", dtype_name(indices.dtype()), "; convert them with .long()");
  Dims shape = indices.shape();
  shape.push_back(weight.size(1));
  call.expect(0, shape, weight.dtype());
}

void run_embedding(Call& call) {
  Unrecorded scope;
  TensorRef weight = contiguous(call.inputs[0]);
  TensorRef at = checked_indices(call.inputs[1], {"embedding", weight->size(0), 0});
  copy_rows(call.output().data<char>(), weight->data<char>(), at->data<int64_t>(), 1, at->numel(),
            weight->size(0), weight->size(1) * item_size(weight->dtype()));
}

// inputs g, indices; ints = {padding_idx, scale_grad_by_freq, rows}
void infer_embedding_backward(Call& call) {
  const Dims& ints = call.attributes.ints;
  call.expect(0, {ints[2], call.input(0).shape().back()}, call.input(0).dtype());
}

void run_embedding_backward(Call& call) {
  Unrecorded scope;
  const Dims& ints = call.attributes.ints;
  int64_t padding = ints[0], rows = ints[2];
  TensorRef g = contiguous(call.inputs[0]);
  TensorRef index = checked_indices(call.inputs[1], {"embedding", rows, 0});
  const int64_t* at = index->data<int64_t>();
  int64_t count = index->numel(), width = call.output().size(1);
  fill(call.output(), 0);
  std::vector<int64_t> kept;
  if (padding >= 0) {  // the row of the padding is out of every thread's range
    kept.assign(at, at + count);
    for (int64_t& row : kept) row = row == padding ? -1 : row;
    at = kept.data();
  }
  visit_dtype(g->dtype(), [&]<class T>() {
    T* out = call.output().data<T>();
    add_rows(out, g->data<T>(), at, count, rows, width, T{}, false);
    if (!ints[1]) return;
    std::vector<int64_t> seen(rows);
    for (int64_t i = 0; i < count; ++i) {
      if (at[i] >= 0) ++seen[at[i]];
    }
    using A = Compute<T>;
    for (int64_t i = 0; i < rows * width; ++i) {
      if (int64_t n = seen[i / width]; n > 1) {
        out[i] = convert<T>(static_cast<A>(convert<A>(out[i]) / static_cast<A>(n)));
      }
    }
  });
}

void embedding_backward_gradient(Gradient& gradient) {
  const Dims& ints = gradient.attributes().ints;
  require(!ints[1], "embedding: no second derivative with scale_grad_by_freq=True; use False");
  TensorRef indices = gradient.input(1), g = embedding(gradient.g(), indices);
  if (ints[0] >= 0) g = masked_fill(g, unsqueeze(eq(indices, ints[0]), -1), 0);
  gradient.set(0, g);
}

const Primitive kEmbeddingBackward{.name = "embedding_dense_backward",
                                   .infer = infer_embedding_backward,
                                   .run = run_embedding_backward,
                                   .gradient = embedding_backward_gradient,
                                   .saved_inputs = 2,
                                   .run_cuda = run_embedding_backward_cuda};

void embedding_gradient(Gradient& gradient) {
  Attributes attributes = gradient.attributes();
  attributes.ints.push_back(gradient.input_shape(0)[0]);
  gradient.set(0,
               apply(kEmbeddingBackward, {gradient.g(), gradient.input(1)}, std::move(attributes)));
}

const Primitive kEmbedding{.name = "embedding",
                           .infer = infer_embedding,
                           .run = run_embedding,
                           .gradient = embedding_gradient,
                           .saved_inputs = 2,
                           .run_cuda = run_embedding_cuda};

template <int inputs>
void check_slices(const Call& call) {
  need_inputs(call, inputs, inputs);
  need_ints(call, 1);
  need_dimension(call);
}
void check_embedding_backward(const Call& call) {
  need_inputs(call, 2, 2);
  need_ints(call, 3);
  Dims shape = call.input(1).shape();
  const Dims& given = call.input(0).shape();
  need(call, given.size() > 0 && call.attributes.ints[2] >= 0, "rows of gradients are required");
  shape.push_back(given.back());
  need(call, shape == given, "one row of gradients for every index is required");
}
PORTABLE(kIndexSelect, check_slices<2>);
PORTABLE(kIndexAdd, check_slices<3>);
PORTABLE(kIndexCopy, check_slices<3>);
PORTABLE(kIndexFill, check_slices<2>);
PORTABLE(kTake, check_inputs<2>);
PORTABLE(kPut, check_inputs<3>);
PORTABLE(kEmbedding, check_inputs<2>);
PORTABLE(kEmbeddingBackward, check_embedding_backward);

Attributes at_dimension(const char* op, const TensorRef& x, int64_t dim) {
  Attributes attributes;
  attributes.ints.push_back(wrap_dimension(dim, x->dim(), op));
  return attributes;
}

}  // namespace

TensorRef index_select(const TensorRef& x, int64_t dim, const TensorRef& index) {
  return apply(kIndexSelect, {x, index}, at_dimension("index_select", x, dim));
}
TensorRef index_add(const TensorRef& x, int64_t dim, const TensorRef& index,
                    const TensorRef& source, Scalar alpha) {
  Attributes attributes = at_dimension("index_add", x, dim);
  attributes.scalars[0] = alpha;
  return apply(kIndexAdd, {x, index, source}, std::move(attributes));
}
TensorRef index_fill(const TensorRef& x, int64_t dim, const TensorRef& index, Scalar value) {
  Attributes attributes = at_dimension("index_fill", x, dim);
  attributes.scalars[0] = value;
  return apply(kIndexFill, {x, index}, std::move(attributes));
}
TensorRef take(const TensorRef& x, const TensorRef& index) { return apply(kTake, {x, index}); }
TensorRef put(const TensorRef& x, const TensorRef& index, const TensorRef& source,
              bool accumulate) {
  Attributes attributes;
  attributes.flag = accumulate;
  return apply(kPut, {x, index, source}, std::move(attributes));
}
TensorRef embedding(const TensorRef& weight, const TensorRef& indices, int64_t padding_idx,
                    bool scale_grad_by_freq) {
  Attributes attributes;
  attributes.ints = {padding_idx, scale_grad_by_freq};
  return apply(kEmbedding, {weight, indices}, std::move(attributes));
}

// --- Python

#define SLICES_DOC(what, source)                                                                \
  what "\n\nArgs:\n    input: a tensor.\n    dim (int): the dimension that is indexed.\n"       \
       "    index: a vector of int64 (or int32).\n" source                                      \
       "\nReturns:\n    A tensor like the input.\n\nRaises:\n    IndexError, RuntimeError: an " \
       "index is out of range, or the shapes or dtypes do not fit."
#define SLICES_SOURCE \
  "    source: a tensor of the input's dtype and shape, except len(index) along dim.\n"

OPERATOR_FORMS(index_select, "index_select", "input, dim, index", kUsual,
               "Slices of a tensor at the positions that a vector names.\n\n"
               "Args:\n    input: a tensor.\n    dim (int): the dimension that is indexed.\n"
               "    index: a vector of int64 (or int32).\n\n"
               "Returns:\n    A tensor with len(index) slices along dim.\n\n"
               "Raises:\n    IndexError: an index or the dimension is out of range.\n"
               "    RuntimeError: the index is not of an integer dtype.");

#define INDEX_ADD_DOC                                                            \
  SLICES_DOC("Adds slices: out[index[i]] += alpha * source[i], here for dim=0.", \
             SLICES_SOURCE "    alpha (number): a factor.\n")
OPERATOR_FORMS(index_add, "index_add", "input, dim, index, source, *, alpha=1", kUsual | kInPlace,
               INDEX_ADD_DOC);
#define INDEX_COPY_DOC \
  SLICES_DOC("Replaces slices: out[index[i]] = source[i], here for dim=0.", SLICES_SOURCE)
static TensorRef index_copy(const TensorRef& input, int64_t dim, const TensorRef& index,
                            const TensorRef& source) {
  Attributes attributes = at_dimension("index_copy", input, dim);
  attributes.flag = 1;  // a wrong number of indices is an IndexError
  return apply(kIndexCopy, {input, index, source}, std::move(attributes));
}
OPERATOR_FORMS(index_copy, "index_copy", "input, dim, index, source", kUsual | kInPlace,
               INDEX_COPY_DOC)
    .autocast("promote on cpu");
#define INDEX_FILL_DOC                                                               \
  SLICES_DOC("Fills slices with one number: out[index[i]] = value, here for dim=0.", \
             "    value (number): what to write. Negative indices count from the end.\n")
OPERATOR_FORMS(index_fill, "index_fill", "input, dim, index, value", kUsual | kInPlace,
               INDEX_FILL_DOC);
OPERATOR_FORMS(take, "take", "input, index", kUsual,
               "Elements of the flattened tensor at given positions.\n\n"
               "Args:\n    input: a tensor.\n    index: an int64 tensor; negative indices count "
               "from the end.\n\nReturns:\n    A tensor of the index's shape.\n\n"
               "Raises:\n    IndexError: an index is out of range.");

#define PUT_DOC                                                                               \
  "Writes elements into the flattened tensor: out[index[i]] = source[i].\n\n"                 \
  "Args:\n    input: a tensor.\n    index: an int64 tensor; negative indices count from the " \
  "end.\n    source: a tensor of the input's dtype with as many elements.\n"                  \
  "    accumulate (bool): add instead of replacing.\n\n"                                      \
  "Returns:\n    A tensor like the input.\n\nRaises:\n    IndexError: an index is out of "    \
  "range.\n    RuntimeError: the dtypes differ."
OPERATOR_FORMS(put, "put", "input, index, source, accumulate=False", kUsual | kInPlace, PUT_DOC);
static TensorRef embedding_operator(const TensorRef& weight, const TensorRef& indices,
                                    int64_t padding_idx, bool scale_grad_by_freq, bool sparse) {
  return embedding(weight, indices, padding_idx, scale_grad_by_freq);
}
OPERATOR_FORMS(embedding_operator, "embedding",
               "weight, indices, padding_idx=-1, scale_grad_by_freq=False, sparse=False", kFunction,
               "Rows of a table, one for each index.\n\n"
               "Args:\n    weight: the table, (rows, width).\n    indices: an int64 (or int32) "
               "tensor of any shape.\n    padding_idx (int): a row that gets no gradient; none if "
               "negative.\n    scale_grad_by_freq (bool): divide a row's gradient by how often it "
               "was used.\n    sparse (bool): accepted; gradients are dense.\n\n"
               "Returns:\n    A tensor of the indices' shape with the width appended.\n\n"
               "Raises:\n    IndexError: an index is out of range.\n"
               "    RuntimeError: the table is not 2-D, or the indices are not integers.");

}  // namespace flambeau
