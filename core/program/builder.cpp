#include "program/builder.h"

#include <array>
#include <cmath>
#include <cstring>
#include <string_view>

namespace flambeau {

namespace {

struct Row {
  const char* name;
  int8_t arity;
  InstructionKind kind;
  int16_t cost;
};

constexpr Row kTable[] = {
    {"input", 0, InstructionKind::Special, 0},
    {"constant", 0, InstructionKind::Special, 0},
#define INSTRUCTION(name, arity, kind, cost, ...) {#name, arity, InstructionKind::kind, cost},
#include "program/instructions.def"
#undef INSTRUCTION
};

const Row& row(Instruction instruction) { return kTable[static_cast<int>(instruction)]; }

Extent joint_extent(const Value& a, Extent b) { return std::max(a.extent, b); }

}  // namespace

const char* name_of(Instruction instruction) { return row(instruction).name; }
int arity_of(Instruction instruction) { return row(instruction).arity; }
int cost_of(Instruction instruction) { return row(instruction).cost; }
InstructionKind kind_of(Instruction instruction) { return row(instruction).kind; }

Instruction instruction_named(const std::string& name) {
  static const auto index = [] {
    std::unordered_map<std::string_view, Instruction> map;
    for (int i = 2; i < static_cast<int>(Instruction::Count); ++i) {
      map.emplace(kTable[i].name, static_cast<Instruction>(i));
    }
    return map;
  }();
  auto found = index.find(name);
  return found == index.end() ? Instruction::Count : found->second;
}

size_t Builder::KeyHash::operator()(const Key& key) const {
  uint64_t hash = 0xcbf29ce484222325;
  for (uint64_t word : key.words) {
    hash = (hash ^ word) * 0x9e3779b97f4a7c15;
    hash ^= hash >> 29;
  }
  return hash;
}

int32_t Builder::add(const Value& value) {
  Key key{};
  key.words[0] = static_cast<uint64_t>(value.instruction) |
                 static_cast<uint64_t>(value.extent) << 8 |
                 static_cast<uint64_t>(static_cast<uint32_t>(value.index)) << 32;
  key.words[1] = static_cast<uint32_t>(value.operands[0]) |
                 static_cast<uint64_t>(static_cast<uint32_t>(value.operands[1])) << 32;
  key.words[2] = static_cast<uint32_t>(value.operands[2]);
  std::memcpy(&key.words[3], &value.constant, 8);
  auto [place, fresh] = known_.try_emplace(key, size());
  if (fresh) values_.push_back(value);
  return place->second;
}

int32_t Builder::input(int32_t index, Extent extent) {
  Value value;
  value.index = index;
  value.extent = extent;
  return add(value);
}

int32_t Builder::constant(double number) {
  Value value;
  value.instruction = Instruction::Constant;
  value.extent = Extent::Uniform;
  value.constant = number;
  return add(value);
}

bool Builder::is_constant(int32_t value, double number) const {
  const Value& v = values_[value];
  return v.instruction == Instruction::Constant && v.constant == number &&
         std::signbit(v.constant) == std::signbit(number);
}

// The value that the instruction's result equals, or -1.
int32_t Builder::simplify(Instruction instruction, int32_t a, int32_t b, int32_t c) {
  switch (instruction) {
    case Instruction::add:
      if (is_constant(b, -0.0)) return a;
      if (is_constant(a, -0.0)) return b;
      break;
    case Instruction::sub:
      if (is_constant(b, 0.0)) return a;
      break;
    case Instruction::mul:
      if (is_constant(b, 1)) return a;
      if (is_constant(a, 1)) return b;
      if (is_constant(b, -1)) return apply(Instruction::neg, a);
      if (is_constant(a, -1)) return apply(Instruction::neg, b);
      break;
    case Instruction::div:
      if (is_constant(b, 1)) return a;
      break;
    case Instruction::pow:  // as many roundings as multiplications, as PyTorch has it
      if (is_constant(b, 1)) return a;
      if (is_constant(b, 2)) return apply(Instruction::square, a);
      if (is_constant(b, 3)) return apply(Instruction::mul, apply(Instruction::square, a), a);
      break;
    case Instruction::ne:
      if (is_constant(b, 0.0) && kind_of(values_[a].instruction) == InstructionKind::Test) return a;
      break;
    case Instruction::neg:
      if (values_[a].instruction == Instruction::neg) return values_[a].operands[0];
      break;
    case Instruction::select:
      if (b == c) return b;
      if (values_[a].instruction == Instruction::Constant) return values_[a].constant != 0 ? b : c;
      break;
    case Instruction::stop:
      if (values_[a].instruction == Instruction::stop) return a;
      break;
    case Instruction::spread:
      if (values_[a].extent == Extent::Element) return a;
      break;
    case Instruction::row_sum:
      if (values_[a].extent != Extent::Element) {
        return apply(Instruction::mul, a, apply(Instruction::row_count));
      }
      break;
    case Instruction::row_max:
    case Instruction::row_min:
      if (values_[a].extent != Extent::Element) return a;
      break;
    default:
      break;
  }
  return -1;
}

int32_t Builder::apply(Instruction instruction, int32_t a, int32_t b, int32_t c) {
  Value value;
  value.instruction = instruction;
  value.extent = Extent::Uniform;
  const int32_t operands[3] = {a, b, c};
  bool constant = arity_of(instruction) > 0;
  for (int i = 0; i < arity_of(instruction); ++i) {
    const Value& operand = values_[operands[i]];
    value.operands[i] = operands[i];
    value.extent = joint_extent(operand, value.extent);
    constant = constant && operand.instruction == Instruction::Constant;
  }
  if (int32_t same = simplify(instruction, a, b, c); same >= 0) return same;
  InstructionKind kind = kind_of(instruction);
  if (constant && kind != InstructionKind::Row && instruction != Instruction::spread) {
    auto number = [&](int32_t v) { return v < 0 ? 0 : values_[v].constant; };
    return this->constant(evaluate(instruction, number(value.operands[0]),
                                   number(value.operands[1]), number(value.operands[2])));
  }
  if (kind == InstructionKind::Row) value.extent = Extent::Row;
  if (instruction == Instruction::spread) value.extent = Extent::Element;
  return add(value);
}

std::vector<int32_t> Builder::inline_program(const Program& program,
                                             std::span<const int32_t> inputs) {
  std::vector<int32_t> places;
  places.reserve(program.values.size());
  for (const Value& value : program.values) {
    auto operand = [&](int i) { return value.operands[i] < 0 ? -1 : places[value.operands[i]]; };
    if (value.instruction == Instruction::Input) {
      places.push_back(inputs[value.index]);
    } else if (value.instruction == Instruction::Constant) {
      places.push_back(constant(value.constant));
    } else {
      places.push_back(apply(value.instruction, operand(0), operand(1), operand(2)));
    }
  }
  return places;
}

ProgramRef Builder::finish(int input_count, std::span<const int32_t> outputs) const {
  std::vector<bool> needed(values_.size(), false);
  for (int32_t output : outputs) needed[output] = true;
  for (int32_t v = size() - 1; v >= 0; --v) {
    if (!needed[v]) continue;
    for (int32_t operand : values_[v].operands) {
      if (operand >= 0) needed[operand] = true;
    }
  }
  auto program = ProgramRef::adopt(new Program);
  program->input_count = input_count;
  std::vector<int32_t> places(values_.size(), -1);
  for (int32_t v = 0; v < size(); ++v) {
    if (!needed[v]) continue;
    Value value = values_[v];
    for (int32_t& operand : value.operands) operand = operand < 0 ? -1 : places[operand];
    places[v] = static_cast<int32_t>(program->values.size());
    program->has_rows |= value.extent == Extent::Row ||
                         value.instruction == Instruction::row_count ||
                         kind_of(value.instruction) == InstructionKind::Row;
    program->values.push_back(value);
  }
  for (int32_t output : outputs) program->outputs.push_back(places[output]);
  return program;
}

std::string Program::to_string() const {
  std::string result;
  static const char* const extents[] = {"uniform ", "row ", ""};
  for (size_t v = 0; v < values.size(); ++v) {
    const Value& value = values[v];
    result += "%" + std::to_string(v) + " = " + extents[static_cast<int>(value.extent)] +
              name_of(value.instruction);
    if (value.instruction == Instruction::Input) result += " " + std::to_string(value.index);
    if (value.instruction == Instruction::Constant) result += " " + text(value.constant);
    for (int32_t operand : value.operands) {
      if (operand >= 0) result += " %" + std::to_string(operand);
    }
    result += "\n";
  }
  result += "return";
  for (int32_t output : outputs) result += " %" + std::to_string(output);
  return result + "\n";
}

uint64_t Program::hash() const {
  uint64_t hash = 0xcbf29ce484222325;
  auto mix = [&hash](uint64_t word) {
    hash = (hash ^ word) * 0x9e3779b97f4a7c15;
    hash ^= hash >> 31;
  };
  for (const Value& value : values) {
    uint64_t bits;
    std::memcpy(&bits, &value.constant, 8);
    mix(static_cast<uint64_t>(value.instruction) | static_cast<uint64_t>(value.extent) << 8);
    mix(value.index);
    for (int32_t operand : value.operands) mix(operand);
    mix(bits);
  }
  for (int32_t output : outputs) mix(output);
  return hash;
}

}  // namespace flambeau
