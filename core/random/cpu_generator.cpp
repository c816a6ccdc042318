#include "random/cpu_generator.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "random/kernels.h"

namespace flambeau {

namespace {

// PyTorch's CPU generator state, found by experiment: words are widened to 64 bits, `left` counts
// the words of the block that remain plus one, and unused fields are zero.
struct StateLayout {
  uint64_t initial_seed;
  int32_t left;
  int32_t seeded;
  uint64_t position;
  uint64_t words[624];
  double unused_normal;
  double next_normal;
  double unused_radius;
  int32_t has_next_normal;
  int32_t padding;
  float next_float_normal;
  uint8_t has_next_float_normal;
  uint8_t more_padding[3];
};
static_assert(sizeof(StateLayout) == CpuGenerator::kStateBytes);

}  // namespace

void CpuGenerator::manual_seed(uint64_t seed) {
  initial_seed_ = seed;
  words_[0] = static_cast<uint32_t>(seed);
  for (int i = 1; i < kWords; ++i) {
    words_[i] = 1812433253 * (words_[i - 1] ^ words_[i - 1] >> 30) + i;
  }
  position_ = kWords;
  fresh_ = true;
  next_normal_.reset();
  next_float_normal_.reset();
}

void CpuGenerator::regenerate() {
  FLAMBEAU_CHOOSE(twist)(words_);
  position_ = 0;
  fresh_ = false;
}

uint32_t CpuGenerator::random32() {
  uint32_t value;
  draw(&value, 1);
  return value;
}

void CpuGenerator::draw(uint32_t* out, int64_t count) {
  auto temper_words = FLAMBEAU_CHOOSE(temper);
  while (count > 0) {
    if (position_ == kWords) regenerate();
    int64_t run = std::min<int64_t>(count, kWords - position_);
    temper_words(words_ + position_, out, run);
    position_ += static_cast<int>(run);
    out += run;
    count -= run;
  }
}

CpuGenerator::State CpuGenerator::get_state() const {
  StateLayout layout{};
  layout.initial_seed = initial_seed_;
  layout.left = kWords - position_ + 1;
  layout.seeded = 1;
  layout.position = fresh_ ? 0 : position_;
  std::copy(words_, words_ + kWords, layout.words);
  layout.has_next_normal = next_normal_.has_value();
  layout.next_normal = next_normal_.value_or(0);
  layout.has_next_float_normal = next_float_normal_.has_value();
  layout.next_float_normal = next_float_normal_.value_or(0);
  State state;
  std::memcpy(state.data(), &layout, kStateBytes);
  return state;
}

std::vector<uint8_t> CpuGenerator::state_bytes() const {
  const State state = get_state();
  return {state.begin(), state.end()};
}

void CpuGenerator::set_state(std::span<const uint8_t> bytes) {
  require(bytes.size() == kStateBytes, "set_state: a state has ", kStateBytes, " bytes, got ",
          bytes.size(), "; pass what get_state returned");
  StateLayout layout;
  std::memcpy(&layout, bytes.data(), kStateBytes);
  bool fresh = layout.left == 1 && layout.position == 0;
  bool within = layout.position >= 1 && layout.position <= kWords &&
                layout.left == static_cast<int32_t>(kWords - layout.position) + 1;
  require(layout.seeded == 1 && (fresh || within),
          "set_state: required a generator's state, got bytes whose position is impossible; pass "
          "what get_state returned");
  initial_seed_ = layout.initial_seed;
  fresh_ = fresh;
  position_ = fresh ? kWords : static_cast<int>(layout.position);
  for (int i = 0; i < kWords; ++i) words_[i] = static_cast<uint32_t>(layout.words[i]);
  next_normal_.reset();
  next_float_normal_.reset();
  if (layout.has_next_normal) next_normal_ = layout.next_normal;
  if (layout.has_next_float_normal) next_float_normal_ = layout.next_float_normal;
}

Ref<Generator> CpuGenerator::copy() const {
  auto fresh = Ref<CpuGenerator>::adopt(new CpuGenerator);
  fresh->set_state(get_state());
  return fresh;
}

CpuGenerator& default_generator() {
  // Never destroyed: threads may still draw while the process exits.
  static CpuGenerator& generator = *new CpuGenerator(system_entropy());
  return generator;
}

}  // namespace flambeau
