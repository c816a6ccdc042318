// How the operands of one run lie in memory, seen as rows of columns.
#pragma once

#include "program/emitter/machine_code.h"
#include "program/plan.h"

namespace flambeau::emitter {

// An operand without its address. The dimensions must outlive the view.
struct OperandView {
  bool is_tensor = false;
  DType dtype = DType::Float32;
  const Dims* shape = nullptr;
  const Dims* strides = nullptr;  // in elements
  bool contiguous = false;        // false also where nobody has looked

  static OperandView of(const Tensor& tensor) {
    return {true, tensor.dtype(), &tensor.shape(), &tensor.strides(), tensor.contiguous()};
  }
  static OperandView of(const ProgramInput& input) {
    return input.tensor ? of(*input.tensor) : OperandView{};
  }
};

struct Geometry {
  KernelKey key;
  int64_t rows = 1, columns = 1;
  Dims outer;               // further dimensions: one run of the rows for each of their indices
  bool whole_rows = false;  // a row may not be split among threads
  int tensor_count = 0;
  // By tensor of the kernel: bytes from row to row, then elements from column to column.
  int64_t strides[2 * kMostTensors];
  SmallVector<int64_t, 8> outer_strides;  // bytes, [dimension][tensor]

  int64_t rows_in_all() const {
    int64_t count = rows;
    for (int64_t length : outer) count *= length;
    return count;
  }
};

// False when a kernel cannot read or write the operands; says nothing about the instructions.
bool find_geometry(const Program& program, Precision precision, std::span<const OperandView> inputs,
                   std::span<const OperandView> outputs, Geometry& geometry);

// Runs the kernel on all rows, in several threads when that is worth it. `tensors`: addresses by
// tensor of the kernel without scratch; `numbers`: see KernelFunction.
void run_kernel(const MachineCode& kernel, const Geometry& geometry, void* const* tensors,
                const uint64_t* numbers, const Plan& plan);

// The kernel on parts of the matrix of rows and columns that the operands of an elementwise program
// are; find_geometry may have joined the rows.
struct Parts {
  int64_t columns = 0;
  bool joined = false;
  int64_t strides[2 * kMostTensors];     // as Geometry's, from row to row of the matrix
  int64_t column_strides[kMostTensors];  // bytes

  // False where operands do not lie so.
  bool find(const MachineCode& kernel, const Geometry& geometry, int64_t rows, int64_t columns);
  // Rows [row_begin, row_end), columns [column_begin, column_end), in this thread.
  void run(const MachineCode& kernel, const Geometry& geometry, void* const* tensors,
           const uint64_t* numbers, int64_t row_begin, int64_t row_end, int64_t column_begin,
           int64_t column_end) const;
};

// The elements that one thread takes at least, as in the block machine.
int64_t element_grain(const Plan& plan);

}  // namespace flambeau::emitter
