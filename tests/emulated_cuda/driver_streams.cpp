#include <algorithm>

#include "driver.h"

// Streams, events, captures and graphs.

using namespace emulated;

namespace {

constexpr int kGreatestPriority = -5, kLeastPriority = 0;

// A query finds work that has not run. So that a loop of queries ends, each lets the device get
// one item further.
CUresult query(const Position& position) {
  Stream* stream = position.stream.get();
  if (stream == nullptr || stream->done >= position.count) {
    return stream == nullptr ? CUDA_SUCCESS : stream->device->error;
  }
  run_until({position.stream, stream->done + 1});
  return stream->device->error != CUDA_SUCCESS ? stream->device->error : CUDA_ERROR_NOT_READY;
}

CUresult elapsed_time(float* milliseconds, CUevent start_handle, CUevent end_handle) {
  EMULATED_BEGIN();
  std::shared_ptr<Event> start = driver().events.find(start_handle);
  std::shared_ptr<Event> end = driver().events.find(end_handle);
  EMULATED_RETURN_IF(milliseconds == nullptr, CUDA_ERROR_INVALID_VALUE);
  EMULATED_RETURN_IF(start == nullptr || end == nullptr || start->device != end->device ||
                         !start->timed || !end->timed || !start->record || !end->record,
                     CUDA_ERROR_INVALID_HANDLE);
  for (const auto& event : {start, end}) {
    EMULATED_RETURN_IF(event->capture != nullptr, CUDA_ERROR_CAPTURED_EVENT);
    EMULATED_RETURN_IF(event->position.stream->done < event->position.count, CUDA_ERROR_NOT_READY);
  }
  *milliseconds = static_cast<float>(end->record->milliseconds - start->record->milliseconds);
  return CUDA_SUCCESS;
}

}  // namespace

EMULATED_API CUresult cuCtxGetStreamPriorityRange(int* least, int* greatest) {
  EMULATED_BEGIN_IN_CONTEXT();
  if (least != nullptr) *least = kLeastPriority;
  if (greatest != nullptr) *greatest = kGreatestPriority;
  return CUDA_SUCCESS;
}

EMULATED_API CUresult cuStreamCreateWithPriority(CUstream* handle, unsigned flags, int priority) {
  EMULATED_BEGIN_IN_CONTEXT();
  EMULATED_RETURN_IF(handle == nullptr || flags > CU_STREAM_NON_BLOCKING, CUDA_ERROR_INVALID_VALUE);
  auto stream = std::make_shared<Stream>();
  stream->device = device;
  stream->blocking = flags != CU_STREAM_NON_BLOCKING;
  stream->priority = std::clamp(priority, kGreatestPriority, kLeastPriority);
  device->streams.push_back(stream);
  *handle = driver().streams.add(stream);
  return CUDA_SUCCESS;
}

// Work that was given to the stream is still executed.
EMULATED_API CUresult cuStreamDestroy_v2(CUstream handle) {
  EMULATED_BEGIN();
  std::shared_ptr<Stream> stream = driver().streams.find(handle);
  EMULATED_RETURN_IF(stream == nullptr, CUDA_ERROR_INVALID_HANDLE);
  stream->destroyed = true;
  if (stream->capture != nullptr) stream->capture->invalid = true;
  stream->capture = nullptr;
  if (stream->queue.empty()) std::erase(stream->device->streams, stream);
  driver().streams.remove(handle);
  return CUDA_SUCCESS;
}

EMULATED_API CUresult cuStreamGetPriority(CUstream handle, int* priority) {
  EMULATED_BEGIN_IN_CONTEXT();
  std::shared_ptr<Stream> stream = find_stream(handle);
  EMULATED_RETURN_IF(stream == nullptr, CUDA_ERROR_INVALID_HANDLE);
  EMULATED_RETURN_IF(priority == nullptr, CUDA_ERROR_INVALID_VALUE);
  *priority = stream->priority;
  return CUDA_SUCCESS;
}

// A synchronising call for a stream; the null stream also stands for all that it waits for.
static CUresult begin_waiting(const std::shared_ptr<Stream>& stream) {
  if (stream->capture != nullptr) {
    stream->capture->invalid = true;
    return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
  }
  if (CUresult error = check_unsafe_call()) return error;
  if (stream == stream->device->null_stream) return submit(stream, [] { return CUDA_SUCCESS; });
  return CUDA_SUCCESS;
}

