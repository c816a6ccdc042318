// Expressions over a Builder, written like arithmetic: what derivatives in the instruction table
// are made of.
#pragma once

#include "program/builder.h"

namespace flambeau::symbolic {

// A value of a builder, or a number that becomes a constant of whatever it meets.
struct Symbol {
  Builder* builder = nullptr;
  int32_t value = -1;
  double number = 0;

  Symbol(double number) : number(number) {}
  Symbol(int number) : number(number) {}
  Symbol(Builder& builder, int32_t value) : builder(&builder), value(value) {}
  int32_t in(Builder& owner) const { return builder ? value : owner.constant(number); }
};

template <class... Operands>
Symbol apply(Instruction instruction, const Operands&... operands) {
  Builder* owner = nullptr;
  ((owner = operands.builder ? operands.builder : owner), ...);
  require(owner, name_of(instruction), ": needs at least one symbol among its operands");
  return {*owner, owner->apply(instruction, operands.in(*owner)...)};
}

// Every instruction as a function: exp(a), select(a, b, c).
#define FLAMBEAU_FUNCTION_0(name)
#define FLAMBEAU_FUNCTION_1(name) \
  inline Symbol name(const Symbol& a) { return apply(Instruction::name, a); }
#define FLAMBEAU_FUNCTION_2(name) \
  inline Symbol name(const Symbol& a, const Symbol& b) { return apply(Instruction::name, a, b); }
#define FLAMBEAU_FUNCTION_3(name)                                         \
  inline Symbol name(const Symbol& a, const Symbol& b, const Symbol& c) { \
    return apply(Instruction::name, a, b, c);                             \
  }
#define INSTRUCTION(name, arity, ...) FLAMBEAU_FUNCTION_##arity(name)
#include "program/instructions.def"
#undef INSTRUCTION
#undef FLAMBEAU_FUNCTION_0
#undef FLAMBEAU_FUNCTION_1
#undef FLAMBEAU_FUNCTION_2
#undef FLAMBEAU_FUNCTION_3

inline Symbol operator+(const Symbol& a, const Symbol& b) { return add(a, b); }
inline Symbol operator-(const Symbol& a, const Symbol& b) { return sub(a, b); }
inline Symbol operator*(const Symbol& a, const Symbol& b) { return mul(a, b); }
inline Symbol operator/(const Symbol& a, const Symbol& b) { return div(a, b); }
inline Symbol operator-(const Symbol& a) { return neg(a); }

}  // namespace flambeau::symbolic
