// torch.autocast: what operators do to their inputs while it is on.
//
// Note [Autocast]: an operator's record says what happens to its floating inputs (Autocast in
// ops/registry.h). Calls of operators and of composites cast them before they run; the cast is an
// ordinary recorded operator, so gradients and recordings need not know about it. Inside of a
// composite with a policy autocast is off. While it is off everywhere, a call pays for one test.
#pragma once

#include "python/operator_type.h"

namespace flambeau::python {

inline bool autocast_is_on() { return __builtin_expect(mode.autocast != 0, 0); }

// Casts the tensors among the objects, also those in lists and tuples; `kept` owns the new ones.
void autocast_objects(const char* op, Autocast policy, std::span<PyObject*> objects,
                      std::vector<Owned>& kept);

}  // namespace flambeau::python
