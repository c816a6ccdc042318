// Streams, events and graphs of GPUs for flambeau/cuda.
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>

#include "cuda/allocator.h"
#include "cuda/graph.h"
#include "python/bind_cuda.h"

namespace nb = nanobind;

namespace flambeau::python {

namespace {

struct StreamObject {
  Ref<cuda::Stream> stream;
};
struct EventObject {
  Ref<cuda::Event> event;
};
struct GraphObject {
  Ref<cuda::Graph> graph;
};

int64_t number_of(const void* handle) { return reinterpret_cast<intptr_t>(handle); }
// CUDA has two names for the default stream, 0 and 1.
cuda::StreamHandle handle_of(int64_t number) {
  return reinterpret_cast<cuda::StreamHandle>(number == 1 ? 0 : number);
}

void bind_stream(nb::module_& module) {
  nb::class_<StreamObject> type(module, "CudaStream", "An ordered queue of work on a GPU.");
  type.def("__init__", [](StreamObject* self, int device, int priority) {
    translated(
        [&] { new (self) StreamObject{cuda::Stream::create(checked_gpu(device), priority)}; });
  });
  type.def_static("default_of", [](int device) {
    return translated([&] { return StreamObject{cuda::Stream::default_of(checked_gpu(device))}; });
  });
  type.def_static("current_of", [](int device) {
    return translated(
        [&] { return StreamObject{cuda::current_stream_object(checked_gpu(device))}; });
  });
  type.def_static("external", [](int device, int64_t handle) {
    return translated([&] {
      return StreamObject{cuda::Stream::external(checked_gpu(device), handle_of(handle))};
    });
  });
  type.def("make_current", [](const StreamObject& self) { cuda::set_current_stream(self.stream); });
  type.def_prop_ro("device", [](const StreamObject& self) { return self.stream->device(); });
  type.def_prop_ro("priority", [](const StreamObject& self) { return self.stream->priority(); });
  type.def_prop_ro("handle",
                   [](const StreamObject& self) { return number_of(self.stream->handle()); });
  type.def("query", [](const StreamObject& self) {
    return translated([&] { return self.stream->done(); });
  });
  type.def("synchronize", [](const StreamObject& self) {
    translated([&] {
      WithoutGil others;
      self.stream->synchronize();
    });
  });
  module.def("cuda_stream_priorities", [](int device) {
    return translated([&] { return cuda::stream_priorities(checked_gpu(device)); });
  });
  module.def("cuda_order_streams", [](int device, int64_t earlier, int64_t later) {
    translated(
        [&] { cuda::order_streams(checked_gpu(device), handle_of(earlier), handle_of(later)); });
  });
  module.def("cuda_record_stream", [](nb::handle tensor, const StreamObject& stream) {
    translated([&] {
      TensorRef x = tensor_in("record_stream", tensor);
      require(!x->device().is_cpu(), "record_stream: a tensor on a GPU is required, got one on ",
              device_name(x->device()));
      if (x->storage()->bytes() == 0) return;
      cuda::record_use(x->storage()->data(), x->device().index, stream.stream->handle());
    });
  });
}

void bind_event(nb::module_& module) {
  nb::class_<EventObject> type(module, "CudaEvent", "A mark in a stream.");
  type.def("__init__", [](EventObject* self, bool timing, bool blocking) {
    new (self) EventObject{Ref<cuda::Event>::adopt(new cuda::Event(timing, blocking))};
  });
  type.def("record", [](const EventObject& self, const StreamObject& stream) {
    translated([&] { self.event->record(*stream.stream); });
  });
  type.def("wait", [](const EventObject& self, const StreamObject& stream) {
    translated([&] { self.event->wait(*stream.stream); });
  });
  type.def("query",
           [](const EventObject& self) { return translated([&] { return self.event->done(); }); });
  type.def("synchronize", [](const EventObject& self) {
    translated([&] {
      WithoutGil others;
      self.event->synchronize();
    });
  });
  type.def("elapsed_time", [](const EventObject& self, const EventObject& end) {
    return translated([&] { return self.event->milliseconds_until(*end.event); });
  });
  type.def_prop_ro("device", [](const EventObject& self) { return self.event->device(); });
  type.def_prop_ro("handle",
                   [](const EventObject& self) { return number_of(self.event->handle()); });
}

void bind_graph(nb::module_& module) {
  nb::class_<GraphObject> type(module, "CudaGraph", "Work that is queued again as a whole.");
  type.def("__init__", [](GraphObject* self, int device) {
    translated([&] {
      new (self) GraphObject{Ref<cuda::Graph>::adopt(new cuda::Graph(checked_gpu(device)))};
    });
  });
  type.def("begin", [](const GraphObject& self, const StreamObject& stream) {
    translated([&] { self.graph->begin(stream.stream); });
  });
  type.def("end", [](const GraphObject& self) { translated([&] { self.graph->end(); }); });
  type.def("abandon", [](const GraphObject& self) { self.graph->abandon(); });
  type.def("replay", [](const GraphObject& self) { translated([&] { self.graph->replay(); }); });
  type.def_prop_ro("ready", [](const GraphObject& self) { return self.graph->ready(); });
  module.def("cuda_capturing", &cuda::capturing);
}

}  // namespace

void bind_cuda_streams(nb::module_& module) {
  bind_stream(module);
  bind_event(module);
  bind_graph(module);
}

}  // namespace flambeau::python
