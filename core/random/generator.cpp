#include "random/generator.h"

#include <array>
#include <random>

#include "base/error.h"
#include "random/cpu_generator.h"
#include "random/cuda_generator.h"

namespace flambeau {

namespace {

// The default generators of GPUs, made when they are asked for.
struct Table {
  static constexpr int kMostDevices = 64;
  std::mutex mutex;
  std::array<Ref<CudaGenerator>, kMostDevices> generators;
  uint64_t seed_of_new = system_entropy();
  bool seeded = false;

  // What a generator starts with: the one seed for all, or without one a seed of its own.
  uint64_t first_seed(int device) const { return seed_of_new + (seeded ? 0 : device); }
};
Table& table() {
  static Table& generators = *new Table;  // never destroyed, as default_generator() is not
  return generators;
}

}  // namespace

uint64_t system_entropy() {
  std::random_device device;
  uint64_t high = device();
  return high << 32 | device();
}

uint64_t Generator::seed() {
  const uint64_t fresh = system_entropy();
  manual_seed(fresh);
  return fresh;
}

CudaGenerator& default_cuda_generator(int device) {
  Table& gpus = table();
  require(device >= 0 && device < Table::kMostDevices, "generator: required a GPU's number below ",
          Table::kMostDevices, ", got ", device);
  std::lock_guard lock(gpus.mutex);
  Ref<CudaGenerator>& generator = gpus.generators[device];
  if (!generator) {
    generator = Ref<CudaGenerator>::adopt(new CudaGenerator(device, gpus.first_seed(device)));
  }
  return *generator;
}

Generator& default_generator(Device device) {
  if (device.is_cpu()) return default_generator();
  return default_cuda_generator(device.index);
}

bool is_default_generator(const Generator& generator) {
  return &generator == &default_generator(generator.device());
}

void seed_cuda_generators(uint64_t seed) {
  Table& gpus = table();
  std::lock_guard lock(gpus.mutex);
  gpus.seed_of_new = seed;
  gpus.seeded = true;
  for (Ref<CudaGenerator>& generator : gpus.generators) {
    if (!generator) continue;
    std::lock_guard own(generator->mutex());
    generator->manual_seed(seed);
  }
}

DefaultStates DefaultStates::now() {
  DefaultStates states;
  {
    std::lock_guard lock(default_generator().mutex());
    states.cpu_ = default_generator().state_bytes();
  }
  Table& gpus = table();
  std::lock_guard lock(gpus.mutex);
  states.seed_of_new_ = gpus.seed_of_new;
  states.seeded_ = gpus.seeded;
  states.gpus_.resize(Table::kMostDevices);
  for (int device = 0; device < Table::kMostDevices; ++device) {
    const Ref<CudaGenerator>& generator = gpus.generators[device];
    if (!generator) continue;
    std::lock_guard own(generator->mutex());
    states.gpus_[device] = generator->state_bytes();
  }
  return states;
}

void DefaultStates::restore() const {
  {
    std::lock_guard lock(default_generator().mutex());
    default_generator().set_state(cpu_);
  }
  Table& gpus = table();
  std::lock_guard lock(gpus.mutex);
  gpus.seed_of_new = seed_of_new_;
  gpus.seeded = seeded_;
  for (int device = 0; device < Table::kMostDevices; ++device) {
    const Ref<CudaGenerator>& generator = gpus.generators[device];
    if (!generator) continue;
    std::lock_guard own(generator->mutex());
    if (gpus_[device].empty()) {  // made since then
      generator->manual_seed(gpus.first_seed(device));
    } else {
      generator->set_state(gpus_[device]);
    }
  }
}

}  // namespace flambeau
