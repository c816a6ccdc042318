// A recording: the calls of one run of a function, with the memory that they read and write.
//
// Note [Buffers and values]: a recorded call reads and writes values, which are strided views of
// buffers, which are blocks of memory. There are no view calls: a view is another value of the
// same buffer. In-place calls write into buffers that they may also read.
#pragma once

#include <string>
#include <unordered_map>
#include <vector>

#include "autograd/place.h"
#include "ops/pointwise.h"
#include "ops/sizes.h"
#include "random/generator.h"

namespace flambeau {

enum class BufferKind : uint8_t {
  Argument,  // memory of argument number `index`: another one at every call
  Captured,  // memory that existed before: parameters, global tensors
  Gradient,  // memory of .grad of `tensor`, a leaf, at entry
  Tangent,   // incoming gradient number `index` of the backward part
  Constant,  // made while recording, but by no recorded call; `tensor` holds the contents
  Internal,  // made by a recorded call
  Output,    // executables only: fresh at every run
  Saved,     // executables only: fresh at every run, kept for the backward part
};
const char* name_of(BufferKind kind);

struct RecordedBuffer {
  BufferKind kind;
  int index = -1;
  size_t bytes = 0;
  TensorRef tensor;
  Ref<Storage> storage;
  bool written = false;  // by a recorded call
  TensorRef before;      // its bytes before the first write (see keeps_state)
};

struct RecordedValue {
  int buffer = -1;  // -1: absent
  Dims shape;
  Dims strides;
  int64_t offset = 0;  // in elements; from the argument's first element for arguments and tangents
  DType dtype = DType::Float32;
  bool operator==(const RecordedValue&) const = default;
};

// What a call reads at one position.
struct RecordedInput {
  enum class Kind : uint8_t { None, Value, Number, Slot } kind = Kind::None;
  RecordedValue value;
  Scalar number;
  int slot = -1;  // the number is supplied at every run
};

class RecordedCall : public Object {
 public:
  const Primitive* primitive = nullptr;  // null: an update program (foreach_program)
  Attributes attributes;
  ProgramRef program;            // pointwise operators and updates; inputs align with its inputs
  DType dtype = DType::Float32;  // that the program computes in
  std::vector<RecordedInput> inputs;
  std::vector<RecordedValue> outputs;
  bool in_place = false;  // output 0 is input 0
  bool random = false;    // draws from a generator
  Place place;

  const char* name() const { return primitive ? primitive->name : "update"; }
  // Equal keys: equal computations on equal inputs.
  std::string key() const;
};
using RecordedCallRef = Ref<RecordedCall>;

// The .grad of a leaf after the run; no buffer: None.
struct RecordedGradient {
  TensorRef leaf;
  RecordedValue value;
  TensorRef before;  // the .grad when it was first looked at
};

// A view that was made, or that strides could not give (`output` has no buffer then).
struct RecordedView {
  const Primitive* primitive;
  Attributes attributes;
  RecordedValue input, output;
  size_t before;  // how many calls came before
};

// How a number came about (Note [Sizes in recordings]); a and b are numbers of earlier steps.
struct SizeStep {
  SizeOp op;
  int a, b;
  Scalar value;
};

// One recording at a time and thread; while it is on, calls of this thread are added to it.
class Recording : public Object {
 public:
  static Ref<Recording> start(std::span<const TensorRef> arguments);
  // Of a part of control flow: the recording that is on rests until this one stops, and then the
  // default generators and captured memory are as they were.
  static Ref<Recording> start_inside(std::span<const TensorRef> arguments);
  // Empty, and not on.
  static Ref<Recording> blank() { return Ref<Recording>::adopt(new Recording); }
  static Recording* current();
  ~Recording() override;

  // From here on calls belong to the backward part, which reads these incoming gradients.
  void begin_backward(std::span<const TensorRef> tangents);
  // Ends it. Outputs that are no tensors of this recording become captured values.
  void finish(std::span<const TensorRef> outputs);
  void stop();
  // After the end: memory that was there before, and that was made and then written to, gets its
  // first contents again, and leaves their .grad. Needs keeps_state.
  void undo();

