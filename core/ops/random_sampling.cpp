// Sampling from given probabilities: Bernoulli, multinomial, dropout.
#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "base/error.h"
#include "ops/creation.h"
#include "ops/pointwise.h"
#include "ops/portable.h"
#include "ops/random_cuda.h"
#include "ops/views.h"
#include "program/builder.h"
#include "random/fill.h"
#include "tensor/copy.h"

namespace flambeau {

static void run_bernoulli(Call& call) {
  fill_in_memory_order(call.output(), [&](void* data, int64_t count, bool) {
    fill_bernoulli(call.output().dtype(), data, count, call.attributes.scalars[0].to_double(),
                   generator_of(call));
  });
}
static void run_exponential(Call& call) {
  fill_in_memory_order(call.output(), [&](void* data, int64_t count, bool) {
    fill_exponential(call.output().dtype(), data, count, call.attributes.scalars[0].to_double(),
                     generator_of(call));
  });
}
const Fill kBernoulli("bernoulli", run_bernoulli, run_fill_cuda<kBernoulliNumbers>, Fill::Any);
const Fill kExponential("exponential", run_exponential, run_fill_cuda<kExponentialNumbers>);

namespace {

// Bernoulli --------------------------------------------------------------------------------------

// Elements of `target` from the probabilities, in the order of the target's memory.
void draw_from_probabilities(const Tensor& target, const Tensor& probabilities,
                             CpuGenerator& generator) {
  Dims order = drawing_order(target);
  TensorRef expanded = Tensor::view(probabilities.storage(), target.shape(),
                                    broadcast_strides(probabilities, target.shape()),
                                    probabilities.offset(), probabilities.dtype());
  TensorRef dense = dense_copy(*reorder(*expanded, order), probabilities.dtype());
  visit_dtype(dense->dtype(), [&]<class T>() {
    const T* first = dense->data<T>();
    for (int64_t i = 0; i < dense->numel(); ++i) {
      double p = convert<double>(first[i]);
      require(p >= 0 && p <= 1, "bernoulli: expects p to be in [0, 1], but got p=", p);
    }
  });
  fill_in_memory_order(target, [&](void* data, int64_t count, bool) {
    fill_bernoulli(target.dtype(), data, count, dense->dtype(), dense->data(), generator);
  });
}

void require_probabilities(const char* op, const Tensor& probabilities) {
  if (is_floating(probabilities.dtype())) return;
  fail(ErrorKind::NotImplemented, op, ": required floating point probabilities, got torch.",
       dtype_name(probabilities.dtype()), "; use .float()");
}

Primitive bernoulli_of() {
  Primitive primitive{
      "bernoulli", [](Call& call) { call.expect(0, call.input(0).shape(), call.input(0).dtype()); },
      [](Call& call) { draw_from_probabilities(call.output(), call.input(0), generator_of(call)); },
      no_influence};
  primitive.run_cuda = [](Call& call) {
    draw_bernoulli_cuda(call.output(), call.input(0), cuda_generator_of(call));
  };
  return primitive;
}
const Primitive kBernoulliOf = bernoulli_of();

// Input 0 is the target, input 1 the probabilities.
Primitive bernoulli_into() {
  Primitive primitive = kBernoulliOf;
  primitive.run = [](Call& call) {
    draw_from_probabilities(call.output(), call.input(1), generator_of(call));
  };
  primitive.run_cuda = [](Call& call) {
    draw_bernoulli_cuda(call.output(), call.input(1), cuda_generator_of(call));
  };
  primitive.updates_input = true;
  return primitive;
}
const Primitive kBernoulliInto = bernoulli_into();

template <int inputs>
void check_bernoulli(const Call& call) {
  need_inputs(call, inputs, inputs);
  need_floating(call, inputs - 1);
  broadcast_strides(call.input(inputs - 1), call.input(0).shape());
}
const bool portable_bernoulli =
    add_portable({&kBernoulliOf, "bernoulli.of", check_bernoulli<1>, true}) &&
    add_portable({&kBernoulliInto, "bernoulli.of_into", check_bernoulli<2>, true});

Attributes bernoulli_with(const char* op, double p, Device device, Generator* generator) {
  require(p >= 0 && p <= 1, op, ": expects p to be in [0, 1], but got p=", p);
  return drawing(device, generator, p);
}

TensorRef bernoulli(const TensorRef& input, Generator* generator) {
  require_probabilities("bernoulli", *input);
  return apply(kBernoulliOf, {input}, drawing(input->device(), generator));
}

TensorRef bernoulli_number(const TensorRef& input, double p, Generator* generator) {
  return draw_like(kBernoulli, *input, input->dtype(),
                   bernoulli_with("bernoulli", p, input->device(), generator));
}

TensorRef bernoulli_(const TensorRef& self, const TensorOrScalar& p, Generator* generator) {
  if (!p.tensor) {
    return apply_in_place(
        kBernoulli.in_place, {self},
        bernoulli_with("bernoulli_", p.scalar.to_double(), self->device(), generator));
  }
  require_probabilities("bernoulli_", *p.tensor);
  broadcast_strides(*p.tensor, self->shape());
  return apply_in_place(kBernoulliInto, {self, p.tensor}, drawing(self->device(), generator));
}

// Multinomial ------------------------------------------------------------------------------------

template <class T>
void check_weights(const T* weights, int64_t rows, int64_t categories) {
  for (int64_t row = 0; row < rows; ++row) {
    double sum = 0;
    for (int64_t i = 0; i < categories; ++i) {
      double weight = static_cast<double>(weights[row * categories + i]);
      require(weight >= 0 && std::isfinite(weight),
              "multinomial: probability tensor contains either `inf`, `nan` or element < 0: got ",
              weight, " in row ", row);
      sum += weight;
    }
    require(sum > 0, "multinomial: invalid multinomial distribution (sum of probabilities <= 0) ",
            "in row ", row);
  }
}

// Puts the `count` largest keys first, in descending order. Equal keys land as PyTorch's top-k
// leaves them, which these algorithms of the standard library determine.
template <class Key>
void sort_largest(std::vector<Key>& keys, int64_t count) {
  auto larger = [](const Key& a, const Key& b) { return a.first > b.first; };
  auto first = keys.begin();
  if (count == 1) {
    std::iter_swap(first, std::min_element(first, keys.end(), larger));
  } else if (count * 64 <= static_cast<int64_t>(keys.size())) {
    std::partial_sort(first, first + count, keys.end(), larger);
  } else {
    std::nth_element(first, first + count - 1, keys.end(), larger);
    std::sort(first, first + count - 1, larger);
  }
}

// The categories with the largest weight / Exp(1): a sample without replacement (Efraimidis and
// Spirakis, "Weighted random sampling with a reservoir", 2006).
template <class T>
void sample_without_replacement(const Tensor& input, int64_t rows, int64_t categories,
                                int64_t samples, int64_t* out, CpuGenerator& generator) {
  TensorRef weights = dense_copy(input, input.dtype());
  Attributes attributes = drawing(Device{}, &generator, 1.0);
  TensorRef noise = dense_copy(
      *draw_like(kExponential, input, input.dtype(), std::move(attributes)), input.dtype());
  using Key = std::pair<Compute<T>, int64_t>;
  std::vector<Key> keys(categories);
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t i = 0; i < categories; ++i) {
      int64_t at = row * categories + i;
      Compute<T> key =
          convert<Compute<T>>(weights->data<T>()[at]) / convert<Compute<T>>(noise->data<T>()[at]);
      keys[i] = {convert<Compute<T>>(convert<T>(key)), i};
    }
    sort_largest(keys, samples);
    for (int64_t i = 0; i < samples; ++i) out[row * samples + i] = keys[i].second;
  }
}

