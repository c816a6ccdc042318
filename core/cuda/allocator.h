// Memory of GPUs: a cache in front of the driver, ordered by streams.
//
// Note [Stream-ordered memory]: a block belongs to the stream that was current when it was made.
// Freed, it may be handed out again on that stream at once, because what uses it next is queued
// behind what used it last. Other streams that used it are named by record_use(); it is then kept
// until they have come past this point.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cuda/driver.h"

namespace flambeau::cuda {

// On the current stream of the device. OutOfMemoryError says what was asked, held and free.
void* allocate(size_t bytes, int device);
void deallocate(void* pointer, int device);
// The block that contains `pointer` is used by work of another stream.
void record_use(const void* pointer, int device, StreamHandle stream);
// Gives cached memory back to the driver.
void empty_cache();

struct MemoryStatistics {
  int64_t allocated = 0, peak_allocated = 0;  // bytes in tensors
  int64_t reserved = 0, peak_reserved = 0;    // bytes from the driver
  int64_t allocations = 0;                    // blocks handed out so far
  int64_t driver_allocations = 0;
  int64_t retries = 0;  // the cache was emptied because the driver had no more
  int64_t out_of_memory = 0;
};
MemoryStatistics memory_statistics(int device);
void reset_peaks(int device);
std::pair<size_t, size_t> memory_info(int device);  // free and total, as the driver says
// What share of the GPU's memory this process may take, 1 at first.
void set_memory_fraction(double fraction, int device);

// While a graph is captured, memory comes from a pool that lives as long as the graph.
class GraphMemory {
 public:
  explicit GraphMemory(int device);
  ~GraphMemory();
  GraphMemory(const GraphMemory&) = delete;
  void begin();  // from here on, this thread's allocations come from the pool
  void end();

 private:
  int device_;
  uint64_t pool_;
};

}  // namespace flambeau::cuda