EMULATED_API CUresult cuStreamSynchronize(CUstream handle) {
  EMULATED_BEGIN_IN_CONTEXT();
  std::shared_ptr<Stream> stream = find_stream(handle);
  EMULATED_RETURN_IF(stream == nullptr, CUDA_ERROR_INVALID_HANDLE);
  if (CUresult error = begin_waiting(stream)) return error;
  return run_until({stream, stream->end()});
}

EMULATED_API CUresult cuStreamQuery(CUstream handle) {
  EMULATED_BEGIN_IN_CONTEXT();
  std::shared_ptr<Stream> stream = find_stream(handle);
  EMULATED_RETURN_IF(stream == nullptr, CUDA_ERROR_INVALID_HANDLE);
  if (stream->capture != nullptr) {
    stream->capture->invalid = true;
    return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
  }
  if (CUresult error = check_unsafe_call()) return error;
  return query({stream, stream->end()});
}

EMULATED_API CUresult cuStreamWaitEvent(CUstream handle, CUevent event_handle, unsigned) {
  EMULATED_BEGIN_IN_CONTEXT();
  std::shared_ptr<Stream> stream = find_stream(handle);
  std::shared_ptr<Event> event = driver().events.find(event_handle);
  EMULATED_RETURN_IF(stream == nullptr || event == nullptr, CUDA_ERROR_INVALID_HANDLE);
  return wait_event(stream, *event);
}

EMULATED_API CUresult cuEventCreate(CUevent* handle, unsigned flags) {
  EMULATED_BEGIN_IN_CONTEXT();
  EMULATED_RETURN_IF(handle == nullptr, CUDA_ERROR_INVALID_VALUE);
  auto event = std::make_shared<Event>();
  event->device = device;
  event->timed = (flags & CU_EVENT_DISABLE_TIMING) == 0;
  *handle = driver().events.add(event);
  return CUDA_SUCCESS;
}

