// Memory of a GPU for one call. It goes back at the end of the scope, while the work that uses it
// may still be queued: see Note [Stream-ordered memory].
#pragma once

#include "cuda/allocator.h"

namespace flambeau::cuda {

class Scratch {
 public:
  Scratch(size_t bytes, int device)
      : data_(bytes ? allocate(bytes, device) : nullptr), device_(device) {}
  ~Scratch() {
    if (data_) deallocate(data_, device_);
  }
  Scratch(const Scratch&) = delete;
  void* data() const { return data_; }

 private:
  void* data_;
  int device_;
};

}  // namespace flambeau::cuda
