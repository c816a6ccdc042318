// Elements that a mask chooses, and where elements are not zero.
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

int64_t count_true(const bool* mask, int64_t count) {
  int64_t sum = 0;
  for (int64_t i = 0; i < count; ++i) sum += mask[i];
  return sum;
}

void require_mask(const char* op, const Tensor& mask) {
  require(mask.dtype() == DType::Bool, op, ": expected BoolTensor for mask, got torch.",
          dtype_name(mask.dtype()), "; compare it with something, or convert it with .bool()");
}

// --- nonzero

// As a mask, dense.
TensorRef truth_of(const TensorRef& x) { return contiguous(to_dtype(x, DType::Bool)); }

void infer_nonzero(Call& call) {
  // The number of rows is known only now: run() gives the output its final shape.
  call.expect(0, {0, call.input(0).dim()}, DType::Int64);
}

void run_nonzero(Call& call) {
  Unrecorded scope;
  TensorRef mask = truth_of(call.inputs[0]);
  const bool* data = mask->data<bool>();
  const Dims& shape = mask->shape();
  int64_t count = count_true(data, mask->numel()), rank = shape.size();
  TensorRef out = Tensor::empty({count, rank}, DType::Int64);
  int64_t* row = out->data<int64_t>();
  int64_t last = rank ? shape.back() : 1;
  Dims position(rank, 0);
  for (int64_t i = 0; i < mask->numel() && rank; i += last) {
    for (int64_t j = 0; j < last; ++j) {
      if (!data[i + j]) continue;
      if (rank == 2) {  // the usual case: an inlined copy
        row[0] = position[0];
        row[1] = j;
        row += 2;
        continue;
      }
      position[rank - 1] = j;
      row = std::copy(position.begin(), position.end(), row);
    }
    for (int64_t d = rank - 2; d >= 0 && ++position[d] == shape[d]; --d) position[d] = 0;
  }
  call.outputs[0] = out;
}

const Primitive kNonzero{
    .name = "nonzero", .infer = infer_nonzero, .run = run_nonzero, .run_cuda = run_nonzero_cuda};

// --- masked_select: inputs of one shape

void infer_masked_select(Call& call) { call.expect(0, {0}, call.input(0).dtype()); }

void run_masked_select(Call& call) {
  Unrecorded scope;
  TensorRef x = contiguous(call.inputs[0]), mask = contiguous(call.inputs[1]);
  const bool* chosen = mask->data<bool>();
  TensorRef out = Tensor::empty({count_true(chosen, mask->numel())}, x->dtype());
  visit_width(x->dtype(), [&]<class T>() {
    const T* from = x->data<T>();
    T* to = out->data<T>();
    for (int64_t i = 0; i < x->numel(); ++i) {
      if (chosen[i]) *to++ = from[i];
    }
  });
  call.outputs[0] = out;
}

void masked_select_gradient(Gradient& gradient) {
  TensorRef blank = zeros(gradient.input_shape(0), gradient.g()->dtype(), gradient.device());
  gradient.set(0, masked_scatter(blank, gradient.input(1), gradient.g()));
}

const Primitive kMaskedSelect{.name = "masked_select",
                              .infer = infer_masked_select,
                              .run = run_masked_select,
                              .gradient = masked_select_gradient,
                              .saved_inputs = 2,
                              .run_cuda = run_masked_select_cuda};

// --- masked_scatter: inputs x, mask of its shape, source

void infer_masked_scatter(Call& call) {
  call.expect(0, call.input(0).shape(), call.input(0).dtype());
}

void run_masked_scatter(Call& call) {
  Unrecorded scope;
  const TensorRef& out = call.outputs[0];
  TensorRef mask = contiguous(call.inputs[1]), source = contiguous(call.inputs[2]);
  TensorRef target = contiguous(out);
  if (source->storage() == target->storage()) source = dense_copy(*source, source->dtype());
  const bool* chosen = mask->data<bool>();
  int64_t needed = count_true(chosen, mask->numel());
  require(needed <= source->numel(),
          "masked_scatter: Number of elements of source < number of ones",
          " in mask: ", source->numel(), " < ", needed, "; give as many as the mask has ones");
  visit_width(out->dtype(), [&]<class T>() {
    T* to = target->data<T>();
    const T* from = source->data<T>();
    for (int64_t i = 0; i < target->numel(); ++i) {
      if (chosen[i]) to[i] = *from++;
    }
  });
  if (target != out) copy(*out, *target);
}

