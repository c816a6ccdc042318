// Programs written out as CUDA C.
//
// Note [Kernels of programs]: a kernel is made for a program and a form: precision, element types,
// and how operands lie. Everything else (addresses, numbers, shapes, strides) is a parameter. What
// follows from numbers alone is computed on the host, once per launch. There are three kinds:
//   Elements  one thread per pack of `width` elements that lie next to one another;
//   Rows      `threads` threads per row: part of a warp, or a block. Elements of a row stay in
//             registers, `items` packs in each thread, or are read again in every pass where a
//             row is too long (items = 0);
//   Lists     the elements of many contiguous tensors in one launch (optimizers).
//
// The one parameter is a struct of 8-byte fields: the addresses of tensor inputs in the order of
// the program, those of outputs, then the numbers of cuda_numbers(), the slot and site of errors
// where the kernel reports any, then
//   Elements  count of elements (dims = 0) or packs; Geometry over merged dimensions
//   Rows      rows, length; Geometry of the rows' dimensions; the step along a row, by operand
//   Lists     count of tensors; addresses [operand][kListTensors] but for Single operands; lengths
//             [kListTensors]; where each starts, in chunks [kListTensors + 1], 32 bits each
#pragma once

#include "program/program.h"

namespace flambeau {

enum class CudaAccess : uint8_t {
  Number,   // known on the host
  Single,   // one element for the whole run
  Unit,     // elements next to one another
  Repeat,   // the same element along the innermost dimension
  Stepped,  // any step between elements; then width is 1
  Row       // one element per row
};

struct CudaOperand {
  CudaAccess access = CudaAccess::Number;
  DType dtype = DType::Float32;
  bool operator==(const CudaOperand&) const = default;
};

struct CudaForm {
  enum class Kind : uint8_t { Elements, Rows, Lists } kind = Kind::Elements;
  Precision precision = Precision::Float32;
  bool wide = false;                   // 64-bit indices
  uint8_t dims = 0;                    // of Geometry; Elements: 0 where all is contiguous
  uint8_t width = 1;                   // elements of a pack
  uint16_t threads = 0;                // Rows: for one row
  uint8_t items = 0;                   // Rows: packs that a thread keeps
  SmallVector<CudaOperand, 8> inputs;  // by position in plan.inputs
  SmallVector<CudaOperand, 4> outputs;
};

inline constexpr int kCudaBlock = 256;     // threads of a block: Elements, Lists
inline constexpr int kCudaRowBlock = 128;  // of a block of several rows
inline constexpr int kListChunk = 4096;    // elements of a list's chunk
// Bytes of registers that a thread of Rows has for elements: a multiprocessor has 64 K registers.
constexpr int cuda_row_room(int64_t threads) { return threads > 512 ? 128 : 256; }
// Parameters of a kernel must fit into 4 KB.
inline constexpr int64_t kCudaParameterBytes = 4096;
// Tensors of one launch of a form of Lists with `operands` lists and `numbers` numbers.
constexpr int64_t cuda_list_tensors(int64_t operands, int64_t numbers) {
  return (kCudaParameterBytes - 8 * (numbers + 2)) / (8 * operands + 8 + 4);
}

// The values of a program that are known on the host where the inputs of access Number are: by
// value, whether it is one.
std::vector<char> cuda_known(const Program& program, const CudaForm& form);
// Those of them that the kernel needs as parameters, ascending.
std::vector<int32_t> cuda_numbers(const Program& program, const CudaForm& form);
// Whether the value divides integers, which must not be by zero.
bool divides_integers(const Value& value, Precision precision);
// Whether it does so by what only the GPU knows: the kernel reports zeros.
bool cuda_reports(const Program& program, const std::vector<char>& known, Precision precision,
                  int32_t value);
// How many 8-byte fields come between addresses and counts: cuda_numbers(), and where to report.
int64_t cuda_number_count(const Program& program, const CudaForm& form);
// How many bytes a kernel of rows keeps per element of a row, where it keeps them; 0: one pass.
int cuda_row_bytes(const Program& program, const CudaForm& form);

// The text, but for the prelude (cuda/module.h): a kernel named `program`.
std::string cuda_source(const Program& program, const CudaForm& form);
// What of it is the program's own.
std::string cuda_kernel_text(const Program& program, const CudaForm& form);

}  // namespace flambeau
