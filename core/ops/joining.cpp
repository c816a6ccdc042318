// Joining and splitting: cat, stack, split, chunk, unbind.
#include "base/thread_pool.h"
#include "ops/creation.h"
#include "ops/cuda_runs.h"
#include "ops/parts.h"
#include "ops/portable.h"
#include "ops/sizes.h"
#include "ops/views.h"
#include "tensor/copy.h"

namespace flambeau {

namespace {

// PyTorch lets empty vectors pass through cat whatever the others' shapes are.
bool skipped(const Tensor& x) { return x.dim() == 1 && x.numel() == 0; }

void infer_cat(Call& call) {
  int64_t dim = call.attributes.ints[0];
  Dims shape;
  DType dtype = call.input(0).dtype();
  int64_t total = 0;
  bool first = true;
  for (size_t i = 0; i < call.inputs.size(); ++i) {
    const Tensor& x = *call.inputs[i];
    dtype = promote_types(dtype, x.dtype());
    if (skipped(x)) continue;
    if (first) shape = x.shape();
    first = false;
    require(x.dim() == shape.size(), "cat: Tensors must have same number of dimensions: got ",
            shape.size(), " and ", x.dim());
    for (int64_t d = 0; d < shape.size(); ++d) {
      require(d == dim || x.size(d) == shape[d], "cat: Sizes of tensors must match except in ",
              "dimension ", dim, ". Expected size ", shape[d], " but got size ", x.size(d),
              " for tensor number ", i, " in the list.");
    }
    total += x.size(dim);
  }
  if (first) shape = {0};
  if (!first) shape[dim] = total;
  call.expect(0, shape, dtype);
  const MemoryFormat format = common_format(call.inputs);
  if (format != MemoryFormat::Contiguous) call.specs[0].strides = strides_of(format, shape);
}

void run_cat(Call& call) {
  Tensor& out = call.output();
  int64_t dim = call.attributes.ints[0], at = 0;
  for (const TensorRef& x : call.inputs) {
    if (skipped(*x)) continue;
    auto part = Tensor::view(out.storage(), x->shape(), out.strides(),
                             out.offset() + at * out.stride(dim), out.dtype());
    copy(*part, *x);
    at += x->size(dim);
  }
}

// The kernel joins row-major memory; what has channels last is copied part by part.
void run_cat_on_gpu(Call& call) {
  if (call.output().contiguous()) {
    run_cat_cuda(call);
  } else {
    run_cat(call);
  }
}

void cat_rule(Gradient& gradient) {
  int64_t dim = gradient.attributes().ints[0], at = 0;
  for (int i = 0; i < gradient.input_count(); ++i) {
    int64_t length = gradient.attributes().more_ints[i];
    if (gradient.needs(i) && length >= 0) {
      gradient.set(i, narrow(gradient.g(), dim, at, length));
    }
    at += std::max<int64_t>(length, 0);
  }
}

const Primitive kCat{.name = "cat",
                     .infer = infer_cat,
                     .run = run_cat,
                     .gradient = cat_rule,
                     .run_cuda = run_cat_on_gpu,
                     .any_order = true};

void check_cat(const Call& call) {
  int count = static_cast<int>(call.inputs.size());
  need_inputs(call, std::max(count, 1), count);
  need_ints(call, 1);
  int64_t dim = call.attributes.ints[0];
  for (const TensorRef& x : call.inputs) {
    need(call, skipped(*x) || (dim >= 0 && dim < x->dim()), "no such dimension");
  }
}
PORTABLE(kCat, check_cat);

TensorRef stack_call(const TensorList& tensors, int64_t dim) {
  require(!tensors.empty(), "stack: expects a non-empty TensorList");
  const Dims& shape = tensors[0]->shape();
  int64_t d = wrap_dimension(dim, shape.size() + 1, "stack");
  TensorList raised;
  for (size_t i = 0; i < tensors.size(); ++i) {
    require(tensors[i]->shape() == shape, "stack: expects each tensor to be equal size, but got ",
            shape, " at entry 0 and ", tensors[i]->shape(), " at entry ", i);
    raised.push_back(unsqueeze(tensors[i], d));
  }
  return cat(raised, d);
}

// The views that `cut` makes, with one history. A recording wants to see each of them by itself.
template <class Cut>
TensorList parts_of(const TensorRef& input, int64_t dim, bool stacked, Cut cut) {
  const bool joint = mode.grad && input->requires_grad() && !mode.tracing;
  TensorList parts;
  {
    GradMode alone(mode.grad && !joint);
    cut(parts);
  }
  if (joint && !parts.empty()) record_parts(input, parts, dim, stacked);
  return parts;
}

TensorList split_sizes(const TensorRef& input, const Dims& sizes, int64_t dim) {
  int64_t d = wrap_dimension(dim, input->dim(), "split"), total = 0;
  for (int64_t size : sizes) total += size;
  require(input->dim() > 0 && total == input->size(d), "split_with_sizes: expects split_sizes to ",
          "sum exactly to ", input->dim() ? input->size(d) : 0,
          " (input tensor's size at dimension ", d, "), but got split_sizes=", sizes);
  size_decides(total, input->size(d));
  return parts_of(input, d, false, [&](TensorList& parts) {
    int64_t at = 0;
    for (int64_t size : sizes) {
      require(size >= 0, "split_with_sizes: sizes must not be negative, got ", sizes);
      parts.push_back(narrow(input, d, at, size));
      at += size;
    }
  });
}

TensorList split_every(const TensorRef& input, int64_t split_size, int64_t dim) {
  int64_t d = wrap_dimension(dim, input->dim(), "split");
  require(input->dim() > 0, "split: expects at least a 1-dimensional tensor");
  require(split_size >= 0,
          "split: expects split_size be non-negative, but got split_size=", split_size);
  int64_t length = input->size(d);
  require(split_size > 0 || length == 0, "split: split_size can only be 0 if dimension size is 0, ",
          "but got dimension size of ", length);
  size_decides(length);
  size_decides(split_size);
  Dims sizes;
  for (int64_t at = 0; at < length; at += split_size) {
    sizes.push_back(std::min(split_size, length - at));
  }
  if (sizes.empty()) sizes.push_back(0);
  return split_sizes(input, sizes, d);
}

TensorList chunk(const TensorRef& input, int64_t chunks, int64_t dim) {
  require(chunks > 0, "chunk: expects `chunks` to be greater than 0, got: ", chunks);
  int64_t d = wrap_dimension(dim, input->dim(), "chunk");
  require(input->dim() > 0, "chunk: expects at least a 1-dimensional tensor");
  size_decides(input->size(d));
  int64_t each = (input->size(d) + chunks - 1) / chunks;
  return split_every(input, std::max<int64_t>(each, input->size(d) == 0 ? 0 : 1), d);
}

TensorList tensor_split(const TensorRef& input, int64_t sections, int64_t dim) {
  int64_t d = wrap_dimension(dim, input->dim(), "tensor_split");
  require(sections > 0, "tensor_split: number of sections must be larger than 0, got ", sections);
  int64_t length = input->size(d);
  size_decides(length);
  constexpr int64_t kMostSections = 1 << 24;  // each is a tensor, empty ones too
  require(sections <= kMostSections, "tensor_split: at most ", kMostSections, " sections, got ",
          sections);
  Dims sizes;
  for (int64_t i = 0; i < sections; ++i) {
    sizes.push_back(length / sections + (i < length % sections));
  }
  return split_sizes(input, sizes, d);
}
TensorList tensor_split_at(const TensorRef& input, const Dims& indices, int64_t dim) {
  int64_t d = wrap_dimension(dim, input->dim(), "tensor_split"), at = 0;
  TensorList parts;
  for (int64_t end : indices) {
    parts.push_back(slice(input, d, at, end));
    at = end;
  }
  parts.push_back(slice(input, d, at, input->size(d)));
  return parts;
}

TensorList unbind(const TensorRef& input, int64_t dim) {
  int64_t d = wrap_dimension(dim, input->dim(), "unbind");
  if (input->dim() == 0) {
    fail(ErrorKind::Index, "unbind: Dimension specified as ", dim, " but tensor has no dimensions");
  }
  size_decides(input->size(d));
  return parts_of(input, d, true, [&](TensorList& parts) {
    for (int64_t i = 0; i < input->size(d); ++i) parts.push_back(select(input, d, i));
  });
}

}  // namespace

TensorRef cat(const TensorList& tensors, int64_t dim) {
  require(!tensors.empty(), "cat: expected a non-empty list of Tensors");
  int64_t count = 1;
  for (const TensorRef& x : tensors) {
    require(x->dim() > 0, "cat: zero-dimensional tensor cannot be concatenated; use torch.stack");
    if (!skipped(*x)) count = x->dim();
  }
  int64_t d = wrap_dimension(dim, count, "cat");
  Call call{kCat, tensors, {}, {}, {}, 1, {}};
  call.attributes.ints = {d};
  for (const TensorRef& x : tensors) {
    call.attributes.more_ints.push_back(skipped(*x) ? -1 : x->size(d));
  }
  apply(call);
  return std::move(call.outputs[0]);
}

TensorRef stack(const TensorList& tensors, int64_t dim) { return stack_call(tensors, dim); }

#define CAT_DOC                                                                                   \
  "Joins tensors along an existing dimension.\n\nArgs:\n    tensors: a list of tensors whose "    \
  "shapes agree except in `dim`.\n    dim: the dimension to join.\n\nRaises:\n    RuntimeError: " \
  "the shapes do not agree."
OPERATOR_FORMS(cat, "cat", "tensors, dim=0", kFunction | kOut, CAT_DOC).autocast("promote");
OPERATOR_FORMS(cat, "concat", "tensors, dim=0", kFunction | kOut, CAT_DOC).autocast("promote");
OPERATOR_FORMS(cat, "concatenate", "tensors, dim=0", kFunction | kOut, CAT_DOC).autocast("promote");
OPERATOR_FORMS(stack_call, "stack", "tensors, dim=0", kFunction | kOut,
               "Joins tensors of equal shape along a new dimension.")
    .autocast("promote");
OPERATOR_FORMS(split_every, "split", "tensor, split_size_or_sections, dim=0", kFunction | kMethod,
               "Views of `split_size` elements each along a dimension.");
OPERATOR_FORMS(split_sizes, "split", "tensor, split_size_or_sections, dim=0", kFunction | kMethod,
               "Views of the given sizes along a dimension.");
OPERATOR_FORMS(split_every, "split", "tensor, split_size, dim=0", kFunction | kMethod,
               "Views of `split_size` elements each along a dimension.");
OPERATOR_FORMS(split_sizes, "split", "tensor, split_size, dim=0", kFunction | kMethod,
               "Views of the given sizes along a dimension.");
OPERATOR_FORMS(split_sizes, "split_with_sizes", "input, split_sizes, dim=0", kFunction | kMethod,
               "Views of the given sizes along a dimension.");
OPERATOR_FORMS(
    chunk, "chunk", "input, chunks, dim=0", kFunction | kMethod,
    "At most `chunks` views of equal length along a dimension (the last may be shorter).");
OPERATOR_FORMS(tensor_split, "tensor_split", "input, indices_or_sections, dim=0",
               kFunction | kMethod, "Exactly that many views of nearly equal length.");
OPERATOR_FORMS(tensor_split_at, "tensor_split", "input, indices_or_sections, dim=0",
               kFunction | kMethod, "Views between the given positions of a dimension.");
OPERATOR_FORMS(unbind, "unbind", "input, dim=0", kFunction | kMethod,
               "All slices along a dimension, which disappears, as a tuple of views.");

}  // namespace flambeau
