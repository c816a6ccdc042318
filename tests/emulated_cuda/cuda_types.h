#pragma once

// The part of the CUDA driver API's types that is emulated. Values are those of CUDA 13's cuda.h.

#include <cstddef>
#include <cstdint>

using CUresult = int;
using CUdevice = int;
using CUdeviceptr = unsigned long long;
using CUcontext = struct CUctx_st*;
using CUmodule = struct CUmod_st*;
using CUfunction = struct CUfunc_st*;
using CUstream = struct CUstream_st*;
using CUevent = struct CUevent_st*;
using CUgraph = struct CUgraph_st*;
using CUgraphExec = struct CUgraphExec_st*;
struct CUuuid {
  char bytes[16];
};

#define EMULATED_API extern "C" __attribute__((visibility("default")))

namespace emulated {

// Name and text of every error that the emulation returns.
#define EMULATED_CUDA_ERRORS(ERROR)                                                               \
  ERROR(CUDA_SUCCESS, 0, "no error")                                                              \
  ERROR(CUDA_ERROR_INVALID_VALUE, 1, "invalid argument")                                          \
  ERROR(CUDA_ERROR_OUT_OF_MEMORY, 2, "out of memory")                                             \
  ERROR(CUDA_ERROR_NOT_INITIALIZED, 3, "initialization error")                                    \
  ERROR(CUDA_ERROR_NO_DEVICE, 100, "no CUDA-capable device is detected")                          \
  ERROR(CUDA_ERROR_INVALID_DEVICE, 101, "invalid device ordinal")                                 \
  ERROR(CUDA_ERROR_INVALID_IMAGE, 200, "device kernel image is invalid")                          \
  ERROR(CUDA_ERROR_INVALID_CONTEXT, 201, "invalid device context")                                \
  ERROR(CUDA_ERROR_INVALID_HANDLE, 400, "invalid resource handle")                                \
  ERROR(CUDA_ERROR_NOT_FOUND, 500, "named symbol not found")                                      \
  ERROR(CUDA_ERROR_NOT_READY, 600, "device not ready")                                            \
  ERROR(CUDA_ERROR_ILLEGAL_ADDRESS, 700, "an illegal memory access was encountered")              \
  ERROR(CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES, 701, "too many resources requested for launch")       \
  ERROR(CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED, 704, "peer access is already enabled")            \
  ERROR(CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED, 712,                                           \
        "part or all of the requested memory range is already mapped")                            \
  ERROR(CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED, 713, "pointer is not registered host memory")      \
  ERROR(CUDA_ERROR_MISALIGNED_ADDRESS, 716, "misaligned address")                                 \
  ERROR(CUDA_ERROR_LAUNCH_FAILED, 719, "unspecified launch failure")                              \
  ERROR(CUDA_ERROR_NOT_SUPPORTED, 801, "operation not supported")                                 \
  ERROR(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, 900,                                               \
        "operation not permitted when stream is capturing")                                       \
  ERROR(CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, 901,                                               \
        "operation failed due to a previous error during capture")                                \
  ERROR(CUDA_ERROR_STREAM_CAPTURE_UNMATCHED, 903, "the capture was not initiated in this stream") \
  ERROR(CUDA_ERROR_STREAM_CAPTURE_UNJOINED, 904, "capturing stream has unjoined work")            \
  ERROR(CUDA_ERROR_STREAM_CAPTURE_ISOLATION, 905,                                                 \
        "dependency created on uncaptured work in another stream")                                \
  ERROR(CUDA_ERROR_STREAM_CAPTURE_IMPLICIT, 906,                                                  \
        "operation would make the legacy stream depend on a capturing blocking stream")           \
  ERROR(CUDA_ERROR_CAPTURED_EVENT, 907,                                                           \
        "operation not permitted on an event last recorded in a capturing stream")                \
  ERROR(CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD, 908,                                              \
        "attempt to terminate a thread-local capture sequence from another thread")               \
  ERROR(CUDA_ERROR_UNKNOWN, 999, "unknown error")

#define EMULATED_ERROR_CONSTANT(name, value, text) constexpr CUresult name = value;
EMULATED_CUDA_ERRORS(EMULATED_ERROR_CONSTANT)
#undef EMULATED_ERROR_CONSTANT

constexpr unsigned CU_STREAM_NON_BLOCKING = 1;
constexpr unsigned CU_EVENT_DISABLE_TIMING = 2;

constexpr int CU_STREAM_CAPTURE_MODE_GLOBAL = 0;
constexpr int CU_STREAM_CAPTURE_MODE_THREAD_LOCAL = 1;
constexpr int CU_STREAM_CAPTURE_MODE_RELAXED = 2;

constexpr int CU_STREAM_CAPTURE_STATUS_NONE = 0;
constexpr int CU_STREAM_CAPTURE_STATUS_ACTIVE = 1;
constexpr int CU_STREAM_CAPTURE_STATUS_INVALIDATED = 2;

constexpr int CU_MEMORYTYPE_HOST = 1;
constexpr int CU_MEMORYTYPE_DEVICE = 2;

constexpr unsigned kWarpSize = 32;
constexpr unsigned kMaxThreads = 1024;
constexpr unsigned kMultiprocessors = 4;
constexpr unsigned kThreadsPerMultiprocessor = 2048;
constexpr unsigned kSharedPerBlock = 48 << 10;
constexpr unsigned kSharedPerBlockOptin = 227 << 10;
constexpr unsigned kSharedPerMultiprocessor = 228 << 10;
constexpr unsigned kParameterBytes = 32764;

}  // namespace emulated
