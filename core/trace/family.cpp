#include "trace/family.h"

#include <set>

#include "ops/views.h"
#include "tensor/copy.h"
#include "trace/portable.h"
#include "trace/size_line.h"

namespace flambeau {

namespace {

// A tensor of this layout without memory.
TensorRef layout(const RecordedValue& value) {
  static const Ref<Storage> nowhere = Storage::create(0);
  return Tensor::view(nowhere, value.shape, value.strides, value.offset, value.dtype);
}

// One past the last element that it reaches.
int64_t end_of(const Tensor& x) {
  int64_t last = x.offset();
  for (int64_t d = 0; d < x.dim(); ++d) last += (x.size(d) - 1) * x.stride(d);
  return x.numel() ? last + 1 : x.offset();
}

// Which neighbouring dimensions can be merged, how strides compare, and whether elements share
// memory.
std::vector<bool> merges(const RecordedValue& value) {
  std::vector<bool> found{elements_meet(value.shape, value.strides)};
  int64_t inner = 1;  // the stride that can be merged
  for (int64_t d = value.shape.size() - 1; d >= 0; --d) {
    if (value.shape[d] == 1) continue;
    found.push_back(value.strides[d] == inner);
    inner = value.shape[d] * value.strides[d];
    for (int64_t e = 0; e < d; ++e) found.push_back(value.strides[e] > value.strides[d]);
  }
  return found;
}

// The batch sizes of two recordings: the leading lengths in which their arguments differ.
std::pair<int64_t, int64_t> batches_of(const Recording& first, const Recording& second) {
  require(first.root_values.size() == second.root_values.size(), "it has other arguments");
  int64_t before = 0, after = 0;
  for (size_t i = 0; i < first.root_values.size(); ++i) {
    const RecordedValue &a = first.root_values[i], &b = second.root_values[i];
    const bool is_argument = first.buffers[a.buffer].kind == BufferKind::Argument;
    if (!is_argument || a.shape == b.shape) continue;
    require(a.shape.size() == b.shape.size(), "it has other arguments");
    require(!before || (a.shape[0] == before && b.shape[0] == after),
            "its arguments have different leading lengths");
    before = a.shape[0];
    after = b.shape[0];
  }
  require(before >= 2 && after >= 2 && before != after, "there are not two batch sizes above one");
  return {before, after};
}

// A constant's bytes, where the CPU can read them.
Ref<Storage> contents_of(const RecordedBuffer& constant) {
  const Ref<Storage>& own = constant.written ? constant.tensor->storage() : constant.storage;
  if (own->device().is_cpu()) return own;
  auto host = Storage::create(own->bytes());
  copy_bytes(*host, 0, *own, 0, own->bytes());
  return host;
}

// Fills memory with the element of `size` bytes that both consist of, if they do.
bool repeat(std::string_view a, std::string_view b, size_t size, Storage& made) {
  for (std::string_view all : {a, b}) {
    bool repeats = all.size() >= 2 * size && all.size() % size == 0 &&
                   all.substr(size) == all.substr(0, all.size() - size);
    if (!repeats) return false;
  }
  for (size_t at = 0; at < made.bytes(); at += size) std::memcpy(made.data() + at, b.data(), size);
  return a.substr(0, size) == b.substr(0, size);
}

// Makes the recording of one batch size (Note [Families]).
class Member {
 public:
  Member(const Recording& first, const Recording& second, const SizeLine& line)
      : first_(first), second_(second), line_(line), made_(Recording::blank()) {}

