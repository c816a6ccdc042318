// Random tensors: factories (rand, randn, randint, randperm, normal, ..._like) and in-place fills.
#include "ops/random.h"

#include <bit>
#include <cmath>

#include "base/error.h"
#include "ops/arithmetic.h"
#include "ops/creation.h"
#include "ops/random_cuda.h"
#include "ops/views.h"
#include "random/fill.h"
#include "tensor/copy.h"
#include "tensor/device_memory.h"

namespace flambeau {

namespace {

using Out = std::optional<TensorRef>;
using OptionalDType = std::optional<DType>;
using OptionalDevice = std::optional<Device>;
using OptionalFormat = std::optional<MemoryFormat>;

double number(const Call& call, int i) { return call.attributes.scalars[i].to_double(); }

// run() of a distribution with up to two numbers.
template <auto fill>
void run_fill(Call& call) {
  fill_in_memory_order(call.output(), [&](void* data, int64_t count, bool) {
    DType dtype = call.output().dtype();
    if constexpr (std::is_invocable_v<decltype(fill), DType, void*, int64_t, double,
                                      CpuGenerator&>) {
      fill(dtype, data, count, number(call, 0), generator_of(call));
    } else {
      fill(dtype, data, count, number(call, 0), number(call, 1), generator_of(call));
    }
  });
}

const Fill kUniform("uniform", run_fill<fill_uniform>, run_fill_cuda<kUniformNumbers>);
const Fill kGeometric("geometric", run_fill<fill_geometric>, run_fill_cuda<kGeometricNumbers>,
                      Fill::Any);
const Fill kLogNormal("log_normal", run_fill<fill_log_normal>, run_fill_cuda<kLogNormalNumbers>);
const Fill kCauchy("cauchy", run_fill<fill_cauchy>, run_fill_cuda<kCauchyNumbers>);

const Fill kNormal(
    "normal",
    [](Call& call) {
      fill_in_memory_order(call.output(), [&](void* data, int64_t count, bool in_blocks) {
        fill_normal(call.output().dtype(), data, count, number(call, 0), number(call, 1),
                    in_blocks && !call.attributes.flag, generator_of(call));
      });
    },
    run_fill_cuda<kNormalNumbers>);

// Integers ints[0], ..., ints[0] + ints[1] - 1; without ints, random_() without bounds.
const Fill kRandom(
    "random",
    [](Call& call) {
      const Dims& bounds = call.attributes.ints;
      fill_in_memory_order(call.output(), [&](void* data, int64_t count, bool) {
        DType dtype = call.output().dtype();
        if (bounds.empty()) return fill_random(dtype, data, count, generator_of(call));
        fill_integers(dtype, data, count, bounds[0], static_cast<uint64_t>(bounds[1]),
                      generator_of(call));
      });
    },
    [](Call& call) {
      const Dims& bounds = call.attributes.ints;
      const DType dtype = call.output().dtype();
      fill_in_memory_order(call.output(), [&](void* data, int64_t count, bool) {
        WholeNumbers numbers = whole_numbers(dtype);
        if (!bounds.empty()) numbers = whole_numbers(bounds[0], static_cast<uint64_t>(bounds[1]));
        draw_integers(dtype, data, count, numbers, cuda_generator_of(call));
      });
    },
    Fill::Any);

const Fill kPermutation(
    "randperm",
    [](Call& call) {
      fill_in_memory_order(call.output(), [&](void* data, int64_t count, bool) {
        fill_permutation(call.output().dtype(), data, count, generator_of(call));
      });
    },
    run_permutation_cuda, Fill::Any);

// Checks -----------------------------------------------------------------------------------------

void require_floating(const char* op, DType dtype, ErrorKind kind = ErrorKind::NotImplemented) {
  if (is_floating(dtype)) return;
  fail(kind, op, ": not implemented for torch.", dtype_name(dtype),
       "; required a floating point dtype such as torch.float32");
}

double largest(DType dtype) {
  return dtype == DType::Float16    ? 65504.0
         : dtype == DType::BFloat16 ? 0x1.FEp127
         : dtype == DType::Float32  ? static_cast<double>(std::numeric_limits<float>::max())
                                    : std::numeric_limits<double>::max();
}

Attributes uniform_between(double low, double high, DType dtype, Device device,
                           Generator* generator) {
  require_floating("uniform_", dtype);
  double limit = largest(dtype);
  for (double bound : {low, high}) {
    require(std::abs(bound) <= limit, "uniform_: required bounds within torch.", dtype_name(dtype),
            ", got ", bound, ", which is out of bounds");
  }
  require(low <= high, "uniform_: required from <= to, got from=", low, " > to=", high);
  require(high - low <= limit, "uniform_: required to - from within torch.", dtype_name(dtype),
          ", got from=", low, " and to=", high);
  return drawing(device, generator, low, high);
}

Attributes normal_with(double mean, double std, DType dtype, Device device, Generator* generator) {
  require(std >= 0, "normal: expects std >= 0.0, but found std ", std);
  require_floating("normal", dtype);
  return drawing(device, generator, mean, std);
}

// Significant digits of a dtype, and its bounds as far as int64 reaches.
struct WholeRange {
  int digits;
  int64_t lowest, highest;
};
WholeRange whole_range(DType dtype) {
  constexpr int64_t min64 = std::numeric_limits<int64_t>::min();
  constexpr int64_t max64 = std::numeric_limits<int64_t>::max();
  switch (dtype) {
    case DType::Bool:
      return {1, 0, 1};
    case DType::UInt8:
      return {8, 0, 255};
    case DType::Int8:
      return {7, -128, 127};
    case DType::Int16:
      return {15, -32768, 32767};
    case DType::Int32:
      return {31, -(int64_t{1} << 31), (int64_t{1} << 31) - 1};
    case DType::Float16:
      return {11, -65504, 65504};
    case DType::BFloat16:
      return {8, min64, max64};
    case DType::Float32:
      return {24, min64, max64};
    case DType::Float64:
      return {53, min64, max64};
    default:
      return {63, min64, max64};
  }
}

int64_t rounded(int64_t value, DType dtype) {
  return visit_dtype(dtype, [&]<class T>() -> int64_t {
    if constexpr (std::is_same_v<T, double>) {
      double result = static_cast<double>(value);
      return result >= 0x1p63 ? value : static_cast<int64_t>(result);
    } else if constexpr (std::is_integral_v<T>) {
      return value;
    } else {
      float result = convert<float>(convert<T>(value));
      return result >= 0x1p63f ? value : static_cast<int64_t>(result);
    }
  });
}

// Distance of the floating numbers of `digits` digits around `value`.
int64_t spacing(int64_t value, int digits) {
  uint64_t size = value < 0 ? -static_cast<uint64_t>(value) : static_cast<uint64_t>(value);
  int surplus = static_cast<int>(std::bit_width(size)) - digits;
  return int64_t{1} << std::max(surplus, 0);
}

// Integers in [low, high). Bounds that a floating dtype would round out of the interval move
// inwards, as in PyTorch.
Attributes integers_between(const char* op, int64_t low, int64_t high, DType dtype, Device device,
                            Generator* generator) {
  require(low < high, op, ": expects 'from' to be less than 'to', but got from=", low,
          " >= to=", high);
  WholeRange range = whole_range(dtype);
  require(low >= range.lowest && low <= range.highest, op, ": from=", low,
          " is out of bounds for torch.", dtype_name(dtype), "; use a wider dtype");
  require(high - 1 <= range.highest, op, ": to - 1 = ", high - 1, " is out of bounds for torch.",
          dtype_name(dtype), "; use a wider dtype");
  if (is_floating(dtype)) {
    int64_t above = rounded(low + 1, dtype), below = rounded(high - 1, dtype);
    if (above < low) low = above + spacing(low + 1, range.digits);
    if (below >= high) high = below - spacing(high - 1, range.digits);
    require(low < high, op, ": no whole number of torch.", dtype_name(dtype),
            " lies in the interval; use a wider dtype");
  }
  Attributes attributes = drawing(device, generator);
  attributes.ints = {low, static_cast<int64_t>(static_cast<uint64_t>(high) - low)};
  return attributes;
}

// Integers from `low` to the largest that the dtype counts to without gaps.
Attributes integers_from(int64_t low, DType dtype, Device device, Generator* generator) {
  WholeRange range = whole_range(dtype);
  int64_t highest = is_floating(dtype) ? int64_t{1} << range.digits : range.highest;
  require(low >= range.lowest && low <= highest, "random_: from=", low,
          " is out of bounds for torch.", dtype_name(dtype), "; use a wider dtype");
  Attributes attributes = drawing(device, generator);
  if (low == range.lowest && range.highest == std::numeric_limits<int64_t>::max()) {
    attributes.ints = {0, 0};  // all 64 bits
    return attributes;
  }
  uint64_t count = static_cast<uint64_t>(highest) - low + 1;
  attributes.ints = {low, static_cast<int64_t>(count)};
  return attributes;
}

// Factories --------------------------------------------------------------------------------------

TensorRef marked(TensorRef result, bool requires_grad) {
  require(!requires_grad || is_floating(result->dtype()),
          "requires_grad: only Tensors of floating point dtype can require gradients, got torch.",
          dtype_name(result->dtype()));
  if (requires_grad) result->set_requires_grad_flag(true);
  return result;
}

// Where the result is: the device asked for, or out's.
Device place(const char* op, const OptionalDevice& device, const Out& out = {}) {
  const Device usual = out ? (*out)->device() : Device{};
  Device wanted = device.value_or(usual);
  if (!wanted.is_cpu()) wanted = device_memory.concrete(wanted);
  require(!out || wanted == usual, op, ": device ", device_name(wanted),
          " does not match that of the out parameter (", device_name(usual),
          "); leave device away");
  return wanted;
}
Device place_like(const Tensor& input, const OptionalDevice& device) {
  return device ? place("", device) : input.device();
}

// The type of the result: out's, the one asked for, or the usual one.
DType result_dtype(const char* op, const Out& out, OptionalDType dtype, DType usual) {
  if (!out) return dtype.value_or(usual);
  require(!dtype || *dtype == (*out)->dtype(), op, ": dtype torch.",
          dtype_name(dtype.value_or(usual)), " does not match dtype of out parameter (torch.",
          dtype_name((*out)->dtype()), "); leave dtype away");
  return (*out)->dtype();
}

TensorRef draw(const Fill& fill, const Dims& shape, DType dtype, Attributes attributes,
               const Out& out, bool requires_grad) {
  count_elements(shape);
  if (out) {
    const TensorRef& target = *out;
    if (!(target->shape() == shape)) {
      int64_t bytes = count_elements(shape) * item_size(dtype);
      target->rebind(Storage::create(bytes, target->device()), shape, contiguous_strides(shape), 0,
                     dtype);
    }
    return apply_in_place(fill.in_place, {target}, std::move(attributes));
  }
  attributes.more_ints = shape;
  attributes.dtype = dtype;
  return marked(apply(fill.fresh, {}, std::move(attributes)), requires_grad);
}

TensorRef rand(const Dims& size, Generator* generator, Out out, OptionalDType dtype,
               OptionalDevice device, bool requires_grad) {
  DType type = result_dtype("rand", out, dtype, default_dtype());
  Attributes attributes = uniform_between(0, 1, type, place("rand", device, out), generator);
  return draw(kUniform, size, type, std::move(attributes), out, requires_grad);
}

TensorRef randn(const Dims& size, Generator* generator, Out out, OptionalDType dtype,
                OptionalDevice device, bool requires_grad) {
  DType type = result_dtype("randn", out, dtype, default_dtype());
  Attributes attributes = normal_with(0, 1, type, place("randn", device, out), generator);
  return draw(kNormal, size, type, std::move(attributes), out, requires_grad);
}

TensorRef randint(int64_t low, int64_t high, const Dims& size, Generator* generator, Out out,
                  OptionalDType dtype, OptionalDevice device, bool requires_grad) {
  DType type = result_dtype("randint", out, dtype, DType::Int64);
  Attributes attributes =
      integers_between("randint", low, high, type, place("randint", device, out), generator);
  return draw(kRandom, size, type, std::move(attributes), out, requires_grad);
}

TensorRef randint_below(int64_t high, const Dims& size, Generator* generator, Out out,
                        OptionalDType dtype, OptionalDevice device, bool requires_grad) {
  return randint(0, high, size, generator, out, dtype, device, requires_grad);
}

TensorRef randperm(int64_t n, Generator* generator, Out out, OptionalDType dtype,
                   OptionalDevice device, bool requires_grad) {
  DType type = result_dtype("randperm", out, dtype, DType::Int64);
  require(n >= 0, "randperm: n must be non-negative, got ", n);
  if (type == DType::Bool) fail(ErrorKind::NotImplemented, "randperm: not implemented for Bool");
  WholeRange range = whole_range(type);
  int64_t highest = is_floating(type) ? int64_t{1} << range.digits : range.highest;
  require(n - 1 <= highest, "randperm: n cannot be greater than ", highest, " + 1 for torch.",
          dtype_name(type), ", got ", n, "; use a wider dtype");
  Attributes attributes = drawing(place("randperm", device, out), generator);
  return draw(kPermutation, {n}, type, std::move(attributes), out, requires_grad);
}

// Shape and order of the result of a `_like` function; no memory.
TensorRef model_of(const TensorRef& input, OptionalFormat format) {
  const MemoryFormat order = format.value_or(MemoryFormat::Preserve);
  if (order == MemoryFormat::Preserve) return input;
  return Tensor::view(Storage::create(0, input->device()), input->shape(),
                      strides_of(order, input->shape()), 0, input->dtype());
}

TensorRef rand_like(const TensorRef& input, Generator* generator, OptionalDType dtype,
                    OptionalDevice device, bool requires_grad, OptionalFormat format) {
  DType type = dtype.value_or(input->dtype());
  Attributes attributes = uniform_between(0, 1, type, place_like(*input, device), generator);
  return marked(draw_like(kUniform, *model_of(input, format), type, std::move(attributes)),
                requires_grad);
}

TensorRef randn_like(const TensorRef& input, Generator* generator, OptionalDType dtype,
                     OptionalDevice device, bool requires_grad, OptionalFormat format) {
  DType type = dtype.value_or(input->dtype());
  Attributes attributes = normal_with(0, 1, type, place_like(*input, device), generator);
  return marked(draw_like(kNormal, *model_of(input, format), type, std::move(attributes)),
                requires_grad);
}

TensorRef randint_like(const TensorRef& input, int64_t low, int64_t high, Generator* generator,
                       OptionalDType dtype, OptionalDevice device, bool requires_grad,
                       OptionalFormat format) {
  DType type = dtype.value_or(input->dtype());
  Attributes attributes =
      integers_between("randint_like", low, high, type, place_like(*input, device), generator);
  return marked(draw_like(kRandom, *model_of(input, format), type, std::move(attributes)),
                requires_grad);
}
TensorRef randint_like_below(const TensorRef& input, int64_t high, Generator* generator,
                             OptionalDType dtype, OptionalDevice device, bool requires_grad,
                             OptionalFormat format) {
  return randint_like(input, 0, high, generator, dtype, device, requires_grad, format);
}

// normal(mean, std) with a tensor among them: standard normals, scaled and shifted.
TensorRef normal_of_tensors(const TensorOrScalar& mean, const TensorOrScalar& std,
                            Generator* generator, const Out& out) {
  const TensorRef& leader = mean.tensor ? mean.tensor : std.tensor;
  DType dtype = result_dtype("normal", out, {}, leader->dtype());
  Dims shape = mean.tensor && std.tensor
                   ? broadcast_shapes("normal", mean.tensor->shape(), std.tensor->shape())
                   : leader->shape();
  if (std.tensor && !GraphDraws::capturing()) {  // a capture must not wait for the values
    const TensorRef values = dense_copy(*on_host(*std.tensor), DType::Float64);
    const double* first = values->data<double>();
    require(std::all_of(first, first + values->numel(), [](double value) { return value >= 0; }),
            "normal: expects all elements of std >= 0.0");
  }
  double drawn_std = std.tensor ? 1.0 : std.scalar.to_double();
  GradMode off(false);
  Attributes attributes =
      normal_with(0, drawn_std, dtype, place("normal", leader->device(), out), generator);
  TensorRef result = draw(kNormal, shape, dtype, std::move(attributes), out, false);
  if (std.tensor) mul_(result, std.tensor);
  add_(result, Operand(mean));
  return result;
}

TensorRef normal_tensors(const TensorOrScalar& mean, const TensorOrScalar& std,
                         Generator* generator, Out out) {
  if (!mean.tensor && !std.tensor) {
    fail(ErrorKind::Type, "normal: missing argument 'size', e.g. normal(0.0, 1.0, (3,))");
  }
  return normal_of_tensors(mean, std, generator, out);
}

TensorRef normal(double mean, double std, const Dims& size, Generator* generator, Out out,
                 OptionalDType dtype, OptionalDevice device, bool requires_grad) {
  DType type = result_dtype("normal", out, dtype, default_dtype());
  Attributes attributes = normal_with(mean, std, type, place("normal", device, out), generator);
  return draw(kNormal, size, type, std::move(attributes), out, requires_grad);
}

// In place ---------------------------------------------------------------------------------------

TensorRef uniform_(const TensorRef& self, double low, double high, Generator* generator) {
  return apply_in_place(kUniform.in_place, {self},
                        uniform_between(low, high, self->dtype(), self->device(), generator));
}

TensorRef normal_(const TensorRef& self, double mean, double std, Generator* generator) {
  return apply_in_place(kNormal.in_place, {self},
                        normal_with(mean, std, self->dtype(), self->device(), generator));
}

TensorRef random_(const TensorRef& self, Generator* generator) {
  return apply_in_place(kRandom.in_place, {self}, drawing(self->device(), generator));
}
TensorRef random_between(const TensorRef& self, int64_t from, std::optional<int64_t> to,
                         Generator* generator) {
  const DType dtype = self->dtype();
  const Device device = self->device();
  return apply_in_place(kRandom.in_place, {self},
                        to ? integers_between("random_", from, *to, dtype, device, generator)
                           : integers_from(from, dtype, device, generator));
}
TensorRef random_below(const TensorRef& self, int64_t to, Generator* generator) {
  return random_between(self, 0, to, generator);
}

TensorRef exponential_(const TensorRef& self, double lambd, Generator* generator) {
  require(lambd > 0, "exponential_: expects lambda > 0.0, but found lambda=", lambd);
  require_floating("exponential_", self->dtype(), ErrorKind::Runtime);
  return apply_in_place(kExponential.in_place, {self}, drawing(self->device(), generator, lambd));
}

TensorRef geometric_(const TensorRef& self, double p, Generator* generator) {
  require(p > 0 && p < 1, "geometric_: expects p to be in (0, 1), but got p=", p);
  if (self->dtype() == DType::Bool) {
    fail(ErrorKind::NotImplemented, "geometric_: not implemented for torch.bool");
  }
  return apply_in_place(kGeometric.in_place, {self}, drawing(self->device(), generator, p));
}

TensorRef log_normal_(const TensorRef& self, double mean, double std, Generator* generator) {
  require(std > 0, "log_normal_: expects std > 0.0, but found std=", std);
  require_floating("log_normal_", self->dtype());
  return apply_in_place(kLogNormal.in_place, {self}, drawing(self->device(), generator, mean, std));
}

TensorRef cauchy_(const TensorRef& self, double median, double sigma, Generator* generator) {
  require(sigma > 0, "cauchy_: expects sigma > 0.0, but found sigma=", sigma);
  require_floating("cauchy_", self->dtype(), ErrorKind::Runtime);
  return apply_in_place(kCauchy.in_place, {self},
                        drawing(self->device(), generator, median, sigma));
}

#define FACTORY_OPTIONS "*, generator=None, out=None, dtype=None, device=None, requires_grad=False"
#define LIKE_OPTIONS \
  "*, generator=None, dtype=None, device=None, requires_grad=False, memory_format=None"

OPERATOR_FORMS(rand, "rand", "size, " FACTORY_OPTIONS, kFunction,
               R"(Uniform random numbers in [0, 1).

Args:
    size: ints, as one tuple or one after the other.
    generator: where the randomness comes from; by default the generator that manual_seed seeds.
    out: tensor that receives the result.
    dtype: a floating dtype; by default the default one.

Returns:
    Tensor of the given size.

Example:
    >>> torch.rand(2, 3).shape
    torch.Size([2, 3])
)");
OPERATOR_FORMS(randn, "randn", "size, " FACTORY_OPTIONS, kFunction,
               R"(Normal random numbers with mean 0 and standard deviation 1.

Source: Box and Muller, "A note on the generation of random normal deviates", 1958.

Args:
    size: ints, as one tuple or one after the other.
    generator: where the randomness comes from; by default the generator that manual_seed seeds.
    out: tensor that receives the result.
    dtype: a floating dtype; by default the default one.

Returns:
    Tensor of the given size.

Example:
    >>> torch.manual_seed(0).initial_seed()
    0
    >>> torch.randn(2)
    tensor([ 1.5410, -0.2934])
)");
OPERATOR_FORMS(randint, "randint", "low, high, size, " FACTORY_OPTIONS, kFunction,
               R"(Random integers in [low, high), each equally likely.

Args:
    low: the smallest integer; 0 if left away, as in randint(high, size).
    high: one more than the largest integer.
    size: tuple of ints.
    generator: where the randomness comes from; by default the generator that manual_seed seeds.
    out: tensor that receives the result.
    dtype: any dtype that holds the bounds; by default int64.

Returns:
    Tensor of the given size.

Raises:
    RuntimeError: low >= high, or a bound does not fit the dtype.

Example:
    >>> bool((torch.randint(3, 5, (100,)) >= 3).all())
    True
)");
OPERATOR_FORMS(randint_below, "randint", "high, size, " FACTORY_OPTIONS, kFunction,
               "Random integers in [0, high), each equally likely.");
OPERATOR_FORMS(randperm, "randperm", "n, " FACTORY_OPTIONS, kFunction,
               R"(A random permutation of 0, ..., n - 1.

Args:
    n: how many numbers.
    generator: where the randomness comes from; by default the generator that manual_seed seeds.
    out: tensor that receives the result.
    dtype: any dtype that holds n; by default int64.

Returns:
    Tensor of size (n,).

Example:
    >>> torch.randperm(4).sort().values
    tensor([0, 1, 2, 3])
)");
OPERATOR_FORMS(rand_like, "rand_like", "input, " LIKE_OPTIONS, kFunction,
               "Uniform random numbers in [0, 1) with the shape and dtype of `input`.");
OPERATOR_FORMS(randn_like, "randn_like", "input, " LIKE_OPTIONS, kFunction,
               "Standard normal random numbers with the shape and dtype of `input`.");
OPERATOR_FORMS(randint_like, "randint_like", "input, low, high, " LIKE_OPTIONS, kFunction,
               "Random integers in [low, high) with the shape and dtype of `input`.");
OPERATOR_FORMS(randint_like_below, "randint_like", "input, high, " LIKE_OPTIONS, kFunction,
               "Random integers in [0, high) with the shape and dtype of `input`.");
OPERATOR_FORMS(normal, "normal", "mean, std, size, " FACTORY_OPTIONS, kFunction,
               R"(Normal random numbers with a given mean and standard deviation.

Args:
    mean: number, or tensor with the mean of each element.
    std: number, or tensor with the standard deviation of each element; not negative.
    size: tuple of ints; only when mean and std are numbers.
    generator: where the randomness comes from; by default the generator that manual_seed seeds.
    out: tensor that receives the result.

Returns:
    Tensor of the given size, or of the size to which mean and std broadcast.

Example:
    >>> torch.normal(2.0, 0.5, (1, 4)).shape
    torch.Size([1, 4])
    >>> torch.normal(torch.zeros(3), 1.0).shape
    torch.Size([3])
)");
OPERATOR_FORMS(normal_tensors, "normal", "mean=0.0, std=1.0, *, generator=None, out=None",
               kFunction, "Normal random numbers, means and deviations given by tensors.");

#undef FACTORY_OPTIONS
#undef LIKE_OPTIONS

OPERATOR_FORMS(uniform_, "uniform_", "input, from_=0.0, to=1.0, *, generator=None", kMethod,
               "Fills with uniform random numbers in [from_, to).");
OPERATOR_FORMS(normal_, "normal_", "input, mean=0.0, std=1.0, *, generator=None", kMethod,
               "Fills with normal random numbers.");
OPERATOR_FORMS(random_, "random_", "input, *, generator=None", kMethod,
               "Fills with random whole numbers from 0 to the largest of the dtype (floating "
               "dtypes: as far as they count without gaps).");
OPERATOR_FORMS(random_below, "random_", "input, to, *, generator=None", kMethod,
               "Fills with random whole numbers in [0, to).");
OPERATOR_FORMS(random_between, "random_", "input, from_, to, *, generator=None", kMethod,
               "Fills with random whole numbers in [from_, to); to=None: as far as the dtype "
               "goes.");
OPERATOR_FORMS(exponential_, "exponential_", "input, lambd=1.0, *, generator=None", kMethod,
               "Fills from the exponential distribution, lambd * exp(-lambd * x) for x > 0.");
OPERATOR_FORMS(geometric_, "geometric_", "input, p, *, generator=None", kMethod,
               "Fills with numbers of trials up to the first success of probability p.");
OPERATOR_FORMS(log_normal_, "log_normal_", "input, mean=1.0, std=2.0, *, generator=None", kMethod,
               "Fills with exp of normal numbers of the given mean and standard deviation.");
OPERATOR_FORMS(cauchy_, "cauchy_", "input, median=0.0, sigma=1.0, *, generator=None", kMethod,
               "Fills from the Cauchy distribution.");

}  // namespace

}  // namespace flambeau
