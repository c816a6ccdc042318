// The generator of a GPU: which of Philox's numbers come next. It lives on the host; kernels
// compute the numbers themselves (ops/random.cu), so nothing here needs a GPU.
#pragma once

#include "random/generator.h"

namespace flambeau {

// What a kernel is told; twin of ops/random.cu. Thread t takes the stream t of the key `seed`, from
// the number `offset` on. In a captured graph the two are read from `captured` when the graph runs,
// and `offset` is added.
struct PhiloxNumbers {
  uint64_t seed = 0;
  uint64_t offset = 0;
  const uint64_t* captured = nullptr;
};

// Engine: Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011).
class CudaGenerator final : public Generator {
 public:
  static constexpr int kStateBytes = 16;  // seed and offset

  explicit CudaGenerator(int device, uint64_t seed = kDefaultSeed)
      : Generator({Device::Type::Cuda, static_cast<int8_t>(device)}), seed_(seed) {}

  // The numbers for one kernel, each of whose threads takes up to `count` of its stream. Takes the
  // lock.
  PhiloxNumbers take(uint64_t count);

  // RuntimeError, these and what follows, while this thread captures a graph: what is drawn then
  // has no place in the stream before the graph runs.
  void manual_seed(uint64_t seed) override;
  uint64_t initial_seed() const override;
  uint64_t offset() const;
  // A multiple of 4, since four numbers are made at a time.
  void set_offset(uint64_t offset);
  std::vector<uint8_t> state_bytes() const override;
  void set_state(std::span<const uint8_t> bytes) override;
  Ref<Generator> copy() const override;

 private:
  friend class GraphDraws;
  uint64_t seed_;
  uint64_t offset_ = 0;
};

// What a captured graph draws.
//
// Note [Random numbers of graphs]: kernels of a graph keep the parameters that they were captured
// with, but have to draw new numbers whenever it runs. While a graph is captured a kernel therefore
// gets a place in the GPU's memory and how many numbers of the graph precede its own. Before every
// run seed and offset of the generator are written to that place, and the generator moves on by
// what the graph draws, so a replay continues the stream as the same calls outside a graph would.
class GraphDraws {
 public:
  static constexpr int kMostGenerators = 16;
  static constexpr size_t kBytes = kMostGenerators * 2 * sizeof(uint64_t);

  // `memory`: kBytes that the GPU's kernels can read, alive as long as the graph.
  explicit GraphDraws(const uint64_t* memory) : memory_(memory) {}
  ~GraphDraws() { end(); }
  GraphDraws(const GraphDraws&) = delete;

  // In between, what this thread draws belongs to the graph.
  void begin();
  void end();
  static bool capturing();

  // What must be in the memory when the graph runs next; moves the generators on.
  std::vector<uint64_t> next_run();

 private:
  friend class CudaGenerator;
  PhiloxNumbers take(CudaGenerator& generator, uint64_t count);

  struct Drawn {
    Ref<CudaGenerator> generator;
    uint64_t count = 0;
  };
  const uint64_t* memory_;
  std::vector<Drawn> drawn_;
};

// The default generator of a GPU, by its number.
CudaGenerator& default_cuda_generator(int device);

}  // namespace flambeau
