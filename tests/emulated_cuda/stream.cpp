#include "stream.h"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "memory.h"

namespace emulated {
namespace {

constexpr size_t kLongestQueue = 1000;

auto& captures = *new std::vector<std::weak_ptr<Capture>>;  // in progress

bool eager() {
  static const char* value = std::getenv("EMULATED_CUDA_EAGER");
  return value != nullptr && std::strcmp(value, "1") == 0;
}

double now_milliseconds() {
  auto now = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration<double, std::milli>(now).count();
}

CUresult invalidate(Capture* capture, CUresult error) {
  capture->invalid = true;
  return error;
}

// The null stream waits for every blocking stream, and they wait for it.
std::vector<Position> implicit_waits(const Stream& stream) {
  std::vector<Position> waits;
  const Device& device = *stream.device;
  auto add = [&](const std::shared_ptr<Stream>& other) {
    if (!other->queue.empty()) waits.push_back({other, other->end()});
  };
  if (&stream == device.null_stream.get()) {
    for (const auto& other : device.streams) {
      if (other->blocking) add(other);
    }
  } else if (stream.blocking) {
    add(device.null_stream);
  }
  return waits;
}

// Work in the null stream would have to wait for a stream that is only recording.
CUresult check_null_stream(const Stream& stream) {
  if (&stream != stream.device->null_stream.get()) return CUDA_SUCCESS;
  for (const auto& other : stream.device->streams) {
    if (other->blocking && other->capture != nullptr) {
      return invalidate(other->capture.get(), CUDA_ERROR_STREAM_CAPTURE_IMPLICIT);
    }
  }
  return CUDA_SUCCESS;
}

CUresult enqueue(const std::shared_ptr<Stream>& stream, std::vector<Position> after, Work work) {
  Device* device = stream->device;
  if (device->error != CUDA_SUCCESS) return device->error;
  if (CUresult error = check_null_stream(*stream)) return error;
  for (Position& wait : implicit_waits(*stream)) after.push_back(std::move(wait));
  stream->queue.push_back({std::move(after), std::move(work)});
  if (eager()) return run_until({stream, stream->end()}), CUDA_SUCCESS;
  if (stream->queue.size() > kLongestQueue) run_until({stream, stream->done + 1});
  return CUDA_SUCCESS;
}

bool is_done(const Position& position) {
  return position.stream == nullptr || position.stream->done >= position.count;
}

}  // namespace

const std::shared_ptr<Stream>& Device::stream_of_thread() {
  std::shared_ptr<Stream>& stream = thread_streams[std::this_thread::get_id()];
  if (stream == nullptr) {
    stream = std::make_shared<Stream>();
    stream->device = this;
    streams.push_back(stream);
  }
  return stream;
}

thread_local int thread_capture_mode = CU_STREAM_CAPTURE_MODE_GLOBAL;

void run_one(Stream* stream) {
  // What an item waits for was given to streams before it, so this ends.
  std::vector<Position> after = std::move(stream->queue.front().after);
  for (const Position& position : after) run_until(position);
  Work work = std::move(stream->queue.front().work);
  stream->queue.pop_front();
  ++stream->done;
  Device* device = stream->device;
  if (device->error == CUDA_SUCCESS) device->error = work();
}

CUresult run_until(const Position& position) {
  if (is_done(position)) return position.stream ? position.stream->device->error : CUDA_SUCCESS;
  DeviceMemoryOpen open;
  while (!is_done(position)) run_one(position.stream.get());
  return position.stream == nullptr ? CUDA_SUCCESS : position.stream->device->error;
}

CUresult run_device(Device* device) {
  std::vector<std::shared_ptr<Stream>> streams = device->streams;
  streams.push_back(device->null_stream);
  for (const auto& stream : streams) run_until({stream, stream->end()});
  std::erase_if(device->streams, [](const auto& stream) { return stream->destroyed; });
  return device->error;
}

CUresult submit(const std::shared_ptr<Stream>& stream, Work work, bool wait) {
  if (stream->capture == nullptr) {
    if (CUresult error = enqueue(stream, {}, std::move(work))) return error;
    return wait ? run_until({stream, stream->end()}) : CUDA_SUCCESS;
  }
  Capture* capture = stream->capture.get();
  if (capture->invalid) return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
  if (wait) return invalidate(capture, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
  capture->graph->nodes.push_back({stream->frontier, std::move(work)});
  stream->frontier = {capture->graph->nodes.size() - 1};
  return CUDA_SUCCESS;
}

CUresult record_event(Event* event, const std::shared_ptr<Stream>& stream) {
  if (stream->capture != nullptr) {
    if (stream->capture->invalid) return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
    event->capture = stream->capture;
    event->frontier = stream->frontier;
    return CUDA_SUCCESS;
  }
  auto record = std::make_shared<Event::Record>();
  CUresult error = enqueue(stream, {}, [record] {
    record->milliseconds = now_milliseconds();
    return CUDA_SUCCESS;
  });
  if (error != CUDA_SUCCESS) return error;
  event->capture = nullptr;
  event->record = record;
  event->position = {stream, stream->end()};
  return CUDA_SUCCESS;
}

CUresult wait_event(const std::shared_ptr<Stream>& stream, const Event& event) {
  if (event.capture != nullptr) {
    if (stream->capture == nullptr) {  // joins the capture
      if (stream == stream->device->null_stream) {
        return invalidate(event.capture.get(), CUDA_ERROR_STREAM_CAPTURE_IMPLICIT);
      }
      stream->capture = event.capture;
      stream->frontier.clear();
    } else if (stream->capture != event.capture) {
      return invalidate(stream->capture.get(), CUDA_ERROR_STREAM_CAPTURE_ISOLATION);
    }
    if (event.capture->invalid) return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
    for (size_t node : event.frontier) {
      auto& frontier = stream->frontier;
      if (std::find(frontier.begin(), frontier.end(), node) == frontier.end()) {
        frontier.push_back(node);
      }
    }
    return CUDA_SUCCESS;
  }
  if (stream->capture != nullptr) {
    return invalidate(stream->capture.get(), CUDA_ERROR_STREAM_CAPTURE_ISOLATION);
  }
  if (is_done(event.position)) return stream->device->error;
  return enqueue(stream, {event.position}, [] { return CUDA_SUCCESS; });
}

CUresult begin_capture(const std::shared_ptr<Stream>& stream, int mode) {
  if (mode < CU_STREAM_CAPTURE_MODE_GLOBAL || mode > CU_STREAM_CAPTURE_MODE_RELAXED) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  if (stream->device->error != CUDA_SUCCESS) return stream->device->error;
  if (stream == stream->device->null_stream) return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
  if (stream->capture != nullptr) return CUDA_ERROR_INVALID_VALUE;
  stream->capture = std::make_shared<Capture>();
  stream->capture->graph = std::make_shared<Graph>();
  stream->capture->origin = stream.get();
  stream->capture->mode = mode;
  stream->capture->thread = std::this_thread::get_id();
  stream->frontier.clear();
  captures.push_back(stream->capture);
  return CUDA_SUCCESS;
}

CUresult end_capture(Stream* stream, std::shared_ptr<Graph>* graph) {
  std::shared_ptr<Capture> capture = stream->capture;
  if (capture == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (capture->origin != stream) return CUDA_ERROR_STREAM_CAPTURE_UNMATCHED;
  if (capture->mode != CU_STREAM_CAPTURE_MODE_RELAXED &&
      capture->thread != std::this_thread::get_id()) {
    return CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD;
  }
  // Every node must lead to what the origin would wait for next.
  std::vector<bool> joined(capture->graph->nodes.size());
  for (size_t node : stream->frontier) joined[node] = true;
  for (size_t node = joined.size(); node-- > 0;) {
    if (!joined[node]) continue;
    for (size_t before : capture->graph->nodes[node].after) joined[before] = true;
  }
  for (const auto& other : stream->device->streams) {
    if (other->capture == capture) other->capture = nullptr;
  }
  std::erase_if(captures, [&](const auto& other) {
    auto live = other.lock();
    return live == nullptr || live == capture;
  });
  if (capture->invalid) return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
  if (std::find(joined.begin(), joined.end(), false) != joined.end()) {
    return CUDA_ERROR_STREAM_CAPTURE_UNJOINED;
  }
  *graph = capture->graph;
  return CUDA_SUCCESS;
}

CUresult check_unsafe_call() {
  if (thread_capture_mode == CU_STREAM_CAPTURE_MODE_RELAXED) return CUDA_SUCCESS;
  for (const auto& weak : captures) {
    std::shared_ptr<Capture> capture = weak.lock();
    if (capture == nullptr) continue;
    bool here = capture->thread == std::this_thread::get_id() &&
                capture->mode != CU_STREAM_CAPTURE_MODE_RELAXED;
    bool anywhere = capture->mode == CU_STREAM_CAPTURE_MODE_GLOBAL &&
                    thread_capture_mode == CU_STREAM_CAPTURE_MODE_GLOBAL;
    if (here || anywhere) {
      return invalidate(capture.get(), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    }
  }
  return CUDA_SUCCESS;
}

std::vector<Work> executable_order(const Graph& graph) {
  std::vector<size_t> missing(graph.nodes.size());
  std::vector<std::vector<size_t>> followers(graph.nodes.size());
  std::vector<size_t> ready;
  for (size_t node = 0; node < graph.nodes.size(); ++node) {
    missing[node] = graph.nodes[node].after.size();
    for (size_t before : graph.nodes[node].after) followers[before].push_back(node);
    if (missing[node] == 0) ready.push_back(node);
  }
  std::vector<Work> order;
  while (!ready.empty()) {
    size_t node = ready.back();  // the latest: unlike the order of capture where that is legal
    ready.pop_back();
    order.push_back(graph.nodes[node].work);
    for (size_t follower : followers[node]) {
      if (--missing[follower] == 0) ready.push_back(follower);
    }
  }
  return order;
}

}  // namespace emulated
