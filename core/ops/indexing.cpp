// Indexing by tensors.
//
// The index tensors are broadcast to one shape B and turned into offsets, one per element of B.
// The result has shape before + B + after if the indexed dimensions are neighbours, else
// B + rest: `before` and `after` are walked with the input's strides, runs of `after` are copied.
#include "ops/indexing.h"

#include "base/thread_pool.h"
#include "ops/creation.h"
#include "ops/cuda_runs.h"
#include "ops/gather.h"
#include "ops/pointwise.h"
#include "ops/portable.h"
#include "ops/views.h"
#include "tensor/copy.h"

namespace flambeau {

namespace {

// How a strided tensor is walked by a set of index tensors.
struct Walk {
  Dims index_shape;
  Dims before, before_strides, after, after_strides;
  std::vector<int64_t> offsets;  // in elements, one per element of index_shape
  Dims shape;                    // of the result
};

// inputs: the indices, from position `first` on; attributes.ints: the dimension of each.
Walk make_walk(const Dims& shape, const Dims& strides, std::span<const TensorRef> indices,
               const Dims& dimensions, bool offsets) {
  Walk walk;
  walk.index_shape = indices[0]->shape();
  bool adjacent = true;
  for (int64_t i = 1; i < dimensions.size(); ++i) {
    adjacent = adjacent && dimensions[i] == dimensions[i - 1] + 1;
  }
  for (int64_t d = 0; d < shape.size(); ++d) {
    if (std::find(dimensions.begin(), dimensions.end(), d) != dimensions.end()) continue;
    bool front = adjacent && d < dimensions[0];
    (front ? walk.before : walk.after).push_back(shape[d]);
    (front ? walk.before_strides : walk.after_strides).push_back(strides[d]);
  }
  walk.shape = walk.before;
  for (int64_t length : walk.index_shape) walk.shape.push_back(length);
  for (int64_t length : walk.after) walk.shape.push_back(length);
  if (!offsets) return walk;
  int64_t count = indices[0]->numel();
  walk.offsets.assign(count, 0);
  for (size_t k = 0; k < indices.size(); ++k) {
    int64_t d = dimensions[k], length = shape[d], stride = strides[d];
    const int64_t* index = indices[k]->data<int64_t>();
    for (int64_t i = 0; i < count; ++i) {
      int64_t at = index[i];
      if (at < -length || at >= length) {
        fail(ErrorKind::Index, "index: index ", at, " is out of bounds for dimension ", d,
             " with size ", length);
      }
      walk.offsets[i] += (at < 0 ? at + length : at) * stride;
    }
  }
  return walk;
}

// visit(place in the tensor, place in the dense result) for every run of the last dimension.
template <class Visit>
void for_each_run(const Walk& walk, bool parallel, Visit&& visit) {
  Dims after = walk.after, strides = walk.after_strides;
  std::span<Dims> all(&strides, 1);
  merge_dimensions(after, all);
  int64_t run = after.empty() ? 1 : after.back();
  int64_t step = after.empty() ? 1 : strides.back();
  int64_t middle = 1, front = 1, count = static_cast<int64_t>(walk.offsets.size());
  for (int64_t d = 0; d + 1 < after.size(); ++d) middle *= after[d];
  for (int64_t length : walk.before) front *= length;
  int64_t tasks = front * count * middle;
  auto body = [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      int64_t rest = task, place = 0;
      int64_t m = rest % middle;
      rest /= middle;
      place += walk.offsets[rest % count];
      rest /= count;
      for (int64_t d = after.size() - 2; d >= 0; --d) {
        place += m % after[d] * strides[d];
        m /= after[d];
      }
      for (int64_t d = walk.before.size() - 1; d >= 0; --d) {
        place += rest % walk.before[d] * walk.before_strides[d];
        rest /= walk.before[d];
      }
      visit(place, task * run, run, step);
    }
  };
  if (tasks == 0 || run == 0) return;
  if (parallel) {
    parallel_for(tasks, std::max<int64_t>(1, kGrain / 4 / run), body);
  } else {
    body(0, tasks);
  }
}

void infer_index(Call& call) {
  const Tensor& x = call.input(0);
  Walk walk =
      make_walk(x.shape(), x.strides(), call.inputs.subspan(1), call.attributes.ints, false);
  call.expect(0, walk.shape, x.dtype());
}

void run_index(Call& call) {
  const Tensor& x = call.input(0);
  Walk walk = make_walk(x.shape(), x.strides(), call.inputs.subspan(1), call.attributes.ints, true);
  visit_dtype(x.dtype(), [&]<class T>() {
    const T* from = x.data<T>();
    T* to = call.output().data<T>();
    for_each_run(walk, true, [&](int64_t place, int64_t out, int64_t run, int64_t step) {
      for (int64_t i = 0; i < run; ++i) to[out + i] = from[place + i * step];
    });
  });
}

TensorRef apply_index_put(const TensorRef& target, const TensorRef& values,
                          std::span<const TensorRef> indices, const Dims& dimensions,
                          bool accumulate, bool in_place);

void index_rule(Gradient& gradient) {
  TensorList indices;
  for (int i = 1; i < gradient.input_count(); ++i) indices.push_back(gradient.input(i));
  TensorRef empty = zeros(gradient.input_shape(0), gradient.g()->dtype(), gradient.device());
  gradient.set(
      0, apply_index_put(empty, gradient.g(), indices, gradient.attributes().ints, true, false));
}

const Primitive kIndex{.name = "index",
                       .infer = infer_index,
                       .run = run_index,
                       .gradient = index_rule,
                       .saved_inputs = ~1u,
                       .run_cuda = run_index_cuda};

// inputs: target, values (of the result's shape), indices. flag: accumulate.
void infer_index_put(Call& call) { call.expect(0, call.input(0).shape(), call.input(0).dtype()); }

void run_index_put(Call& call) {
  Tensor& target = call.output();
  Walk walk = make_walk(target.shape(), target.strides(), call.inputs.subspan(2),
                        call.attributes.ints, true);
  TensorRef values = dense_copy(*Tensor::view(call.input(1).storage(), walk.shape,
                                              broadcast_strides(call.input(1), walk.shape),
                                              call.input(1).offset(), call.input(1).dtype()),
                                target.dtype());
  visit_dtype(target.dtype(), [&]<class T>() {
    using C = Compute<T>;
    const T* from = values->data<T>();
    T* to = target.data<T>();
    bool add = call.attributes.flag;
    // Serial: repeated indices must not race, and the last one wins.
    for_each_run(walk, false, [&](int64_t place, int64_t in, int64_t run, int64_t step) {
      for (int64_t i = 0; i < run; ++i) {
        T& cell = to[place + i * step];
        cell = add ? convert<T>(static_cast<C>(convert<C>(cell) + convert<C>(from[in + i])))
                   : from[in + i];
      }
    });
  });
}

void index_put_rule(Gradient& gradient) {
  TensorList indices;
  for (int i = 2; i < gradient.input_count(); ++i) indices.push_back(gradient.input(i));
  const Attributes& attributes = gradient.attributes();
  if (gradient.needs(0)) {
    TensorRef zero = zeros({}, gradient.g()->dtype(), gradient.device());
    gradient.set(0, attributes.flag ? gradient.g()
                                    : apply_index_put(gradient.g(), zero, indices, attributes.ints,
                                                      false, false));
  }
  if (gradient.needs(1)) {
    std::vector<TensorRef> inputs{gradient.g()};
    inputs.insert(inputs.end(), indices.begin(), indices.end());
    Call call{kIndex, inputs, {}, {}, {}, 1, {}};
    call.attributes.ints = attributes.ints;
    apply(call);
    gradient.set(1, call.outputs[0]);
  }
}

const Primitive kIndexPut{.name = "index_put",
                          .infer = infer_index_put,
                          .run = run_index_put,
                          .gradient = index_put_rule,
                          .saved_inputs = ~3u,
                          .updates_input = true,
                          .run_cuda = run_index_put_cuda,
                          .order_varies = unless_flagged};  // sums are sorted first

// The inputs from `first` on are indices as resolve() leaves them.
void need_indices(const Call& call, int first) {
  int count = static_cast<int>(call.inputs.size());
  need_inputs(call, count, count);
  need(call, count > first, "an index is required");
  need_ints(call, count - first);
  const Dims& dims = call.attributes.ints;
  for (int i = 0; i < dims.size(); ++i) {
    const Tensor& index = call.input(first + i);
    need(call, dims[i] > (i ? dims[i - 1] : -1) && dims[i] < call.input(0).dim(),
         "indices must name ascending dimensions");
    need(call,
         index.dtype() == DType::Int64 && index.contiguous() &&
             index.shape() == call.input(first).shape(),
         "indices must be dense int64 tensors of one shape");
  }
}
void check_index(const Call& call) { need_indices(call, 1); }
void check_index_put(const Call& call) { need_indices(call, 2); }
PORTABLE(kIndex, check_index);
PORTABLE(kIndexPut, check_index_put);

TensorRef apply_index_put(const TensorRef& target, const TensorRef& values,
                          std::span<const TensorRef> indices, const Dims& dimensions,
                          bool accumulate, bool in_place) {
  std::vector<TensorRef> inputs{target, values};
  inputs.insert(inputs.end(), indices.begin(), indices.end());
  Call call{kIndexPut, inputs, {}, {}, {}, 1, {}};
  call.attributes.ints = dimensions;
  call.attributes.flag = accumulate;
  if (in_place) {
    apply_in_place(call);
    return target;
  }
  apply(call);
  return call.outputs[0];
}

TensorList columns_of(const TensorRef& positions) {
  GradMode off(false);
  TensorList columns;
  for (int64_t d = 0; d < positions->size(1); ++d) columns.push_back(select(positions, 1, d));
  return columns;
}

// An index where the tensor is; only those on the CPU are moved, as in PyTorch.
TensorRef index_beside(const TensorRef& index, const TensorRef& x) {
  if (index->device() == x->device()) return index;
  require(index->device().is_cpu(), "indices should be either on cpu or on the same device as ",
          "the indexed tensor (", device_name(x->device()), "), got one on ",
          device_name(index->device()), "; move it with .to(device)");
  return to_device(index, x->device());
}

// The positions of a mask's nonzero elements, one tensor per dimension.
TensorList mask_positions(const Tensor& mask) {
  if (mode.tracing) recorder.untraceable("indexing with a mask (use where or masked_fill)");
  if (!mask.device().is_cpu()) return columns_of(nonzero(Tensor::view(mask)));
  auto dense = dense_copy(mask, DType::Bool);
  const bool* data = dense->data<bool>();
  int64_t count = std::count(data, data + dense->numel(), true);
  TensorList positions;
  std::vector<int64_t*> columns;
  for (int64_t d = 0; d < mask.dim(); ++d) {
    positions.push_back(Tensor::empty({count}, DType::Int64));
    columns.push_back(positions.back()->data<int64_t>());
  }
  int64_t found = 0;
  for (int64_t i = 0; i < dense->numel(); ++i) {
    if (!data[i]) continue;
    int64_t rest = i;
    for (int64_t d = mask.dim() - 1; d >= 0; --d) {
      columns[d][found] = rest % mask.size(d);
      rest /= mask.size(d);
    }
    ++found;
  }
  return positions;
}

// The indices as dense int64 tensors of one shape, and the dimension that each belongs to.
void resolve(const TensorRef& x, const TensorList& given, TensorList& indices, Dims& dimensions) {
  int64_t d = 0;
  for (const TensorRef& named : given) {
    if (!named) {
      ++d;
      continue;
    }
    const TensorRef index = index_beside(named, x);
    if (index->dtype() == DType::Bool || index->dtype() == DType::UInt8) {
      for (int64_t m = 0; m < index->dim(); ++m) {
        if (d + m >= x->dim() || index->size(m) != x->size(d + m)) {
          fail(ErrorKind::Index, "index: The shape of the mask ", index->shape(), " at index ", m,
               " does not match the shape of the indexed tensor ", x->shape(), " at index ", d + m);
        }
      }
      for (TensorRef& positions : mask_positions(*index)) {
        indices.push_back(std::move(positions));
        dimensions.push_back(d++);
      }
      continue;
    }
    if (is_floating(index->dtype())) {
      fail(ErrorKind::Index, "index: tensors used as indices must be long, int, byte or bool ",
           "tensors, got torch.", dtype_name(index->dtype()));
    }
    indices.push_back(index);
    dimensions.push_back(d++);
  }
  if (d > x->dim()) {
    fail(ErrorKind::Index, "index: too many indices for tensor of dimension ", x->dim());
  }
  Dims common;
  for (const TensorRef& index : indices) {
    try {
      common = broadcast_shapes("index", common, index->shape());
    } catch (const Error&) {
      std::string shapes;
      for (const TensorRef& each : indices)
        shapes += (shapes.empty() ? "" : ", ") + text(each->shape());
      fail(ErrorKind::Index, "index: shape mismatch: indexing tensors could not be broadcast ",
           "together with shapes ", shapes);
    }
  }
  for (TensorRef& index : indices) {
    GradMode off(false);
    index = contiguous(expand(to_dtype(index, DType::Int64), common));
  }
}

}  // namespace

