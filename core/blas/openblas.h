// OpenBLAS, confined: it runs on the calling thread unless a BlasThreads says otherwise, and then
// on our pool, never on threads of its own (which would spin beside ours and halve both).
// Include this instead of cblas.h or lapack.h alone, so that it is set up.
#pragma once

#include <cblas.h>

namespace flambeau {

// While it lives, calls of this thread into OpenBLAS may use the pool (for LAPACK's large
// factorisations). Does nothing inside a parallel loop.
class BlasThreads {
 public:
  BlasThreads();
  ~BlasThreads();
  BlasThreads(const BlasThreads&) = delete;
  BlasThreads& operator=(const BlasThreads&) = delete;

 private:
  bool changed_;
};

}  // namespace flambeau