  void add(Call& call, bool in_place);
  void add_update(const ProgramRef& program, std::span<const TensorList> lists,
                  std::span<const Scalar> numbers, std::span<const int> targets);
  // A loop or a branch that has run.
  void add_control(const Primitive& primitive, Ref<Object> control, bool random,
                   std::span<const TensorRef> inputs, std::span<const TensorRef> outputs);
  // Before an in-place write: constants keep their contents from before.
  void before_write(const Tensor& target);
  // `.grad` of a leaf is about to be read, or replaced without being read.
  void note_gradient(Tensor& leaf, bool reads);
  // The tensor became visible to Python; it must not be visible any more at the end.
  void note_visible(const TensorRef& tensor);
  // A result of an operator called with tensors: fails unless it came from recorded calls.
  void expect_known(const char* op, const Tensor& result);
  // Needs tracks_sizes; see ops/sizes.h. -1: nothing was noted.
  int note_size(SizeOp op, int a, int b, Scalar value);
  // The recording with this `serial` among those that are on in this thread, or null.
  static Recording* on_with_serial(uint64_t serial);
  void note_copy(const Tensor& x, const Dims& shape);
  // After an executable was built: lets go of all memory that only the recording holds.
  void forget_memory();
  // It cannot be replayed. The first reason is kept, with the place in the user's program.
  void fail(const std::string& reason);
  // Places of tensors that stayed reachable after the run, other than its results; empty: none.
  std::string escaped() const;
  // Equal for recordings that would replay equally. Memory that a part of control flow captures
  // is given to it, so it does not count.
  std::string signature() const;

  std::string failure;
  bool numbers_are_slots = false;  // of updates
  bool keeps_state = false;        // memory is copied before it is written to first
  bool tracks_sizes = false;       // it may become recordings of other batch sizes
  int slot_count = 0;
  Device device;         // where all its memory is
  int backward_at = -1;  // number of forward calls
  std::vector<RecordedBuffer> buffers;
  std::vector<RecordedCallRef> calls;
  std::vector<RecordedValue> outputs;
  std::vector<RecordedGradient> gradients;
  // Leaves whose .grad at entry was looked at and was None.
  std::vector<TensorRef> without_gradient;
  // Where arguments, tangents and constants are when they are first seen.
  std::vector<RecordedValue> root_values;
  std::vector<RecordedView> views;
  std::vector<SizeStep> sizes;
  const uint64_t serial;

 private:
  struct Known {
    int buffer;
    uint32_t version;
    Ref<Storage> storage;
  };
  Recording();
  void begin(std::span<const TensorRef> arguments);
  int add_buffer(BufferKind kind, int index, const TensorRef& tensor);
  void add_roots(BufferKind kind, std::span<const TensorRef> tensors);
  Known& known(const Tensor& tensor);
  RecordedValue value_of(const Tensor& tensor);
  RecordedInput input_of(const TensorRef& tensor);
  RecordedValue output_of(const TensorRef& tensor, bool in_place);
  void add_program(Call& call, const Pointwise& op, bool in_place);
  void add_copied(Call& call);
  void separate_overlaps(RecordedCall& call);
  void push(RecordedCallRef call);
  bool made_here(const Storage& storage) const;

  std::unordered_map<const Storage*, Known> known_;
  std::unordered_map<const void*, int> by_memory_;
  std::unordered_map<const Tensor*, size_t> noted_;  // leaves in `gradients`
  std::vector<int64_t> root_offsets_;                // by buffer: of arguments and tangents
  std::vector<TensorRef> visible_;
  std::vector<TensorRef> roots_;
  Ref<Recording> outer_;  // rests while this one is on
  bool is_part_ = false;
  DefaultStates random_states_;                        // of a part: as they were before
  std::vector<std::pair<TensorRef, TensorRef>> undo_;  // memory that a part writes to, its contents
  uint32_t mark_ = 0;
  bool on_ = false;
};

// Puts the recording's functions behind the recorder's (ops/primitive.h).
void install_recording();

}  // namespace flambeau
