// Pooling as primitives. Maxima keep the positions they came from, so their gradient scatters and
// the gradient of that gathers again; averages are linear, their gradient is the transpose.
//
// Attributes::ints holds kernel, stride, padding and dilation of every axis (a kernel of 0 means
// adaptive windows), more_ints the spatial shape of the result; averages also use flag (count the
// padding) and scalars[0] (the divisor, 0 for the number of elements). scalars[1] is 1 where
// results have channels last, for gradients as for the results themselves.
#include "ops/pooling/pooling.h"

#include <algorithm>

#include "base/thread_pool.h"
#include "ops/pooling/pooling_cuda.h"
#include "ops/pooling/pooling_kernels.h"
#include "ops/portable.h"
#include "ops/views.h"
#include "tensor/copy.h"

namespace flambeau {
namespace {

extern const Primitive kScatter, kGather, kSpread;
extern const Primitive kAverage[2][2];

int axes_of(const Call& call) { return static_cast<int>(call.attributes.more_ints.size()); }

// The last dimensions of `shape` replaced.
Dims with_spatial(const Dims& shape, const Dims& spatial) {
  Dims result = shape;
  for (int64_t i = 0; i < spatial.size(); ++i) {
    result[shape.size() - spatial.size() + i] = spatial[i];
  }
  return result;
}
Dims spatial_of(const Dims& shape, int axes) { return Dims(shape.end() - axes, shape.end()); }

// 16-bit floats are computed in float, integers in int64.
DType compute_type(DType dtype) {
  if (!is_floating(dtype)) return DType::Int64;
  return dtype == DType::Float64 ? DType::Float64 : DType::Float32;
}
bool channels_last(const Call& call) { return call.attributes.scalars[1].to_int() != 0; }
MemoryFormat result_format(const Call& call) {
  if (!channels_last(call)) return MemoryFormat::Contiguous;
  return axes_of(call) == 2 ? MemoryFormat::ChannelsLast : MemoryFormat::ChannelsLast3d;
}
void expect_result(Call& call, int output, const Dims& shape, DType dtype) {
  call.expect(output, shape, dtype);
  if (channels_last(call)) call.specs[output].strides = strides_of(result_format(call), shape);
}

TensorRef share(const Tensor& tensor) { return TensorRef::share(const_cast<Tensor*>(&tensor)); }
TensorRef dense(const Tensor& tensor, DType dtype, MemoryFormat format = MemoryFormat::Contiguous) {
  if (lies_as(tensor, format) && tensor.dtype() == dtype) return share(tensor);
  TensorRef made =
      empty_strided(tensor.shape(), strides_of(format, tensor.shape()), dtype, tensor.device());
  copy(*made, tensor);
  return made;
}

// Memory of a format for a result; it is copied to where the call wants it at the end.
class ResultMemory {
 public:
  ResultMemory(const Tensor& target, DType dtype, MemoryFormat format)
      : target_(target), memory_(share(target)) {
    if (lies_as(target, format) && target.dtype() == dtype) return;
    memory_ =
        empty_strided(target.shape(), strides_of(format, target.shape()), dtype, target.device());
  }
  const Tensor& operator*() const { return *memory_; }
  const Tensor* operator->() const { return memory_.get(); }
  void finish() const {
    if (memory_.get() != &target_) copy(target_, *memory_);
  }

