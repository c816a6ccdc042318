// A primitive: the unit of eager execution, of autograd and of compiled graphs.
//
// Note [One record]: apply() infers the outputs, allocates them, runs the kernel, and hands the
// finished Call to the recorder when a gradient is needed or a trace is on. The backward pass and
// the compiler both work on what the recorder kept: primitive, attributes, inputs, outputs.
#pragma once

#include <array>
#include <span>
#include <vector>

#include "base/object.h"
#include "tensor/tensor.h"

namespace flambeau {

inline constexpr int kMaxOutputs = 4;

// Everything about a call that is not a tensor. What each field means is the primitive's affair.
struct Attributes {
  Dims ints;
  Dims more_ints;
  Scalar scalars[4];
  DType dtype = DType::Float32;
  int flag = 0;
  Ref<Object> object;

  Attributes() {}  // not defaulted: `{}` would clear the unused dimensions, too
};

struct OutputSpec {
  Dims shape;
  DType dtype = DType::Float32;
  Dims strides;            // of views, and of dense results that are not row-major
  int64_t offset = 0;      // views only, in elements of the input's storage
  bool elsewhere = false;  // on `device`, wherever the inputs are
  Device device;
};

struct Primitive;
class Program;

struct Call {
  const Primitive& primitive;
  std::span<const TensorRef> inputs;  // a null entry is an absent optional input
  Attributes attributes;
  OutputSpec* specs = nullptr;  // kMaxOutputs of them while shapes are inferred
  std::array<TensorRef, kMaxOutputs> outputs;
  int output_count = 1;
  // In place: input 0 as it was before, kept only when the gradient rule reads it.
  TensorRef overwritten;

  Call(const Primitive& primitive, std::span<const TensorRef> inputs)
      : primitive(primitive), inputs(inputs) {}
  Call(const Primitive& primitive, std::span<const TensorRef> inputs, Attributes&& attributes,
       OutputSpec* specs = nullptr, std::array<TensorRef, kMaxOutputs>&& outputs = {},
       int output_count = 1, TensorRef&& overwritten = {})
      : primitive(primitive),
        inputs(inputs),
        attributes(std::move(attributes)),
        specs(specs),
        outputs(std::move(outputs)),
        output_count(output_count),
        overwritten(std::move(overwritten)) {}

  const Tensor& input(int i) const { return *inputs[i]; }
  bool has(int i) const { return i < static_cast<int>(inputs.size()) && inputs[i]; }
  Tensor& output(int i = 0) const { return *outputs[i]; }
  void expect(int i, const Dims& shape, DType dtype) {
    specs[i].shape = shape;
    specs[i].dtype = dtype;
  }
};

// What a gradient rule sees, and where it leaves its results. Rules are mathematics on tensors in
// terms of ops; un-broadcasting, casting and accumulating is the engine's work.
class Gradient {
 public:
  virtual const Primitive& primitive() const = 0;
  virtual const Attributes& attributes() const = 0;
  // Incoming gradient of output i; null when nothing flowed into that output.
  virtual const TensorRef& g(int i = 0) const = 0;
  // The same for the last time, without a share left behind: the rule may overwrite it then.
  virtual TensorRef take(int i) { return g(i); }
  // A saved input or output (see Primitive::saved_inputs); null if the input was absent.
  virtual TensorRef input(int i) const = 0;
  virtual TensorRef output(int i = 0) const = 0;
  virtual Dims input_shape(int i) const = 0;
  virtual DType input_dtype(int i) const = 0;
  virtual int input_count() const = 0;
  virtual Device device() const = 0;  // of the incoming gradients
  virtual bool needs(int i) const = 0;
  virtual void set(int i, TensorRef gradient) = 0;

