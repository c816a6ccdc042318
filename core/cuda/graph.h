// Work that is recorded once and queued again as a whole: CUDA graphs.
#pragma once

#include <memory>

#include "cuda/allocator.h"
#include "cuda/device.h"
#include "random/cuda_generator.h"

namespace flambeau::cuda {

// Whether this thread is capturing, so that waiting is not allowed.
bool capturing();

class Graph : public Object {
 public:
  explicit Graph(int device) : device_(device), memory_(device) {}
  ~Graph() override;

  // Between begin() and end() what this thread queues on `stream` is captured instead of run; the
  // memory that it allocates stays with the graph. The stream must not be the default one.
  void begin(Ref<Stream> stream);
  // RuntimeError if something in between cannot be captured (waiting, copies to the host).
  void end();
  // Ends a capture that has failed; never raises.
  void abandon();
  // Queues the captured work on the current stream. Random numbers are new every time
  // (Note [Random numbers of graphs]).
  void replay();
  bool ready() const { return executable_ != nullptr; }
  int device() const { return device_; }

 private:
  void drop_draws();

  int device_;
  GraphMemory memory_;
  void* draws_memory_ = nullptr;
  std::unique_ptr<GraphDraws> draws_;
  Ref<Stream> stream_;  // while it is captured
  GraphExecutableHandle executable_ = nullptr;
};

}  // namespace flambeau::cuda