 private:
  const Tensor& target_;
  TensorRef memory_;
};

template <class T>
const PoolKernels<T>& kernels() {
  if constexpr (std::is_same_v<T, float>) {
    return *FLAMBEAU_CHOOSE(pool_kernels_float);
  } else if constexpr (std::is_same_v<T, double>) {
    return *FLAMBEAU_CHOOSE(pool_kernels_double);
  } else {
    return *FLAMBEAU_CHOOSE(pool_kernels_int64);
  }
}

template <class T>
const ChannelsLastPoolKernels<T>& channels_last_kernels() {
  if constexpr (std::is_same_v<T, float>) {
    return *FLAMBEAU_CHOOSE(channels_last_pool_float);
  } else if constexpr (std::is_same_v<T, double>) {
    return *FLAMBEAU_CHOOSE(channels_last_pool_double);
  } else {
    return *FLAMBEAU_CHOOSE(channels_last_pool_int64);
  }
}

// Calls body.template operator()<T>(input, output) with dense memory of the computing type, in the
// order of the result.
template <class Body>
void with_dense(Call& call, Body body) {
  if (call.output().numel() == 0) return;
  DType dtype = compute_type(call.output().dtype());
  const MemoryFormat format = result_format(call);
  TensorRef in = dense(call.input(0), dtype, format);
  const ResultMemory out(call.output(), dtype, format);
  if (dtype == DType::Float32) {
    body.template operator()<float>(in->data<float>(), out->data<float>());
  } else if (dtype == DType::Float64) {
    body.template operator()<double>(in->data<double>(), out->data<double>());
  } else {
    body.template operator()<int64_t>(in->data<int64_t>(), out->data<int64_t>());
  }
  out.finish();
}

PoolGeometry geometry_of(const Call& call, const Dims& input, const Dims& output) {
  const Dims& ints = call.attributes.ints;
  int axes = axes_of(call);
  PoolGeometry geometry{{{1, 1, 1, 1, 0, 1}, {1, 1, 1, 1, 0, 1}, {1, 1, 1, 1, 0, 1}}};
  for (int i = 0; i < axes; ++i) {
    int64_t from = input[input.size() - axes + i], to = output[output.size() - axes + i];
    PoolAxis& axis = geometry.axis[3 - axes + i];
    axis = {from, to, ints[i], ints[axes + i], ints[2 * axes + i], ints[3 * axes + i]};
    // Adaptive windows of one length are ordinary windows.
    if (axis.kernel == 0 && to > 0 && from % to == 0) axis = {from, to, from / to, from / to, 0, 1};
  }
  geometry.include_padding = call.attributes.flag != 0;
  geometry.divisor = call.attributes.scalars[0].to_int();
  if (channels_last(call)) geometry.channels = input[1];
  return geometry;
}

int64_t grain_for(const PoolGeometry& geometry) {
  int64_t work = geometry.input_size() + 8 * geometry.output_size();
  return std::max<int64_t>(1, 2 * kGrain / std::max<int64_t>(work, 1));
}

// Calls body(begin, end) for the rows of results, dealt out to threads.
template <class Body>
void each_row_of_results(const PoolGeometry& geometry, const Call& call, Body body) {
  const int64_t columns = geometry.axis[2].output;
  const int64_t rows = call.output().numel() / (columns * geometry.channels);
  const int64_t planes = call.output().size(0) * geometry.channels;
  const int64_t grain = grain_for(geometry) * rows / std::max<int64_t>(planes, 1);
  parallel_for(rows, std::max<int64_t>(1, grain), body);
}
// Calls body(plane, first channel, last) for blocks of channels that one thread computes. `grain`:
// planes of one channel that are worth a thread.
template <class Body>
void each_block(int64_t planes, int64_t channels, int64_t grain, Body body) {
  constexpr int64_t kBlock = 64;
  const int64_t length = std::min(channels, kBlock), blocks = (channels + length - 1) / length;
  parallel_for(planes * blocks, std::max<int64_t>(1, grain / length),
               [&](int64_t begin, int64_t end) {
                 for (int64_t task = begin; task < end; ++task) {
                   const int64_t first = task % blocks * length;
                   body(task / blocks, first, std::min(first + length, channels));
                 }
               });
}

void infer_max(Call& call) {
  const Tensor& x = call.input(0);
  Dims shape = with_spatial(x.shape(), call.attributes.more_ints);
  call.output_count = 2;
  expect_result(call, 0, shape, x.dtype());
  expect_result(call, 1, shape, DType::Int64);
}
void run_max(Call& call) {
  PoolGeometry geometry = geometry_of(call, call.input(0).shape(), call.output().shape());
  if (call.output().numel() == 0) return;
  const ResultMemory positions(call.output(1), DType::Int64, result_format(call));
  int64_t* indices = positions->data<int64_t>();
  int64_t from = geometry.input_size(), to = geometry.output_size();
  with_dense(call, [&]<class T>(const T* x, T* out) {
    if (channels_last(call)) {
      return each_row_of_results(geometry, call, [&](int64_t begin, int64_t end) {
        channels_last_kernels<T>().max(geometry, begin, end, x, out, indices);
      });
    }
    int64_t planes = call.output().numel() / to;
    parallel_for(planes, grain_for(geometry), [&](int64_t begin, int64_t end) {
      kernels<T>().max(geometry, end - begin, x + begin * from, out + begin * to,
                       indices + begin * to);
    });
  });
  positions.finish();
}
void max_rule(Gradient& gradient) {
  Attributes attributes;
  attributes.scalars[1] = gradient.attributes().scalars[1];
  attributes.more_ints =
      spatial_of(gradient.input_shape(0), static_cast<int>(gradient.attributes().more_ints.size()));
  gradient.set(0, apply(kScatter, {gradient.g(), gradient.output(1)}, std::move(attributes)));
}

// Inputs: values or gradients, and int64 positions in the last dimensions of the larger tensor.
void infer_moved(Call& call) {
  const Tensor& x = call.input(0);
  expect_result(call, 0, with_spatial(x.shape(), call.attributes.more_ints), x.dtype());
}
// Calls move(place in the larger tensor, element of the smaller one) for all positions. `planes`
// are images where channels lie closest, with that many `channels`.
template <class T, class Large, class Small, class Move>
void each_position(int64_t planes, int64_t channels, int64_t large_size, int64_t small_size,
                   Large* large, Small* small, const int64_t* indices, Move move) {
  int64_t grain = std::max<int64_t>(1, kGrain / std::max<int64_t>(large_size + small_size, 1));
  each_block(planes, channels, grain, [&](int64_t plane, int64_t begin, int64_t end) {
    for (int64_t pixel = plane * small_size; pixel < (plane + 1) * small_size; ++pixel) {
      for (int64_t c = begin; c < end; ++c) {
        const int64_t i = pixel * channels + c;
        // A window without elements has the position -1.
        if (static_cast<uint64_t>(indices[i]) < static_cast<uint64_t>(large_size)) {
          move(large[(plane * large_size + indices[i]) * channels + c], small[i]);
        }
      }
    }
  });
}
int64_t plane_size(const Dims& shape, int axes) {
  return count_elements(Dims(shape.end() - axes, shape.end()));
}
void run_scatter(Call& call) {
  int axes = axes_of(call);
  TensorRef indices = dense(call.input(1), DType::Int64, result_format(call));
  const int64_t channels = channels_last(call) ? call.output().size(1) : 1;
  int64_t large = plane_size(call.output().shape(), axes);
  int64_t small = plane_size(call.input(0).shape(), axes);
  with_dense(call, [&]<class T>(const T* g, T* x) {
    int64_t planes = call.output().numel() / (large * channels);
    std::fill(x, x + call.output().numel(), T(0));
    each_position<T>(planes, channels, large, small, x, g, indices->data<int64_t>(),
                     [](T& to, T from) { to += from; });
  });
}
void run_gather(Call& call) {
  int axes = axes_of(call);
  TensorRef indices = dense(call.input(1), DType::Int64, result_format(call));
  const int64_t channels = channels_last(call) ? call.output().size(1) : 1;
  int64_t small = plane_size(call.output().shape(), axes);
  int64_t large = plane_size(call.input(0).shape(), axes);
  with_dense(call, [&]<class T>(const T* x, T* out) {
    int64_t planes = call.output().numel() / (small * channels);
    std::fill(out, out + call.output().numel(), T(0));
    each_position<T>(planes, channels, large, small, x, out, indices->data<int64_t>(),
                     [](T from, T& to) { to = from; });
  });
}
template <const Primitive& adjoint>
void moved_rule(Gradient& gradient) {
  Attributes attributes;
  attributes.scalars[1] = gradient.attributes().scalars[1];
  int axes = static_cast<int>(gradient.attributes().more_ints.size());
  attributes.more_ints = spatial_of(gradient.input_shape(0), axes);
  gradient.set(0, apply(adjoint, {gradient.g(), gradient.input(1)}, std::move(attributes)));
}

void run_average(Call& call) {
  PoolGeometry geometry = geometry_of(call, call.input(0).shape(), call.output().shape());
  int64_t from = geometry.input_size(), to = geometry.output_size();
  with_dense(call, [&]<class T>(const T* x, T* out) {
    if (channels_last(call)) {
      return each_row_of_results(geometry, call, [&](int64_t begin, int64_t end) {
        channels_last_kernels<T>().average(geometry, begin, end, x, out);
      });
    }
    int64_t planes = call.output().numel() / to;
    parallel_for(planes, grain_for(geometry), [&](int64_t begin, int64_t end) {
      kernels<T>().average(geometry, end - begin, x + begin * from, out + begin * to);
    });
  });
}
void run_spread(Call& call) {
  PoolGeometry geometry = geometry_of(call, call.output().shape(), call.input(0).shape());
  int64_t from = geometry.output_size(), to = geometry.input_size();
  with_dense(call, [&]<class T>(const T* g, T* x) {
    if (channels_last(call)) {
      return each_block(call.output().size(0), geometry.channels, grain_for(geometry),
                        [&](int64_t image, int64_t begin, int64_t end) {
                          channels_last_kernels<T>().spread(geometry, image, begin, end, g, x);
                        });
    }
    int64_t planes = call.output().numel() / to;
    parallel_for(planes, grain_for(geometry), [&](int64_t begin, int64_t end) {
      kernels<T>().spread(geometry, end - begin, g + begin * from, x + begin * to);
    });
  });
}

// --- on GPUs

// Calls body(input, result) with memory of the result's format.
template <class Body>
void with_dense_on_gpu(Call& call, Body body) {
  if (call.output().numel() == 0) return;
  const MemoryFormat format = result_format(call);
  TensorRef in = dense(call.input(0), call.input(0).dtype(), format);
  const ResultMemory out(call.output(), call.output().dtype(), format);
  body(*in, *out);
  out.finish();
}

void run_max_cuda(Call& call) {
  with_dense_on_gpu(call, [&](const Tensor& x, const Tensor& out) {
    const ResultMemory positions(call.output(1), DType::Int64, result_format(call));
    max_pool_on_gpu(geometry_of(call, x.shape(), out.shape()), x, out, *positions);
    positions.finish();
  });
}
void run_average_cuda(Call& call) {
  with_dense_on_gpu(call, [&](const Tensor& x, const Tensor& out) {
    average_pool_on_gpu(geometry_of(call, x.shape(), out.shape()), x, out);
  });
}
void run_spread_cuda(Call& call) {
  with_dense_on_gpu(call, [&](const Tensor& g, const Tensor& x) {
    spread_on_gpu(geometry_of(call, x.shape(), g.shape()), g, x);
  });
}
template <bool scatter>
void run_moved_cuda(Call& call) {
  with_dense_on_gpu(call, [&](const Tensor& values, const Tensor& out) {
    const int axes = axes_of(call);
    TensorRef indices = dense(call.input(1), DType::Int64, result_format(call));
    const int64_t from = plane_size(values.shape(), axes), to = plane_size(out.shape(), axes);
    const int64_t channels = channels_last(call) ? out.size(1) : 1;
    if (scatter) {
      pool_scatter_on_gpu(values, *indices, to, from, channels, out);
    } else {
      pool_gather_on_gpu(values, *indices, from, to, channels, out);
    }
  });
}

void set_adjoint(Gradient& gradient, const Primitive& adjoint) {
  Attributes attributes = gradient.attributes();
  int axes = static_cast<int>(attributes.more_ints.size());
  attributes.more_ints = spatial_of(gradient.input_shape(0), axes);
  gradient.set(0, apply(adjoint, {gradient.g()}, std::move(attributes)));
}
void average_rule(Gradient& gradient) { set_adjoint(gradient, kSpread); }
void spread_rule(Gradient& gradient) { set_adjoint(gradient, kAverage[0][0]); }

constexpr Primitive max_primitive(const char* name, const char* grad_name) {
  return {.name = name,
          .infer = infer_max,
          .run = run_max,
          .gradient = max_rule,
          .saved_outputs = 2,
          .grad_name = grad_name,
          .run_cuda = run_max_cuda,
          .any_order = true};
}
constexpr Primitive moved_primitive(const char* name, void (*run)(Call&), void (*rule)(Gradient&),
                                    void (*run_cuda)(Call&),
                                    bool (*order_varies)(const Call&) = nullptr) {
  return {.name = name,
          .infer = infer_moved,
          .run = run,
          .gradient = rule,
          .saved_inputs = 2,
          .run_cuda = run_cuda,
          .order_varies = order_varies,
          .any_order = true};
}
constexpr Primitive average_primitive(const char* name, void (*run)(Call&), void (*rule)(Gradient&),
                                      void (*run_cuda)(Call&), const char* grad_name = nullptr) {
  return {.name = name,
          .infer = infer_moved,
          .run = run,
          .gradient = rule,
          .grad_name = grad_name,
          .run_cuda = run_cuda,
          .any_order = true};
}

const Primitive kScatter =
    moved_primitive("pool_scatter", run_scatter, moved_rule<kGather>, run_moved_cuda<true>, always);
const Primitive kGather =
    moved_primitive("pool_gather", run_gather, moved_rule<kScatter>, run_moved_cuda<false>);

const Primitive kMax[2][2] = {
    {max_primitive("max_pool2d", "MaxPool2DWithIndicesBackward0"),
     max_primitive("max_pool3d", "MaxPool3DWithIndicesBackward0")},
    {max_primitive("adaptive_max_pool2d", "AdaptiveMaxPool2DBackward0"),
     max_primitive("adaptive_max_pool3d", "AdaptiveMaxPool3DBackward0")},
};
const Primitive kAverage[2][2] = {
    {average_primitive("avg_pool2d", run_average, average_rule, run_average_cuda,
                       "AvgPool2DBackward0"),
     average_primitive("avg_pool3d", run_average, average_rule, run_average_cuda,
                       "AvgPool3DBackward0")},
    {average_primitive("adaptive_avg_pool2d", run_average, average_rule, run_average_cuda,
                       "AdaptiveAvgPool2DBackward0"),
     average_primitive("adaptive_avg_pool3d", run_average, average_rule, run_average_cuda,
                       "AdaptiveAvgPool3DBackward0")},
};
const Primitive kSpread =
    average_primitive("pool_spread", run_spread, spread_rule, run_spread_cuda);

// --- Note [Calls out of files]

// Channels lie last in a batch of images only.
void check_order(const Call& call) {
  const Scalar order = call.attributes.scalars[1];
  need(call,
       order.to_double() == 0 || (order.to_double() == 1 &&
                                  call.input(0).dim() == axes_of(call) + 2 && axes_of(call) > 1),
       "channels lie last in batches only");
}

// Windows of `axes` axes between the last dimensions of two shapes.
bool fits_windows(const Dims& ints, const Dims& input, const Dims& output, int64_t axes) {
  bool adaptive = ints[0] == 0;
  for (int64_t i = 0; i < axes; ++i) {
    int64_t from = input[input.size() - axes + i], to = output[output.size() - axes + i];
    int64_t kernel = ints[i], stride = ints[axes + i], padding = ints[2 * axes + i];
    int64_t dilation = ints[3 * axes + i];
    if ((kernel == 0) != adaptive || from < 1 || to < 1) return false;
    if (adaptive) continue;
    for (int64_t value : {from, to, kernel, stride, dilation, padding + 1}) {
      if (value < 1 || value > int64_t{1} << 30) return false;
    }
    int64_t window = dilation * (kernel - 1) + 1;
    if (padding > window / 2 || (to - 1) * stride >= from + padding) return false;
    if ((to - 1) * stride > from + 2 * padding - window + stride - 1) return false;
  }
  return true;
}

void check_pool(const Call& call, bool back) {
  need_inputs(call, 1, 1);
  const Tensor& x = call.input(0);
  const Dims& shape = call.attributes.more_ints;
  int64_t axes = shape.size();
  need(call, (axes == 2 || axes == 3) && x.dim() > axes && x.dtype() != DType::Bool,
       "an input of channels and two or three axes is required");
  need_ints(call, 4 * axes);
  bool fits =
      fits_windows(call.attributes.ints, back ? shape : x.shape(), back ? x.shape() : shape, axes);
  need(call, fits, "the shapes are not those of one pool");
  check_order(call);
}
void check_max(const Call& call) { check_pool(call, false); }
// `back`: the input is as large as the windows' results.
template <bool back>
void check_average(const Call& call) {
  check_pool(call, back);
  const Dims& ints = call.attributes.ints;
  int64_t axes = call.attributes.more_ints.size();
  bool dense = ints[0] == 0 || std::all_of(ints.begin() + 3 * axes, ints.end(),
                                           [](int64_t dilation) { return dilation == 1; });
  need(call, dense && call.attributes.scalars[0].to_double() >= 0,
       "averages have no dilation and no negative divisor");
}
// Inputs: values, and positions of the shape of the smaller tensor.
template <bool larger>
void check_moved(const Call& call) {
  need_inputs(call, 2, 2);
  const Tensor& x = call.input(0);
  const Dims& spatial = call.attributes.more_ints;
  need(call, x.dim() >= spatial.size() && x.dtype() != DType::Bool, "there are too many axes");
  for (int64_t length : spatial) need(call, length >= 0, "lengths must not be negative");
  Dims small = larger ? x.shape() : with_spatial(x.shape(), spatial);
  need(call, call.input(1).shape() == small && call.input(1).dtype() == DType::Int64,
       "one int64 position for every value is required");
  check_order(call);
}

PORTABLE(kScatter, check_moved<true>);
PORTABLE(kGather, check_moved<false>);
PORTABLE(kMax[0][0], check_max);
PORTABLE(kMax[0][1], check_max);
PORTABLE(kMax[1][0], check_max);
PORTABLE(kMax[1][1], check_max);
PORTABLE(kAverage[0][0], check_average<false>);
PORTABLE(kAverage[0][1], check_average<false>);
PORTABLE(kAverage[1][0], check_average<false>);
PORTABLE(kAverage[1][1], check_average<false>);
PORTABLE(kSpread, check_average<true>);

// Results follow the input's order.
void set_order(Attributes& attributes, const Tensor& x) {
  const bool batch = x.dim() == attributes.more_ints.size() + 2;
  attributes.scalars[1] = Scalar(int64_t{batch && format_of(x) != MemoryFormat::Contiguous});
}

bool is_adaptive(const Attributes& attributes) { return attributes.ints[0] == 0; }

}  // namespace

TensorList max_pool(const TensorRef& x, Attributes attributes) {
  const Primitive& primitive = kMax[is_adaptive(attributes)][attributes.more_ints.size() - 2];
  set_order(attributes, *x);
  Call call{primitive, {&x, 1}, std::move(attributes), {}, {}, 2, {}};
  apply(call);
  return {call.outputs[0], call.outputs[1]};
}

TensorRef average_pool(const TensorRef& x, Attributes attributes) {
  const Primitive& primitive = kAverage[is_adaptive(attributes)][attributes.more_ints.size() - 2];
  set_order(attributes, *x);
  return apply(primitive, {x}, std::move(attributes));
}

}  // namespace flambeau
