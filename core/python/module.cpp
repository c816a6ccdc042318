// The extension module flambeau._core.
#include "base/thread_pool.h"
#include "python/common.h"

namespace nb = nanobind;

NB_MODULE(_core, module) {
  using namespace flambeau::python;
  nb::set_leak_warnings(false);
  bind_values(module);
  bind_tensor_type(module);
  bind_autograd(module);
  bind_recompute(module);
  bind_data(module);
  bind_random(module);
  bind_shared_memory(module);
  module.def("thread_count", &flambeau::thread_count);
  module.def("set_thread_count", &flambeau::set_thread_count);
  bind_program(module);
  bind_trace(module);
  bind_portable(module);
  bind_control(module);
  bind_identity(module);
  bind_operators(module);
}
