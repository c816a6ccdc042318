// NVRTC, NVIDIA's compiler as a library, found at run time.
#pragma once

#include <string>
#include <vector>

namespace flambeau::cuda {

// Major and minor version; RuntimeError with the mend if there is no NVRTC.
std::pair<int, int> nvrtc_version();
// Architectures it can write code for, as 80, 90, ...
std::vector<int> nvrtc_architectures();
// Contraction is on, as on the CPU; denormal numbers, division and roots are exact.
inline constexpr const char* kNvrtcOptions[] = {"--std=c++17", "--fmad=true", "-default-device"};
// CUDA C to machine code for an architecture ("sm_90"), or to PTX for a virtual one ("compute_90").
// RuntimeError with the log of the compiler.
std::string nvrtc_compile(const std::string& source, const std::string& label,
                          const std::string& architecture);

}  // namespace flambeau::cuda
