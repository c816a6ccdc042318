// Sources of random numbers: what the generators of all devices share.
#pragma once

#include <cstdint>
#include <mutex>
#include <span>
#include <vector>

#include "base/object.h"
#include "tensor/device.h"

namespace flambeau {

class Generator : public Object {
 public:
  static constexpr uint64_t kDefaultSeed = 67280421310721;

  // Whoever draws or reseeds holds this lock; the members below do not take it.
  std::mutex& mutex() { return mutex_; }
  Device device() const { return device_; }

  virtual void manual_seed(uint64_t seed) = 0;
  // Reseeds from the system's entropy and returns the new seed.
  uint64_t seed();
  virtual uint64_t initial_seed() const = 0;

  // In PyTorch's layout for the device.
  virtual std::vector<uint8_t> state_bytes() const = 0;
  // RuntimeError for bytes that are no state of such a generator, which is then unchanged.
  virtual void set_state(std::span<const uint8_t> bytes) = 0;
  // A new generator in the same state.
  virtual Ref<Generator> copy() const = 0;

 protected:
  explicit Generator(Device device) : device_(device) {}

 private:
  std::mutex mutex_;
  Device device_;
};

uint64_t system_entropy();

// The generator of every call on the device that names none; seeded from the system's entropy
// unless seed_default_generators was called. Those of GPUs need no GPU to exist.
Generator& default_generator(Device device);
bool is_default_generator(const Generator& generator);
// Those of all GPUs, present and future.
void seed_cuda_generators(uint64_t seed);

// The states of all default generators. Those of GPUs that appear later start as they would have.
class DefaultStates {
 public:
  static DefaultStates now();
  void restore() const;
  bool operator==(const DefaultStates&) const = default;

 private:
  std::vector<uint8_t> cpu_;
  std::vector<std::vector<uint8_t>> gpus_;  // by number
  uint64_t seed_of_new_ = 0;
  bool seeded_ = false;
};

}  // namespace flambeau
