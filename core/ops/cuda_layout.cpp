#include "ops/cuda_layout.h"

#include <algorithm>
#include <cstdlib>

#include "tensor/copy.h"

namespace flambeau::cuda_ops {

Layout::Layout(Dims shape, std::vector<Dims> strides, bool merge) {
  for (int64_t length : shape) count_ *= length;
  if (count_ == 0) return;
  if (merge) merge_dimensions(shape, strides);
  if (shape.empty()) {
    shape = {1};
    for (Dims& own : strides) own = {0};
  }
  int64_t reach = count_;
  for (const Dims& own : strides) {
    int64_t last = 0;
    for (int64_t d = 0; d < shape.size(); ++d) last += (shape[d] - 1) * std::abs(own[d]);
    reach = std::max(reach, last);
  }
  wide_ = reach >= cuda::kNarrowLimit;
  dims_ = std::to_string(shape.size());
  cuda::ParameterWriter writer(parameter_.bytes);
  for (int64_t length : shape) writer.put_size(length, wide_);
  for (const Dims& own : strides) {
    for (int64_t stride : own) writer.put_index(stride, wide_);
  }
}

unsigned blocks_of(int64_t count) {
  require(count < int64_t{1} << 31, "cuda: at most 2^31 - 1 lines at once, got ", count,
          "; split the tensor");
  return static_cast<unsigned>(count);
}

int unit_of(uint64_t run, uint64_t step, uint64_t address, int smallest) {
  int unit = 16;
  while (unit > smallest && (run | step | address) % unit != 0) unit /= 2;
  return unit;
}

const char* unit_name(int bytes) {
  switch (bytes) {
    case 1:
      return "unsigned char";
    case 2:
      return "unsigned short";
    case 4:
      return "unsigned";
    case 8:
      return "uint64";
    default:
      return "Pack<uint64, 2>";
  }
}

Element element_of(Scalar value, DType dtype) {
  Element element;
  visit_dtype(dtype, [&]<class T>() {
    T number = value.to<T>();
    std::memcpy(element.bytes, &number, sizeof(T));
  });
  return element;
}

int64_t read_integer(const Tensor& tensor) {
  auto host = on_host(tensor);
  return *host->data<int64_t>();
}

}  // namespace flambeau::cuda_ops
