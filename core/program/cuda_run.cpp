#include "program/cuda_run.h"

#include <cstring>

#include "cuda/geometry.h"
#include "cuda/launch.h"
#include "program/cuda_operands.h"
#include "program/emitter/emitted.h"
#include "program/recipe.h"

namespace flambeau {

using cuda::kNarrowLimit;
using cuda::ParameterWriter;

namespace cuda_run {

namespace {

// Strides of an operand as if it had `shape`; with rows, its last axis is left out.
Dims strides_over(const Operand& operand, const Dims& shape, bool rows) {
  const int64_t dims = std::max<int64_t>(operand.shape->size() - rows, 0);
  const int64_t lead = shape.size() - dims;
  Dims strides(shape.size(), 0);
  bool fits = lead >= 0;
  for (int64_t d = 0; fits && d < dims; ++d) {
    const int64_t size = (*operand.shape)[d];
    if (size == shape[lead + d]) {
      strides[lead + d] = (*operand.strides)[d];
    } else {
      fits = size == 1;
    }
  }
  require(fits, "expand: a tensor of shape ", *operand.shape, " cannot be broadcast to ", shape,
          "; every dimension must be equal or 1");
  return strides;
}

constexpr int64_t kManyRows = 4096;

// Everything about one run; the kernel's parameters are written in place.
class Run {
 public:
  Run(const Program& program, Precision precision, std::span<const Operand> inputs,
      std::span<const Operand> outputs);
  void execute() { program_.has_rows ? execute_rows() : execute_elements(); }

 private:
  // Tensor operands of the kernel in its order, inputs first.
  struct Lying {
    const Operand* operand;
    CudaOperand* form;
    Dims strides;
    int64_t step = 0;  // Rows: along the row
    bool row = false;  // one element per row
    int64_t size() const { return item_size(form->dtype); }
  };
  const Operand& input(size_t i) const { return inputs_[program_.values[plan_.inputs[i]].index]; }
  bool find_flat();
  void collect();
  void set_shape();
  void lay_out(const Dims& shape, bool rows);
  int pack_width(int64_t inner) const;
  void execute_flat();
  void execute_elements();
  void execute_rows();
  void choose_threads(int64_t rows, int64_t length);
  void put_operands(ParameterWriter& parameters) const;
  void put_numbers(ParameterWriter& parameters, const CudaKernel& kernel, int64_t length) const;
  void put_geometry(ParameterWriter& parameters) const;
  void launch(const CudaKernel& kernel, int64_t blocks, int block, char* parameters) const;

