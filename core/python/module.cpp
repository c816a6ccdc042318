// The extension module flambeau._core.
#include "base/cpu.h"
#include "base/system.h"
#include "base/thread_pool.h"
#include "python/common.h"

namespace nb = nanobind;

NB_MODULE(_core, module) {
  using namespace flambeau::python;
  nb::set_leak_warnings(false);
  module.attr("OutOfMemoryError") = nb::borrow(out_of_memory_error());
  bind_values(module);
  bind_tensor_type(module);
  bind_autograd(module);
  bind_recompute(module);
  bind_data(module);
  bind_dlpack(module);
  bind_foreign_memory(module);
  bind_random(module);
  bind_shared_memory(module);
  module.def("thread_count", &flambeau::thread_count);
  module.def("set_thread_count", &flambeau::set_thread_count);
  module.def("instruction_set", [] {
    static const char* const kNames[] = {"baseline", "x86-64-v2", "x86-64-v3", "x86-64-v4"};
    return kNames[static_cast<int>(flambeau::instruction_set())];
  });
  module.def("usable_processors", &flambeau::usable_processors);
  module.def("usable_memory", &flambeau::usable_memory);
  bind_program(module);
  bind_trace(module);
  bind_portable(module);
  bind_family(module);
  bind_control(module);
  bind_cuda(module);
  bind_autocast(module);
  bind_identity(module);
  bind_operators(module);
}
