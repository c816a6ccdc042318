// Primitives that a file may name.
//
// Note [Calls out of files]: kernels rely on what infer checks, and on what the public functions
// check before it. A call that was read from a file has met no public function. A primitive that
// files may name therefore comes with a check of everything else that its kernel relies on to
// stay inside its memory: number and dtypes of the inputs, attributes, shapes. Contents of index
// tensors are no part of it: kernels look at those themselves.
#pragma once

#include <string>

#include "ops/registry.h"

namespace flambeau {

// Raises unless a public function could have made the call (outputs are not known yet).
using PortableCheck = void (*)(const Call& call);

struct Portable {
  const Primitive* primitive;
  std::string name;  // unique, the same in every version
  PortableCheck check;
  bool draws = false;  // random numbers, from the generator in attributes.object
};

bool add_portable(Portable entry);
// Null: files cannot name it.
const Portable* portable_named(const std::string& name);
const Portable* portable_of(const Primitive& primitive);
std::vector<std::string> portable_names();
// Those of them whose calls on tensors on a GPU are computed on the host.
std::vector<std::string> names_without_gpu_kernel();

// Lets files name a primitive; primitives of equal names need different `portable_name`s.
#define PORTABLE_AS(primitive, portable_name, check)        \
  static const bool FLAMBEAU_JOIN(portable_, __COUNTER__) = \
      ::flambeau::add_portable({&(primitive), portable_name, check})
#define PORTABLE(primitive, check) PORTABLE_AS(primitive, (primitive).name, check)

// --- what checks are made of; all raise RuntimeError that begins with the primitive's name

void need(const Call& call, bool holds, const char* what);
// Between `least` and `most` inputs, the first `least` of them present.
void need_inputs(const Call& call, int least, int most);
void need_ints(const Call& call, int64_t count);
void need_floating(const Call& call, int input);
// ints[place] is a dimension of input 0.
void need_dimension(const Call& call, int place = 0);

// --- checks that several primitives share

// N inputs; attributes mean nothing to the kernel.
template <int count>
void check_inputs(const Call& call) {
  need_inputs(call, count, count);
}
// One input; ints[0] is a mask of its dimensions.
void check_reduction(const Call& call);
void check_floating_reduction(const Call& call);
// Likewise, and every result has something to choose from.
void check_choice(const Call& call);
// One input; ints[0] is one of its dimensions.
void check_dimension(const Call& call);
// Likewise, and the dimension has elements.
void check_choice_along(const Call& call);

}  // namespace flambeau