// ints[0]: how many samples; flag: with replacement.
void infer_multinomial(Call& call) {
  Dims shape = call.input(0).shape();
  shape.back() = call.attributes.ints[0];
  call.expect(0, shape, DType::Int64);
}

void run_multinomial(Call& call) {
  const Tensor& input = call.input(0);
  int64_t categories = input.shape().back(), samples = call.attributes.ints[0];
  int64_t rows = input.dim() == 2 ? input.size(0) : 1;
  DType wide = input.dtype() == DType::Float64 ? DType::Float64 : DType::Float32;
  TensorRef weights = dense_copy(input, wide);
  if (wide == DType::Float64) {
    check_weights(weights->data<double>(), rows, categories);
  } else {
    check_weights(weights->data<float>(), rows, categories);
  }
  int64_t* out = call.output().data<int64_t>();
  if (call.attributes.flag && samples > 1) {
    sample_with_replacement(wide, weights->data(), rows, categories, samples, out,
                            generator_of(call));
    return;
  }
  visit_dtype(input.dtype(), [&]<class T>() {
    sample_without_replacement<T>(input, rows, categories, samples, out, generator_of(call));
  });
}

Primitive multinomial_primitive() {
  Primitive primitive{"multinomial", infer_multinomial, run_multinomial};
  primitive.run_cuda = run_multinomial_cuda;
  return primitive;
}
const Primitive kMultinomial = multinomial_primitive();

