// The kinds of steps.
#include "trace/steps.h"

#include "blas/gemm.h"
#include "ops/matmul.h"
#include "ops/matmul_cuda.h"
#include "program/activation.h"
#include "program/emitter.h"
#include "program/machine.h"
#include "tensor/copy.h"

namespace flambeau {

namespace {

// A recorded call on fixed tensors.
struct FixedCall {
  RecordedCallRef recorded;
  std::vector<TensorRef> inputs;
  Call call;

  FixedCall(RecordedCallRef from, std::vector<TensorRef> given, std::vector<TensorRef> outputs)
      : recorded(std::move(from)),
        inputs(std::move(given)),
        call(*recorded->primitive, inputs, Attributes(recorded->attributes)) {
    call.output_count = static_cast<int>(outputs.size());
    for (size_t i = 0; i < outputs.size(); ++i) call.outputs[i] = std::move(outputs[i]);
  }
  FixedCall(const FixedCall&) = delete;
};

// A primitive's kernel.
class CallStep final : public Step {
 public:
  CallStep(RecordedCallRef recorded, std::vector<TensorRef> inputs, std::vector<TensorRef> outputs,
           std::string label)
      : Step(std::move(label)),
        fixed_(std::move(recorded), std::move(inputs), std::move(outputs)),
        copies_(fixed_.call.primitive.updates_input && !fixed_.recorded->in_place) {}
  void run(std::span<const double>) override {
    if (copies_) copy(fixed_.call.output(), fixed_.call.input(0));
    run_kernel(fixed_.call);
  }
  bool can_be_captured() const override { return has_gpu_run(fixed_.call); }

 private:
  FixedCall fixed_;
  bool copies_;
};

// A program on fixed tensors and changing numbers.
class ProgramStep : public Step {
 public:
  ProgramStep(ProgramRef program, DType dtype, std::span<const TensorRef> inputs,
              std::span<const StepInput> sources, std::vector<TensorRef> outputs, std::string label)
      : Step(std::move(label)), outputs_(std::move(outputs)) {
    std::vector<ProgramOperand> from, to;
    for (size_t i = 0; i < sources.size(); ++i) {
      if (inputs[i]) {
        from.push_back(operand(*inputs[i]));
        inputs_.push_back(inputs[i]);
        continue;
      }
      from.push_back(ProgramOperand::number());
      if (sources[i].kind == StepInput::Kind::Slot) {
        slots_.emplace_back(numbers_.size(), sources[i].slot);
      }
      numbers_.push_back(sources[i].number);
    }
    for (const TensorRef& output : outputs_) {
      to.push_back(ProgramOperand::of(*output));
      any_ |= output->numel() > 0;
    }
    from_.resize(inputs_.size());
    to_.resize(outputs_.size());
    if (any_) run_.emplace(std::move(program), precision_of(dtype), from, to);
  }
  void run(std::span<const double> numbers) override {
    if (!any_) return;
    bind(numbers);
    run_->run(from_, numbers_, to_);
  }

 protected:
  void bind(std::span<const double> numbers) {
    for (auto [position, slot] : slots_) numbers_[position] = Scalar(numbers[slot]);
    for (size_t i = 0; i < inputs_.size(); ++i) from_[i] = inputs_[i]->data();
    for (size_t i = 0; i < outputs_.size(); ++i) to_[i] = outputs_[i]->data();
  }
  bool has_parts() const { return any_ && run_->has_parts(); }
  void run_in_parts(FunctionRef<void(ProgramRun::Part)> body) const {
    run_->run_in_parts(from_, numbers_, to_, body);
  }

 private:
  // One number that is also written is described as the result is: in place.
  ProgramOperand operand(const Tensor& input) const {
    for (const TensorRef& output : outputs_) {
      bool same = input.numel() == 1 && output->numel() == 1 && input.dtype() == output->dtype() &&
                  input.storage() == output->storage() && input.offset() == output->offset();
      if (same) return ProgramOperand::of(*output);
    }
    return ProgramOperand::of(input);
  }

  std::vector<TensorRef> inputs_;
  std::vector<TensorRef> outputs_;
  std::vector<Scalar> numbers_;
  std::vector<void*> from_, to_;
  std::vector<std::pair<size_t, int>> slots_;
  std::optional<ProgramRun> run_;
  bool any_ = false;
};

// One of the numbers that a graph reads from memory.
TensorRef number_at(const TensorRef& numbers, int slot) {
  return Tensor::view(numbers->storage(), {}, {}, slot, numbers->dtype());
}

// The same on a GPU.
class GpuProgramStep : public Step {
 public:
  GpuProgramStep(ProgramRef program, DType dtype, std::span<const TensorRef> inputs,
                 std::span<const StepInput> sources, std::vector<TensorRef> outputs,
                 std::string label)
      : Step(std::move(label)),
        program_(std::move(program)),
        precision_(precision_of(dtype)),
        tensors_(inputs.begin(), inputs.end()),
        outputs_(std::move(outputs)) {
    for (size_t i = 0; i < sources.size(); ++i) {
      inputs_.push_back({inputs[i].get(), sources[i].number});
      if (!inputs[i] && sources[i].kind == StepInput::Kind::Slot) {
        slots_.emplace_back(i, sources[i].slot);
      }
    }
    for (const TensorRef& output : outputs_) {
      to_.push_back(output.get());
      any_ |= output->numel() > 0;
    }
  }
  void run(std::span<const double> numbers) override {
    if (!any_) return;
    for (auto [input, slot] : slots_) inputs_[input].scalar = Scalar(numbers[slot]);
    run_program(*program_, precision_, inputs_, to_);
  }
  void capture(const TensorRef& numbers) override {
    if (!any_) return;
    std::vector<TensorRef> views;
    for (auto [input, slot] : slots_) {
      views.push_back(number_at(numbers, slot));
      inputs_[input].tensor = views.back().get();
    }
    run_program(*program_, precision_, inputs_, to_);
    for (auto [input, slot] : slots_) inputs_[input].tensor = nullptr;
  }