  Ref<Recording> make(std::span<const TensorRef> arguments) {
    check_alike();
    for (size_t i = 0; i < second_.buffers.size(); ++i) add_buffer(i, arguments);
    for (size_t i = 0; i < second_.root_values.size(); ++i) {
      const RecordedValue &a = first_.root_values[i], &b = second_.root_values[i];
      made_->root_values.push_back(value(a, b));
      learn(a, b);
    }
    size_t next = 0;
    for (size_t i = 0; i <= second_.calls.size(); ++i) {
      for (; next < second_.views.size() && second_.views[next].before == i; ++next) {
        check_view(first_.views[next], second_.views[next]);
      }
      if (i < second_.calls.size()) add_call(*first_.calls[i], *second_.calls[i]);
    }
    for (size_t i = 0; i < second_.outputs.size(); ++i) {
      made_->outputs.push_back(read(first_.outputs[i], second_.outputs[i]));
    }
    for (size_t i = 0; i < second_.gradients.size(); ++i) {
      add_gradient(first_.gradients[i], second_.gradients[i]);
    }
    made_->without_gradient = second_.without_gradient;
    made_->numbers_are_slots = second_.numbers_are_slots;
    made_->slot_count = second_.slot_count;
    made_->device = second_.device;
    made_->backward_at = second_.backward_at;
    return std::move(made_);
  }

 private:
  void check_alike() const {
    bool alike = first_.buffers.size() == second_.buffers.size() &&
                 first_.root_values.size() == second_.root_values.size() &&
                 first_.calls.size() == second_.calls.size() &&
                 first_.views.size() == second_.views.size() &&
                 first_.outputs.size() == second_.outputs.size() &&
                 first_.gradients.size() == second_.gradients.size() &&
                 first_.without_gradient == second_.without_gradient &&
                 first_.slot_count == second_.slot_count &&
                 first_.backward_at == second_.backward_at && first_.tracks_sizes &&
                 second_.tracks_sizes && first_.failure.empty() && second_.failure.empty();
    require(alike, "it consists of other calls");
  }

  void add_buffer(size_t i, std::span<const TensorRef> arguments) {
    const RecordedBuffer &a = first_.buffers[i], &b = second_.buffers[i];
    require(a.kind == b.kind && a.index == b.index && a.written == b.written,
            "it uses other memory");
    RecordedBuffer buffer{b.kind, b.index, b.bytes, b.tensor, b.storage, b.written, nullptr};
    int64_t bytes = static_cast<int64_t>(b.bytes);
    switch (b.kind) {
      case BufferKind::Argument: {
        const TensorRef& argument = arguments[b.index];
        buffer.tensor = argument;
        buffer.bytes = argument->storage()->bytes();
        bytes = end_of(*argument) - argument->offset();
        bytes *= item_size(argument->dtype());
        break;
      }
      case BufferKind::Captured:
        require(a.storage == b.storage && b.storage == b.tensor->storage() && a.bytes == b.bytes &&
                    b.storage->bytes() == b.bytes,
                "a tensor that it uses has been replaced");
        break;
      case BufferKind::Gradient:
        require(a.tensor == b.tensor && a.bytes == b.bytes, "it uses other gradients");
        break;
      case BufferKind::Constant:
        bytes = add_contents(a, b, buffer);
        break;
      default:
        bytes = line_.at(a.bytes, b.bytes);
        buffer.bytes = bytes;
    }
    made_->buffers.push_back(std::move(buffer));
    bytes_.push_back(bytes);
  }

  // A constant is the same for all batch sizes, or all its elements are.
  int64_t add_contents(const RecordedBuffer& a, const RecordedBuffer& b, RecordedBuffer& buffer) {
    const Ref<Storage> before = contents_of(a), after = contents_of(b);
    const std::string_view from{before->data(), before->bytes()};
    const std::string_view to{after->data(), after->bytes()};
    if (from == to) return b.bytes;
    DType dtype = b.tensor->dtype();
    int64_t bytes = line_.at(from.size(), to.size());
    auto storage = Storage::create(bytes);
    size_t size = b.written ? sizeof(double) : item_size(dtype);
    require(bytes > 0 && bytes % size == 0 && repeat(from, to, size, *storage),
            "it uses a constant that depends on the batch size");
    buffer.bytes = bytes;
    if (!second_.device.is_cpu()) {
      auto placed = Storage::create(bytes, second_.device);
      copy_bytes(*placed, 0, *storage, 0, bytes);
      storage = std::move(placed);
    }
    buffer.tensor = Tensor::view(storage, {bytes / item_size(dtype)}, {1}, 0, dtype);
    buffer.storage = std::move(storage);
    return bytes;
  }