TensorRef multinomial(const TensorRef& input, int64_t num_samples, bool replacement,
                      Generator* generator) {
  require(input->dim() == 1 || input->dim() == 2,
          "multinomial: required probabilities of 1 or 2 dimensions, got shape ", input->shape());
  require(is_floating(input->dtype()),
          "multinomial: only supports floating-point dtypes for input, got torch.",
          dtype_name(input->dtype()), "; use .float()");
  require(num_samples > 0, "multinomial: cannot sample n_sample <= 0 samples, got ", num_samples);
  require(replacement || num_samples <= input->shape().back(),
          "multinomial: cannot sample n_sample > prob_dist.size(-1) samples without replacement, ",
          "got ", num_samples, " of ", input->shape().back(), "; pass replacement=True");
  Attributes attributes = drawing(input->device(), generator);
  attributes.ints = {num_samples};
  attributes.flag = replacement;
  return apply(kMultinomial, {input}, std::move(attributes));
}

// Dropout ----------------------------------------------------------------------------------------

// x * (mask * scale), where the mask is Bool.
const Pointwise& dropout_program() {
  static const Pointwise& op = *[] {
    Builder builder;
    int32_t mask =
        builder.apply(Instruction::mul, builder.input(1), builder.input(2, Extent::Uniform));
    int32_t result = builder.apply(Instruction::mul, builder.input(0), mask);
    return new Pointwise("dropout", builder.finish(3, {&result, 1}), Promotion::Common, 2,
                         "MulBackward0");
  }();
  return op;
}

// On a GPU: as PyTorch's fused dropout draws, several elements side by side for each thread where
// the input is dense and as far as its address allows.
const Fill kDropoutMask("dropout_mask", run_bernoulli, run_dropout_mask_cuda, Fill::Any);

TensorRef dropout_mask_cuda(const Tensor& input, double keep) {
  const Dims order = drawing_order(input);
  const int64_t bytes = item_size(input.dtype());
  int64_t lanes = 1;
  if (reorder(input, order)->contiguous()) {
    lanes = 16 / bytes;
    const auto address = reinterpret_cast<uintptr_t>(input.data());
    while (lanes > 1 && (address % (lanes * bytes) != 0 || input.numel() % lanes != 0)) lanes /= 2;
  } else {
    // Elements in the order of indices then.
    Attributes attributes = drawing(input.device(), nullptr, keep);
    attributes.more_ints = input.shape();
    attributes.dtype = DType::Bool;
    return apply(kDropoutMask.fresh, {}, std::move(attributes));
  }
  Attributes attributes = drawing(input.device(), nullptr, keep);
  attributes.dtype = DType::Bool;
  attributes.flag = static_cast<int>(lanes);
  Dims back(order.size());
  for (int64_t i = 0; i < order.size(); ++i) {
    attributes.more_ints.push_back(input.size(order[i]));
    back[order[i]] = i;
  }
  return permute(apply(kDropoutMask.fresh, {}, std::move(attributes)), back);
}

