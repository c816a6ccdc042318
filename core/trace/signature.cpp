// What tells recordings and calls apart.
#include "tensor/copy.h"
#include "trace/control.h"

namespace flambeau {

namespace {

// Appends fields as bytes; lengths come first, so that no two sequences look alike.
class Writer {
 public:
  explicit Writer(std::string& bytes) : bytes_(bytes) {}
  template <class T>
    requires std::is_trivially_copyable_v<T>
  void put(const T& value) {
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof(value));
  }
  void put(const Dims& dims) {
    put(dims.size());
    for (int64_t d : dims) put(d);
  }
  void put(Scalar number) {
    put(number.kind);
    put(number.integer);
  }
  void put(const RecordedValue& value) {
    put(value.buffer);
    if (value.buffer < 0) return;
    put(value.shape);
    put(value.strides);
    put(value.offset);
    put(value.dtype);
  }
  void put(const void* data, size_t bytes) {
    put(bytes);
    bytes_.append(static_cast<const char*>(data), bytes);
  }

 private:
  std::string& bytes_;
};

}  // namespace

std::string RecordedCall::key() const {
  std::string bytes;
  Writer writer(bytes);
  writer.put(primitive);
  writer.put(program.get());
  writer.put(dtype);
  writer.put(in_place);
  writer.put(attributes.ints);
  writer.put(attributes.more_ints);
  for (Scalar number : attributes.scalars) writer.put(number);
  writer.put(attributes.dtype);
  writer.put(attributes.flag);
  if (auto* control = dynamic_cast<const Control*>(attributes.object.get())) {
    const std::string& signature = control->plan().signature;
    writer.put(signature.data(), signature.size());
  } else {
    writer.put(attributes.object.get());
  }
  for (const RecordedInput& input : inputs) {
    writer.put(input.kind);
    if (input.kind == RecordedInput::Kind::Number) writer.put(input.number);
    if (input.kind == RecordedInput::Kind::Slot) writer.put(input.slot);
  }
  return bytes;
}

std::string Recording::signature() const {
  std::string bytes;
  Writer writer(bytes);
  for (const RecordedBuffer& buffer : buffers) {
    writer.put(buffer.kind);
    writer.put(buffer.index);
    writer.put(buffer.bytes);
    if (buffer.kind == BufferKind::Captured && !is_part_) writer.put(buffer.storage.get());
    if (buffer.kind == BufferKind::Gradient) writer.put(buffer.tensor.get());
    if (buffer.kind == BufferKind::Constant) {
      const Storage& contents = *(buffer.written ? buffer.tensor->storage() : buffer.storage);
      auto host = Storage::create(contents.bytes());
      copy_bytes(*host, 0, contents, 0, contents.bytes());
      writer.put(host->data(), host->bytes());
    }
  }
  for (const RecordedCallRef& call : calls) {
    std::string key = call->key();
    writer.put(key.data(), key.size());
    for (const RecordedInput& input : call->inputs) writer.put(input.value);
    for (const RecordedValue& output : call->outputs) writer.put(output);
  }
  writer.put(backward_at);
  for (const RecordedValue& output : outputs) writer.put(output);
  for (const RecordedGradient& gradient : gradients) {
    writer.put(gradient.leaf.get());
    writer.put(gradient.value);
  }
  for (const TensorRef& leaf : without_gradient) writer.put(leaf.get());
  return bytes;
}

}  // namespace flambeau
