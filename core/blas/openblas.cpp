#include "blas/openblas.h"

namespace flambeau {

// When the module is loaded, before anything can call OpenBLAS.
[[maybe_unused]] static const bool confined = (scipy_openblas_set_num_threads(1), true);

}  // namespace flambeau
