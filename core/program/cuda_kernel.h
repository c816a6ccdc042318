// Kernels of programs that were made so far, and the numbers that they take.
#pragma once

#include <atomic>

#include "cuda/module.h"
#include "program/cuda_source.h"
#include "program/kernels.h"

namespace flambeau {

class CudaKernel {
 public:
  // The kernel for the form; made at the first call and kept by the program's plan.
  static const CudaKernel& of(const Program& program, const CudaForm& form);
  ~CudaKernel() = default;

  const cuda::Function& function(int device) const;
  // The fields of cuda_number_count() for a run on `device`: those of number inputs are given by
  // `read(input, place)` in the precision's own type, `row_length` is the number of elements in a
  // row.
  template <class Read>
  void compute_numbers(uint64_t* numbers, int device, int64_t row_length, Read&& read) const;
  int64_t number_count() const { return number_count_; }
  int kept_bytes() const { return kept_bytes_; }  // of forms of Rows, see cuda_row_bytes

 private:
  friend class Plan;
  friend void destroy_cuda_kernels(const CudaKernel* first);
  using Key = SmallVector<uint8_t, 56>;
  static Key key_of(const CudaForm& form);
  CudaKernel(const Program& program, const CudaForm& form);
  void derive(uint64_t* table) const;
  void put_errors(uint64_t* fields, int device) const;

  struct Step {
    Kernel kernel;
    int32_t to;
    int32_t operands[3];
  };
  static constexpr int kMostDevices = 16;

  const Program& program_;
  CudaForm form_;
  Key key_;
  std::vector<int32_t> numbers_;
  int64_t number_count_;
  int kept_bytes_ = 0;
  // On the host, once per run: a table of all values is filled and the wanted ones are taken.
  std::vector<uint64_t> constants_;
  std::vector<std::pair<int32_t, int32_t>> inputs_;  // value, and the input that it is
  std::vector<int32_t> row_counts_;
  std::vector<Step> once_;
  std::vector<int32_t> divisors_;  // of integers: must not be zero
  mutable std::atomic<const cuda::Function*> functions_[kMostDevices] = {};
  const CudaKernel* next_ = nullptr;
};

void destroy_cuda_kernels(const CudaKernel* first);

template <class Read>
void CudaKernel::compute_numbers(uint64_t* numbers, int device, int64_t row_length,
                                 Read&& read) const {
  const size_t count = numbers_.size();
  if (number_count_ > static_cast<int64_t>(count)) put_errors(numbers + count, device);
  if (count == 0 && divisors_.empty()) return;
  SmallVector<uint64_t, 64> table;
  table.assign(constants_.data(), constants_.data() + constants_.size());
  for (auto [value, input] : inputs_) read(input, &table[value]);
  for (int32_t value : row_counts_) {
    if (form_.precision == Precision::Float32) {
      const auto length = static_cast<float>(row_length);
      std::memcpy(&table[value], &length, sizeof(length));
    } else if (form_.precision == Precision::Float64) {
      const auto length = static_cast<double>(row_length);
      std::memcpy(&table[value], &length, sizeof(length));
    } else {
      table[value] = static_cast<uint64_t>(row_length);
    }
  }
  derive(table.data());
  for (size_t i = 0; i < count; ++i) numbers[i] = table[numbers_[i]];
}

}  // namespace flambeau
