// Indices in kernels: the host's side of Divider and Geometry in cuda/prelude.cuh.
#pragma once

#include <cstdint>
#include <cstring>

namespace flambeau::cuda {

// Division by a number that a kernel gets as a parameter, without dividing. With 2^shift the least
// power of two that is not below the divisor: n / divisor = (high half of n * multiplier + n) >>
// shift, exact for 0 <= n < 2^31 (Granlund and Montgomery, 1994, fig. 4.1).
struct Divider {
  uint32_t divisor = 1, multiplier = 1, shift = 0;

  Divider() = default;
  explicit Divider(uint32_t number) : divisor(number) {
    while ((uint64_t{1} << shift) < number) ++shift;
    multiplier =
        static_cast<uint32_t>((uint64_t{1} << 32) * ((uint64_t{1} << shift) - number) / number + 1);
  }
};

// Indices of kernels have 32 bits where all elements and places are below this: strides over the
// grid cannot overflow then.
inline int64_t narrow_limit = int64_t{1} << 30;  // tests lower it, to meet 64-bit indices
inline const int64_t& kNarrowLimit = narrow_limit;

// Writes kernel parameters one after another, as a struct of the kernel has them.
class ParameterWriter {
 public:
  explicit ParameterWriter(char* memory) : at_(memory) {}
  template <class T>
  void put(const T& value) {
    std::memcpy(at_, &value, sizeof(T));
    at_ += sizeof(T);
  }
  // A size of Geometry, and a stride or other index.
  void put_size(int64_t size, bool wide) {
    if (wide) {
      put(size);
    } else {
      put(Divider(static_cast<uint32_t>(size)));
    }
  }
  void put_index(int64_t index, bool wide) {
    if (wide) {
      put(index);
    } else {
      put(static_cast<int32_t>(index));
    }
  }
  char* end() const { return at_; }

 private:
  char* at_;
};

}  // namespace flambeau::cuda
