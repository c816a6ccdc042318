// Recordings that differ in the batch size only: two that were made give all others.
#pragma once

#include "trace/recording.h"

namespace flambeau {

// Note [Families]: two recordings of one function whose arguments differ in a leading length, the
// batch size, determine a family if they consist of the same calls and every length, stride,
// offset and whole-number attribute of theirs is a whole multiple of the batch size plus a
// constant. A recording of another batch size follows by putting the size in. It is used only if
// nothing about it has to be believed:
// - the steps that sizes took outside of shapes decide as before (Note [Sizes in recordings]);
// - all checks that calls out of files pass hold (Note [Calls out of files]), so infer gives the
//   shapes and dtypes that were put in; views are made again and must be where they were put;
// - what a call reads is what an earlier call or view made, argument for argument;
// - no length that depends on the batch size is 0 or 1, where shapes mean something else, nor was
//   one in the two recordings, and no tensor has two such lengths, so that all products of lengths
//   are on a line, too;
// - neighbouring dimensions could be merged exactly where they could before: that decides between
//   views and copies.
class Family : public Object {
 public:
  // Null, and why, if the two are no family.
  static Ref<Family> fit(const Ref<Recording>& first, const Ref<Recording>& second,
                         std::string& why);
  // What a recording with these arguments would be; null, and why, if that cannot be told.
  Ref<Recording> member(std::span<const TensorRef> arguments, std::string& why) const;

 private:
  Ref<Recording> first_, second_;
  int64_t first_batch_ = 0, second_batch_ = 0;
  std::vector<bool> requires_grad_;  // by buffer: whether its tensor did
};

}  // namespace flambeau