  // --- values

  RecordedValue value(const RecordedValue& a, const RecordedValue& b) const {
    require(a.buffer == b.buffer && a.dtype == b.dtype, "it uses other memory");
    if (b.buffer < 0) return b;
    RecordedValue made{b.buffer, line_.at(a.shape, b.shape), line_.at(a.strides, b.strides),
                       line_.at(a.offset, b.offset), b.dtype};
    int moving = 0;
    int64_t last = made.offset;
    for (int64_t d = 0; d < made.shape.size(); ++d) {
      if (a.shape[d] != b.shape[d]) {
        ++moving;
        require(std::min({a.shape[d], b.shape[d], made.shape[d]}) >= 2, "a length becomes 0 or 1");
      }
      require(made.strides[d] >= 0, "a stride is negative");
      int64_t reach;
      bool far = __builtin_mul_overflow(made.shape[d] - 1, made.strides[d], &reach) ||
                 __builtin_add_overflow(last, reach, &last);
      require(!far, "a size is too large");
    }
    require(moving <= 1, "a tensor has two lengths that depend on the batch size");
    require(merges(a) == merges(b) && merges(b) == merges(made), "other dimensions can be merged");
    bool empty = count_elements(made.shape) == 0;
    require(made.offset >= 0 && (empty || last < bytes_[b.buffer] / item_size(b.dtype)),
            "a view leaves its memory");
    return made;
  }

  // What tells a tensor in both recordings; programs with rows may have moved its dimensions.
  using Key = std::vector<int64_t>;
  static Key key_of(const RecordedValue& a, const RecordedValue& b) {
    std::vector<std::array<int64_t, 4>> dims;
    for (int64_t d = 0; d < b.shape.size(); ++d) {
      if (a.shape[d] == 1 && b.shape[d] == 1) continue;
      dims.push_back({a.shape[d], a.strides[d], b.shape[d], b.strides[d]});
    }
    std::sort(dims.begin(), dims.end());
    Key key{b.buffer, static_cast<int64_t>(b.dtype), a.offset, b.offset};
    for (const auto& each : dims) key.insert(key.end(), each.begin(), each.end());
    return key;
  }
  void learn(const RecordedValue& a, const RecordedValue& b) { known_.insert(key_of(a, b)); }

  // A value that must be known, or be the same for all batch sizes.
  RecordedValue read(const RecordedValue& a, const RecordedValue& b) const {
    RecordedValue made = value(a, b);
    require(a == b || known_.count(key_of(a, b)), "it uses a view that was made out of sight");
    return made;
  }

  // --- views and calls

  Attributes attributes(const Attributes& a, const Attributes& b, bool is_view) const {
    bool alike = a.dtype == b.dtype && a.flag == b.flag && a.object == b.object;
    require(alike, "a call has other attributes");
    Attributes made(b);
    made.ints = line_.at(a.ints, b.ints);
    made.more_ints = line_.at(a.more_ints, b.more_ints);
    for (int i = 0; i < 4; ++i) {
      bool whole = a.scalars[i].kind == Scalar::Kind::Int && b.scalars[i].kind == a.scalars[i].kind;
      made.scalars[i] = is_view && whole
                            ? Scalar(line_.at(a.scalars[i].integer, b.scalars[i].integer))
                            : line_.number(a.scalars[i], b.scalars[i]);
    }
    return made;
  }

