// The instructions of programs in vector instructions.
#pragma once

#include "program/emitter/functions.h"

namespace flambeau::emitter {

// The forms a value has in a stretch of code: numbers, a mask for tests, either made from the
// other when asked for.
class Forms {
 public:
  Forms(VectorCode& code, Element element) : code_(&code), element_(element) {}
  void set_number(int32_t node) { number_ = node; }
  void set_mask(int32_t node) { mask_ = node; }
  void set_uniform(bool on) { uniform_ = on; }
  Vector number();
  Vector mask();
  // One number per run: kernels are told.
  bool uniform() const { return uniform_; }
  bool known() const { return number_ >= 0 || mask_ >= 0; }

 private:
  VectorCode* code_;
  Element element_;
  int32_t number_ = -1, mask_ = -1;
  bool uniform_ = false;
};

// Whether there is vector code for it.
bool has_vector_code(Instruction instruction);
// Fills `result` from the operands. `constants` are the values of constant operands, NaN for
// others.
void lower_instruction(Instruction instruction, Forms& result, Forms* const (&operands)[3],
                       const double (&constants)[3], VectorCode& code, Element element);

}  // namespace flambeau::emitter
