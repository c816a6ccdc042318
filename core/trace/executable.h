// An executable: the steps of a graph with all memory planned, replayed without Python.
//
// Note [Memory of an executable]: internal buffers are places in one arena that the executable
// owns. Output and saved buffers are fresh at every run, unless nobody can see the last run's any
// more. Values are tensors made once; those of arguments, outputs and saved buffers are moved to
// the run's memory before the steps begin.
#pragma once

#include <memory>
#include <mutex>

#include "trace/recording.h"
#include "trace/replay.h"

namespace flambeau {

// One step; what it reads and writes is fixed, but for the numbers of a run.
class Step {
 public:
  explicit Step(std::string label) : label(std::move(label)) {}
  virtual ~Step() = default;
  virtual void run(std::span<const double> numbers) = 0;
  // On a GPU, whether it may be part of a CUDA graph: it neither waits nor computes on the host.
  virtual bool can_be_captured() const { return true; }
  // run() while a graph is captured, where `numbers` are read from memory of the GPU.
  virtual void capture(const TensorRef& numbers) { run({}); }
  const std::string label;
};

// What a step's program reads at one position.
struct StepInput {
  enum class Kind : uint8_t { Value, Number, Slot } kind = Kind::Value;
  int value = -1;
  Scalar number;
  int slot = -1;
};

// What the backward part needs of its forward run.
class SavedRun : public Object {
 public:
  struct Place {
    Ref<Storage> storage;
    int64_t offset = 0;
    uint32_t version = 0;
  };
  std::vector<Place> places;  // by buffer
  std::vector<double> numbers;
};

// Steps run kernels: nothing is recorded, and in-place switches of the caller do not apply.
class KernelMode {
 public:
  KernelMode() : saved_(mode) {
    mode.grad = mode.tracing = mode.inference = false;
    mode.in_place = nullptr;
  }
  ~KernelMode() { mode = saved_; }

 private:
  Mode saved_;
};

class Executable : public Object {
 public:
  // All its memory is on one device.
  explicit Executable(Device device = {}) : device_(device) {}
  Device device() const { return device_; }

  // --- building, in this order: buffers, values, steps, finish
  int add_buffer(BufferKind kind, size_t bytes, int index, TensorRef tensor, int64_t arena_offset);
  int add_value(int buffer, const Dims& shape, const Dims& strides, int64_t offset, DType dtype);
  void add_call(const RecordedCallRef& call, std::span<const int> inputs,
                std::span<const int> outputs, std::string label);
  // A product, and a program that reads its result, which lies at value `product`.
  void add_product(const RecordedCallRef& call, std::span<const int> inputs, int product,
                   const ProgramRef& program, DType dtype, std::span<const StepInput> operands,
                   std::span<const int> outputs, std::string label);
  // A call with one output, by values.
  struct CallOfValues {
    RecordedCallRef call;
    std::vector<int> inputs;
    int output;
  };
  // On a GPU: a matrix product, and a sum of its factor 0 or 1 over the inner dimension.
  void add_product_and_sum(const CallOfValues& product, const CallOfValues& sum, int factor,
                           std::string label);
  void add_program(const ProgramRef& program, DType dtype, std::span<const StepInput> inputs,
                   std::span<const int> outputs, std::string label);
  void add_update(const ProgramRef& program, DType dtype, std::span<const std::vector<int>> lists,
                  std::span<const StepInput> numbers, std::span<const int> targets,
                  std::string label);
  // Steps [begin, middle) and [middle, end) may run at the same time. In ascending order.
  void add_fork(size_t begin, size_t middle, size_t end);
  void begin_backward() { backward_at_ = steps_.size(); }

  struct Interface {
    std::vector<int> outputs;                          // values
    std::vector<std::pair<TensorRef, int>> gradients;  // leaf, and value or -1 for None
    size_t arena_bytes = 0;
    // For a function that is differentiated from outside: what the gradients are of (an argument's
    // number, or a captured tensor), their values (-1: zero), and which outputs they come from.
    std::vector<std::pair<int, TensorRef>> sources;
    std::vector<int> source_gradients;
    std::vector<int> differentiable;
    std::vector<int> used;  // outputs whose history a backward pass has used up already
    int slots = 0;          // numbers of a run
  };
  void finish(Interface interface);

  // --- guards
  void expect_argument(const Tensor& model);
  void expect_no_gradient(TensorRef leaf) { without_gradient_.push_back(std::move(leaf)); }
  // Whether a run with these arguments would do what was recorded; if not, `why` says what differs.
  bool matches(std::span<const TensorRef> arguments, std::string* why = nullptr) const;

