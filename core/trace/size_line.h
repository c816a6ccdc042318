// Numbers that depend on the batch size, for another batch size (Note [Families]).
#pragma once

#include "trace/recording.h"

namespace flambeau {

// Whole numbers on a line through two batch sizes, and the steps that sizes took.
class SizeLine {
 public:
  // RuntimeError if a step decides otherwise for this batch size than in the recordings.
  SizeLine(const Recording& first, const Recording& second, int64_t first_batch,
           int64_t second_batch, int64_t batch);

  // RuntimeError unless the slope is whole, and for numbers beyond 64 bits.
  int64_t at(int64_t first, int64_t second) const;
  Dims at(const Dims& first, const Dims& second) const;
  // A number of a call: unchanged, or what some step had as result in both recordings.
  Scalar number(Scalar first, Scalar second) const;

 private:
  Scalar value_of(size_t step) const;
  void check(size_t step) const;

  const Recording &first_, &second_;
  int64_t first_batch_, second_batch_, batch_;
  std::vector<Scalar> now_;  // by step
};

// Equal in kind and in every bit.
bool identical(Scalar a, Scalar b);

}  // namespace flambeau
