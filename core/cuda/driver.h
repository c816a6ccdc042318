// The CUDA driver, found at run time: nothing of CUDA is needed to build or to import Flambeau.
//
// The declarations are our own; names, signatures and numbers are those of the driver's interface
// (CUDA Driver API reference), in the versions that the suffixes name.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace flambeau::cuda {

using DevicePointer = unsigned long long;
using StreamHandle = struct CUstream_st*;
using EventHandle = struct CUevent_st*;
using ContextHandle = struct CUctx_st*;
using ModuleHandle = struct CUmod_st*;
using FunctionHandle = struct CUfunc_st*;
using GraphHandle = struct CUgraph_st*;
using GraphExecutableHandle = struct CUgraphExec_st*;

// FLAMBEAU_DRIVER_FUNCTION(member, symbol, parameters): one line for each function that is used.
#define FLAMBEAU_DRIVER_FUNCTIONS(F)                                                               \
  F(init, "cuInit", (unsigned flags))                                                              \
  F(device_count, "cuDeviceGetCount", (int* count))                                                \
  F(device_name, "cuDeviceGetName", (char* name, int length, int device))                          \
  F(device_total_memory, "cuDeviceTotalMem_v2", (size_t* bytes, int device))                       \
  F(device_attribute, "cuDeviceGetAttribute", (int* value, int attribute, int device))             \
  F(device_uuid, "cuDeviceGetUuid_v2", (unsigned char* uuid, int device))                          \
  F(primary_context_retain, "cuDevicePrimaryCtxRetain", (ContextHandle * context, int device))     \
  F(context_set_current, "cuCtxSetCurrent", (ContextHandle context))                               \
  F(context_get_current, "cuCtxGetCurrent", (ContextHandle * context))                             \
  F(context_synchronize, "cuCtxSynchronize", ())                                                   \
  F(stream_priority_range, "cuCtxGetStreamPriorityRange", (int* least, int* greatest))             \
  F(memory_info, "cuMemGetInfo_v2", (size_t* free, size_t* total))                                 \
  F(memory_allocate, "cuMemAlloc_v2", (DevicePointer * pointer, size_t bytes))                     \
  F(memory_free, "cuMemFree_v2", (DevicePointer pointer))                                          \
  F(pointer_attribute, "cuPointerGetAttribute",                                                    \
    (void* value, int attribute, DevicePointer pointer))                                           \
  F(host_allocate, "cuMemHostAlloc", (void** pointer, size_t bytes, unsigned flags))               \
  F(copy_to_device, "cuMemcpyHtoDAsync_v2",                                                        \
    (DevicePointer to, const void* from, size_t bytes, StreamHandle stream))                       \
  F(copy_to_host, "cuMemcpyDtoHAsync_v2",                                                          \
    (void* to, DevicePointer from, size_t bytes, StreamHandle stream))                             \
  F(copy_on_device, "cuMemcpyDtoDAsync_v2",                                                        \
    (DevicePointer to, DevicePointer from, size_t bytes, StreamHandle stream))                     \
  F(copy_to_peer, "cuMemcpyPeerAsync",                                                             \
    (DevicePointer to, ContextHandle to_context, DevicePointer from, ContextHandle from_context,   \
     size_t bytes, StreamHandle stream))                                                           \
  F(set_bytes, "cuMemsetD8Async",                                                                  \
    (DevicePointer to, unsigned char value, size_t count, StreamHandle stream))                    \
  F(stream_create, "cuStreamCreateWithPriority",                                                   \
    (StreamHandle * stream, unsigned flags, int priority))                                         \
  F(stream_synchronize, "cuStreamSynchronize", (StreamHandle stream))                              \
  F(stream_query, "cuStreamQuery", (StreamHandle stream))                                          \
  F(stream_wait_event, "cuStreamWaitEvent",                                                        \
    (StreamHandle stream, EventHandle event, unsigned flags))                                      \
  F(event_create, "cuEventCreate", (EventHandle * event, unsigned flags))                          \
  F(event_destroy, "cuEventDestroy_v2", (EventHandle event))                                       \
  F(event_record, "cuEventRecord", (EventHandle event, StreamHandle stream))                       \
  F(event_query, "cuEventQuery", (EventHandle event))                                              \
  F(event_synchronize, "cuEventSynchronize", (EventHandle event))                                  \
  F(event_elapsed_time, "cuEventElapsedTime",                                                      \
    (float* milliseconds, EventHandle start, EventHandle end))                                     \
  F(module_load, "cuModuleLoadData", (ModuleHandle * module, const void* image))                   \
  F(module_function, "cuModuleGetFunction",                                                        \
    (FunctionHandle * function, ModuleHandle module, const char* name))                            \
  F(function_set_attribute, "cuFuncSetAttribute",                                                  \
    (FunctionHandle function, int attribute, int value))                                           \
  F(launch_kernel, "cuLaunchKernel",                                                               \
    (FunctionHandle function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x, \
     unsigned block_y, unsigned block_z, unsigned shared_bytes, StreamHandle stream,               \
     void** arguments, void** extra))                                                              \
  F(begin_capture, "cuStreamBeginCapture_v2", (StreamHandle stream, int mode))                     \
  F(end_capture, "cuStreamEndCapture", (StreamHandle stream, GraphHandle * graph))                 \
  F(graph_instantiate, "cuGraphInstantiateWithFlags",                                              \
    (GraphExecutableHandle * executable, GraphHandle graph, unsigned long long flags))             \
  F(graph_launch, "cuGraphLaunch", (GraphExecutableHandle executable, StreamHandle stream))        \
  F(graph_executable_destroy, "cuGraphExecDestroy", (GraphExecutableHandle executable))            \
  F(graph_destroy, "cuGraphDestroy", (GraphHandle graph))                                          \
  F(can_access_peer, "cuDeviceCanAccessPeer", (int* can, int device, int peer))                    \
  F(enable_peer_access, "cuCtxEnablePeerAccess", (ContextHandle peer, unsigned flags))             \
  F(error_name, "cuGetErrorName", (int error, const char** name))                                  \
  F(error_text, "cuGetErrorString", (int error, const char** text))

struct Driver {
#define FLAMBEAU_DRIVER_FUNCTION(member, symbol, parameters) int(*member) parameters = nullptr;
  FLAMBEAU_DRIVER_FUNCTIONS(FLAMBEAU_DRIVER_FUNCTION)
#undef FLAMBEAU_DRIVER_FUNCTION
};

// Results that are not errors to us.
inline constexpr int kSuccess = 0, kOutOfMemory = 2, kNotReady = 600;

// The driver, loaded and initialised at the first call. RuntimeError with what is missing and how
// to mend it if there is none, or no GPU.
const Driver& driver();
// The same, null instead of an error; `why` gets the text of the error.
const Driver* find_driver(std::string* why = nullptr);

// Whether this process was forked after the driver was started: it cannot be used here, nor started
// again. Its memory and handles are the parent's, and so are locks that other threads held.
bool forked();

// RuntimeError (or OutOfMemoryError) that says which call failed, and with what.
void check(int result, const char* what);

}  // namespace flambeau::cuda
