// Elementwise operators by name, for gradient rules and composites in C++. Operands are tensors
// or numbers; at least one must be a tensor. Everything is recorded as usual.
#pragma once

#include "ops/pointwise.h"

namespace flambeau {

TensorRef add(const Operand& a, const Operand& b);
TensorRef sub(const Operand& a, const Operand& b);
TensorRef mul(const Operand& a, const Operand& b);
TensorRef div(const Operand& a, const Operand& b);  // true division
TensorRef floor_divide(const Operand& a, const Operand& b);
TensorRef remainder(const Operand& a, const Operand& b);
TensorRef pow(const Operand& a, const Operand& b);
TensorRef maximum(const Operand& a, const Operand& b);
TensorRef minimum(const Operand& a, const Operand& b);

TensorRef eq(const Operand& a, const Operand& b);
TensorRef ne(const Operand& a, const Operand& b);
TensorRef lt(const Operand& a, const Operand& b);
TensorRef le(const Operand& a, const Operand& b);
TensorRef gt(const Operand& a, const Operand& b);
TensorRef ge(const Operand& a, const Operand& b);
TensorRef logical_and(const Operand& a, const Operand& b);
TensorRef logical_or(const Operand& a, const Operand& b);
TensorRef logical_not(const TensorRef& x);
TensorRef isnan(const TensorRef& x);

// condition ? a : b; the condition is a tensor of any type, compared with zero.
TensorRef where(const TensorRef& condition, const Operand& a, const Operand& b);
TensorRef masked_fill(const TensorRef& x, const TensorRef& mask, const Operand& value);

TensorRef neg(const TensorRef& x);
TensorRef abs(const TensorRef& x);
TensorRef sign(const TensorRef& x);
TensorRef exp(const TensorRef& x);
TensorRef log(const TensorRef& x);
TensorRef sqrt(const TensorRef& x);
TensorRef rsqrt(const TensorRef& x);
TensorRef reciprocal(const TensorRef& x);
TensorRef square(const TensorRef& x);
TensorRef tanh(const TensorRef& x);
TensorRef sigmoid(const TensorRef& x);
TensorRef relu(const TensorRef& x);

// target += value, target *= value in place.
void add_(const TensorRef& target, const Operand& value);
void mul_(const TensorRef& target, const Operand& value);

}  // namespace flambeau