 private:
  ProgramRef program_;
  Precision precision_;
  std::vector<TensorRef> tensors_, outputs_;  // keep alive what follows
  std::vector<ProgramInput> inputs_;
  std::vector<Tensor*> to_;
  std::vector<std::pair<size_t, int>> slots_;
  bool any_ = false;
};

// A product and a program that follows it block by block, while the block is in the cache.
class ProductStep final : public ProgramStep {
 public:
  ProductStep(RecordedCallRef recorded, std::vector<TensorRef> factors, TensorRef product,
              ProgramRef program, DType dtype, std::span<const TensorRef> inputs,
              std::span<const StepInput> sources, std::vector<TensorRef> outputs, std::string label)
      : ProgramStep(std::move(program), dtype, inputs, sources, std::move(outputs),
                    std::move(label)),
        product_(std::move(recorded), std::move(factors), {std::move(product)}),
        kernel_(product_kernel(product_.call.primitive)) {
    require(kernel_, "executable: ", product_.recorded->name(), " has no epilogue");
  }
  void run(std::span<const double> numbers) override {
    if (!has_parts()) {
      kernel_(product_.call, nullptr);
      return ProgramStep::run(numbers);
    }
    bind(numbers);
    run_in_parts([&](ProgramRun::Part part) {
      const Epilogue epilogue{[](void* context, int64_t row_begin, int64_t row_end,
                                 int64_t column_begin, int64_t column_end) {
                                (*static_cast<ProgramRun::Part*>(context))(
                                    row_begin, row_end, column_begin, column_end);
                              },
                              &part};
      kernel_(product_.call, &epilogue);
    });
  }

 private:
  FixedCall product_;
  ProductKernel kernel_;
};

// The same on a GPU: one call of cuBLASLt where the program is an activation that it has, and it
// has a kernel for that; two steps otherwise.
class GpuProductStep final : public GpuProgramStep {
 public:
  GpuProductStep(RecordedCallRef recorded, std::vector<TensorRef> factors, TensorRef product,
                 ProgramRef program, DType dtype, std::span<const TensorRef> inputs,
                 std::span<const StepInput> sources, std::vector<TensorRef> outputs,
                 std::string label)
      : GpuProgramStep(program, dtype, inputs, sources, outputs, std::move(label)),
        activation_(activation_of(*program)),
        at_(inputs.size() > 1 ? inputs[0] : nullptr),
        result_(outputs[0]),
        product_(std::move(recorded), std::move(factors), {product}) {
    // It must read the product element by element as that lies.
    if (inputs.back() != product) activation_ = cuda::Activation::None;
  }
  void run(std::span<const double> numbers) override {
    if (!multiply_both()) GpuProgramStep::run(numbers);
  }
  void capture(const TensorRef& numbers) override {
    if (!multiply_both()) GpuProgramStep::capture(numbers);
  }

 private:
  // The product; whether the activation has been applied to it.
  bool multiply_both() {
    if (activation_ != cuda::Activation::None &&
        multiply_and_activate(product_.call, activation_, at_, *result_)) {
      return true;
    }
    run_kernel(product_.call);
    return false;
  }

  cuda::Activation activation_;
  TensorRef at_, result_;
  FixedCall product_;
};

// An mm on a GPU, and the sums of one of its factors over the inner dimension: a bias's gradient
// beside the weight's. One call of cuBLASLt, or two steps.
class ProductAndSumStep final : public Step {
 public:
  ProductAndSumStep(FixedStep product, FixedStep sum, int factor, std::string label)
      : Step(std::move(label)),
        product_(std::move(product.call), std::move(product.inputs), {std::move(product.output)}),
        sum_(std::move(sum.call), std::move(sum.inputs), {std::move(sum.output)}),
        factor_(factor) {}
  void run(std::span<const double>) override {
    if (multiply_and_sum(product_.call, factor_, sum_.call.output())) return;
    run_kernel(product_.call);
    run_kernel(sum_.call);
  }

