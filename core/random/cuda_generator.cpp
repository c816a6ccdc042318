#include "random/cuda_generator.h"

#include <cstring>
#include <utility>

#include "base/error.h"

namespace flambeau {

namespace {

thread_local GraphDraws* current = nullptr;

void require_no_capture() {
  require(!current,
          "generator: its state cannot be read or set while a CUDA graph is captured; do that "
          "before the capture");
}

uint64_t multiple_of_four(uint64_t count) { return (count + 3) / 4 * 4; }

}  // namespace

PhiloxNumbers CudaGenerator::take(uint64_t count) {
  if (current) return current->take(*this, count);
  std::lock_guard lock(mutex());
  return {seed_, std::exchange(offset_, offset_ + multiple_of_four(count)), nullptr};
}

void CudaGenerator::manual_seed(uint64_t seed) {
  require_no_capture();
  seed_ = seed;
  offset_ = 0;
}

uint64_t CudaGenerator::initial_seed() const {
  require_no_capture();
  return seed_;
}

uint64_t CudaGenerator::offset() const {
  require_no_capture();
  return offset_;
}

void CudaGenerator::set_offset(uint64_t offset) {
  require_no_capture();
  require(offset % 4 == 0, "set_offset: offset must be a multiple of 4, got ", offset);
  offset_ = offset;
}

std::vector<uint8_t> CudaGenerator::state_bytes() const {
  require_no_capture();
  std::vector<uint8_t> bytes(kStateBytes);
  std::memcpy(bytes.data(), &seed_, 8);
  std::memcpy(bytes.data() + 8, &offset_, 8);
  return bytes;
}

void CudaGenerator::set_state(std::span<const uint8_t> bytes) {
  require_no_capture();
  // PyTorch also takes a seed alone.
  require(bytes.size() == kStateBytes || bytes.size() == 8,
          "set_state: RNG state is wrong size: the state of a GPU's generator has ", kStateBytes,
          " bytes, got ", bytes.size(), "; pass what get_state returned");
  uint64_t seed = 0, offset = 0;
  std::memcpy(&seed, bytes.data(), 8);
  if (bytes.size() == kStateBytes) std::memcpy(&offset, bytes.data() + 8, 8);
  require(offset % 4 == 0, "set_state: offset must be a multiple of 4, got ", offset,
          "; pass what get_state returned");
  seed_ = seed;
  offset_ = offset;
}

Ref<Generator> CudaGenerator::copy() const {
  require_no_capture();
  auto fresh = Ref<CudaGenerator>::adopt(new CudaGenerator(device().index, seed_));
  fresh->offset_ = offset_;
  return fresh;
}

void GraphDraws::begin() { current = this; }

void GraphDraws::end() {
  if (current == this) current = nullptr;
}

bool GraphDraws::capturing() { return current != nullptr; }

PhiloxNumbers GraphDraws::take(CudaGenerator& generator, uint64_t count) {
  size_t place = 0;
  while (place < drawn_.size() && drawn_[place].generator.get() != &generator) ++place;
  if (place == drawn_.size()) {
    require(place < kMostGenerators, "cuda graph: at most ", kMostGenerators,
            " generators can be drawn from in one graph; share one among the calls");
    drawn_.push_back({Ref<CudaGenerator>::share(&generator), 0});
  }
  uint64_t& before = drawn_[place].count;
  return {0, std::exchange(before, before + multiple_of_four(count)), memory_ + 2 * place};
}

std::vector<uint64_t> GraphDraws::next_run() {
  std::vector<uint64_t> words;
  for (const Drawn& drawn : drawn_) {
    const PhiloxNumbers numbers = drawn.generator->take(drawn.count);
    words.insert(words.end(), {numbers.seed, numbers.offset});
  }
  return words;
}

}  // namespace flambeau
