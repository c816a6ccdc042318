#include "blas/openblas.h"

#include <mutex>

#include "base/thread_pool.h"

namespace flambeau {
namespace {

std::mutex threads_mutex;

// OpenBLAS's jobs wait for one another, so all of them must run at the same time.
void run_jobs(int, openblas_dojob_callback do_job, int jobs, size_t item_size, void* data,
              int argument) {
  run_concurrently(jobs, [&](int i) {
    do_job(i, static_cast<char*>(data) + static_cast<size_t>(i) * item_size, argument);
  });
}

const bool confined = [] {
  scipy_openblas_set_threads_callback_function(run_jobs);
  scipy_openblas_set_num_threads(1);
  return true;
}();

}  // namespace

BlasThreads::BlasThreads() : changed_(confined && thread_count() > 1 && threads_mutex.try_lock()) {
  if (changed_) scipy_openblas_set_num_threads(thread_count());
}

BlasThreads::~BlasThreads() {
  if (!changed_) return;
  scipy_openblas_set_num_threads(1);
  threads_mutex.unlock();
}

}  // namespace flambeau
