// Which instruction set to use: Note [One kernel, several instruction sets] in CMakeLists.txt.
//
// Note [Thread-local memory]: the initial-exec model is fast, but all modules that are loaded after
// the start share some hundred bytes of it, and PyTorch or others may have come first. Ours must
// stay small: what is large lies on the heap, behind one pointer.
#pragma once

namespace flambeau {

enum class InstructionSet { Baseline, V2, V3, V4 };

// The best set of this processor, or the one that FLAMBEAU_ISA=v2|v3|v4 in the environment asks
// for (never a better one than the processor has).
InstructionSet instruction_set();

}  // namespace flambeau

// FLAMBEAU_SIMD(declaration): declares a kernel in the namespace of every instruction set.
// FLAMBEAU_CHOOSE(name): the address of the kernel for this processor.
#if defined(__x86_64__)
#define FLAMBEAU_SIMD(...) \
  namespace v2 {           \
  __VA_ARGS__;             \
  }                        \
  namespace v3 {           \
  __VA_ARGS__;             \
  }                        \
  namespace v4 {           \
  __VA_ARGS__;             \
  }
#define FLAMBEAU_CHOOSE(name)                                                    \
  (::flambeau::instruction_set() == ::flambeau::InstructionSet::V4   ? &v4::name \
   : ::flambeau::instruction_set() == ::flambeau::InstructionSet::V3 ? &v3::name \
                                                                     : &v2::name)
#else
#define FLAMBEAU_SIMD(...) \
  namespace baseline {     \
  __VA_ARGS__;             \
  }
#define FLAMBEAU_CHOOSE(name) (&baseline::name)
#endif
