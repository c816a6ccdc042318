#include "trace/replay.h"

#include "cuda/math_settings.h"
#include "tensor/copy.h"
#include "trace/executable.h"

namespace flambeau {

// Forward, arguments are given at every run; backward, so is everything of the forward run that
// its caller may hold.
bool Executable::is_copied_in(const Buffer& buffer, bool backward) const {
  if (buffer.kind == BufferKind::Tangent) return backward;
  if (buffer.kind == BufferKind::Argument) return !backward || buffer.needed;
  return backward && buffer.kind == BufferKind::Output && !buffer.backward && buffer.needed;
}

// Results of the part; gradients that stay bound are written where they are.
bool Executable::is_copied_out(int number, bool backward) const {
  const Buffer& buffer = buffers_[number];
  if (buffer.kind != BufferKind::Output || buffer.backward != backward) return false;
  for (auto& [leaf, value] : interface_.gradients) {
    if (value >= 0 && values_[value].buffer == number) return false;
  }
  return true;
}

bool Executable::can_be_captured(bool backward) const {
  const size_t begin = backward ? backward_at_ : 0, end = backward ? steps_.size() : backward_at_;
  if (begin == end) return false;
  for (size_t i = begin; i < end; ++i) {
    if (!steps_[i]->can_be_captured()) return false;
  }
  for (const Buffer& buffer : buffers_) {
    if (buffer.written && is_copied_in(buffer, backward)) return false;
  }
  return true;
}

std::vector<std::string> Executable::not_capturable() const {
  std::vector<std::string> labels;
  for (const auto& step : steps_) {
    if (!step->can_be_captured()) labels.push_back(step->label);
  }
  return labels;
}

// What the graph reads and writes where.
void Executable::choose_memory(CapturedPart& part, bool backward) {
  part.in.clear();
  part.out.clear();
  part.fixed.clear();
  for (int number = 0; number < static_cast<int>(buffers_.size()); ++number) {
    Buffer& buffer = buffers_[number];
    const bool in = is_copied_in(buffer, backward), out = is_copied_out(number, backward);
    if (in || out) {
      size_t bytes = 0;  // that values of it reach
      for (int id : buffer.values) {
        const Value& value = values_[id];
        const Tensor& tensor = *value.tensor;
        int64_t last = value.offset;
        for (int64_t d = 0; d < tensor.dim(); ++d) last += (tensor.size(d) - 1) * tensor.stride(d);
        if (tensor.numel() == 0) continue;
        bytes = std::max(bytes, static_cast<size_t>(last + 1) * item_size(tensor.dtype()));
      }
      CapturedPart::Copied copied{number, Storage::create(bytes, device_), bytes};
      (in ? part.in : part.out).push_back(std::move(copied));
      continue;
    }
    const bool used = backward ? buffer.backward || buffer.needed
                               : !buffer.backward && buffer.kind != BufferKind::Tangent;
    if (used && buffer.storage && buffer.storage->bytes()) {
      part.fixed.push_back({number, buffer.storage->data() + buffer.root});
    }
  }
  part.numbers = Tensor::empty({std::max(interface_.slots, 1)}, DType::Float64, device_);
}

void Executable::capture(CapturedPart& part, bool backward) {
  choose_memory(part, backward);
  struct Place {
    int buffer;
    Ref<Storage> storage;
    int64_t root;
  };
  std::vector<Place> places;
  for (auto* list : {&part.in, &part.out}) {
    for (const CapturedPart::Copied& copied : *list) {
      Buffer& buffer = buffers_[copied.buffer];
      places.push_back({copied.buffer, buffer.storage, buffer.root});
      move_buffer(buffer, copied.own, 0);
    }
  }
  auto graph = Ref<cuda::Graph>::adopt(new cuda::Graph(device_.index));
  const Ref<cuda::Stream> before = cuda::current_stream_object(device_.index);
  part.stream = before->handle();
  const Ref<cuda::Stream> stream = cuda::Stream::create(device_.index);
  bool begun = false;
  try {
    cuda::set_current_stream(stream);
    graph->begin(stream);
    begun = true;
    const size_t begin = backward ? backward_at_ : 0;
    const size_t end = backward ? steps_.size() : backward_at_;
    KernelMode scope;
    for (size_t i = begin; i < end; ++i) steps_[i]->capture(part.numbers);
    begun = false;
    graph->end();
    part.graph = std::move(graph);
  } catch (const std::exception&) {  // it is run step by step then
    if (begun) graph->abandon();
    part.possible = false;
  }
  cuda::set_current_stream(before);
  for (Place& place : places) move_buffer(buffers_[place.buffer], place.storage, place.root);
}

bool Executable::replay(bool backward, std::span<const double> numbers) {
  CapturedPart& part = captured_[backward];
  if (cuda::capturing()) return false;
  if (part.settings != cuda::math_settings.changes) {
    part.graph.reset();
    part.runs = 0;
    part.possible = true;
    part.settings = cuda::math_settings.changes;
  }
  if (!part.possible) return false;
  if (!part.graph) {
    if (part.runs == 0) part.possible = can_be_captured(backward);
    if (part.runs++ < CapturedPart::kRunsBefore || !part.possible) return false;
    part.possible = part.captures++ < CapturedPart::kMostCaptures;
    if (part.possible) capture(part, backward);
    if (!part.possible) return false;
  }
  for (const CapturedPart::Fixed& fixed : part.fixed) {
    const Buffer& buffer = buffers_[fixed.buffer];
    if (buffer.storage->data() + buffer.root == fixed.address) continue;
    if (++part.misses > CapturedPart::kMostMisses) {
      part.graph.reset();
      part.runs = part.misses = 0;
    }
    return false;
  }
  part.misses = 0;
  for (const CapturedPart::Copied& copied : part.in) {
    const Buffer& buffer = buffers_[copied.buffer];
    copy_bytes(*copied.own, 0, *buffer.storage, static_cast<size_t>(buffer.root), copied.bytes);
  }
  if (!numbers.empty()) {
    auto host = Tensor::empty(part.numbers->shape(), DType::Float64);
    std::copy(numbers.begin(), numbers.end(), host->data<double>());
    copy(*part.numbers, *host);
  }
  part.graph->replay();
  for (const CapturedPart::Copied& copied : part.out) {
    const Buffer& buffer = buffers_[copied.buffer];
    copy_bytes(*buffer.storage, static_cast<size_t>(buffer.root), *copied.own, 0, copied.bytes);
  }
  if (cuda::current_stream(device_.index) != part.stream) record_uses(part);
  return true;
}

// Memory of the part is used by another stream than it was made on.
void Executable::record_uses(const CapturedPart& part) const {
  const cuda::StreamHandle stream = cuda::current_stream(device_.index);
  for (auto* list : {&part.in, &part.out}) {
    for (const CapturedPart::Copied& copied : *list) {
      cuda::record_use(copied.own->data(), device_.index, stream);
    }
  }
  cuda::record_use(part.numbers->storage()->data(), device_.index, stream);
}

}  // namespace flambeau