TensorRef index(const TensorRef& x, const TensorList& given) {
  TensorList inputs{x}, indices;
  Dims dimensions;
  resolve(x, given, indices, dimensions);
  if (indices.empty()) return x;
  inputs.insert(inputs.end(), indices.begin(), indices.end());
  Call call{kIndex, inputs, {}, {}, {}, 1, {}};
  call.attributes.ints = dimensions;
  apply(call);
  return std::move(call.outputs[0]);
}

static TensorRef put(const TensorRef& x, const TensorList& given, const TensorRef& values,
                     bool accumulate, bool in_place) {
  TensorList indices;
  Dims dimensions;
  resolve(x, given, indices, dimensions);
  if (indices.empty()) {
    require(in_place && !accumulate, "index_put: at least one index is required");
    return copy_(x, values);
  }
  Walk walk = make_walk(x->shape(), x->strides(), indices, dimensions, false);
  TensorRef fitted = values;
  // Leading dimensions of length one are dropped, as in NumPy.
  while (fitted->dim() > walk.shape.size() && fitted->size(0) == 1) fitted = select(fitted, 0, 0);
  bool fits = fitted->dim() <= walk.shape.size();
  int64_t lead = walk.shape.size() - fitted->dim();
  for (int64_t d = 0; fits && d < fitted->dim(); ++d) {
    fits = fitted->size(d) == 1 || fitted->size(d) == walk.shape[lead + d];
  }
  require(fits, "index_put_: shape mismatch: value tensor of shape ", values->shape(),
          " cannot be broadcast to indexing result of shape ", walk.shape);
  if (fitted->dim() == 0 && fitted->device().is_cpu()) fitted = to_device(fitted, x->device());
  bool shares = fitted->storage()->data() == x->storage()->data();
  return apply_index_put(x, shares ? clone(fitted) : fitted, indices, dimensions, accumulate,
                         in_place);
}

TensorRef index_put_(const TensorRef& x, const TensorList& indices, const TensorRef& values,
                     bool accumulate) {
  return put(x, indices, values, accumulate, true);
}

static TensorRef index_put_in_place(const TensorRef& input, const TensorList& indices,
                                    const TensorRef& values, bool accumulate) {
  return put(input, indices, values, accumulate, true);
}
static TensorRef index_put(const TensorRef& input, const TensorList& indices,
                           const TensorRef& values, bool accumulate) {
  return put(input, indices, values, accumulate, false);
}

OPERATOR_FORMS(index_put, "index_put", "input, indices, values, accumulate=False",
               kFunction | kMethod,
               "A copy in which the elements at `indices` (a tuple of index tensors) are replaced "
               "by `values`, or `values` added to them if `accumulate`.");
OPERATOR_FORMS(index_put_in_place, "index_put_", "input, indices, values, accumulate=False",
               kFunction | kMethod,
               "Writes `values` at `indices` (a tuple of index tensors) into this tensor; adds if "
               "`accumulate`.");

}  // namespace flambeau