 protected:
  ~Gradient() = default;
};

// Bit i: the gradient rule reads input i / output i.
struct Saved {
  uint32_t inputs = 0;
  uint32_t outputs = 0;
};

struct Primitive {
  const char* name;  // "mm"
  // Checks inputs (after the public function's own checks) and fills call.specs, output_count.
  void (*infer)(Call& call);
  // Computes call.outputs, uninitialised, from call.inputs. Null for views. Outputs are contiguous
  // unless `any_order` is set.
  void (*run)(Call& call);
  // Null: not differentiable (the outputs do not require a gradient).
  void (*gradient)(Gradient& gradient) = nullptr;
  // Bit i: the gradient rule reads input i / output i.
  uint32_t saved_inputs = 0;
  uint32_t saved_outputs = 0;
  bool view = false;  // output 0 shares input 0's storage: infer fills shape, strides and offset
  // run() may be called with output 0 being input 0's own memory, which it then updates (scatter,
  // index_add ...): apply() first copies input 0 into a fresh output, the in-place form does not.
  bool updates_input = false;
  const char* grad_name = nullptr;  // "MmBackward0"; null: derived from the name
  // What the rule reads when only the inputs in `needs` want a gradient; null: the masks above.
  Saved (*saves)(const Call& call, uint32_t needs) = nullptr;
  // The kernel for tensors on a GPU; run itself where it is made of parts that serve any device.
  // Null: the call is computed on the host, from copies.
  void (*run_cuda)(Call& call) = nullptr;
  // Whether the kernel adds, or writes to one place, in an order that varies from run to run; null:
  // never. With torch.use_deterministic_algorithms such calls are computed on the host.
  bool (*order_varies)(const Call& call) = nullptr;
  // Where the inputs may be. CpuNumbers: beside tensors on a GPU, 0-d tensors on the CPU.
  enum class Devices : uint8_t { One, CpuNumbers, Any } devices = Devices::One;
  // Results may be dense in any order of their dimensions: infer says which, by strides.
  bool any_order = false;
};

// For Primitive::order_varies.
inline bool always(const Call&) { return true; }
inline bool unless_flagged(const Call& call) { return call.attributes.flag == 0; }

// A primitive whose run is made of parts that serve any device.
constexpr Primitive everywhere(Primitive primitive) {
  primitive.run_cuda = primitive.run;
  return primitive;
}
// How a number comes about that depends on sizes (Note [Sizes in recordings]).
enum class SizeOp : uint8_t {
  Size,      // a size, or a sum of sizes and constants: on a line through two batch sizes
  Constant,  // the same for all batch sizes
  Add,       // Python's arithmetic on earlier numbers a and b
  Subtract,
  Multiply,
  FloorDivide,
  Remainder,
  Divide,
  Negative,
  Sign,    // -1, 0 or 1 for a less than, equal to or greater than b; must not change
  Fixed,   // a must not change
  Length,  // a becomes a length, offset or the like of the recording: must be on a line
  Number,  // a becomes a number of the recording
};

// Autograd and trace, seen from below: set once when the module is loaded.
struct Recorder {
  // After a run: inputs, attributes and outputs are final. `in_place`: output 0 is input 0 itself.
  void (*record)(Call& call, bool in_place) = nullptr;
  // Before every in-place run on `target`: raises for a leaf that requires a gradient and the
  // like, and notes where in the user's program the write happens.
  void (*check_in_place)(const Call& call, Tensor& target) = nullptr;
  // The rest is called while mode.tracing is set only. Before memory that is no result of the
  // call is written to:
  void (*before_write)(const Tensor& target) = nullptr;
  // After a foreach_program.
  void (*record_update)(const Program& program, std::span<const std::vector<TensorRef>> lists,
                        std::span<const Scalar> numbers, std::span<const int> targets) = nullptr;
  // `.grad` of a leaf is about to be read (or only replaced).
  void (*note_gradient)(Tensor& leaf, bool reads) = nullptr;
  // Something happens that a replay could not repeat.
  void (*untraceable)(const char* what) = nullptr;
  // See ops/sizes.h. Returns the number of the step.
  int (*note_size)(SizeOp op, int a, int b, Scalar value) = nullptr;
  // `x` is copied, because no strides give it another shape.
  void (*note_copy)(const Tensor& x, const Dims& shape) = nullptr;
};
extern Recorder recorder;

// Per-thread switches. `grad`: record for autograd. `tracing`: record every call.
struct Mode {
  bool grad = true;
  bool inference = false;
  bool tracing = false;
  // Set while `x.name_(...)` computes: a primitive with `updates_input` writes straight into x.
  Tensor* in_place = nullptr;
  bool without_gil = false;  // this thread has let go of Python's lock for now
  // What torch.autocast is set to: a byte for each type of device, 0 or 1 + the dtype to cast to
  // (python/autocast.h).
  uint16_t autocast = 0;
};
extern thread_local Mode mode __attribute__((tls_model("initial-exec")));

// Switches gradient recording off (or on) for a scope.
class GradMode {
 public:
  explicit GradMode(bool enabled) : saved_(mode.grad) { mode.grad = enabled; }
  ~GradMode() { mode.grad = saved_; }

 private:
  bool saved_;
};

// Whether run_on_gpu stays on the GPU.
bool has_gpu_run(const Call& call);
// The kernel for a GPU, or the CPU's on copies of the inputs.
void run_on_gpu(Call& call);
// Runs the kernel; what it does inside is not recorded.
inline void run_kernel(Call& call) {
  struct Scope {
    bool tracing = mode.tracing;
    ~Scope() { mode.tracing = tracing; }
  } scope;
  mode.tracing = false;
  if (call.outputs[0] && !call.outputs[0]->device().is_cpu()) [[unlikely]]
    return run_on_gpu(call);
  call.primitive.run(call);
}
// True when a call must be handed to the recorder: a trace is on, or a gradient is needed.
bool wants_record(const Call& call);
// Runs a primitive; outputs are in call.outputs afterwards.
void apply(Call& call);
// Shorthand for one output.
TensorRef apply(const Primitive& primitive, std::initializer_list<TensorRef> inputs,
                Attributes attributes = {});
// In place on inputs[0] (the method with a trailing underscore). Shape and dtype of the result
// must fit; raises as PyTorch does otherwise.
void apply_in_place(Call& call);
TensorRef apply_in_place(const Primitive& primitive, std::initializer_list<TensorRef> inputs,
                         Attributes attributes = {});

}  // namespace flambeau
