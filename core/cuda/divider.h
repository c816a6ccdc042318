// Division of indices by a number that a kernel gets as a parameter, without dividing.
#pragma once

#include <cstdint>

namespace flambeau::cuda {

// Twin of Divider in cuda/prelude.cuh. With 2^shift the least power of two that is not below the
// divisor: n / divisor = (high half of n * multiplier + n) >> shift, exact for 0 <= n < 2^31
// (Granlund and Montgomery, 1994, fig. 4.1).
struct Divider {
  uint32_t divisor = 1, multiplier = 1, shift = 0;

  Divider() = default;
  explicit Divider(uint32_t number) : divisor(number) {
    while ((uint64_t{1} << shift) < number) ++shift;
    multiplier = static_cast<uint32_t>(
        (uint64_t{1} << 32) * ((uint64_t{1} << shift) - number) / number + 1);
  }
};

}  // namespace flambeau::cuda
