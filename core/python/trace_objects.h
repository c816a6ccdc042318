// Recorded calls as Python objects.
#pragma once

#include "trace/recording.h"

namespace flambeau::python {

// flambeau._core.RecordedCall
struct CallObject {
  RecordedCallRef call;
};

}  // namespace flambeau::python