  void check_view(const RecordedView& a, const RecordedView& b) {
    require(a.primitive == b.primitive && a.before == b.before, "it consists of other calls");
    TensorRef inputs[] = {layout(read(a.input, b.input))};
    const Tensor& x = *inputs[0];
    Call call{*b.primitive, inputs, attributes(a.attributes, b.attributes, true)};
    const Dims& shape = call.attributes.ints;
    Dims strides;
    if (b.primitive == &view_primitive()) {
      bool possible = count_elements(shape) == x.numel() && view_strides(x, shape, strides);
      require(possible == (b.output.buffer >= 0), "a view becomes a copy or the other way");
      if (!possible) return;
      require(strides == call.attributes.more_ints, "a view is elsewhere");
    } else if (b.primitive == &expand_primitive()) {
      for (int64_t d = 1; d <= x.dim(); ++d) {
        int64_t length = x.size(x.dim() - d), goal = shape[shape.size() - d];
        int64_t stride = call.attributes.more_ints[shape.size() - d];
        require(length == goal ? goal == 1 || stride == x.stride(x.dim() - d)
                               : length == 1 && stride == 0,
                "a view is elsewhere");
      }
    }
    RecordedValue output = value(a.output, b.output);
    OutputSpec specs[kMaxOutputs];
    call.specs = specs;
    b.primitive->infer(call);
    require(specs[0].shape == output.shape && specs[0].strides == output.strides &&
                specs[0].offset == output.offset && specs[0].dtype == output.dtype,
            "a view is elsewhere");
    TensorRef made = layout(output);
    require(made->numel() == 0 || (made->offset() >= x.offset() && end_of(*made) <= end_of(x)),
            "a view leaves its tensor");
    learn(a.output, b.output);
  }

  void add_call(const RecordedCall& a, const RecordedCall& b) {
    bool alike = a.primitive == b.primitive && a.program == b.program && a.dtype == b.dtype &&
                 a.in_place == b.in_place && a.random == b.random &&
                 a.inputs.size() == b.inputs.size() && a.outputs.size() == b.outputs.size();
    require(alike, "it consists of other calls");
    auto call = RecordedCallRef::adopt(new RecordedCall);
    call->primitive = b.primitive;
    call->attributes = attributes(a.attributes, b.attributes, false);
    call->program = b.program;
    call->dtype = b.dtype;
    call->in_place = b.in_place;
    call->random = b.random;
    if (b.place.code) call->place = places.copy(b.place);
    for (size_t i = 0; i < b.inputs.size(); ++i) {
      const RecordedInput &x = a.inputs[i], &y = b.inputs[i];
      require(x.kind == y.kind && x.slot == y.slot, "a call has other inputs");
      RecordedInput input = y;
      if (y.kind == RecordedInput::Kind::Value) input.value = read(x.value, y.value);
      if (y.kind == RecordedInput::Kind::Number) input.number = line_.number(x.number, y.number);
      call->inputs.push_back(std::move(input));
    }
    for (size_t i = 0; i < b.outputs.size(); ++i) {
      call->outputs.push_back(value(a.outputs[i], b.outputs[i]));
    }
    if (!b.program) {
      check_kernel(*call);
    } else if (b.primitive) {
      check_program(*call);
    } else {
      check_update(*call);
    }
    for (size_t i = 0; i < b.outputs.size(); ++i) learn(a.outputs[i], b.outputs[i]);
    made_->calls.push_back(std::move(call));
  }

  static void check_kernel(const RecordedCall& call) {
    const Portable* entry = portable_of(*call.primitive);
    require(entry, call.name(), ": its shapes cannot be checked");
    TensorList inputs, outputs;
    for (const RecordedInput& input : call.inputs) {
      bool absent = input.kind != RecordedInput::Kind::Value;
      inputs.push_back(absent ? nullptr : layout(input.value));
    }
    for (const RecordedValue& output : call.outputs) outputs.push_back(layout(output));
    check_call(*entry, call.attributes, inputs, outputs);
  }

  // The outputs are what the inputs broadcast to; with rows, or one number per row.
  static void check_program(const RecordedCall& call) {
    Dims shape;
    for (const RecordedInput& input : call.inputs) {
      if (input.kind != RecordedInput::Kind::Value) continue;
      shape = broadcast_shapes(call.name(), shape, input.value.shape);
    }
    Dims rows = shape;
    if (call.program->has_rows && !rows.empty()) rows.back() = 1;
    for (const RecordedValue& output : call.outputs) {
      require(output.shape == shape || output.shape == rows, call.name(), ": its result has shape ",
              output.shape, ", not ", shape);
    }
  }

