// The windows of pooling, for kernels that are compiled once per instruction set.
#pragma once

#include "ops/pooling/pooling_kernels.h"

namespace flambeau::FLAMBEAU_ISA {
namespace {

// Positions of the input that one output covers along an axis: begin, begin + dilation, ... < end.
struct Window {
  int64_t begin, end, step;
  int64_t padded;  // length including the padding that it covers
};

inline Window window_of(const PoolAxis& axis, int64_t o) {
  if (axis.kernel == 0) {
    int64_t begin = o * axis.input / axis.output;
    int64_t end = ((o + 1) * axis.input + axis.output - 1) / axis.output;
    return {begin, end, 1, end - begin};
  }
  int64_t begin = o * axis.stride - axis.padding;
  int64_t end = begin + (axis.kernel - 1) * axis.dilation + 1;
  int64_t limit = axis.input + axis.padding;
  int64_t padded = (end < limit ? end : limit) - begin;
  if (begin < 0) begin += (-begin + axis.dilation - 1) / axis.dilation * axis.dilation;
  return {begin, end < axis.input ? end : axis.input, axis.dilation, padded};
}

// The part of a plane that a row of outputs reads, along the first two axes.
struct Rows {
  Window slices, rows;
  const PoolGeometry& geometry;

  // Calls visit(offset of the row in the plane).
  template <class Visit>
  inline void each(Visit visit) const {
    for (int64_t d = slices.begin; d < slices.end; d += slices.step) {
      for (int64_t h = rows.begin; h < rows.end; h += rows.step) {
        visit((d * geometry.axis[1].input + h) * geometry.axis[2].input);
      }
    }
  }
};

// What an average divides by.
template <class T>
inline T divisor(const Rows& rows, const Window& columns) {
  const PoolGeometry& geometry = rows.geometry;
  if (geometry.divisor) return static_cast<T>(geometry.divisor);
  auto length = [&](const Window& window) {
    return geometry.include_padding ? window.padded : window.end - window.begin;
  };
  return static_cast<T>(length(rows.slices) * length(rows.rows) * length(columns));
}

}  // namespace
}  // namespace flambeau::FLAMBEAU_ISA
