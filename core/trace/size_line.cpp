#include "trace/size_line.h"

namespace flambeau {

namespace {

constexpr int64_t kExact = int64_t{1} << 53;  // whole numbers up to here are exact as doubles

bool has_result(SizeOp op) { return op < SizeOp::Sign; }

int sign(Scalar a, Scalar b) {
  if (a.is_float() || b.is_float()) {
    double x = a.to_double(), y = b.to_double();
    return (x > y) - (x < y);
  }
  return (a.integer > b.integer) - (a.integer < b.integer);
}

double exact(Scalar number) {
  bool fits = number.is_float() || (-kExact <= number.integer && number.integer <= kExact);
  require(fits, "a size is too large");
  return number.to_double();
}

Scalar float_result(SizeOp op, double a, double b) {
  switch (op) {
    case SizeOp::Add:
      return a + b;
    case SizeOp::Subtract:
      return a - b;
    case SizeOp::Multiply:
      return a * b;
    case SizeOp::Divide:
      require(b != 0, "a size is divided by zero");
      return a / b;
    case SizeOp::Negative:
      return -a;
    default:
      fail("a size takes a step that is unknown for fractions");
  }
}

// As Python computes it.
Scalar whole_result(SizeOp op, int64_t a, int64_t b) {
  int64_t result = 0;
  bool overflow = false;
  switch (op) {
    case SizeOp::Add:
      overflow = __builtin_add_overflow(a, b, &result);
      break;
    case SizeOp::Subtract:
      overflow = __builtin_sub_overflow(a, b, &result);
      break;
    case SizeOp::Multiply:
      overflow = __builtin_mul_overflow(a, b, &result);
      break;
    case SizeOp::Negative:
      overflow = __builtin_sub_overflow(0, a, &result);
      break;
    default: {
      require(b != 0 && a > INT64_MIN, "a size is divided by zero");
      int64_t rest = a % b, turned = rest != 0 && (rest < 0) != (b < 0);
      result = op == SizeOp::FloorDivide ? a / b - turned : turned ? rest + b : rest;
    }
  }
  require(!overflow, "a size is too large");
  return result;
}

bool same(Scalar a, Scalar b) {
  return a.is_float() == b.is_float() && a.to_double() == b.to_double();
}

}  // namespace

bool identical(Scalar a, Scalar b) { return a.kind == b.kind && a.integer == b.integer; }

SizeLine::SizeLine(const Recording& first, const Recording& second, int64_t first_batch,
                   int64_t second_batch, int64_t batch)
    : first_(first),
      second_(second),
      first_batch_(first_batch),
      second_batch_(second_batch),
      batch_(batch) {
  require(first.sizes.size() == second.sizes.size(), "sizes take other steps");
  for (size_t i = 0; i < first.sizes.size(); ++i) {
    const SizeStep &a = first.sizes[i], &b = second.sizes[i];
    require(a.op == b.op && a.a == b.a && a.b == b.b, "sizes take other steps");
    if (has_result(b.op)) {
      now_.push_back(value_of(i));
      bool as_recorded = (batch != first_batch || same(now_[i], a.value)) &&
                         (batch != second_batch || same(now_[i], b.value));
      require(as_recorded, "a step of sizes is not repeated as it was");
    } else {
      check(i);
      now_.push_back(Scalar());
    }
  }
}

int64_t SizeLine::at(int64_t first, int64_t second) const {
  if (first == second) return first;
  int64_t rise, step, result, run = second_batch_ - first_batch_;
  require(!__builtin_sub_overflow(second, first, &rise) && rise % run == 0,
          "a length is no whole multiple of the batch size");
  require(!__builtin_mul_overflow(rise / run, batch_ - first_batch_, &step) &&
              !__builtin_add_overflow(first, step, &result),
          "a size is too large");
  return result;
}

Dims SizeLine::at(const Dims& first, const Dims& second) const {
  require(first.size() == second.size(), "a call has other attributes");
  Dims result;
  for (int64_t i = 0; i < first.size(); ++i) result.push_back(at(first[i], second[i]));
  return result;
}

Scalar SizeLine::value_of(size_t step) const {
  const SizeStep &a = first_.sizes[step], &b = second_.sizes[step];
  if (b.op == SizeOp::Size) return at(a.value.integer, b.value.integer);
  if (b.op == SizeOp::Constant) {
    require(identical(a.value, b.value), "a number that sizes meet has changed");
    return b.value;
  }
  Scalar x = now_[b.a], y = b.b < 0 ? Scalar() : now_[b.b];
  bool is_float = x.is_float() || y.is_float() || b.op == SizeOp::Divide;
  return is_float ? float_result(b.op, exact(x), exact(y))
                  : whole_result(b.op, x.integer, y.integer);
}

void SizeLine::check(size_t step) const {
  const SizeStep& b = second_.sizes[step];
  Scalar before = first_.sizes[b.a].value, after = second_.sizes[b.a].value, now = now_[b.a];
  if (b.op == SizeOp::Sign) {
    int64_t recorded = first_.sizes[step].value.integer;
    require(recorded == b.value.integer && sign(now, now_[b.b]) == recorded,
            "a comparison of sizes has another result");
  } else if (b.op == SizeOp::Length) {
    bool whole = !before.is_float() && !after.is_float() && !now.is_float();
    require(whole && at(before.integer, after.integer) == now.integer,
            "a length is no whole multiple of the batch size");
  } else if (b.op == SizeOp::Fixed || identical(before, after)) {
    require(identical(before, after) && identical(now, after), "it depends on the size itself");
  }
}

Scalar SizeLine::number(Scalar first, Scalar second) const {
  if (identical(first, second)) return second;
  bool found = false;
  double result = 0;
  for (size_t i = 0; i < now_.size(); ++i) {
    const SizeStep &a = first_.sizes[i], &b = second_.sizes[i];
    bool matches = has_result(b.op) && a.value.to_double() == first.to_double() &&
                   b.value.to_double() == second.to_double();
    if (!matches) continue;
    double candidate = exact(now_[i]);
    require(!found || candidate == result, "a number can come from sizes in two ways");
    found = true;
    result = candidate;
  }
  require(found && first.kind == second.kind, "a number has changed that comes from no size");
  if (second.is_float()) return result;
  require(second.kind == Scalar::Kind::Int && std::abs(result) <= kExact &&
              result == static_cast<double>(static_cast<int64_t>(result)),
          "a number is no whole number any more");
  return static_cast<int64_t>(result);
}

}  // namespace flambeau
