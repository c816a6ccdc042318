// The extension module flambeau._core.
#include "python/common.h"

namespace nb = nanobind;

NB_MODULE(_core, module) {
  using namespace flambeau::python;
  nb::set_leak_warnings(false);
  bind_values(module);
  bind_tensor_type(module);
  bind_autograd(module);
  bind_data(module);
  bind_random(module);
  bind_shared_memory(module);
  bind_operators(module);
}
