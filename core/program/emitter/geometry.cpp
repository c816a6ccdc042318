#include "program/emitter/geometry.h"

#include "base/allocator.h"
#include "base/thread_pool.h"
#include "tensor/copy.h"

namespace flambeau::emitter {

namespace {

// Shorter rows of elementwise programs are left to the block machine, which joins them.
constexpr int64_t kShortestColumns = 8;
// Offsets within a vector of strided elements have 32 bits.
constexpr int64_t kFurthestStep = int64_t{1} << 26;

DType own_dtype(Precision precision) {
  return precision == Precision::Float64 ? DType::Float64 : DType::Float32;
}

void include(Dims& full, const Dims& shape) {
  while (full.size() < shape.size()) full.insert(0, 1);
  const int64_t lead = full.size() - shape.size();
  for (int64_t d = 0; d < shape.size(); ++d) {
    if (full[lead + d] == 1) full[lead + d] = shape[d];
  }
}

// The shape of everything that is one number per element; see Run::set_shape of the machine.
Dims full_shape(const Program& program, std::span<const OperandView> inputs,
                std::span<const OperandView> outputs) {
  Dims full;
  bool whole = false;
  for (size_t j = 0; j < outputs.size(); ++j) {
    whole |= program.values[program.outputs[j]].extent != Extent::Row;
    include(full, *outputs[j].shape);
  }
  for (const OperandView& input : inputs) {
    if (!whole && input.is_tensor) include(full, *input.shape);
  }
  if (program.has_rows && full.empty()) full.push_back(1);
  return full;
}

// The operand's steps over the full shape; false if it does not broadcast to it.
bool steps_over(const OperandView& operand, const Dims& full, Dims& steps) {
  const Dims &shape = *operand.shape, &strides = *operand.strides;
  const int64_t lead = full.size() - shape.size();
  if (lead < 0) return false;
  steps.resize(full.size(), 0);
  for (int64_t d = 0; d < shape.size(); ++d) {
    if (shape[d] == full[lead + d]) {
      steps[lead + d] = shape[d] == 1 ? 0 : strides[d];
    } else if (shape[d] != 1) {
      return false;
    }
  }
  return true;
}

struct Streams {
  Dims steps[kMostTensors];
  int64_t last[kMostTensors];  // step over the columns
  const OperandView* operands[kMostTensors];
  int count = 0;
};

bool all_zero(const Dims& steps) {
  for (int64_t step : steps) {
    if (step) return false;
  }
  return true;
}

// An output of one number per row; a number of the run may be stored as such.
bool is_row_output(const Program& program, size_t j, const OperandView& output) {
  const Extent extent = program.values[program.outputs[j]].extent;
  return extent == Extent::Row || (extent == Extent::Uniform && program.has_rows &&
                                   !output.shape->empty() && output.shape->back() == 1);
}

bool add_operand(const OperandView& operand, const Dims& full, Precision precision,
                 Streams& streams) {
  if (streams.count == kMostTensors) return false;
  if (operand.dtype != own_dtype(precision) && operand.dtype != DType::Bool) return false;
  streams.operands[streams.count] = &operand;
  return steps_over(operand, full, streams.steps[streams.count++]);
}

// Which operands are numbers, which are streams or rows; fills the kinds of numbers in the key.
bool collect(const Program& program, Precision precision, std::span<const OperandView> inputs,
             std::span<const OperandView> outputs, const Dims& full, Streams& streams,
             Geometry& geometry) {
  const Plan& plan = plan_of(program);
  int64_t rows = 1;
  for (int64_t d = 0; d + 1 < full.size(); ++d) rows *= full[d];
  for (int32_t v : plan.inputs) {
    const Value& value = program.values[v];
    const OperandView& operand = inputs[value.index];
    AccessKind kind = AccessKind::Stream;
    if (!operand.is_tensor || value.extent == Extent::Uniform) {
      kind = AccessKind::Number;
    } else {
      Dims steps;
      if (!steps_over(operand, full, steps)) return false;
      if (value.extent == Extent::Row && steps.size() && steps.back() != 0) return false;
      const bool foreign = operand.dtype != own_dtype(precision) && operand.dtype != DType::Bool;
      const bool direct = value.extent == Extent::Row && rows == 1;
      if (all_zero(steps) && (foreign || !direct)) kind = AccessKind::Number;
    }
    geometry.key.inputs.push_back(kind);
    if (kind == AccessKind::Stream && !add_operand(operand, full, precision, streams)) return false;
  }
  for (size_t j = 0; j < outputs.size(); ++j) {
    const Dims& shape = *outputs[j].shape;
    for (int64_t d = 0; d < shape.size(); ++d) {  // elements that share memory
      if (shape[d] > 1 && (*outputs[j].strides)[d] == 0) return false;
    }
    const bool row = is_row_output(program, j, outputs[j]);
    const int64_t lead = full.size() - shape.size();
    for (int64_t d = 0; d < full.size(); ++d) {  // no output is repeated over the full shape
      const int64_t length = row && d + 1 == full.size() ? 1 : full[d];
      if ((d < lead ? 1 : shape[d - lead]) != length) return false;
    }
    if (!add_operand(outputs[j], full, precision, streams)) return false;
  }
  return true;
}

// Splits the full shape into outer dimensions, rows and columns.
void split(const Program& program, Dims full, Streams& streams, Geometry& geometry) {
  const auto count = static_cast<size_t>(streams.count);
  if (!program.has_rows) merge_dimensions(full, {streams.steps, count});
  if (full.empty()) {
    full.push_back(1);
    for (size_t t = 0; t < count; ++t) streams.steps[t].push_back(0);
  }
  geometry.columns = full.back();
  full.pop_back();
  for (size_t t = 0; t < count; ++t) {
    streams.last[t] = streams.steps[t].back();
    streams.steps[t].pop_back();
  }
  if (program.has_rows) merge_dimensions(full, {streams.steps, count});
  geometry.rows = full.empty() ? 1 : full.back();
  for (size_t t = 0; t < count; ++t) {
    const int64_t size = item_size(streams.operands[t]->dtype);
    geometry.strides[t] = full.empty() ? 0 : streams.steps[t].back() * size;
  }
  if (!full.empty()) full.pop_back();
  geometry.outer = full;
  for (int64_t d = 0; d < full.size(); ++d) {
    for (size_t t = 0; t < count; ++t) {
      const int64_t size = item_size(streams.operands[t]->dtype);
      geometry.outer_strides.push_back(streams.steps[t][d] * size);
    }
  }
  geometry.tensor_count = streams.count;
  geometry.whole_rows = program.has_rows;
}

// The usual case, quickly: contiguous operands of one shape, and numbers.
bool find_dense(const Program& program, Precision precision, std::span<const OperandView> inputs,
                std::span<const OperandView> outputs, Geometry& geometry) {
  if (program.has_rows) return false;
  const Dims& shape = *outputs[0].shape;
  int count = 0;
  auto add = [&](const OperandView& operand, SmallVector<AccessKind, 8>& kinds) {
    const bool own = operand.dtype == own_dtype(precision);
    if (!operand.contiguous || !(own || operand.dtype == DType::Bool) || count == kMostTensors ||
        !(*operand.shape == shape)) {
      return false;
    }
    geometry.strides[count++] = 0;
    kinds.push_back(own ? AccessKind::Stream : AccessKind::StreamBool);
    return true;
  };
  for (int32_t v : plan_of(program).inputs) {
    const OperandView& operand = inputs[program.values[v].index];
    if (!operand.is_tensor) {
      geometry.key.inputs.push_back(AccessKind::Number);
    } else if (!add(operand, geometry.key.inputs)) {
      return false;
    }
  }
  for (const OperandView& output : outputs) {
    if (!add(output, geometry.key.outputs)) return false;
  }
  geometry.columns = 1;
  for (int64_t length : shape) geometry.columns *= length;
  geometry.tensor_count = count;
  return true;
}

}  // namespace

bool find_geometry(const Program& program, Precision precision, std::span<const OperandView> inputs,
                   std::span<const OperandView> outputs, Geometry& geometry) {
  if (precision == Precision::Int64 || plan_of(program).inputs.size() > 64) return false;
  geometry.key.precision = precision;
  if (find_dense(program, precision, inputs, outputs, geometry)) return true;
  geometry.key.inputs.clear();
  geometry.key.outputs.clear();
  const Dims full = full_shape(program, inputs, outputs);
  Streams streams;
  if (!collect(program, precision, inputs, outputs, full, streams, geometry)) return false;
  split(program, full, streams, geometry);
  int next = 0;
  auto kind_of_stream = [&](bool row) {
    const int t = next++;
    const bool bools = streams.operands[t]->dtype == DType::Bool;
    const bool steps = !row && (streams.last[t] != 0 || geometry.columns == 1);
    geometry.strides[kMostTensors + t] = streams.last[t];
    if (steps && streams.last[t] > 1 && geometry.columns > 1) return AccessKind::Strided;
    return steps ? (bools ? AccessKind::StreamBool : AccessKind::Stream)
                 : (bools ? AccessKind::RowBool : AccessKind::Row);
  };
  const Plan& plan = plan_of(program);
  for (size_t i = 0; i < plan.inputs.size(); ++i) {
    if (geometry.key.inputs[i] == AccessKind::Number) continue;
    geometry.key.inputs[i] = kind_of_stream(program.values[plan.inputs[i]].extent == Extent::Row);
  }
  for (size_t j = 0; j < outputs.size(); ++j) {
    geometry.key.outputs.push_back(kind_of_stream(is_row_output(program, j, outputs[j])));
  }
  const int first_output = streams.count - static_cast<int>(outputs.size());
  for (int t = 0; t < streams.count; ++t) {
    if (streams.last[t] == 0 || streams.last[t] == 1 || geometry.columns == 1) continue;
    const bool far = streams.last[t] < 0 || streams.last[t] > kFurthestStep;
    if (far || t >= first_output || streams.operands[t]->dtype == DType::Bool) return false;
  }
  const bool short_rows = geometry.columns < kShortestColumns && geometry.rows_in_all() > 1;
  return program.has_rows || !short_rows;
}

// --- running -------------------------------------------------------------------------------------

int64_t element_grain(const Plan& plan) {
  return std::max<int64_t>(1024, 3 * kGrain / (plan.cost + 2));
}

namespace {

// Scratch streams of one thread: on the stack when they are short.
class Scratch {
 public:
  Scratch(const MachineCode& kernel, const Geometry& geometry, void** tensors) {
    if (kernel.scratch_count() == 0) return;
    const int64_t size = geometry.key.precision == Precision::Float32 ? 4 : 8;
    const int64_t stride = (geometry.columns * size + 127) / 64 * 64;
    bytes_ = static_cast<size_t>(stride * kernel.scratch_count());
    char* memory = stack_;
    if (bytes_ > sizeof(stack_)) memory = heap_ = static_cast<char*>(allocate(bytes_));
    for (int i = 0; i < kernel.scratch_count(); ++i) {
      tensors[kernel.tensor_count() + i] = memory + i * stride;
    }
  }
  Scratch(const Scratch&) = delete;
  ~Scratch() {
    if (heap_) deallocate(heap_, bytes_);
  }

