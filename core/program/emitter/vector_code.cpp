#include "program/emitter/vector_code.h"

namespace flambeau::emitter {

bool yields_mask(Op op) {
  return op == Op::LoadBools || op == Op::LoadRowBool || (op >= Op::Compare && op <= Op::MaskXor);
}
bool has_effect(Op op) { return op >= Op::Store; }

int32_t Invariants::add(const Invariant& invariant) {
  for (int32_t i = 0; i < size(); ++i) {
    if (list_[i] == invariant && invariant.kind != Invariant::Kind::Row) return i;
  }
  list_.push_back(invariant);
  return size() - 1;
}

static uint64_t hash(const Node& node) {
  uint64_t key = static_cast<uint64_t>(node.op) | static_cast<uint64_t>(node.element) << 8 |
                 static_cast<uint64_t>(node.immediate) << 16 |
                 static_cast<uint64_t>(static_cast<uint32_t>(node.index)) << 32;
  for (int32_t operand : node.operands) {
    key = (key ^ static_cast<uint32_t>(operand)) * 0x9E3779B97F4A7C15;
    key ^= key >> 29;
  }
  return key;
}

int32_t VectorCode::add(const Node& node) {
  if (2 * nodes_.size() >= table_.size()) {
    const size_t capacity = table_.empty() ? 128 : 2 * table_.size();
    table_.assign(capacity, -1);
    for (size_t i = 0; i < nodes_.size(); ++i) {
      size_t place = hash(nodes_[i]) & (capacity - 1);
      while (table_[place] >= 0) place = (place + 1) & (capacity - 1);
      table_[place] = static_cast<int32_t>(i);
    }
  }
  const size_t last = table_.size() - 1;
  size_t place = hash(node) & last;
  for (; table_[place] >= 0; place = (place + 1) & last) {
    if (nodes_[table_[place]] == node) return table_[place];
  }
  table_[place] = static_cast<int32_t>(nodes_.size());
  nodes_.push_back(node);
  return table_[place];
}

int32_t VectorCode::bits(Element element, uint64_t value) {
  if (element == Element::Float32) value &= 0xFFFFFFFF;
  return invariant(element, invariants_->add({Invariant::Kind::Constant, element, value}));
}
int32_t VectorCode::constant(Element element, double value) {
  return bits(element, element == Element::Float32
                           ? std::bit_cast<uint32_t>(static_cast<float>(value))
                           : std::bit_cast<uint64_t>(value));
}
int32_t VectorCode::number(Element element, int32_t value) {
  return invariant(element, invariants_->add({Invariant::Kind::Number, element, 0, value}));
}

}  // namespace flambeau::emitter
