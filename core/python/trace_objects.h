// Python's handles of recordings, recorded calls and executables.
#pragma once

#include "trace/executable.h"

namespace flambeau::python {

struct RecordingObject {
  Ref<Recording> recording;
};
// flambeau._core.RecordedCall
struct CallObject {
  RecordedCallRef call;
};
struct ExecutableObject {
  ExecutableRef executable;
};

}  // namespace flambeau::python