  // --- running
  std::vector<TensorRef> run(std::span<const TensorRef> arguments, std::span<const double> numbers);
  // Gradients of the sources; absent gradients count as zero.
  std::vector<TensorRef> run_backward(const SavedRun& saved, std::span<const TensorRef> tangents);
  // Seconds of every step in one run.
  std::vector<double> profile(std::span<const TensorRef> arguments,
                              std::span<const double> numbers);
  // How to wait for another thread's run; the Python layer lets go of the interpreter meanwhile.
  static void (*wait)(std::mutex& mutex);

  // --- as a part of control flow (Note [Parts of control flow])
  struct Place {
    Ref<Storage> storage;
    int64_t bytes = 0;  // from the beginning of the storage
  };
  int argument_count() const { return static_cast<int>(arguments_.size()); }
  // Raises unless every output has a buffer of its own, which it fills.
  void require_separate_outputs() const;
  // One run on these arguments that writes its outputs to the places given.
  void run_inside(std::span<const Place> arguments, std::span<const Place> outputs);
  // Forgets the memory of the last run inside.
  void let_go();

  // Whether the forward part runs as a CUDA graph.
  bool captured() const { return captured_[0].graph && captured_[0].graph->ready(); }
  // The labels of steps that keep a part from becoming one.
  std::vector<std::string> not_capturable() const;
  size_t step_count() const { return steps_.size(); }
  // Whether a run takes long enough to let other Python threads run meanwhile.
  bool is_long() const { return work_ >= kLongWork; }
  const Step& step(size_t i) const { return *steps_[i]; }

 private:
  struct Buffer {
    BufferKind kind;
    int index;
    size_t bytes;
    int64_t arena_offset;
    TensorRef tensor;
    Ref<Storage> storage;
    std::vector<int> values;
    bool written = false;
    bool backward = false;       // made by the backward part
    bool needed = false;         // read by the backward part
    bool requires_grad = false;  // a captured tensor did
    int64_t root = 0;            // of the memory it is bound to, in bytes
  };
  struct Fork {
    size_t begin, middle, end;
  };
  struct Value {
    TensorRef tensor;
    int buffer;
    int64_t offset;
  };
  struct Model {
    Dims shape, strides;
    DType dtype;
    bool requires_grad;
  };

  void move_buffer(Buffer& buffer, const Ref<Storage>& storage, int64_t root);
  std::vector<TensorRef> read(std::span<const int> values);
  std::vector<TensorRef> read(std::span<const StepInput> inputs);  // null for numbers
  std::vector<TensorRef> written(std::span<const int> values);
  void note_read(int value);
  void note_written(int value);
  TensorRef tensor_of(int value) const { return value < 0 ? nullptr : values_[value].tensor; }
  bool reusable(const Buffer& buffer) const;
  void bind_arguments(std::span<const TensorRef> arguments);
  void renew(bool backward);
  std::unique_lock<std::mutex> acquire();
  void run_steps(size_t begin, size_t end, std::span<const double> numbers);
  void run_beside(const Fork& fork, std::span<const double> numbers);
  void run_part(bool backward, std::span<const double> numbers);
  // On a GPU: the part as a CUDA graph, if it can be; false: nothing has been done.
  bool replay(bool backward, std::span<const double> numbers);
  bool is_copied_in(const Buffer& buffer, bool backward) const;
  bool is_copied_out(int number, bool backward) const;
  bool can_be_captured(bool backward) const;
  void choose_memory(CapturedPart& part, bool backward);
  void record_uses(const CapturedPart& part) const;
  void capture(CapturedPart& part, bool backward);
  void finish_writes(bool backward);
  void bind_gradients();
  TensorRef result(int value) const;
  void set_histories(std::span<const TensorRef> arguments, std::span<const TensorRef> outputs,
                     std::span<const double> numbers);

  Device device_;
  std::mutex mutex_;
  std::vector<Buffer> buffers_;
  std::vector<Value> values_;
  std::vector<std::unique_ptr<Step>> steps_;
  std::vector<Fork> forks_;
  size_t backward_at_ = SIZE_MAX;
  Interface interface_;
  std::vector<TensorRef> gradient_tensors_;
  CapturedPart captured_[2];                   // forward, backward
  static constexpr int64_t kLongWork = 65536;  // elements read and written
  int64_t work_ = 0;
  Ref<Storage> arena_;
  std::vector<Model> arguments_;
  std::vector<TensorRef> without_gradient_;
  Mode mode_;
  DType default_dtype_ = DType::Float32;
};
using ExecutableRef = Ref<Executable>;

// Whether a backward pass can start at a tensor: it has no history, its history was used up, or
// is alive.
enum class History { None, Used, Alive };
History history_of(const TensorRef& tensor);

}  // namespace flambeau
