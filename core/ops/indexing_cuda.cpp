#include "ops/indexing_cuda.h"

#include "cuda/error.h"
#include "ops/cuda_layout.h"
#include "ops/sort_cuda.h"
#include "ops/views.h"
#include "tensor/copy.h"

namespace flambeau::cuda_ops {

namespace {

const cuda::KernelFile kFile{"ops/indexing.cu"};
const cuda::KernelFile kAddFile{"ops/index_add.cu"};
const cuda::KernelFile kOffsetsFile{"ops/index_offsets.cu"};

// Twin of Places in indexing.cu.
struct PlacesParameter {
  const int64_t* index;
  int64_t bound, stride;
  int floor;
  int site;
  cuda::ErrorSlot* slot;
};

// What a walk of `unit` bytes per element looks like in a kernel.
struct Walked {
  Layout layout;
  PlacesParameter places;
  int64_t after = 1;
};

// The unit that elements can be moved by; `others`: the address of the dense side.
int common_unit(const Tensor& x, const Places& places, const void* dense) {
  const int item = item_size(x.dtype());
  if (places.bound < 0 || places.after.empty() || places.after_strides.back() != 1) return item;
  uint64_t step = places.stride * item;
  for (int64_t stride : places.front_strides) step |= stride * item;
  for (int64_t d = 0; d + 1 < places.after.size(); ++d) step |= places.after_strides[d] * item;
  const auto address = reinterpret_cast<uint64_t>(x.data()) | reinterpret_cast<uint64_t>(dense);
  return unit_of(places.after.back() * item, step, address, item);
}

Walked walk(const Tensor& x, const Places& places, int unit) {
  const int64_t wide = unit / item_size(x.dtype());
  Dims shape = places.front, strides = places.front_strides, which(places.front.size(), 0);
  shape.push_back(places.index->numel());
  strides.push_back(0);
  which.push_back(1);
  int64_t after = 1;
  for (int64_t d = 0; d < places.after.size(); ++d) {
    const bool last = d == places.after.size() - 1;
    shape.push_back(last ? places.after[d] / wide : places.after[d]);
    strides.push_back(places.after_strides[d]);
    which.push_back(0);
    after *= places.after[d];
  }
  for (int64_t d = 0; d < strides.size(); ++d) {
    if (d != strides.size() - 1 || places.after.empty()) strides[d] /= wide;
  }
  const int device = x.device().index;
  return {Layout(shape, {strides, which}),
          {places.index->data<int64_t>(), places.bound, places.stride / wide,
           places.rule.from_end ? -1 : 0,
           places.bound < 0 ? 0 : cuda::error_site(places.rule.op, places.rule.kind),
           cuda::error_slot(device)},
          after};
}

// Any index into nothing is wrong; kernels need one harmless element.
void require_bound(const Places& places) {
  if (places.bound != 0 || places.index->numel() == 0) return;
  fail(places.rule.kind, places.rule.op, "(): index is out of bounds for dimension with size 0");
}

template <class First, class Second>
void move(const char* entry, const Tensor& x, const Places& given, const void* dense, First first,
          Second second) {
  require_bound(given);
  Places places = given;
  merge_dimensions(places.after, {&places.after_strides, 1});
  const int unit = dense ? common_unit(x, places, dense) : item_size(x.dtype());
  Walked walked = walk(x, places, unit);
  if (walked.layout.count() == 0) return;
  const int device = x.device().index;
  const cuda::Function& kernel = kFile.get(
      entry,
      {{"T", unit_name(unit)}, {"INDEX", walked.layout.index()}, {"DIMS", walked.layout.dims()}},
      device);
  cuda::launch(kernel, grid_for(walked.layout.count(), device), {kThreads}, 0, first, second,
               walked.layout.parameter(), walked.places, walked.layout.count());
}

}  // namespace

TensorRef dense_index(const TensorRef& index, const char* op) {
  require(index->dtype() == DType::Int64 || index->dtype() == DType::Int32, op,
          "(): Expected dtype int32/int64 for index, got torch.", dtype_name(index->dtype()),
          "; convert it with .long()");
  return contiguous(to_dtype(index, DType::Int64));
}

Places Places::along(const Tensor& x, int64_t dim, const TensorRef& index, const IndexRule& rule) {
  Places places;
  for (int64_t d = 0; d < x.dim(); ++d) {
    if (d == dim) continue;
    (d < dim ? places.front : places.after).push_back(x.size(d));
    (d < dim ? places.front_strides : places.after_strides).push_back(x.stride(d));
  }
  places.index = dense_index(index, rule.op);
  places.bound = rule.bound;
  places.stride = x.dim() ? x.stride(dim) : 1;
  places.largest_offset = std::max<int64_t>(rule.bound - 1, 0) * places.stride;
  places.rule = rule;
  return places;
}

Places Places::along_all(const Tensor& x, std::span<const TensorRef> indices,
                         const Dims& dimensions, bool adjacent) {
  if (indices.size() == 1) {
    const int64_t dim = dimensions[0];
    return along(x, dim, indices[0], {"index", x.size(dim), dim, ErrorKind::Index, true});
  }
  Places places;
  for (int64_t d = 0; d < x.dim(); ++d) {
    if (std::find(dimensions.begin(), dimensions.end(), d) != dimensions.end()) continue;
    const bool first = adjacent && d < dimensions[0];
    (first ? places.front : places.after).push_back(x.size(d));
    (first ? places.front_strides : places.after_strides).push_back(x.stride(d));
  }
  for (int64_t d : dimensions) {
    places.largest_offset += std::max<int64_t>(x.size(d) - 1, 0) * x.stride(d);
  }
  const int device = x.device().index;
  const int64_t count = indices[0]->numel();
  places.index = Tensor::empty({count}, DType::Int64, x.device());
  places.bound = -1;
  struct {
    struct {
      const int64_t* at;
      int64_t bound, stride;
    } of[8];
  } parameter;
  for (size_t begin = 0; begin < indices.size() && count; begin += 8) {
    int used = 0;
    for (size_t k = begin; k < std::min(indices.size(), begin + 8); ++k) {
      const int64_t d = dimensions[k];
      if (x.size(d) == 0) {
        fail(ErrorKind::Index, "index: index is out of bounds for dimension ", d, " with size 0");
      }
      parameter.of[used++] = {indices[k]->data<int64_t>(), x.size(d), x.stride(d)};
    }
    cuda::launch(kOffsetsFile.get("make_offsets", {}, device), grid_for(count, device), {kThreads},
                 0, places.index->data<int64_t>(), parameter, used, 1, int(begin > 0),
                 cuda::error_site("index", ErrorKind::Index), cuda::error_slot(device), count);
  }
  return places;
}

Places Places::with_offsets() const {
  if (bound < 0) return *this;
  Places result = *this;
  result.index = Tensor::empty({index->numel()}, DType::Int64, index->device());
  result.bound = -1;
  const int device = index->device().index;
  const struct {
    struct {
      const int64_t* at;
      int64_t bound, stride;
    } of[8];
  } parameter{{{index->data<int64_t>(), bound, stride}}};
  cuda::launch(kOffsetsFile.get("make_offsets", {}, device), grid_for(index->numel(), device),
               {kThreads}, 0, result.index->data<int64_t>(), parameter, 1, rule.from_end ? -1 : 0,
               0, cuda::error_site(rule.op, rule.kind), cuda::error_slot(device), index->numel());
  return result;
}

void read_places(const Tensor& out, const Tensor& x, const Places& places) {
  move("read_places", x, places, out.data(), out.data(), x.data());
}

void write_places(const Tensor& x, const Tensor& source, const Places& places) {
  move("write_places", x, places, source.data(), x.data(), source.data());
}

void fill_places(const Tensor& x, Scalar value, const Places& places) {
  move("fill_places", x, places, nullptr, x.data(), element_of(value, x.dtype()));
}

void add_places(const Tensor& x, const Tensor& source, const Places& places, const AddRule& rule) {
  require_bound(places);
  if (source.numel() == 0) return;
  Places by_offset = places.with_offsets();
  const Sorted sorted = sort_small(by_offset.index, by_offset.largest_offset);
  by_offset.index = sorted.values;
  Walked walked = walk(x, by_offset, item_size(x.dtype()));
  const struct {  // twin of Rule in index_add.cu
    int64_t after, places, skip;
    int scaled, mean;
  } parameter{walked.after, by_offset.index->numel(),
              rule.skip < 0 ? -1 : rule.skip * places.stride, rule.alpha.to_double() != 1,
              rule.mean};
  const int device = x.device().index;
  const cuda::Function& kernel = kAddFile.get("add_places",
                                              {{"T", cuda::type_name(x.dtype())},
                                               {"INDEX", walked.layout.index()},
                                               {"DIMS", walked.layout.dims()}},
                                              device);
  cuda::launch(kernel, grid_for(walked.layout.count(), device), {kThreads}, 0, x.data(),
               source.data(), sorted.values->data<int64_t>(), sorted.positions->data<int64_t>(),
               element_of(rule.alpha, x.dtype()), walked.layout.parameter(), parameter,
               walked.layout.count());
}

}  // namespace flambeau::cuda_ops

