// The functions of mathematics.h written in vector instructions, with the same coefficients and
// steps.
#pragma once

#include "program/emitter/vector_code.h"
#include "program/program.h"

namespace flambeau::emitter {

// A number or a mask of a stretch of code, for writing formulas.
struct Vector {
  VectorCode* code;
  Element element;
  int32_t node;
};

// The value of a function of x: exp, log, sin, ...; node -1 if it has no expansion in this
// element type and the kernel of the block machine has to be called.
Vector expand_function(Instruction instruction, Vector x);

// Formulas. Masks are Vectors as well.
Vector make(Op op, Vector a, int immediate = 0);
Vector make(Op op, Vector a, Vector b, int immediate = 0);
Vector make(Op op, Vector a, Vector b, Vector c, int immediate = 0);
inline Vector operator+(Vector a, Vector b) { return make(Op::Add, a, b); }
inline Vector operator-(Vector a, Vector b) { return make(Op::Sub, a, b); }
inline Vector operator*(Vector a, Vector b) { return make(Op::Mul, a, b); }
inline Vector operator/(Vector a, Vector b) { return make(Op::Div, a, b); }
// A constant of the same element type as x.
Vector constant_like(Vector x, double value);
Vector bits_like(Vector x, uint64_t value);
inline Vector operator+(Vector a, double b) { return a + constant_like(a, b); }
inline Vector operator-(Vector a, double b) { return a - constant_like(a, b); }
inline Vector operator*(Vector a, double b) { return a * constant_like(a, b); }
inline Vector fma(Vector a, Vector b, Vector c) { return make(Op::Fma, a, b, c); }
// c - a * b
inline Vector fnma(Vector a, Vector b, Vector c) { return make(Op::Fnma, a, b, c); }

// The processor's predicates; "Q": no exception for NaN.
enum class Predicate : uint8_t {
  Equal = 0,
  Unordered = 3,
  NotEqual = 4,
  Ordered = 7,
  Less = 17,
  LessEqual = 18,
  GreaterEqual = 29,
  Greater = 30
};
Vector compare(Predicate predicate, Vector a, Vector b);
inline Vector compare(Predicate predicate, Vector a, double b) {
  return compare(predicate, a, constant_like(a, b));
}
inline Vector choose(Vector mask, Vector a, Vector b) { return make(Op::Blend, mask, a, b); }
Vector sign_bits(Vector x);  // of the number -0, like x
Vector absolute(Vector x);
Vector copy_sign(Vector magnitude, Vector sign);

}  // namespace flambeau::emitter
