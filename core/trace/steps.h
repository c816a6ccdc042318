// The kinds of steps of an executable.
#pragma once

#include "trace/control.h"

namespace flambeau {

std::unique_ptr<Step> make_call_step(RecordedCallRef recorded, std::vector<TensorRef> inputs,
                                     std::vector<TensorRef> outputs, std::string label);
// inputs[i] is null where sources[i] is a number.
std::unique_ptr<Step> make_program_step(ProgramRef program, DType dtype,
                                        std::span<const TensorRef> inputs,
                                        std::span<const StepInput> sources,
                                        std::vector<TensorRef> outputs, std::string label);
// A product into `product`, then a program that reads it; as one where that can be.
std::unique_ptr<Step> make_product_step(RecordedCallRef recorded, std::vector<TensorRef> factors,
                                        TensorRef product, ProgramRef program, DType dtype,
                                        std::span<const TensorRef> inputs,
                                        std::span<const StepInput> sources,
                                        std::vector<TensorRef> outputs, std::string label);
// A call with all that it reads and its one result.
struct FixedStep {
  RecordedCallRef call;
  std::vector<TensorRef> inputs;
  TensorRef output;
};
// On a GPU: a product, and a sum of one of its factors (0 or 1) over the inner dimension.
std::unique_ptr<Step> make_product_and_sum_step(FixedStep product, FixedStep sum, int factor,
                                                std::string label);
std::unique_ptr<Step> make_update_step(ProgramRef program, DType dtype,
                                       std::vector<std::vector<TensorRef>> lists,
                                       std::span<const StepInput> numbers,
                                       std::span<const int> targets, std::string label);
std::unique_ptr<Step> make_control_step(ControlRef control, std::vector<TensorRef> inputs,
                                        std::vector<TensorRef> outputs, std::string label);

}  // namespace flambeau