// Computes the operands of the program; false where dropout changes nothing.
bool prepare_dropout(const TensorRef& input, double p, bool train, bool in_place,
                     std::vector<Operand>& operands) {
  require(p >= 0 && p <= 1, "dropout: probability has to be between 0 and 1, but got ", p);
  require(is_floating(input->dtype()), "dropout: result type Float can't be cast to torch.",
          dtype_name(input->dtype()), "; required a floating point tensor");
  if (!train || p == 0 || input->numel() == 0) return false;
  const double keep = 1 - p;
  const Device device = input->device();
  const bool fused = !device.is_cpu() && !in_place;  // PyTorch's own kernel, rounded once
  double scale = 0;
  visit_dtype(input->dtype(), [&]<class T>() {
    using C = Compute<T>;
    if (keep > 0 && fused) scale = convert<C>(1.0 / convert<double>(convert<C>(keep)));
    if (keep > 0 && !fused) scale = convert<double>(convert<T>(C(1) / convert<C>(keep)));
  });
  operands.push_back(input);
  if (keep == 0) {  // draws nothing
    operands.push_back(zeros(input->shape(), DType::Bool, device));
  } else if (fused) {
    operands.push_back(dropout_mask_cuda(*input, keep));
  } else {
    // On a GPU the numbers depend on the type that is drawn.
    const DType mask = device.is_cpu() ? DType::Bool : input->dtype();
    operands.push_back(draw_like(kBernoulli, *input, mask, drawing(device, nullptr, keep)));
  }
  operands.push_back(Scalar(scale));
  return true;
}

TensorRef dropout(const TensorRef& input, double p, bool train) {
  std::vector<Operand> operands;
  if (!prepare_dropout(input, p, train, false, operands)) return input;
  return pointwise(dropout_program(), operands);
}

TensorRef dropout_(const TensorRef& input, double p, bool train) {
  std::vector<Operand> operands;
  if (!prepare_dropout(input, p, train, true, operands)) return input;
  return pointwise_in_place(dropout_program(), operands);
}

OPERATOR_FORMS(bernoulli, "bernoulli", "input, *, generator=None", kUsual,
               R"(Draws 1 with the probability that `input` gives for the element, else 0.

Args:
    input: probabilities in [0, 1]; floating tensor of any shape.
    generator: where the randomness comes from; by default the generator that manual_seed seeds.

Returns:
    Tensor of the shape and dtype of `input`.

Raises:
    RuntimeError: a probability outside of [0, 1].

Example:
    >>> torch.bernoulli(torch.tensor([0.0, 1.0]))
    tensor([0., 1.])
)");
OPERATOR_FORMS(bernoulli_number, "bernoulli", "input, p, *, generator=None", kFunction | kMethod,
               "Draws 1 with probability p, else 0, for each element of `input`.");
OPERATOR_FORMS(bernoulli_, "bernoulli_", "input, p=0.5, *, generator=None", kMethod,
               "Fills with 1 with probability p (a number, or a tensor of probabilities), else 0.");
OPERATOR_FORMS(multinomial, "multinomial",
               "input, num_samples, replacement=False, *, generator=None", kUsual,
               R"(Draws indices with probabilities proportional to `input`.

Args:
    input: weights, not negative; floating tensor of shape (categories,) or (rows, categories).
    num_samples: how many indices to draw for each row.
    replacement: whether an index may be drawn again.
    generator: where the randomness comes from; by default the generator that manual_seed seeds.

Returns:
    int64 tensor of shape (num_samples,) or (rows, num_samples).

Raises:
    RuntimeError: a weight that is negative or not finite, a row of zeros, or more samples than
        categories without replacement.

Example:
    >>> torch.multinomial(torch.tensor([0.0, 3.0, 0.0]), 1)
    tensor([1])
)");
OPERATOR_FORMS(dropout, "dropout", "input, p, train", kFunction,
               R"(Sets elements to zero with probability p and scales the others by 1 / (1 - p).

Source: Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting",
2014.

Args:
    input: floating tensor of any shape.
    p: probability that an element is dropped.
    train: False returns `input` itself.

Returns:
    Tensor of the shape and dtype of `input`.

Example:
    >>> torch.dropout(torch.ones(3), 1.0, True)
    tensor([0., 0., 0.])
)");
OPERATOR_FORMS(dropout_, "dropout_", "input, p, train", kFunction, "Dropout in place.");

}  // namespace

}  // namespace flambeau
