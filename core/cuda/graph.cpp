#include "cuda/graph.h"

#include "base/error.h"

namespace flambeau::cuda {

static thread_local int captures = 0;

bool capturing() { return captures > 0; }

Graph::~Graph() {
  if (stream_) abandon();
  if (executable_) driver().graph_executable_destroy(executable_);
}

void Graph::begin(const Stream& stream) {
  require(stream.handle(),
          "cuda graph: work of the default stream cannot be captured; use "
          "torch.cuda.stream(torch.cuda.Stream())");
  require(!executable_ && !stream_, "cuda graph: it was captured already; make another one");
  use(device_);
  // Memory may be asked for meanwhile; waiting for the captured stream is an error all the same.
  constexpr int kRelaxed = 2;
  check(driver().begin_capture(stream.handle(), kRelaxed), "cuStreamBeginCapture");
  stream_ = stream.handle();
  memory_.begin();
  ++captures;
}

void Graph::end() {
  memory_.end();
  --captures;
  GraphHandle graph = nullptr;
  const int result = driver().end_capture(std::exchange(stream_, nullptr), &graph);
  require(result == kSuccess && graph, "cuda graph: the capture failed (error ", result,
          "): something in it waits for the GPU or copies to the host, such as item() or print; "
          "do that outside");
  const int made = driver().graph_instantiate(&executable_, graph, 0);
  driver().graph_destroy(graph);
  check(made, "cuGraphInstantiate");
}

void Graph::abandon() {
  memory_.end();
  --captures;
  GraphHandle graph = nullptr;
  driver().end_capture(std::exchange(stream_, nullptr), &graph);
  if (graph) driver().graph_destroy(graph);
}

void Graph::replay() const {
  require(executable_, "cuda graph: it has not been captured yet");
  use(device_);
  check(driver().graph_launch(executable_, current_stream(device_)), "cuGraphLaunch");
}

}  // namespace flambeau::cuda
