// The CPU random generator: PyTorch's stream bit for bit, and states that PyTorch can read.
#pragma once

#include <array>
#include <optional>
#include <utility>

#include "random/generator.h"

namespace flambeau {

// Engine: mt19937 (Matsumoto and Nishimura, "Mersenne Twister: a 623-dimensionally equidistributed
// uniform pseudo-random number generator", 1998), seeded with the low 32 bits of the seed.
class CpuGenerator final : public Generator {
 public:
  static constexpr int kStateBytes = 5056;
  using State = std::array<uint8_t, kStateBytes>;

  explicit CpuGenerator(uint64_t seed = kDefaultSeed) : Generator(Device{}) {
    CpuGenerator::manual_seed(seed);
  }

  void manual_seed(uint64_t seed) override;
  uint64_t initial_seed() const override { return initial_seed_; }

  uint32_t random32();
  uint64_t random64() {
    uint64_t high = random32();
    return high << 32 | random32();
  }
  // Writes the next `count` values of random32().
  void draw(uint32_t* out, int64_t count);

  // A normal transform makes two values; the second waits here for the next call.
  std::optional<double> take_next_normal() { return std::exchange(next_normal_, std::nullopt); }
  void keep_next_normal(double value) { next_normal_ = value; }

  // Layout of PyTorch's CPU generator state: see StateLayout in generator.cpp.
  State get_state() const;
  std::vector<uint8_t> state_bytes() const override;
  // RuntimeError for another size or impossible positions.
  void set_state(std::span<const uint8_t> bytes) override;
  Ref<Generator> copy() const override;

 private:
  static constexpr int kWords = 624;

  void regenerate();

  uint32_t words_[kWords];
  int position_;  // the next word to hand out; kWords when the block is used up
  bool fresh_;    // just seeded: PyTorch writes position 0 for it, and kWords after a full block
  uint64_t initial_seed_;
  std::optional<double> next_normal_;
  // PyTorch keeps a float normal as well but only other devices' code fills it: carried, not used.
  std::optional<float> next_float_normal_;
};

// The default generator of the CPU.
CpuGenerator& default_generator();

}  // namespace flambeau