  const Program& program_;
  const Plan& plan_;
  const std::span<const Operand> inputs_, outputs_;
  const int device_;
  CudaForm form_;
  SmallVector<const Operand*, 8> flat_;
  std::vector<Lying> tensors_;
  Dims shape_;          // of everything; without the last axis where there are rows
  int64_t length_ = 0;  // of a row
};

Run::Run(const Program& program, Precision precision, std::span<const Operand> inputs,
         std::span<const Operand> outputs)
    : program_(program),
      plan_(plan_of(program)),
      inputs_(inputs),
      outputs_(outputs),
      device_(outputs[0].device) {
  form_.precision = precision;
  form_.kind = program.has_rows ? CudaForm::Kind::Rows : CudaForm::Kind::Elements;
  form_.inputs.resize(static_cast<int64_t>(plan_.inputs.size()));
  form_.outputs.resize(static_cast<int64_t>(outputs.size()));
}

// The usual case: contiguous tensors of one shape, single elements and numbers.
bool Run::find_flat() {
  const Operand& model = outputs_[0];
  auto fits = [&](const Operand& operand) {
    return operand.contiguous && *operand.shape == *model.shape;
  };
  for (size_t j = 0; j < outputs_.size(); ++j) {
    if (!fits(outputs_[j])) return false;
    form_.outputs[static_cast<int64_t>(j)] = {CudaAccess::Unit, outputs_[j].dtype};
  }
  for (size_t i = 0; i < plan_.inputs.size(); ++i) {
    const Operand& operand = input(i);
    CudaOperand& form = form_.inputs[static_cast<int64_t>(i)];
    if (operand.is_number()) continue;
    form.dtype = operand.dtype;
    if (fits(operand)) {
      form.access = CudaAccess::Unit;
    } else if (operand.numel == 1) {
      form.access = CudaAccess::Single;
    } else {
      return false;
    }
    flat_.push_back(&operand);
  }
  for (const Operand& output : outputs_) flat_.push_back(&output);
  return true;
}

void Run::collect() {
  tensors_.clear();
  for (size_t i = 0; i < plan_.inputs.size(); ++i) {
    CudaOperand& form = form_.inputs[static_cast<int64_t>(i)];
    form = {};
    if (input(i).is_number()) continue;
    form.dtype = input(i).dtype;
    tensors_.push_back(
        {&input(i), &form, {}, 0, program_.values[plan_.inputs[i]].extent == Extent::Row});
  }
  for (size_t j = 0; j < outputs_.size(); ++j) {
    CudaOperand& form = form_.outputs[static_cast<int64_t>(j)];
    form.dtype = outputs_[j].dtype;
    tensors_.push_back(
        {&outputs_[j], &form, {}, 0, program_.values[program_.outputs[j]].extent == Extent::Row});
  }
}

// The broadcast shape of everything that is one number per element.
void Run::set_shape() {
  auto include = [this](const Dims& shape) {
    while (shape_.size() < shape.size()) shape_.insert(0, 1);
    const int64_t lead = shape_.size() - shape.size();
    for (int64_t d = 0; d < shape.size(); ++d) {
      if (shape_[lead + d] == 1) shape_[lead + d] = shape[d];
    }
  };
  bool whole = false;
  for (size_t j = 0; j < outputs_.size(); ++j) {
    whole |= program_.values[program_.outputs[j]].extent != Extent::Row;
    include(*outputs_[j].shape);
  }
  for (const Operand& operand : inputs_) {
    if (!whole && !operand.is_number()) include(*operand.shape);
  }
}

// Strides over the shape, dimensions ordered by those of the first output and merged.
void Run::lay_out(const Dims& shape, bool rows) {
  shape_ = shape;
  SmallVector<int64_t, 6> order(shape.size());
  for (int64_t d = 0; d < shape.size(); ++d) order[d] = d;
  std::vector<Dims> strides;
  for (Lying& tensor : tensors_) {
    strides.push_back(strides_over(*tensor.operand, shape, rows));
  }
  if (!rows) {
    const Dims& model = strides[strides.size() - outputs_.size()];
    for (int64_t i = 1; i < order.size(); ++i) {
      for (int64_t j = i; j > 0 && model[order[j - 1]] < model[order[j]]; --j) {
        std::swap(order[j - 1], order[j]);
      }
    }
    Dims sorted = shape_;
    for (int64_t d = 0; d < order.size(); ++d) sorted[d] = shape_[order[d]];
    for (Dims& own : strides) {
      const Dims before = own;
      for (int64_t d = 0; d < order.size(); ++d) own[d] = before[order[d]];
    }
    shape_ = sorted;
  }
  merge_dimensions(shape_, strides);
  if (shape_.empty()) {
    shape_.push_back(1);
    for (Dims& own : strides) own.push_back(rows ? 0 : 1);
  }
  int64_t numel = 1;
  for (int64_t size : shape_) numel *= size;
  form_.wide = numel >= kNarrowLimit;
  for (size_t i = 0; i < tensors_.size(); ++i) {
    int64_t reach = 0;
    for (int64_t d = 0; d < shape_.size(); ++d) reach += (shape_[d] - 1) * strides[i][d];
    form_.wide |= reach >= kNarrowLimit;
    tensors_[i].strides = std::move(strides[i]);
  }
}

// Elements of a pack: 16 bytes of the largest type, as long as all packs are aligned.
int Run::pack_width(int64_t inner) const {
  int64_t width = 16;
  for (const Lying& tensor : tensors_) {
    if (tensor.form->access == CudaAccess::Stepped) return 1;
    if (tensor.form->access == CudaAccess::Unit) width = std::min(width, 16 / tensor.size());
  }
  auto aligned = [&](const Lying& tensor) {
    if (tensor.form->access != CudaAccess::Unit) return true;
    const int64_t bytes = width * tensor.size();
    if (reinterpret_cast<uintptr_t>(tensor.operand->data) % bytes) return false;
    const int64_t outer = program_.has_rows ? shape_.size() : shape_.size() - 1;
    for (int64_t d = 0; d < outer; ++d) {
      if (tensor.strides[d] * tensor.size() % bytes) return false;
    }
    return true;
  };
  while (width > 1 && (inner % width || !std::all_of(tensors_.begin(), tensors_.end(), aligned))) {
    width /= 2;
  }
  return static_cast<int>(width);
}

void Run::put_operands(ParameterWriter& parameters) const {
  for (const Lying& tensor : tensors_) parameters.put(tensor.operand->data);
}

void Run::put_numbers(ParameterWriter& parameters, const CudaKernel& kernel, int64_t length) const {
  SmallVector<uint64_t, 16> numbers(kernel.number_count());
  kernel.compute_numbers(numbers.data(), device_, length, [&](int32_t index, uint64_t* place) {
    const Operand& operand = inputs_[index];
    if (operand.data) {
      emitter::read_number(form_.precision, operand.dtype, operand.data, place);
    } else {
      *place = number_bits(form_.precision, operand.number);
    }
  });
  for (uint64_t number : numbers) parameters.put(number);
}

void Run::put_geometry(ParameterWriter& parameters) const {
  for (int64_t size : shape_) parameters.put_size(size, form_.wide);
  for (const Lying& tensor : tensors_) {
    for (int64_t stride : tensor.strides) parameters.put_index(stride, form_.wide);
  }
}

void Run::launch(const CudaKernel& kernel, int64_t blocks, int block, char* parameters) const {
  const cuda::Function& function = kernel.function(device_);
  void* arguments[] = {parameters};
  cuda::launch_with(function, {static_cast<unsigned>(blocks)}, {static_cast<unsigned>(block)}, 0,
                    arguments);
}

// Raises where a program has too many operands for the parameters of a kernel.
void require_room(int64_t operands, int64_t numbers, int64_t dims) {
  const int64_t bytes = 8 * (operands + numbers + 2) + 16 * dims + 8 * operands * (dims + 1);
  require(bytes <= kCudaParameterBytes, "program: ", operands, " tensors of ", dims,
          " dimensions are too many for one kernel; make them contiguous, or split the formula");
}

void Run::execute_flat() {
  const int64_t numel = outputs_[0].numel;
  form_.wide = numel >= kNarrowLimit;
  uintptr_t addresses = 0;
  int64_t largest = 1, k = 0;
  auto include = [&](const CudaOperand& form) {
    if (form.access == CudaAccess::Number) return;
    const Operand& operand = *flat_[k++];
    if (form.access == CudaAccess::Single) return;
    largest = std::max<int64_t>(largest, item_size(form.dtype));
    addresses |= reinterpret_cast<uintptr_t>(operand.data);
  };
  for (const CudaOperand& form : form_.inputs) include(form);
  for (const CudaOperand& form : form_.outputs) include(form);
  // One alignment for all: addresses that fit for 16 bytes fit for every pack.
  const int64_t width = addresses % 16 ? 1 : 16 / largest;
  form_.width = static_cast<uint8_t>(width);
  const CudaKernel& kernel = CudaKernel::of(program_, form_);
  require_room(flat_.size(), kernel.number_count(), 0);
  alignas(16) char parameters[kCudaParameterBytes];
  ParameterWriter writer(parameters);
  for (const Operand* operand : flat_) writer.put(operand->data);
  put_numbers(writer, kernel, 0);
  writer.put(numel);
  launch(kernel, cuda::blocks_for((numel + width - 1) / width, kCudaBlock, device_), kCudaBlock,
         parameters);
}

void Run::execute_elements() {
  int64_t numel = outputs_[0].numel;
  if (numel == 0) return;
  if (find_flat()) return execute_flat();
  collect();
  lay_out(*outputs_[0].shape, false);
  bool all_unit = shape_.size() == 1;
  for (Lying& tensor : tensors_) {
    const int64_t inner = tensor.strides.back();
    const bool single = std::all_of(tensor.strides.begin(), tensor.strides.end(),
                                    [](int64_t stride) { return stride == 0; });
    tensor.form->access = single       ? CudaAccess::Single
                          : inner == 1 ? CudaAccess::Unit
                          : inner == 0 ? CudaAccess::Repeat
                                       : CudaAccess::Stepped;
    all_unit &= single || inner == 1;
  }
  const int width = pack_width(all_unit ? 16 : shape_.back());
  form_.width = static_cast<uint8_t>(width);
  if (!all_unit) {
    form_.dims = static_cast<uint8_t>(shape_.size());
    numel /= width;
    shape_.back() /= width;
    for (Lying& tensor : tensors_) {
      if (tensor.form->access == CudaAccess::Single) continue;
      tensor.strides.back() *= width;
      if (width == 1) tensor.form->access = CudaAccess::Stepped;
    }
  }
  const CudaKernel& kernel = CudaKernel::of(program_, form_);
  require_room(static_cast<int64_t>(tensors_.size()), kernel.number_count(), form_.dims);
  alignas(16) char parameters[kCudaParameterBytes];
  ParameterWriter writer(parameters);
  put_operands(writer);
  put_numbers(writer, kernel, 0);
  writer.put(numel);
  if (!all_unit) put_geometry(writer);
  const int64_t threads = all_unit ? (numel + width - 1) / width : numel;
  launch(kernel, cuda::blocks_for(threads, kCudaBlock, device_), kCudaBlock, parameters);
}

// How many threads take a row, and how many packs stay in the registers of each.
void Run::choose_threads(int64_t rows, int64_t length) {
  const int64_t packs = (length + form_.width - 1) / form_.width;
  const int kept = CudaKernel::of(program_, form_).kept_bytes() * form_.width;
  auto items_for = [&](int64_t threads) -> int64_t {
    int64_t items = 1;
    while (items * threads < packs) items *= 2;
    return items * kept <= cuda_row_room(threads) ? items : 0;
  };
  form_.threads = 1;
  // Rows whose elements are far apart but which lie side by side: one thread for each reads
  // memory in order, as long as there are rows enough to keep a GPU busy.
  const bool across = std::any_of(tensors_.begin(), tensors_.end(), [](const Lying& tensor) {
    return tensor.form->access == CudaAccess::Stepped && tensor.strides.back() == 1;
  });
  if (across && rows >= kManyRows) {
    form_.items = static_cast<uint8_t>(kept ? items_for(1) : 0);
    return;
  }
  while (form_.threads < 32 && form_.threads < packs) form_.threads *= 2;
  if (packs > 8 * 32 || !items_for(form_.threads)) {
    form_.threads = 128;
    while (form_.threads < 1024 && form_.threads * 4 < packs) form_.threads *= 2;
    if (!items_for(form_.threads) && items_for(512)) form_.threads = 512;
  }
  form_.items = static_cast<uint8_t>(kept ? items_for(form_.threads) : 0);
}

void Run::execute_rows() {
  set_shape();
  if (shape_.empty()) shape_.push_back(1);
  const int64_t length = shape_.back();
  Dims row_shape = shape_;
  row_shape.pop_back();
  int64_t rows = 1;
  for (int64_t size : row_shape) rows *= size;
  if (rows == 0) return;
  collect();
  for (Lying& tensor : tensors_) {
    const Dims& shape = *tensor.operand->shape;
    const bool steps = !tensor.row && !shape.empty() && shape.back() == length;
    tensor.step = steps && length > 1 ? tensor.operand->strides->back() : steps ? 1 : 0;
  }
  lay_out(row_shape, true);
  for (Lying& tensor : tensors_) {
    form_.wide |= tensor.step * length >= kNarrowLimit || length >= kNarrowLimit;
    const bool single = !tensor.row && tensor.operand->numel == 1 && length != 1;
    tensor.form->access = tensor.row         ? CudaAccess::Row
                          : single           ? CudaAccess::Single
                          : tensor.step == 1 ? CudaAccess::Unit
                          : tensor.step == 0 ? CudaAccess::Repeat
                                             : CudaAccess::Stepped;
  }
  form_.dims = static_cast<uint8_t>(shape_.size());
  form_.width = static_cast<uint8_t>(pack_width(length));
  choose_threads(rows, length);
  const CudaKernel& kernel = CudaKernel::of(program_, form_);
  require_room(static_cast<int64_t>(tensors_.size()), kernel.number_count(), form_.dims);
  alignas(16) char parameters[kCudaParameterBytes];
  ParameterWriter writer(parameters);
  put_operands(writer);
  put_numbers(writer, kernel, length);
  writer.put(rows);
  writer.put(length);
  put_geometry(writer);
  for (const Lying& tensor : tensors_) writer.put_index(tensor.step, form_.wide);
  const int block = std::max<int>(form_.threads, kCudaRowBlock);
  launch(kernel, cuda::blocks_for(rows * form_.threads, block, device_), block, parameters);
}

}  // namespace

void run(const Program& program, Precision precision, std::span<const Operand> inputs,
         std::span<const Operand> outputs) {
  Run(program, precision, inputs, outputs).execute();
}

Operand Operand::of(const Tensor& tensor) {
  return {tensor.data(),
          {},
          tensor.dtype(),
          tensor.contiguous(),
          tensor.device().is_cpu() ? -1 : tensor.device().index,
          tensor.numel(),
          &tensor.shape(),
          &tensor.strides()};
}

}  // namespace cuda_run

using cuda_run::Operand;

static void require_same_device(const Tensor& tensor, Device device) {
  require(tensor.device() == device,
          "Expected all tensors to be on the same device, but found at least two devices, ",
          device_name(device), " and ", device_name(tensor.device()),
          "; move them with .to(device)");
}

static Operand operand_of(const ProgramInput& input, Device device) {
  if (!input.tensor) return Operand::of(input.scalar);
  const bool number = input.tensor->device().is_cpu() && input.tensor->dim() == 0;
  if (!number) require_same_device(*input.tensor, device);
  return Operand::of(*input.tensor);
}

void run_program_cuda(const Program& program, Precision precision,
                      std::span<const ProgramInput> inputs, std::span<Tensor* const> outputs) {
  const Device device = outputs[0]->device();
  SmallVector<Operand, 8> input_operands(static_cast<int64_t>(inputs.size()));
  SmallVector<Operand, 4> output_operands(static_cast<int64_t>(outputs.size()));
  for (size_t i = 0; i < inputs.size(); ++i) {
    input_operands[static_cast<int64_t>(i)] = operand_of(inputs[i], device);
  }
  for (size_t j = 0; j < outputs.size(); ++j) {
    require_same_device(*outputs[j], device);
    output_operands[static_cast<int64_t>(j)] = Operand::of(*outputs[j]);
  }
  cuda_run::run(program, precision, input_operands, output_operands);
}

}  // namespace flambeau