 private:
  FixedCall product_, sum_;
  int factor_;
};

// A program in place over lists of tensors.
class UpdateStep final : public Step {
 public:
  UpdateStep(ProgramRef program, DType dtype, std::vector<std::vector<TensorRef>> lists,
             std::span<const StepInput> numbers, std::span<const int> targets, std::string label)
      : Step(std::move(label)),
        program_(program),
        precision_(precision_of(dtype)),
        lists_(std::move(lists)),
        run_(std::move(program), precision_of(dtype)) {
    for (const auto& list : lists_) {
      auto& tensors = pointers_.emplace_back();
      for (const TensorRef& tensor : list) tensors.push_back(tensor.get());
    }
    for (const auto& tensors : pointers_) inputs_.push_back({tensors, {}});
    for (const StepInput& number : numbers) {
      if (number.kind == StepInput::Kind::Slot) slots_.emplace_back(inputs_.size(), number.slot);
      inputs_.push_back({{}, number.number});
    }
    for (int target : targets) targets_.push_back(pointers_[target]);
  }
  void run(std::span<const double> numbers) override {
    for (auto [input, slot] : slots_) inputs_[input].number = Scalar(numbers[slot]);
    if (targets_[0][0]->device().is_cpu()) {
      run_.run(inputs_, targets_);
    } else {
      run_foreach(*program_, precision_, inputs_, targets_);
    }
  }
  void capture(const TensorRef& numbers) override {
    std::vector<TensorRef> views;
    for (auto [input, slot] : slots_) {
      views.push_back(number_at(numbers, slot));
      inputs_[input].place = views.back().get();
    }
    run_foreach(*program_, precision_, inputs_, targets_);
    for (auto [input, slot] : slots_) inputs_[input].place = nullptr;
  }

 private:
  ProgramRef program_;
  Precision precision_;
  std::vector<std::vector<TensorRef>> lists_;
  std::vector<std::vector<Tensor*>> pointers_;
  std::vector<ForeachInput> inputs_;
  std::vector<std::span<Tensor* const>> targets_;
  std::vector<std::pair<size_t, int>> slots_;
  ForeachRun run_;
};

// A loop or a branch.
class ControlStep final : public Step {
 public:
  ControlStep(ControlRef control, std::vector<TensorRef> inputs, std::vector<TensorRef> outputs,
              std::string label)
      : Step(std::move(label)),
        control_(std::move(control)),
        inputs_(std::move(inputs)),
        outputs_(std::move(outputs)) {}
  void run(std::span<const double>) override { control_->run(inputs_, outputs_); }
  bool can_be_captured() const override { return false; }

 private:
  ControlRef control_;
  std::vector<TensorRef> inputs_;
  std::vector<TensorRef> outputs_;
};

}  // namespace

std::unique_ptr<Step> make_control_step(ControlRef control, std::vector<TensorRef> inputs,
                                        std::vector<TensorRef> outputs, std::string label) {
  return std::make_unique<ControlStep>(std::move(control), std::move(inputs), std::move(outputs),
                                       std::move(label));
}

std::unique_ptr<Step> make_call_step(RecordedCallRef recorded, std::vector<TensorRef> inputs,
                                     std::vector<TensorRef> outputs, std::string label) {
  return std::make_unique<CallStep>(std::move(recorded), std::move(inputs), std::move(outputs),
                                    std::move(label));
}

std::unique_ptr<Step> make_program_step(ProgramRef program, DType dtype,
                                        std::span<const TensorRef> inputs,
                                        std::span<const StepInput> sources,
                                        std::vector<TensorRef> outputs, std::string label) {
  if (!outputs[0]->device().is_cpu()) {
    return std::make_unique<GpuProgramStep>(std::move(program), dtype, inputs, sources,
                                            std::move(outputs), std::move(label));
  }
  return std::make_unique<ProgramStep>(std::move(program), dtype, inputs, sources,
                                       std::move(outputs), std::move(label));
}

std::unique_ptr<Step> make_product_step(RecordedCallRef recorded, std::vector<TensorRef> factors,
                                        TensorRef product, ProgramRef program, DType dtype,
                                        std::span<const TensorRef> inputs,
                                        std::span<const StepInput> sources,
                                        std::vector<TensorRef> outputs, std::string label) {
  if (!outputs[0]->device().is_cpu()) {
    return std::make_unique<GpuProductStep>(std::move(recorded), std::move(factors),
                                            std::move(product), std::move(program), dtype, inputs,
                                            sources, std::move(outputs), std::move(label));
  }
  return std::make_unique<ProductStep>(std::move(recorded), std::move(factors), std::move(product),
                                       std::move(program), dtype, inputs, sources,
                                       std::move(outputs), std::move(label));
}

std::unique_ptr<Step> make_product_and_sum_step(FixedStep product, FixedStep sum, int factor,
                                                std::string label) {
  return std::make_unique<ProductAndSumStep>(std::move(product), std::move(sum), factor,
                                             std::move(label));
}

std::unique_ptr<Step> make_update_step(ProgramRef program, DType dtype,
                                       std::vector<std::vector<TensorRef>> lists,
                                       std::span<const StepInput> numbers,
                                       std::span<const int> targets, std::string label) {
  return std::make_unique<UpdateStep>(std::move(program), dtype, std::move(lists), numbers, targets,
                                      std::move(label));
}

}  // namespace flambeau
