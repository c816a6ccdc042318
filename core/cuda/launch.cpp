#include "cuda/launch.h"

#include <algorithm>

#include "base/error.h"

namespace flambeau::cuda {

void launch_with(const Function& function, Extent3 grid, Extent3 block, unsigned shared_bytes,
                 std::span<void*> arguments) {
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) return;
  use(function.device);
  check(driver().launch_kernel(function.handle, grid.x, grid.y, grid.z, block.x, block.y, block.z,
                               shared_bytes, current_stream(function.device), arguments.data(),
                               nullptr),
        "cuLaunchKernel");
}

unsigned blocks_for(int64_t items, int block, int device) {
  // As many as are on the GPU at once, a few times over, so that uneven blocks even out.
  const Properties& gpu = properties(device);
  const int64_t resident =
      int64_t(gpu.multiprocessors) * std::max(1, gpu.threads_per_multiprocessor / block);
  const int64_t wanted = (items + block - 1) / block;
  return static_cast<unsigned>(std::min<int64_t>(wanted, 4 * resident));
}

}  // namespace flambeau::cuda
