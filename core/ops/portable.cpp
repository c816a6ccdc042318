#include "ops/portable.h"

#include <unordered_map>

#include "ops/reduction.h"

namespace flambeau {

namespace {

struct Portables {
  std::deque<Portable> entries;
  std::unordered_map<std::string, const Portable*> by_name;
  std::unordered_map<const Primitive*, const Portable*> by_primitive;
};
Portables& portables() {
  static Portables all;
  return all;
}

template <class Map, class Key>
const Portable* find(const Map& map, const Key& key) {
  auto found = map.find(key);
  return found == map.end() ? nullptr : found->second;
}

uint64_t mask_of(const Call& call) { return static_cast<uint64_t>(call.attributes.ints[0]); }

}  // namespace

bool add_portable(Portable entry) {
  Portables& all = portables();
  const Portable& kept = all.entries.emplace_back(std::move(entry));
  bool fresh = all.by_name.emplace(kept.name, &kept).second;
  require(fresh, "two primitives are called ", kept.name, " in files; name one of them otherwise");
  all.by_primitive.emplace(kept.primitive, &kept);
  return true;
}

const Portable* portable_named(const std::string& name) { return find(portables().by_name, name); }
const Portable* portable_of(const Primitive& primitive) {
  return find(portables().by_primitive, &primitive);
}

std::vector<std::string> portable_names() {
  std::vector<std::string> names;
  for (const Portable& entry : portables().entries) names.push_back(entry.name);
  return names;
}

std::vector<std::string> names_without_gpu_kernel() {
  std::vector<std::string> names;
  for (const Portable& entry : portables().entries) {
    if (entry.primitive->run && !entry.primitive->run_cuda) names.push_back(entry.name);
  }
  return names;
}

void need(const Call& call, bool holds, const char* what) {
  require(holds, call.primitive.name, ": ", what);
}

void need_inputs(const Call& call, int least, int most) {
  const int count = static_cast<int>(call.inputs.size());
  bool present = count >= least && count <= most;
  for (int i = 0; present && i < least; ++i) present = call.has(i);
  require(present, call.primitive.name, ": between ", least, " and ", most,
          " inputs are required, got ", count);
}

void need_ints(const Call& call, int64_t count) {
  require(call.attributes.ints.size() == count, call.primitive.name, ": ", count,
          " whole numbers are required as attributes, got ", call.attributes.ints);
}

void need_floating(const Call& call, int input) {
  DType dtype = call.input(input).dtype();
  require(is_floating(dtype), call.primitive.name, ": input ", input,
          " must have a floating dtype, got torch.", dtype_name(dtype));
}

void need_dimension(const Call& call, int place) {
  const Dims& ints = call.attributes.ints;
  int64_t rank = std::max<int64_t>(call.input(0).dim(), 1);
  bool inside = place < ints.size() && ints[place] >= 0 && ints[place] < rank;
  require(inside, call.primitive.name, ": no dimension of a tensor of shape ",
          call.input(0).shape(), " is named by ", ints);
}

void check_reduction(const Call& call) {
  need_inputs(call, 1, 1);
  need_ints(call, 1);
  int64_t rank = call.input(0).dim();
  need(call, rank < 64 && mask_of(call) >> rank == 0,
       "the mask names dimensions that are not there");
}

void check_floating_reduction(const Call& call) {
  check_reduction(call);
  need_floating(call, 0);
}

void check_choice(const Call& call) {
  check_reduction(call);
  require_elements(call.primitive.name, call.input(0), mask_of(call));
}

void check_dimension(const Call& call) {
  need_inputs(call, 1, 1);
  need_dimension(call);
}

void check_choice_along(const Call& call) {
  check_dimension(call);
  const Tensor& x = call.input(0);
  need(call, x.dim() == 0 || x.size(call.attributes.ints[0]) > 0, "the dimension has no elements");
}

}  // namespace flambeau