namespace flambeau {

using namespace cuda_ops;

namespace {

// inputs[first] on are the indices; ints the dimensions.
Places places_of(const Call& call, const Tensor& x, int first) {
  const Dims& dimensions = call.attributes.ints;
  bool adjacent = true;
  for (int64_t i = 1; i < dimensions.size(); ++i) {
    adjacent = adjacent && dimensions[i] == dimensions[i - 1] + 1;
  }
  auto indices = call.inputs.subspan(first);
  return Places::along_all(x, indices, dimensions, adjacent);
}

}  // namespace

void run_index_cuda(Call& call) {
  read_places(call.output(), call.input(0), places_of(call, call.input(0), 1));
}

void run_index_put_cuda(Call& call) {
  const Tensor& target = call.output();
  const Tensor& given = call.input(1);
  Places places = places_of(call, target, 2);
  Dims shape = places.front;
  for (int64_t length : call.input(2).shape()) shape.push_back(length);
  for (int64_t length : places.after) shape.push_back(length);
  TensorRef values =
      dense_copy(*Tensor::view(given.storage(), shape, broadcast_strides(given, shape),
                               given.offset(), given.dtype()),
                 target.dtype());
  if (call.attributes.flag) {
    add_places(target, *values, places);
  } else {
    write_places(target, *values, places);
  }
}

}  // namespace flambeau
