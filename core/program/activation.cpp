#include "program/activation.h"

#include <algorithm>
#include <cstring>

#include "program/builder.h"
#include "program/symbol.h"

namespace flambeau {

namespace {

ProgramRef relu() {
  Builder builder;
  const int32_t result = builder.apply(Instruction::relu, builder.input(0));
  return builder.finish(1, {&result, 1});
}

// The gradient as the backward pass runs it: of what the GELU was taken of, and of the incoming
// one.
ProgramRef gelu_gradient() {
  const Derivative derivative = differentiate(*gelu_by_tanh(), 1);
  Builder builder;
  const int32_t at = builder.input(0), gradient = builder.input(1);
  std::vector<int32_t> inputs;
  for (const Derivative::Read& read : derivative.reads) {
    inputs.push_back(read.kind == Derivative::Read::Kind::Gradient ? gradient : at);
  }
  const std::vector<int32_t> places = builder.inline_program(*derivative.program, inputs);
  return builder.finish(2, {&places[derivative.program->outputs[0]], 1});
}

bool same_value(const Value& a, const Value& b) {
  return a.instruction == b.instruction && a.extent == b.extent && a.index == b.index &&
         std::ranges::equal(a.operands, b.operands) &&
         std::memcmp(&a.constant, &b.constant, sizeof(double)) == 0;
}

bool same_program(const Program& a, const Program& b) {
  return a.input_count == b.input_count && a.outputs == b.outputs &&
         std::ranges::equal(a.values, b.values, same_value);
}

}  // namespace

const ProgramRef& gelu_by_tanh() {
  static const ProgramRef& program = *[] {
    using namespace symbolic;
    Builder builder;
    Symbol x(builder, builder.input(0));
    Symbol inner = 0.7978845608028654 * (x + 0.044715 * (x * x * x));
    Symbol result = x * 0.5 * (1 + symbolic::tanh(inner));
    return new ProgramRef(builder.finish(1, {&result.value, 1}));
  }();
  return program;
}

cuda::Activation activation_of(const Program& program) {
  static const ProgramRef& rectified = *new ProgramRef(relu());
  static const ProgramRef& derivative = *new ProgramRef(gelu_gradient());
  if (same_program(program, *rectified)) return cuda::Activation::Relu;
  if (same_program(program, *gelu_by_tanh())) return cuda::Activation::Gelu;
  if (same_program(program, *derivative)) return cuda::Activation::GeluGradient;
  return cuda::Activation::None;
}

}  // namespace flambeau
