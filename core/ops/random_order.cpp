#include "base/error.h"
#include "ops/creation.h"
#include "ops/portable.h"
#include "ops/random.h"
#include "ops/views.h"
#include "tensor/copy.h"

namespace flambeau {

Attributes drawing(Device device, Generator* generator, Scalar first, Scalar second) {
  if (!generator) generator = &default_generator(device);
  require(generator->device().type == device.type, "random: Expected a '",
          device.is_cpu() ? "cpu" : "cuda", "' device type for generator but found '",
          generator->device().is_cpu() ? "cpu" : "cuda", "'; use torch.Generator(device='",
          device_name(device), "')");
  require(generator->device() == device, "random: Expected a generator of ", device_name(device),
          " but found one of ", device_name(generator->device()));
  Attributes attributes;
  attributes.object = Ref<Generator>::share(generator);
  attributes.scalars[0] = first;
  attributes.scalars[1] = second;
  return attributes;
}

CpuGenerator& generator_of(const Call& call) {
  return static_cast<CpuGenerator&>(*call.attributes.object);
}
CudaGenerator& cuda_generator_of(const Call& call) {
  return static_cast<CudaGenerator&>(*call.attributes.object);
}

// PyTorch's insertion sort: strides of 0 (and equal ones of equal sizes) decide nothing, and the
// sort stops at the first dimension that is in its place.
Dims drawing_order(const Tensor& tensor) {
  Dims order;  // innermost first
  for (int64_t d = tensor.dim() - 1; d >= 0; --d) order.push_back(d);
  auto outside = [&](int64_t a, int64_t b) {  // > 0: a belongs outside of b; 0: undecided
    int64_t first = tensor.stride(a), second = tensor.stride(b);
    if (first == 0 || second == 0) return 0;
    if (first != second) return first > second ? 1 : -1;
    return tensor.size(a) > tensor.size(b) ? 1 : 0;
  };
  for (int64_t i = 1; i < order.size(); ++i) {
    int64_t moving = i;
    for (int64_t j = i - 1; j >= 0; --j) {
      int decided = outside(order[j], order[moving]);
      if (decided < 0) break;
      if (decided > 0) {
        std::swap(order[j], order[moving]);
        moving = j;
      }
    }
  }
  std::reverse(order.begin(), order.end());
  return order;
}

TensorRef reorder(const Tensor& tensor, const Dims& order) {
  Dims shape, strides;
  for (int64_t d : order) {
    shape.push_back(tensor.size(d));
    strides.push_back(tensor.stride(d));
  }
  return Tensor::view(tensor.storage(), shape, strides, tensor.offset(), tensor.dtype());
}

void write_distinct(const Tensor& target, const Tensor& source) {
  for (int64_t d = 0; d < target.dim(); ++d) {
    require(target.size(d) <= 1 || target.stride(d) != 0,
            "random: required a target whose elements are distinct in memory, got an expanded "
            "tensor of shape ",
            target.shape(), "; use .clone() first");
  }
  copy(target, source);
}

static void infer_fresh(Call& call) {
  call.expect(0, call.attributes.more_ints, call.attributes.dtype);
  call.specs[0].elsewhere = true;
  call.specs[0].device = static_cast<const Generator&>(*call.attributes.object).device();
}
static void infer_target(Call& call) {
  call.expect(0, call.input(0).shape(), call.input(0).dtype());
}

static void check_bounds(const Call& call) {
  int64_t count = call.attributes.ints.size();
  need(call, count == 0 || count == 2, "both bounds or none are required");
}
template <Fill::Kinds kinds>
static void check_fresh(const Call& call) {
  need_inputs(call, 0, 0);
  check_bounds(call);
  count_elements(call.attributes.more_ints);
  need(call, kinds == Fill::Any || is_floating(call.attributes.dtype),
       "a floating dtype is required");
}
template <Fill::Kinds kinds>
static void check_target(const Call& call) {
  need_inputs(call, 1, 1);
  check_bounds(call);
  if (kinds == Fill::Floating) need_floating(call, 0);
}

Fill::Fill(const char* name, void (*run)(Call&), void (*run_cuda)(Call&), Kinds kinds)
    : fresh{name, infer_fresh, run}, in_place{name, infer_target, run, no_influence} {
  in_place.updates_input = true;
  fresh.run_cuda = in_place.run_cuda = run_cuda;
  bool any = kinds == Any;
  add_portable({&fresh, name, any ? check_fresh<Any> : check_fresh<Floating>, true});
  add_portable(
      {&in_place, text(name, ".into"), any ? check_target<Any> : check_target<Floating>, true});
}

TensorRef draw_like(const Fill& fill, const Tensor& like, DType dtype, Attributes attributes) {
  attributes.dtype = dtype;
  attributes.more_ints = like.shape();
  if (like.contiguous()) return apply(fill.fresh, {}, std::move(attributes));
  Dims order = drawing_order(like), back(order.size());
  for (int64_t i = 0; i < order.size(); ++i) {
    attributes.more_ints[i] = like.size(order[i]);
    back[order[i]] = i;
  }
  // Dimensions of length 1 may be anywhere: they do not make the result discontiguous.
  Dims moved;
  for (int64_t d : order) {
    if (like.size(d) != 1) moved.push_back(d);
  }
  attributes.flag = !std::is_sorted(moved.begin(), moved.end());
  return permute(apply(fill.fresh, {}, std::move(attributes)), back);
}

void no_influence(Gradient& gradient) {
  for (int i = 0; i < gradient.input_count(); ++i) {
    if (!gradient.needs(i)) continue;
    gradient.set(i, zeros(gradient.input_shape(i), gradient.input_dtype(i), gradient.device()));
  }
}

}  // namespace flambeau
