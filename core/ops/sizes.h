// What operators tell a recording about the sizes that decide what they do.
//
// Note [Sizes in recordings]: a recording of one batch size can be made into that of another
// (trace/family.h) if every number in it that comes from a size is known to. Shapes follow from
// infer, which is asked again. Whatever else is computed from sizes - a slice that is cut off at
// the end, the divisor of a mean's gradient, a comparison in the user's Python - leaves steps:
// what was computed, of what, with which result. Another batch size repeats the steps, and is
// recorded itself where one of them decides otherwise.
#pragma once

#include "ops/primitive.h"

namespace flambeau {

// Calls are made by public functions and gradient rules, never by kernels.
inline int note_size(SizeOp op, int a, int b, Scalar value) {
  return mode.tracing ? recorder.note_size(op, a, b, value) : -1;
}

// A number that is a size, a number of elements, or a sum of such and constants.
inline int size_step(int64_t size) { return note_size(SizeOp::Size, -1, -1, Scalar(size)); }

// What happens depends on whether a is less than, equal to or greater than b.
inline void size_decides(int64_t a, int64_t b) {
  if (!mode.tracing) return;
  int left = size_step(a), right = size_step(b);
  note_size(SizeOp::Sign, left, right, Scalar(static_cast<int64_t>((a > b) - (a < b))));
}

// A length that is the quotient of two others, rounded down.
inline void size_quotient(int64_t a, int64_t b, int64_t quotient) {
  if (!mode.tracing) return;
  int left = size_step(a), right = size_step(b);
  int result = note_size(SizeOp::FloorDivide, left, right, Scalar(quotient));
  note_size(SizeOp::Length, result, -1, Scalar(quotient));
}

// What happens depends on the size itself.
inline void size_decides(int64_t size) {
  if (mode.tracing) note_size(SizeOp::Fixed, size_step(size), -1, Scalar(size));
}

}  // namespace flambeau
