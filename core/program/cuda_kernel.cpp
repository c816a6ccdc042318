#include "program/cuda_kernel.h"

#include "cuda/error.h"
#include "cuda/launch.h"
#include "program/builder.h"
#include "program/recipe.h"

namespace flambeau {

CudaKernel::Key CudaKernel::key_of(const CudaForm& form) {
  Key key;
  auto put = [&key](auto value) { key.push_back(static_cast<uint8_t>(value)); };
  put(form.kind);
  put(form.precision);
  put(form.wide);
  put(form.dims);
  put(form.width);
  put(form.threads & 255);
  put(form.threads >> 8);
  put(form.items);
  for (const CudaOperand& operand : form.inputs) {
    put(static_cast<int>(operand.access) << 4 | static_cast<int>(operand.dtype));
  }
  for (const CudaOperand& operand : form.outputs) {
    put(static_cast<int>(operand.access) << 4 | static_cast<int>(operand.dtype));
  }
  return key;
}

CudaKernel::CudaKernel(const Program& program, const CudaForm& form)
    : program_(program),
      form_(form),
      key_(key_of(form)),
      numbers_(cuda_numbers(program, form)),
      number_count_(cuda_number_count(program, form)),
      constants_(program.values.size(), 0) {
  if (form.kind == CudaForm::Kind::Rows) kept_bytes_ = cuda_row_bytes(program, form);
  recipe_of(program, form.precision, 0, false);  // raises for instructions of another precision
  const std::vector<char> known = cuda_known(program, form);
  std::vector<char> needed(program.values.size(), false);
  for (int32_t v : numbers_) needed[v] = true;
  const auto count = static_cast<int32_t>(program.values.size());
  for (int32_t v = count - 1; v >= 0; --v) {
    const Value& value = program.values[v];
    if (divides_integers(value, form.precision) && !known[v] && known[value.operands[1]]) {
      divisors_.push_back(value.operands[1]);
      needed[value.operands[1]] = true;
    }
    if (!needed[v]) continue;
    for (int32_t operand : value.operands) {
      if (operand >= 0) needed[operand] = true;
    }
  }
  for (int32_t v = 0; v < count; ++v) {
    const Value& value = program.values[v];
    if (!needed[v] || !known[v]) continue;
    if (value.instruction == Instruction::Input) {
      inputs_.push_back({v, value.index});
    } else if (value.instruction == Instruction::Constant) {
      constants_[v] = number_bits(form.precision, Scalar(value.constant));
    } else if (value.instruction == Instruction::row_count) {
      row_counts_.push_back(v);
    } else {
      Step step{kernel_of(value.instruction, form.precision), v, {0, 0, 0}};
      for (int i = 0; i < 3; ++i) step.operands[i] = std::max(value.operands[i], 0);
      once_.push_back(step);
    }
  }
}

void CudaKernel::derive(uint64_t* table) const {
  for (const Step& step : once_) {
    step.kernel(&table[step.to], &table[step.operands[0]], &table[step.operands[1]],
                &table[step.operands[2]], 1, 0);
  }
  for (int32_t divisor : divisors_) {
    if (table[divisor] == 0) raise_zero_division();
  }
}

// Where kernels report a division of integers by zero.
void CudaKernel::put_errors(uint64_t* fields, int device) const {
  static const int site = cuda::plain_error_site(
      "ZeroDivisionError: an integer was divided by zero; mask the divisor or use floats",
      ErrorKind::Runtime);
  fields[0] = reinterpret_cast<uint64_t>(cuda::error_slot(device));
  fields[1] = static_cast<uint64_t>(site);
}

// A handful of forms per program: a list is searched.
const CudaKernel& CudaKernel::of(const Program& program, const CudaForm& form) {
  const Plan& plan = plan_of(program);
  const Key key = key_of(form);
  const CudaKernel* first = plan.cuda_kernels.load(std::memory_order_acquire);
  for (const CudaKernel* kernel = first; kernel; kernel = kernel->next_) {
    if (kernel->key_.size() == key.size() &&
        !std::memcmp(kernel->key_.data(), key.data(), static_cast<size_t>(key.size()))) {
      return *kernel;
    }
  }
  auto* fresh = new CudaKernel(program, form);
  fresh->next_ = first;
  // Losing a race leaves an equal kernel in the list twice, which does no harm.
  while (!plan.cuda_kernels.compare_exchange_weak(fresh->next_, fresh)) {
  }
  return *fresh;
}

const cuda::Function& CudaKernel::function(int device) const {
  require(device >= 0 && device < kMostDevices, "cuda: at most ", kMostDevices,
          " GPUs are supported, got number ", device);
  const cuda::Function* found = functions_[device].load(std::memory_order_acquire);
  if (found) return *found;
  std::string label = "program";
  for (const Value& value : program_.values) {
    const bool named = value.instruction != Instruction::Input &&
                       value.instruction != Instruction::Constant && label.size() < 60;
    if (named) label += text("_", name_of(value.instruction));
  }
  const cuda::Function& function =
      cuda::function_of(label, cuda_source(program_, form_), "program", {}, device);
  functions_[device].store(&function, std::memory_order_release);
  return function;
}

void destroy_cuda_kernels(const CudaKernel* first) {
  while (first) delete std::exchange(first, first->next_);
}

}  // namespace flambeau
