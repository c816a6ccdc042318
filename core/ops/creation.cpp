// New tensors: constants, ranges, and copies of a tensor's properties.
#include "ops/creation.h"

#include <cmath>

#include "base/thread_pool.h"
#include "ops/cuda_runs.h"
#include "ops/sizes.h"
#include "ops/views.h"
#include "tensor/copy.h"

namespace flambeau {

namespace {

using OptionalDType = std::optional<DType>;
using OptionalDevice = std::optional<Device>;
using OptionalFormat = std::optional<MemoryFormat>;

TensorRef finish(TensorRef tensor, bool requires_grad) {
  require(!requires_grad || is_floating(tensor->dtype()),
          "requires_grad: only Tensors of floating point dtype can require gradients, got torch.",
          dtype_name(tensor->dtype()));
  tensor->set_requires_grad_flag(requires_grad);
  tensor->set_inference(mode.inference);
  return tensor;
}

TensorRef allocate_tensor(const Dims& shape, OptionalDType dtype, OptionalDevice device) {
  return Tensor::empty(shape, dtype.value_or(default_dtype()), device.value_or(Device{}));
}

TensorRef filled(const Dims& shape, Scalar value, DType dtype, OptionalDevice device,
                 bool requires_grad) {
  TensorRef result = allocate_tensor(shape, dtype, device);
  fill(*result, value);
  return finish(std::move(result), requires_grad);
}

TensorRef empty_call(const Dims& size, OptionalDType dtype, OptionalDevice device,
                     bool requires_grad, OptionalFormat format) {
  const MemoryFormat order = format.value_or(MemoryFormat::Contiguous);
  if (order == MemoryFormat::Contiguous) {
    return finish(allocate_tensor(size, dtype, device), requires_grad);
  }
  return finish(empty_strided(size, strides_of(order, size), dtype.value_or(default_dtype()),
                              device.value_or(Device{})),
                requires_grad);
}
TensorRef zeros_call(const Dims& size, OptionalDType dtype, OptionalDevice device,
                     bool requires_grad) {
  return filled(size, Scalar(0), dtype.value_or(default_dtype()), device, requires_grad);
}
TensorRef ones_call(const Dims& size, OptionalDType dtype, OptionalDevice device,
                    bool requires_grad) {
  return filled(size, Scalar(1), dtype.value_or(default_dtype()), device, requires_grad);
}
TensorRef full_call(const Dims& size, Scalar fill_value, OptionalDType dtype, OptionalDevice device,
                    bool requires_grad) {
  return filled(size, fill_value, dtype.value_or(fill_value.dtype()), device, requires_grad);
}

// In the input's order, if it is dense and no other is asked for.
TensorRef allocate_like(const Tensor& input, OptionalDType dtype, OptionalDevice device,
                        OptionalFormat format) {
  const DType type = dtype.value_or(input.dtype());
  const Device place = device.value_or(input.device());
  const MemoryFormat order = format.value_or(MemoryFormat::Preserve);
  if (order == MemoryFormat::Preserve) return empty_as(input, type, place);
  return empty_strided(input.shape(), strides_of(order, input.shape()), type, place);
}
TensorRef filled_like(const TensorRef& input, Scalar value, OptionalDType dtype,
                      OptionalDevice device, bool requires_grad, OptionalFormat format) {
  TensorRef result = allocate_like(*input, dtype, device, format);
  fill(*result, value);
  return finish(std::move(result), requires_grad);
}
TensorRef empty_like(const TensorRef& input, OptionalDType dtype, OptionalDevice device,
                     bool requires_grad, OptionalFormat format) {
  return finish(allocate_like(*input, dtype, device, format), requires_grad);
}
TensorRef zeros_like(const TensorRef& input, OptionalDType dtype, OptionalDevice device,
                     bool requires_grad, OptionalFormat format) {
  return filled_like(input, Scalar(0), dtype, device, requires_grad, format);
}
TensorRef ones_like(const TensorRef& input, OptionalDType dtype, OptionalDevice device,
                    bool requires_grad, OptionalFormat format) {
  return filled_like(input, Scalar(1), dtype, device, requires_grad, format);
}
TensorRef full_like(const TensorRef& input, Scalar fill_value, OptionalDType dtype,
                    OptionalDevice device, bool requires_grad, OptionalFormat format) {
  return filled_like(input, fill_value, dtype, device, requires_grad, format);
}

TensorRef new_empty(const TensorRef& input, const Dims& size, OptionalDType dtype,
                    OptionalDevice device, bool requires_grad) {
  return finish(
      Tensor::empty(size, dtype.value_or(input->dtype()), device.value_or(input->device())),
      requires_grad);
}
TensorRef new_zeros(const TensorRef& input, const Dims& size, OptionalDType dtype,
                    OptionalDevice device, bool requires_grad) {
  return filled(size, Scalar(0), dtype.value_or(input->dtype()), device.value_or(input->device()),
                requires_grad);
}
TensorRef new_ones(const TensorRef& input, const Dims& size, OptionalDType dtype,
                   OptionalDevice device, bool requires_grad) {
  return filled(size, Scalar(1), dtype.value_or(input->dtype()), device.value_or(input->device()),
                requires_grad);
}
TensorRef new_full(const TensorRef& input, const Dims& size, Scalar fill_value, OptionalDType dtype,
                   OptionalDevice device, bool requires_grad) {
  return filled(size, fill_value, dtype.value_or(input->dtype()), device.value_or(input->device()),
                requires_grad);
}

// arange takes the common type of its numbers: all integers make integers.
TensorRef arange_call(Scalar start, Scalar end, Scalar step, OptionalDType dtype,
                      OptionalDevice device, bool requires_grad) {
  bool floating = start.is_float() || end.is_float() || step.is_float();
  DType chosen = dtype.value_or(floating ? default_dtype() : DType::Int64);
  return finish(arange(start, end, step, chosen, device.value_or(Device{})), requires_grad);
}
TensorRef arange_end(Scalar end, OptionalDType dtype, OptionalDevice device, bool requires_grad) {
  return arange_call(Scalar(0), end, Scalar(1), dtype, device, requires_grad);
}

// Symmetric about the middle, as PyTorch: both ends are exact. Without `exponent` linspace.
TensorRef spaced(double start, double end, int64_t steps, OptionalDType dtype,
                 std::optional<double> base, OptionalDevice device, bool requires_grad) {
  require(steps >= 0, "linspace: number of steps must be non-negative, got ", steps);
  TensorRef result = allocate_tensor({steps}, dtype, device);
  if (!result->device().is_cpu()) {
    space_cuda(*result, start, end, base);
    return finish(std::move(result), requires_grad);
  }
  visit_dtype(result->dtype(), [&]<class T>() {
    // float32 values are stepped in float32, integers in double.
    using C = std::conditional_t<std::is_same_v<T, float>, float, double>;
    T* out = result->data<T>();
    C first = static_cast<C>(start), last = static_cast<C>(end);
    C step = steps > 1 ? (last - first) / static_cast<C>(steps - 1) : C(0);
    for (int64_t i = 0; i < steps; ++i) {
      C value = i < steps / 2 ? first + step * static_cast<C>(i)
                              : last - step * static_cast<C>(steps - i - 1);
      if (steps == 1) value = first;
      if (base) value = static_cast<C>(std::pow(static_cast<C>(*base), value));
      out[i] = convert<T>(value);
    }
  });
  return finish(std::move(result), requires_grad);
}
TensorRef linspace(double start, double end, int64_t steps, OptionalDType dtype,
                   OptionalDevice device, bool requires_grad) {
  return spaced(start, end, steps, dtype, std::nullopt, device, requires_grad);
}
TensorRef logspace(double start, double end, int64_t steps, double base, OptionalDType dtype,
                   OptionalDevice device, bool requires_grad) {
  return spaced(start, end, steps, dtype, base, device, requires_grad);
}

TensorRef eye(int64_t n, std::optional<int64_t> m, OptionalDType dtype, OptionalDevice device,
              bool requires_grad) {
  require(n >= 0, "eye: n must be greater or equal to 0, got ", n);
  require(m.value_or(0) >= 0, "eye: m must be greater or equal to 0, got ", m.value_or(0));
  int64_t columns = m.value_or(n);
  TensorRef result =
      filled({n, columns}, Scalar(0), dtype.value_or(default_dtype()), device, false);
  auto diagonal =
      Tensor::view(result->storage(), {std::min(n, columns)}, {columns + 1}, 0, result->dtype());
  fill(*diagonal, Scalar(1));
  return finish(std::move(result), requires_grad);
}

}  // namespace

TensorRef full(const Dims& shape, Scalar value, DType dtype, Device device) {
  TensorRef result = Tensor::empty(shape, dtype, device);
  fill(*result, value);
  return result;
}
TensorRef zeros(const Dims& shape, DType dtype, Device device) {
  return full(shape, Scalar(0), dtype, device);
}
TensorRef ones(const Dims& shape, DType dtype, Device device) {
  return full(shape, Scalar(1), dtype, device);
}

TensorRef placed(const TensorRef& values, Device device) {
  if (device.is_cpu()) return values;
  auto result = Tensor::empty(values->shape(), values->dtype(), device);
  copy(*result, *values);
  return result;
}

TensorRef arange(Scalar start, Scalar end, Scalar step, DType dtype, Device device) {
  double first = start.to_double(), last = end.to_double(), delta = step.to_double();
  require(delta != 0, "arange: step must be nonzero");
  require(std::isfinite(first) && std::isfinite(last), "arange: unsupported range: ", first, " -> ",
          last);
  require((delta > 0 && last >= first) || (delta < 0 && last <= first),
          "arange: upper bound and lower bound inconsistent with step sign: ", first, " -> ", last,
          " by ", delta);
  double exact = std::ceil((last - first) / delta);
  bool integers = !start.is_float() && !end.is_float() && !step.is_float();
  int64_t count = static_cast<int64_t>(exact);
  if (integers) {
    int64_t span = end.to_int() - start.to_int(), s = step.to_int();
    int64_t reach = span + s + (s > 0 ? -1 : 1);
    count = reach / s;
    size_quotient(reach, s, count);
  }
  TensorRef result = Tensor::empty({count}, dtype, device);
  if (!device.is_cpu()) {
    count_up_cuda(*result, start, step, integers);
    return result;
  }
  visit_dtype(dtype, [&]<class T>() {
    T* out = result->data<T>();
    parallel_for(count, kGrain, [&](int64_t begin, int64_t stop) {
      for (int64_t i = begin; i < stop; ++i) {
        if (integers) {
          out[i] = convert<T>(start.to_int() + i * step.to_int());
        } else {
          out[i] = convert<T>(first + static_cast<double>(i) * delta);
        }
      }
    });
  });
  return result;
}

#define FACTORY_TAIL ", *, dtype=None, device=None, requires_grad=False"
#define ORDERED_TAIL FACTORY_TAIL ", memory_format=None"
#define FACTORY_DOC                                                                       \
  "\n\nArgs:\n    dtype: element type; the default dtype if None.\n    device: 'cpu' or " \
  "'cuda:N'.\n    requires_grad: whether operations on the result are recorded."
static constexpr uint32_t kFactory = kFunction | kOut;

OPERATOR_FORMS(empty_call, "empty", "size" ORDERED_TAIL, kFactory,
               "A tensor of the given shape with whatever was in memory." FACTORY_DOC
               "\n    memory_format: in which order the elements lie; row-major by default.");
OPERATOR_FORMS(zeros_call, "zeros", "size" FACTORY_TAIL, kFactory,
               "A tensor of zeros." FACTORY_DOC);
OPERATOR_FORMS(ones_call, "ones", "size" FACTORY_TAIL, kFactory, "A tensor of ones." FACTORY_DOC);
OPERATOR_FORMS(
    full_call, "full", "size, fill_value" FACTORY_TAIL, kFactory,
    "A tensor that holds one number everywhere; its dtype follows the number." FACTORY_DOC);
OPERATOR_FORMS(empty_like, "empty_like", "input" ORDERED_TAIL, kFunction,
               "An uninitialised tensor of input's shape and dtype.");
OPERATOR_FORMS(zeros_like, "zeros_like", "input" ORDERED_TAIL, kFunction,
               "Zeros of input's shape and dtype.");
OPERATOR_FORMS(ones_like, "ones_like", "input" ORDERED_TAIL, kFunction,
               "Ones of input's shape and dtype.");
OPERATOR_FORMS(full_like, "full_like", "input, fill_value" ORDERED_TAIL, kFunction,
               "One number everywhere, in input's shape and dtype.");
OPERATOR_FORMS(new_empty, "new_empty", "input, size" FACTORY_TAIL, kMethod,
               "An uninitialised tensor of this tensor's dtype.");
OPERATOR_FORMS(new_zeros, "new_zeros", "input, size" FACTORY_TAIL, kMethod,
               "Zeros of this tensor's dtype.");
OPERATOR_FORMS(new_ones, "new_ones", "input, size" FACTORY_TAIL, kMethod,
               "Ones of this tensor's dtype.");
OPERATOR_FORMS(new_full, "new_full", "input, size, fill_value" FACTORY_TAIL, kMethod,
               "One number everywhere, in this tensor's dtype.");
OPERATOR_FORMS(arange_end, "arange", "end" FACTORY_TAIL, kFactory,
               "The numbers 0, 1, ... below end.");
OPERATOR_FORMS(arange_call, "arange", "start, end, step=1" FACTORY_TAIL, kFactory,
               "The numbers start, start + step, ... below end." FACTORY_DOC);
OPERATOR_FORMS(linspace, "linspace", "start, end, steps" FACTORY_TAIL, kFactory,
               "`steps` evenly spaced numbers from start to end, both included." FACTORY_DOC);
OPERATOR_FORMS(logspace, "logspace", "start, end, steps, base=10.0" FACTORY_TAIL, kFactory,
               "base ** x for `steps` evenly spaced x from start to end." FACTORY_DOC);
OPERATOR_FORMS(eye, "eye", "n, m=None" FACTORY_TAIL, kFactory,
               "A matrix with ones on the diagonal and zeros elsewhere." FACTORY_DOC);

}  // namespace flambeau
