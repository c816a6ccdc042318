#include "ops/arithmetic.h"

#include "program/builder.h"

namespace flambeau {

#define FLAMBEAU_UNARY(name)                                 \
  TensorRef name(const TensorRef& x) {                       \
    static const auto& op = pointwise_of(Instruction::name); \
    return unary(op, x);                                     \
  }
#define FLAMBEAU_BINARY(name)                                \
  TensorRef name(const Operand& a, const Operand& b) {       \
    static const auto& op = pointwise_of(Instruction::name); \
    return pointwise(op, {a, b});                            \
  }
FLAMBEAU_BINARY(add)
FLAMBEAU_BINARY(sub)
FLAMBEAU_BINARY(mul)
FLAMBEAU_BINARY(div)
FLAMBEAU_BINARY(floor_divide)
FLAMBEAU_BINARY(remainder)
FLAMBEAU_BINARY(pow)
FLAMBEAU_BINARY(maximum)
FLAMBEAU_BINARY(minimum)
FLAMBEAU_BINARY(eq)
FLAMBEAU_BINARY(ne)
FLAMBEAU_BINARY(lt)
FLAMBEAU_BINARY(le)
FLAMBEAU_BINARY(gt)
FLAMBEAU_BINARY(ge)
FLAMBEAU_BINARY(logical_and)
FLAMBEAU_BINARY(logical_or)
FLAMBEAU_UNARY(logical_not)
FLAMBEAU_UNARY(isnan)
FLAMBEAU_UNARY(neg)
FLAMBEAU_UNARY(abs)
FLAMBEAU_UNARY(sign)
FLAMBEAU_UNARY(exp)
FLAMBEAU_UNARY(log)
FLAMBEAU_UNARY(sqrt)
FLAMBEAU_UNARY(rsqrt)
FLAMBEAU_UNARY(reciprocal)
FLAMBEAU_UNARY(square)
FLAMBEAU_UNARY(tanh)
FLAMBEAU_UNARY(sigmoid)
FLAMBEAU_UNARY(relu)
#undef FLAMBEAU_UNARY
#undef FLAMBEAU_BINARY

// A condition has no say in the result's type; `order` are the inputs of select.
static const Pointwise& selection(const char* name, std::initializer_list<int> order,
                                  uint32_t not_promoting) {
  Builder builder;
  int32_t inputs[3];
  for (int i = 0; i < 3; ++i) inputs[i] = builder.input(i);
  const int* o = order.begin();
  int32_t result = builder.apply(Instruction::select, inputs[o[0]], inputs[o[1]], inputs[o[2]]);
  auto* op = new Pointwise(name, builder.finish(3, {&result, 1}), Promotion::Common, 3);
  op->not_promoting = not_promoting;
  return *op;
}

TensorRef where(const TensorRef& condition, const Operand& a, const Operand& b) {
  static const Pointwise& op = selection("where", {0, 1, 2}, 1);
  return pointwise(op, {condition, a, b});
}

TensorRef masked_fill(const TensorRef& x, const TensorRef& mask, const Operand& value) {
  static const Pointwise& op = []() -> const Pointwise& {
    auto& made = const_cast<Pointwise&>(selection("masked_fill", {1, 2, 0}, 2));
    made.promotion = Promotion::First;
    return made;
  }();
  return pointwise(op, {x, mask, value});
}

void add_(const TensorRef& target, const Operand& value) {
  const Operand operands[] = {target, value};
  pointwise_in_place(pointwise_of(Instruction::add), operands);
}

void mul_(const TensorRef& target, const Operand& value) {
  const Operand operands[] = {target, value};
  pointwise_in_place(pointwise_of(Instruction::mul), operands);
}

}  // namespace flambeau