 private:
  alignas(64) char stack_[16 << 10];
  char* heap_ = nullptr;
  size_t bytes_ = 0;
};

// Rows [begin, end) of all rows, the outer dimensions' included.
void run_rows(const MachineCode& kernel, const Geometry& geometry, void* const* tensors,
              const uint64_t* numbers, int64_t begin, int64_t end) {
  void* places[kMostTensors];
  const int count = geometry.tensor_count;
  Scratch scratch(kernel, geometry, places);
  while (begin < end) {
    int64_t index = begin / geometry.rows;
    const int64_t first = begin - index * geometry.rows;
    const int64_t rows = std::min(geometry.rows - first, end - begin);
    for (int t = 0; t < count; ++t) {
      places[t] = static_cast<char*>(tensors[t]) + first * geometry.strides[t];
    }
    for (int64_t d = geometry.outer.size() - 1; d >= 0; --d) {
      const int64_t position = index % geometry.outer[d];
      index /= geometry.outer[d];
      for (int t = 0; t < count; ++t) {
        places[t] =
            static_cast<char*>(places[t]) + position * geometry.outer_strides[d * count + t];
      }
    }
    kernel.run(places, geometry.strides, numbers, rows, geometry.columns);
    begin += rows;
  }
}

int64_t item_bytes(AccessKind kind, Precision precision) {
  if (kind == AccessKind::Row || kind == AccessKind::RowBool) return 0;
  return kind == AccessKind::StreamBool ? 1 : precision == Precision::Float32 ? 4 : 8;
}

// By tensor of the kernel: bytes from column to column.
void find_column_strides(const Geometry& geometry, int64_t* strides) {
  int t = 0;
  auto add = [&](AccessKind kind) {
    if (kind == AccessKind::Number) return;
    const int64_t step = kind == AccessKind::Strided ? geometry.strides[kMostTensors + t] : 1;
    strides[t++] = step * item_bytes(kind, geometry.key.precision);
  };
  for (AccessKind kind : geometry.key.inputs) add(kind);
  for (AccessKind kind : geometry.key.outputs) add(kind);
}

// Columns [begin, end) of the only row of an elementwise program.
void run_columns(const MachineCode& kernel, const Geometry& geometry, void* const* tensors,
                 const uint64_t* numbers, int64_t begin, int64_t end) {
  void* places[kMostTensors];
  int64_t strides[kMostTensors];
  find_column_strides(geometry, strides);
  for (int t = 0; t < geometry.tensor_count; ++t) {
    places[t] = static_cast<char*>(tensors[t]) + begin * strides[t];
  }
  kernel.run(places, geometry.strides, numbers, 1, end - begin);
}

}  // namespace

bool Parts::find(const MachineCode& kernel, const Geometry& geometry, int64_t rows,
                 int64_t row_length) {
  if (!geometry.outer.empty() || geometry.whole_rows || kernel.scratch_count() > 0) return false;
  columns = row_length;
  joined = geometry.rows == 1 && geometry.columns == rows * columns;
  if (!joined && (geometry.rows != rows || geometry.columns != columns)) return false;
  std::copy_n(geometry.strides, 2 * kMostTensors, strides);
  find_column_strides(geometry, column_strides);
  for (int t = 0; joined && t < geometry.tensor_count; ++t) {
    strides[t] = columns * column_strides[t];
  }
  return true;
}

void Parts::run(const MachineCode& kernel, const Geometry& geometry, void* const* tensors,
                const uint64_t* numbers, int64_t row_begin, int64_t row_end, int64_t column_begin,
                int64_t column_end) const {
  if (joined && column_end - column_begin == columns) {
    run_columns(kernel, geometry, tensors, numbers, row_begin * columns, row_end * columns);
    return;
  }
  void* places[kMostTensors];
  for (int t = 0; t < geometry.tensor_count; ++t) {
    places[t] =
        static_cast<char*>(tensors[t]) + row_begin * strides[t] + column_begin * column_strides[t];
  }
  kernel.run(places, strides, numbers, row_end - row_begin, column_end - column_begin);
}

void run_kernel(const MachineCode& kernel, const Geometry& geometry, void* const* tensors,
                const uint64_t* numbers, const Plan& plan) {
  const int64_t rows = geometry.rows_in_all(), grain = element_grain(plan);
  if (rows == 0) return;
  const bool small = rows * geometry.columns <= grain;
  if (rows == 1) {
    if (small && kernel.scratch_count() == 0) {
      kernel.run(tensors, geometry.strides, numbers, 1, geometry.columns);
      return;
    }
    if (small || geometry.whole_rows) {
      run_rows(kernel, geometry, tensors, numbers, 0, 1);
      return;
    }
    constexpr int64_t kUnit = 64;  // elements, so that threads do not share lines of cache
    const int64_t units = (geometry.columns + kUnit - 1) / kUnit;
    parallel_for(units, std::max<int64_t>(1, grain / kUnit), [&](int64_t begin, int64_t end) {
      run_columns(kernel, geometry, tensors, numbers, begin * kUnit,
                  std::min(end * kUnit, geometry.columns));
    });
    return;
  }
  if (small) {
    run_rows(kernel, geometry, tensors, numbers, 0, rows);
    return;
  }
  const int64_t row_grain = std::max<int64_t>(1, grain / std::max<int64_t>(1, geometry.columns));
  parallel_for(rows, row_grain, [&](int64_t begin, int64_t end) {
    run_rows(kernel, geometry, tensors, numbers, begin, end);
  });
}

}  // namespace flambeau::emitter
