#include "cuda/graph.h"

#include "base/error.h"

namespace flambeau::cuda {

static thread_local int captures = 0;

bool capturing() { return captures > 0; }

Graph::~Graph() {
  if (forked()) return;
  abandon();
  if (executable_) driver().graph_executable_destroy(executable_);
  drop_draws();
}

void Graph::drop_draws() {
  draws_.reset();
  if (draws_memory_) deallocate(std::exchange(draws_memory_, nullptr), device_);
}

void Graph::begin(Ref<Stream> stream) {
  require(stream->handle(),
          "cuda graph: work of the default stream cannot be captured; use "
          "torch.cuda.stream(torch.cuda.Stream())");
  require(!executable_ && !stream_, "cuda graph: it was captured already; make another one");
  use(device_);
  draws_memory_ = allocate(GraphDraws::kBytes, device_);
  draws_ = std::make_unique<GraphDraws>(static_cast<const uint64_t*>(draws_memory_));
  // Memory may be asked for meanwhile; waiting for the captured stream is an error all the same.
  constexpr int kRelaxed = 2;
  check(driver().begin_capture(stream->handle(), kRelaxed), "cuStreamBeginCapture");
  stream_ = std::move(stream);
  memory_.begin();
  draws_->begin();
  ++captures;
}

void Graph::end() {
  require(stream_, "cuda graph: nothing is being captured; call capture_begin() first");
  draws_->end();
  memory_.end();
  --captures;
  GraphHandle graph = nullptr;
  const int result = driver().end_capture(std::exchange(stream_, nullptr)->handle(), &graph);
  require(result == kSuccess && graph, "cuda graph: the capture failed (error ", result,
          "): something in it waits for the GPU or copies to the host, such as item() or print; "
          "do that outside");
  const int made = driver().graph_instantiate(&executable_, graph, 0);
  driver().graph_destroy(graph);
  check(made, "cuGraphInstantiate");
}

void Graph::abandon() {
  if (!stream_) return;
  draws_->end();
  memory_.end();
  --captures;
  GraphHandle graph = nullptr;
  driver().end_capture(std::exchange(stream_, nullptr)->handle(), &graph);
  if (graph) driver().graph_destroy(graph);
}

void Graph::replay() {
  require(executable_, "cuda graph: it has not been captured yet");
  use(device_);
  const StreamHandle stream = current_stream(device_);
  if (const std::vector<uint64_t> words = draws_->next_run(); !words.empty()) {
    record_use(draws_memory_, device_, stream);
    // Not pinned, so the driver has made a copy of its own when it returns.
    check(driver().copy_to_device(reinterpret_cast<DevicePointer>(draws_memory_), words.data(),
                                  words.size() * sizeof(uint64_t), stream),
          "cuMemcpyHtoDAsync");
  }
  check(driver().graph_launch(executable_, stream), "cuGraphLaunch");
}

}  // namespace flambeau::cuda
