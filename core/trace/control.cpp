#include "trace/control.h"

#include "tensor/copy.h"

namespace flambeau {

namespace {

const Primitive kScan{"scan", nullptr, nullptr};
const Primitive kWhile{"while_loop", nullptr, nullptr};
const Primitive kWhileBackward{"while_loop_backward", nullptr, nullptr};
const Primitive kCond{"cond", nullptr, nullptr};

Executable::Place place_of(const Tensor& tensor, int64_t index = 0, int64_t bytes = 0) {
  return {tensor.storage(), tensor.offset() * item_size(tensor.dtype()) + index * bytes};
}

int64_t bytes_of(const Tensor& tensor) { return tensor.numel() * item_size(tensor.dtype()); }

std::vector<Executable::Place> places_of(std::span<const TensorRef> tensors) {
  std::vector<Executable::Place> places;
  for (const TensorRef& tensor : tensors) places.push_back(place_of(*tensor));
  return places;
}

void write(const Tensor& target, const Executable::Place& from) {
  const Executable::Place to = place_of(target);
  if (to.storage == from.storage && to.bytes == from.bytes) return;
  copy_bytes(*to.storage, to.bytes, *from.storage, from.bytes, bytes_of(target));
}

// One value that decides how the loop goes on; on a GPU it is waited for.
template <class T>
T read(const Executable::Place& from) {
  T value;
  auto host = Storage::create(sizeof value);
  copy_bytes(*host, 0, *from.storage, from.bytes, sizeof value);
  std::memcpy(&value, host->data(), sizeof value);
  return value;
}

}  // namespace

void (*Control::check_interrupt)() = nullptr;

Control::Control(Plan plan) : plan_(std::move(plan)) {
  require(plan_.parts.size() == (plan_.kind == Kind::Scan ? 1u : 2u),
          "control: a scan has one part, others two, got ", plan_.parts.size());
  for (const ExecutableRef& part : plan_.parts) part->require_separate_outputs();
}

const Primitive& Control::primitive() const {
  switch (plan_.kind) {
    case Kind::Scan:
      return kScan;
    case Kind::While:
      return kWhile;
    case Kind::WhileBackward:
      return kWhileBackward;
    case Kind::Cond:
      break;
  }
  return kCond;
}

void Control::run(std::span<const TensorRef> inputs, std::span<const TensorRef> outputs) {
  // Parts expect dense memory. It is, unless a pass of the compiler has saved a copy.
  std::vector<TensorRef> from(inputs.begin(), inputs.end()), to(outputs.begin(), outputs.end());
  for (TensorRef& input : from) {
    if (!input->contiguous()) input = dense_copy(*input, input->dtype());
  }
  for (TensorRef& output : to) {
    if (!output->contiguous()) output = Tensor::empty(output->shape(), output->dtype(), device());
  }
  switch (plan_.kind) {
    case Kind::Scan:
      scan(from, to);
      break;
    case Kind::While:
      loop(from, to);
      break;
    case Kind::WhileBackward:
      loop_backward(from, to);
      break;
    case Kind::Cond:
      branch(from, to);
      break;
  }
  for (const ExecutableRef& part : plan_.parts) part->let_go();
  for (size_t i = 0; i < to.size(); ++i) {
    if (!(to[i] == outputs[i])) copy(*outputs[i], *to[i]);
  }
}

void Control::scan(std::span<const TensorRef> inputs, std::span<const TensorRef> outputs) {
  const int carried = plan_.carried, walked = plan_.walked;
  const int results = static_cast<int>(outputs.size()) - (plan_.keeps_carries ? carried : 0);
  const int64_t steps = plan_.steps;
  // Two places for every carry take turns, unless all are kept.
  std::vector<Ref<Storage>> turns;
  for (int c = 0; c < 2 * carried && !plan_.keeps_carries; ++c) {
    turns.push_back(Storage::create(bytes_of(*inputs[c / 2]), device()));
  }
  auto index_at = [&](int64_t step) { return plan_.reverse ? steps - 1 - step : step; };
  auto carry_at = [&](int c, int64_t step) -> Place {
    const int64_t bytes = bytes_of(*inputs[c]);
    if (plan_.keeps_carries) return place_of(*outputs[results + c], index_at(step), bytes);
    return step == 0 ? place_of(*inputs[c]) : Place{turns[2 * c + step % 2], 0};
  };
  if (plan_.keeps_carries) {
    for (int c = 0; c < carried; ++c) {
      Place first = carry_at(c, 0), given = place_of(*inputs[c]);
      copy_bytes(*first.storage, first.bytes, *given.storage, given.bytes, bytes_of(*inputs[c]));
    }
  }
  Places arguments = places_of(inputs), targets(results);
  for (int64_t step = 0; step < steps; ++step) {
    const int64_t index = index_at(step);
    for (int c = 0; c < carried; ++c) {
      arguments[c] = carry_at(c, step);
      targets[c] = step + 1 == steps ? place_of(*outputs[c]) : carry_at(c, step + 1);
    }
    for (int w = carried; w < carried + walked; ++w) {
      arguments[w] = place_of(*inputs[w], index, bytes_of(*inputs[w]) / steps);
    }
    for (int y = carried; y < results; ++y) {
      targets[y] = place_of(*outputs[y], index, bytes_of(*outputs[y]) / steps);
    }
    plan_.parts[0]->run_inside(arguments, targets);
  }
}

void Control::loop(std::span<const TensorRef> inputs, std::span<const TensorRef> outputs) {
  const int carried = plan_.carried;
  Executable &condition = *plan_.parts[0], &body = *plan_.parts[1];
  const int captured = condition.argument_count() - carried;
  Places all = places_of(inputs);
  Places tested(all.begin(), all.begin() + carried + captured);
  Places arguments(all.begin(), all.begin() + carried), turns[2];
  arguments.insert(arguments.end(), all.begin() + carried + captured, all.end());
  for (Places& turn : turns) {
    for (int c = 0; c < carried; ++c) {
      turn.push_back({Storage::create(bytes_of(*inputs[c]), device()), 0});
    }
  }
  const Places flag{{Storage::create(1, device()), 0}};
  int64_t step = 0;
  for (;; ++step) {
    condition.run_inside(tested, flag);
    if (!read<bool>(flag[0])) break;
    if (step % 4096 == 4095 && check_interrupt) check_interrupt();
    const Places& next = turns[step % 2];
    body.run_inside(arguments, next);
    for (int c = 0; c < carried; ++c) arguments[c] = tested[c] = next[c];
  }
  for (int c = 0; c < carried; ++c) write(*outputs[c], arguments[c]);
  fill(*outputs[carried], Scalar(step));
}

void Control::loop_backward(std::span<const TensorRef> inputs, std::span<const TensorRef> outputs) {
  const int carried = plan_.carried, gradients = plan_.walked;
  Executable &body = *plan_.parts[0], &back = *plan_.parts[1];
  const int captured = body.argument_count() - carried;
  const auto steps = read<int64_t>(place_of(*inputs[0]));
  for (int c = 0; c < carried; ++c) {
    int64_t bytes = std::max<int64_t>(bytes_of(*inputs[1 + c]), 1);
    require(steps >= 0 && steps <= (int64_t{1} << 46) / bytes, "while_loop: ", steps, " steps of ",
            bytes, " bytes cannot be kept");
  }
  Places all = places_of(inputs);
  // The loop again, with a place for the carries before each step.
  Places arguments(all.begin() + 1, all.begin() + 1 + carried + captured);
  std::vector<Places> carries{Places(arguments.begin(), arguments.begin() + carried)};
  std::vector<Ref<Storage>> memory;
  for (int c = 0; c < carried; ++c) {
    memory.push_back(Storage::create(steps * bytes_of(*inputs[1 + c]), device()));
  }
  for (int64_t step = 1; step < steps; ++step) {
    Places next;
    for (int c = 0; c < carried; ++c) next.push_back({memory[c], step * bytes_of(*inputs[1 + c])});
    body.run_inside(arguments, next);
    std::copy(next.begin(), next.end(), arguments.begin());
    carries.push_back(std::move(next));
  }
  const auto first = all.begin() + 1 + carried + captured;
  Places turns[2], sums(first, first + gradients);
  for (Places& turn : turns) {
    for (int g = 0; g < gradients; ++g) {
      turn.push_back({Storage::create(bytes_of(*outputs[g]), device()), 0});
    }
  }
  for (int64_t step = steps; step-- > 0;) {
    Places reads = sums;
    reads.insert(reads.end(), carries[step].begin(), carries[step].end());
    reads.insert(reads.end(), first + gradients, all.end());
    back.run_inside(reads, turns[step % 2]);
    sums = turns[step % 2];
  }
  for (int g = 0; g < gradients; ++g) write(*outputs[g], sums[g]);
}

void Control::branch(std::span<const TensorRef> inputs, std::span<const TensorRef> outputs) {
  Places all = places_of(inputs);
  const bool chosen = read<bool>(place_of(*inputs[0]));
  const int captured = plan_.parts[0]->argument_count() - plan_.carried;
  auto begin = all.begin() + 1, others = begin + plan_.carried;
  Places arguments(begin, others);
  if (chosen) {
    arguments.insert(arguments.end(), others + captured, all.end());
  } else {
    arguments.insert(arguments.end(), others, others + captured);
  }
  plan_.parts[chosen]->run_inside(arguments, places_of(outputs));
}

}  // namespace flambeau