EMULATED_API CUresult cuEventDestroy_v2(CUevent handle) {
  EMULATED_BEGIN();
  return driver().events.remove(handle) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

EMULATED_API CUresult cuEventRecord(CUevent handle, CUstream stream_handle) {
  EMULATED_BEGIN_IN_CONTEXT();
  std::shared_ptr<Event> event = driver().events.find(handle);
  std::shared_ptr<Stream> stream = find_stream(stream_handle);
  EMULATED_RETURN_IF(event == nullptr || stream == nullptr || event->device != stream->device,
                     CUDA_ERROR_INVALID_HANDLE);
  return record_event(event.get(), stream);
}

EMULATED_API CUresult cuEventQuery(CUevent handle) {
  EMULATED_BEGIN();
  std::shared_ptr<Event> event = driver().events.find(handle);
  EMULATED_RETURN_IF(event == nullptr, CUDA_ERROR_INVALID_HANDLE);
  EMULATED_RETURN_IF(event->capture != nullptr, CUDA_ERROR_CAPTURED_EVENT);
  if (CUresult error = check_unsafe_call()) return error;
  return query(event->position);
}

EMULATED_API CUresult cuEventSynchronize(CUevent handle) {
  EMULATED_BEGIN();
  std::shared_ptr<Event> event = driver().events.find(handle);
  EMULATED_RETURN_IF(event == nullptr, CUDA_ERROR_INVALID_HANDLE);
  EMULATED_RETURN_IF(event->capture != nullptr, CUDA_ERROR_CAPTURED_EVENT);
  if (CUresult error = check_unsafe_call()) return error;
  return run_until(event->position);
}

EMULATED_API CUresult cuEventElapsedTime(float* milliseconds, CUevent start, CUevent end) {
  return elapsed_time(milliseconds, start, end);
}

EMULATED_API CUresult cuEventElapsedTime_v2(float* milliseconds, CUevent start, CUevent end) {
  return elapsed_time(milliseconds, start, end);
}

EMULATED_API CUresult cuThreadExchangeStreamCaptureMode(int* mode) {
  EMULATED_RETURN_IF(mode == nullptr || *mode < CU_STREAM_CAPTURE_MODE_GLOBAL ||
                         *mode > CU_STREAM_CAPTURE_MODE_RELAXED,
                     CUDA_ERROR_INVALID_VALUE);
  std::swap(*mode, thread_capture_mode);
  return CUDA_SUCCESS;
}

EMULATED_API CUresult cuStreamBeginCapture_v2(CUstream handle, int mode) {
  EMULATED_BEGIN_IN_CONTEXT();
  std::shared_ptr<Stream> stream = find_stream(handle);
  EMULATED_RETURN_IF(stream == nullptr, CUDA_ERROR_INVALID_HANDLE);
  return begin_capture(stream, mode);
}

EMULATED_API CUresult cuStreamEndCapture(CUstream handle, CUgraph* graph_handle) {
  EMULATED_BEGIN_IN_CONTEXT();
  std::shared_ptr<Stream> stream = find_stream(handle);
  EMULATED_RETURN_IF(stream == nullptr, CUDA_ERROR_INVALID_HANDLE);
  EMULATED_RETURN_IF(graph_handle == nullptr, CUDA_ERROR_INVALID_VALUE);
  *graph_handle = nullptr;
  std::shared_ptr<Graph> graph;
  if (CUresult error = end_capture(stream.get(), &graph)) return error;
  *graph_handle = driver().graphs.add(graph);
  return CUDA_SUCCESS;
}

EMULATED_API CUresult cuStreamIsCapturing(CUstream handle, int* status) {
  EMULATED_BEGIN_IN_CONTEXT();
  std::shared_ptr<Stream> stream = find_stream(handle);
  EMULATED_RETURN_IF(stream == nullptr, CUDA_ERROR_INVALID_HANDLE);
  EMULATED_RETURN_IF(status == nullptr, CUDA_ERROR_INVALID_VALUE);
  *status = stream->capture == nullptr ? CU_STREAM_CAPTURE_STATUS_NONE
            : stream->capture->invalid ? CU_STREAM_CAPTURE_STATUS_INVALIDATED
                                       : CU_STREAM_CAPTURE_STATUS_ACTIVE;
  return CUDA_SUCCESS;
}

EMULATED_API CUresult cuGraphInstantiateWithFlags(CUgraphExec* handle, CUgraph graph_handle,
                                                  unsigned long long) {
  EMULATED_BEGIN_IN_CONTEXT();
  std::shared_ptr<Graph> graph = driver().graphs.find(graph_handle);
  EMULATED_RETURN_IF(graph == nullptr || handle == nullptr, CUDA_ERROR_INVALID_VALUE);
  auto order = std::make_shared<std::vector<Work>>(executable_order(*graph));
  *handle = driver().executables.add(order);
  return CUDA_SUCCESS;
}

EMULATED_API CUresult cuGraphLaunch(CUgraphExec handle, CUstream stream_handle) {
  EMULATED_BEGIN_IN_CONTEXT();
  std::shared_ptr<Stream> stream = find_stream(stream_handle);
  std::shared_ptr<std::vector<Work>> order = driver().executables.find(handle);
  EMULATED_RETURN_IF(stream == nullptr, CUDA_ERROR_INVALID_HANDLE);
  EMULATED_RETURN_IF(order == nullptr, CUDA_ERROR_INVALID_VALUE);
  return submit(stream, [order] {
    for (const Work& work : *order) {
      if (CUresult error = work()) return error;
    }
    return CUDA_SUCCESS;
  });
}

EMULATED_API CUresult cuGraphExecDestroy(CUgraphExec handle) {
  EMULATED_BEGIN();
  return driver().executables.remove(handle) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

EMULATED_API CUresult cuGraphDestroy(CUgraph handle) {
  EMULATED_BEGIN();
  return driver().graphs.remove(handle) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

// For the other emulated libraries: run(data) is executed as work of the stream, once for each
// replay if the stream is capturing; release(data) is called when it can no longer be.
EMULATED_API CUresult emulated_cuda_enqueue(CUstream handle, int (*run)(void*), void* data,
                                            void (*release)(void*)) {
  std::shared_ptr<void> owner(data, release);
  EMULATED_BEGIN_IN_CONTEXT();
  std::shared_ptr<Stream> stream = find_stream(handle);
  EMULATED_RETURN_IF(stream == nullptr, CUDA_ERROR_INVALID_HANDLE);
  return submit(stream, [owner, run] { return run(owner.get()); });
}