  static void check_update(const RecordedCall& call) {
    for (const RecordedInput& input : call.inputs) {
      bool fits =
          input.kind != RecordedInput::Kind::Value || input.value.shape == call.outputs[0].shape;
      require(fits, "update: its tensors have different shapes");
    }
  }

  void add_gradient(const RecordedGradient& a, const RecordedGradient& b) {
    require(a.leaf == b.leaf, "it leaves other gradients");
    RecordedGradient gradient{b.leaf, read(a.value, b.value), nullptr};
    bool fits = gradient.value.buffer < 0 || (gradient.value.shape == b.leaf->shape() &&
                                              gradient.value.dtype == b.leaf->dtype());
    require(fits, "a gradient has another shape than its tensor");
    made_->gradients.push_back(std::move(gradient));
  }

  const Recording &first_, &second_;
  const SizeLine& line_;
  Ref<Recording> made_;
  std::vector<int64_t> bytes_;  // by buffer: from where offsets count
  std::set<Key> known_;
};

}  // namespace

Ref<Family> Family::fit(const Ref<Recording>& first, const Ref<Recording>& second,
                        std::string& why) {
  try {
    auto family = Ref<Family>::adopt(new Family);
    family->first_ = first;
    family->second_ = second;
    std::tie(family->first_batch_, family->second_batch_) = batches_of(*first, *second);
    for (const RecordedBuffer& buffer : second->buffers) {
      family->requires_grad_.push_back(buffer.tensor && buffer.tensor->requires_grad());
    }
    // Both must follow from the rules, too.
    for (int64_t batch : {family->first_batch_, family->second_batch_}) {
      std::vector<TensorRef> arguments;
      for (const RecordedValue& root : second->root_values) {
        if (second->buffers[root.buffer].kind != BufferKind::Argument) continue;
        const RecordedValue& other = first->root_values[arguments.size()];
        const Dims& shape = batch == family->first_batch_ ? other.shape : root.shape;
        arguments.push_back(Tensor::view(Storage::create(0), shape, root.strides, 0, root.dtype));
      }
      SizeLine line(*first, *second, family->first_batch_, family->second_batch_, batch);
      Member(*first, *second, line).make(arguments);
    }
    return family;
  } catch (const Error& error) {
    why = error.what();
    return nullptr;
  }
}

Ref<Recording> Family::member(std::span<const TensorRef> arguments, std::string& why) const {
  try {
    int64_t batch = 0;
    size_t count = 0;
    for (const RecordedBuffer& buffer : second_->buffers) {
      count += buffer.kind == BufferKind::Argument;
    }
    require(arguments.size() == count, "it has other arguments");
    for (size_t i = 0; i < arguments.size(); ++i) {
      const RecordedValue &a = first_->root_values[i], &b = second_->root_values[i];
      const Tensor& x = *arguments[i];
      require(x.dim() == b.shape.size() && x.dtype() == b.dtype, "an argument is of another kind");
      if (!batch && !(a.shape == b.shape)) batch = x.size(0);
    }
    require(batch >= 2, "the batch size is ", batch);
    SizeLine line(*first_, *second_, first_batch_, second_batch_, batch);
    for (size_t i = 0; i < arguments.size(); ++i) {
      const RecordedValue &a = first_->root_values[i], &b = second_->root_values[i];
      bool fits = arguments[i]->shape() == line.at(a.shape, b.shape) &&
                  arguments[i]->strides() == line.at(a.strides, b.strides);
      require(fits, "an argument has another shape");
    }
    for (size_t i = 0; i < second_->buffers.size(); ++i) {
      const RecordedBuffer& buffer = second_->buffers[i];
      if (buffer.kind != BufferKind::Captured) continue;
      require(buffer.tensor->requires_grad() == requires_grad_[i],
              "a tensor that it uses requires a gradient or does so no more");
    }
    return Member(*first_, *second_, line).make(arguments);
  } catch (const Error& error) {
    why = error.what();
    return nullptr;
  }
}

}  // namespace flambeau
