// Control flow inside executables: a loop or a branch is one step whose parts are executables.
#pragma once

#include "trace/executable.h"

namespace flambeau {

// Note [Parts of control flow]: the parts are executables made from functions that were recorded
// inside another recording. What such a function captures has become an argument, so that all its
// memory is given at every run; its outputs are written where the loop wants them. Inputs and
// outputs of the whole:
//   scan   carried, walked, captured -> carried, stacked outputs [, the carries of all steps]
//   while  carried, captured by the condition, captured by the body -> carried, number of steps
//   its backward pass, which runs the loop again to know the carries:
//          number of steps, carried, captured by the body, gradients (`walked` many), captured by
//          their part -> gradients
//   cond   condition, operands, captured by the false branch, by the true branch -> outputs
class Control : public Object {
 public:
  enum class Kind { Scan, While, WhileBackward, Cond };
  struct Output {
    Dims shape;
    DType dtype;
  };
  struct Plan {
    Kind kind;
    std::vector<ExecutableRef> parts;  // scan: body; while: condition, body; cond: false, true
    int carried = 0;                   // or operands
    int walked = 0;
    int64_t steps = 0;
    bool reverse = false;
    bool keeps_carries = false;
    bool random = false;
    std::vector<Output> outputs;
    std::string signature;  // equal for equal computations
  };

  // Called now and then by loops that may not end; throws what is to end them (Ctrl-C).
  static void (*check_interrupt)();

  explicit Control(Plan plan);
  const Plan& plan() const { return plan_; }
  const Primitive& primitive() const;
  Device device() const { return plan_.parts[0]->device(); }
  void run(std::span<const TensorRef> inputs, std::span<const TensorRef> outputs);

 private:
  using Place = Executable::Place;
  using Places = std::vector<Place>;
  void scan(std::span<const TensorRef> inputs, std::span<const TensorRef> outputs);
  void loop(std::span<const TensorRef> inputs, std::span<const TensorRef> outputs);
  void loop_backward(std::span<const TensorRef> inputs, std::span<const TensorRef> outputs);
  void branch(std::span<const TensorRef> inputs, std::span<const TensorRef> outputs);

  Plan plan_;
};
using ControlRef = Ref<Control>;

}  // namespace flambeau
