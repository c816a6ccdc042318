#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "cuda_types.h"

// Note [Deferred work]: a call that gives work to a stream only appends to its queue. Work is
// executed, on the calling thread, when somebody waits for it: then the stream's queue is run up
// to that point, and before each item whatever other streams it waits for. Host code that
// forgets to wait, or that frees or overwrites memory too early, is thereby found out.
// All state is guarded by one lock (Driver::lock).

namespace emulated {

using Work = std::function<CUresult()>;

struct Stream;
struct Graph;

// "All that was given to `stream` before its item number `count`."
struct Position {
  std::shared_ptr<Stream> stream;
  unsigned long long count = 0;
};

// A capture in progress; shared by the streams that take part.
struct Capture {
  std::shared_ptr<Graph> graph;
  Stream* origin = nullptr;
  int mode = 0;
  std::thread::id thread;
  bool invalid = false;
};

struct Device {
  int index = 0;
  unsigned retained = 0;
  std::shared_ptr<Stream> null_stream;
  std::vector<std::shared_ptr<Stream>> streams;  // destroyed ones too until they have run
  std::map<std::thread::id, std::shared_ptr<Stream>> thread_streams;  // per-thread default streams
  CUresult error = CUDA_SUCCESS;  // once set, the context is unusable

  const std::shared_ptr<Stream>& stream_of_thread();
};

struct Stream {
  struct Item {
    std::vector<Position> after;
    Work work;
  };
  Device* device = nullptr;
  bool blocking = true;
  int priority = 0;
  bool destroyed = false;
  std::deque<Item> queue;
  unsigned long long done = 0;  // items executed; those in `queue` are numbered from here
  std::shared_ptr<Capture> capture;
  std::vector<size_t> frontier;  // nodes of the graph that the next one depends on

  unsigned long long end() const { return done + queue.size(); }
};

struct Event {
  struct Record {
    double milliseconds = 0;
  };
  Device* device = nullptr;
  bool timed = true;
  Position position;               // of the last recording; no stream: never recorded
  std::shared_ptr<Record> record;  // filled in when that is executed
  std::shared_ptr<Capture> capture;
  std::vector<size_t> frontier;
};

struct Graph {
  struct Node {
    std::vector<size_t> after;
    Work work;
  };
  std::vector<Node> nodes;
};

// Gives work to a stream: queued, recorded if the stream is capturing, or refused. `wait` ends
// only when it has been executed (and with the error of the execution).
CUresult submit(const std::shared_ptr<Stream>& stream, Work work, bool wait = false);
CUresult run_until(const Position& position);
CUresult run_device(Device* device);
void run_one(Stream* stream);

CUresult record_event(Event* event, const std::shared_ptr<Stream>& stream);
CUresult wait_event(const std::shared_ptr<Stream>& stream, const Event& event);

CUresult begin_capture(const std::shared_ptr<Stream>& stream, int mode);
CUresult end_capture(Stream* stream, std::shared_ptr<Graph>* graph);
// The error of a call that CUDA holds for unsafe while something is being captured. It also makes
// the capture invalid.
CUresult check_unsafe_call();
// Of cuThreadExchangeStreamCaptureMode.
extern thread_local int thread_capture_mode;
// The graph's work in an order that its dependencies permit, other than the captured one.
std::vector<Work> executable_order(const Graph& graph);

}  // namespace emulated