void masked_scatter_gradient(Gradient& gradient) {
  TensorRef g = gradient.g(), mask = gradient.input(1);
  if (gradient.needs(0)) gradient.set(0, masked_fill(g, mask, 0));
  if (!gradient.needs(2)) return;
  TensorRef used = masked_select(g, mask);
  const Dims& shape = gradient.input_shape(2);
  int64_t rest = count_elements(shape) - used->numel();
  if (rest > 0) used = cat({used, zeros({rest}, used->dtype(), used->device())}, 0);
  gradient.set(2, reshape(used, shape));
}

const Primitive kMaskedScatter{.name = "masked_scatter",
                               .infer = infer_masked_scatter,
                               .run = run_masked_scatter,
                               .gradient = masked_scatter_gradient,
                               .saved_inputs = 2,
                               .updates_input = true,
                               .run_cuda = run_masked_scatter_cuda};

void check_masked_scatter(const Call& call) {
  need_inputs(call, 3, 3);
  const Tensor &x = call.input(0), &mask = call.input(1);
  need(call, mask.dtype() == DType::Bool && mask.shape() == x.shape(),
       "a bool mask of the input's shape is required");
  need(call, call.input(2).dtype() == x.dtype(), "the source must have the input's dtype");
}
PORTABLE(kMaskedScatter, check_masked_scatter);

}  // namespace

TensorRef nonzero(const TensorRef& x) { return apply(kNonzero, {x}); }

TensorRef masked_select(const TensorRef& x, const TensorRef& mask) {
  require_mask("masked_select", *mask);
  Dims shape = broadcast_shapes("masked_select", x->shape(), mask->shape());
  return apply(kMaskedSelect, {expand(x, shape), expand(mask, shape)});
}

TensorRef masked_scatter(const TensorRef& x, const TensorRef& mask, const TensorRef& source) {
  require_mask("masked_scatter", *mask);
  require(x->dtype() == source->dtype(), "masked_scatter: expected self and source to have same ",
          "dtypes but got torch.", dtype_name(x->dtype()), " and torch.",
          dtype_name(source->dtype()), "; convert source with .to(self.dtype)");
  Dims shape = broadcast_shapes("masked_scatter", x->shape(), mask->shape());
  return apply(kMaskedScatter,
               {x->shape() == shape ? x : expand(x, shape), expand(mask, shape), source});
}

// --- Python

static Result nonzero_operator(const TensorRef& input, bool as_tuple) {
  if (!as_tuple) return nonzero(input);
  TensorRef positions = nonzero(input->dim() ? input : unsqueeze(input, 0));
  TensorList columns;
  for (int64_t d = 0; d < positions->size(1); ++d) columns.push_back(select(positions, 1, d));
  return columns;
}
OPERATOR_FORMS(nonzero_operator, "nonzero", "input, *, as_tuple=False", kUsual,
               "Positions of the elements that are not zero, in order.\n\n"
               "Args:\n    input: a tensor of any dtype.\n    as_tuple (bool): one vector per "
               "dimension, ready for indexing, instead of one matrix.\n\n"
               "Returns:\n    An int64 tensor (count, dimensions), or a tuple of vectors.\n\n"
               "Example:\n    >>> torch.tensor([0, 5, 7]).nonzero()\n    tensor([[1],\n"
               "            [2]])");

OPERATOR_FORMS(masked_select, "masked_select", "input, mask", kUsual,
               "The elements where a mask is true, as a vector.\n\n"
               "Args:\n    input: a tensor.\n    mask: a bool tensor that broadcasts with it.\n\n"
               "Returns:\n    A 1-D tensor of the input's dtype.\n\n"
               "Raises:\n    RuntimeError: the mask is not bool, or the shapes do not broadcast.");

#define MASKED_SCATTER_DOC                                                                      \
  "Writes the elements of source, in order, where a mask is true.\n\n"                          \
  "Args:\n    input: a tensor.\n    mask: a bool tensor that broadcasts with it.\n    source: " \
  "a tensor of the input's dtype with at least as many elements as the mask has ones.\n\n"      \
  "Returns:\n    A tensor like the input.\n\nRaises:\n    RuntimeError: source is too short, "  \
  "or the dtypes or shapes do not fit."
OPERATOR_FORMS(masked_scatter, "masked_scatter", "input, mask, source", kUsual | kInPlace,
               MASKED_SCATTER_DOC);
}  // namespace flambeau
