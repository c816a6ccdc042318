#include <array>

#include "cuda/cudnn_attention.h"
#include "cuda/launch.h"
#include "cuda/math_settings.h"
#include "cuda/scratch.h"
#include "ops/attention.h"
#include "tensor/copy.h"

namespace flambeau {

namespace {

constexpr cuda::KernelFile kFile{"ops/attention.cu"};
constexpr int kThreads = 256;
constexpr int kBatchDims = 4;
// More dynamic shared memory than this has to be asked for.
constexpr size_t kUsualShared = 48 << 10;
constexpr int kMostDynamicShared = 8;  // CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES

struct KernelShape {
  int64_t queries, keys;
  int64_t sizes[kBatchDims];
  int64_t tiles;
  float scale;
  int causal;
};
struct KernelOperand {
  const void* data = nullptr;
  int64_t row = 0, column = 0;
  int64_t batch[kBatchDims] = {};
};
struct KernelPass {
  const void *g, *log_sums, *deltas;
};

// Queries, keys, values and mask as kernels read them.
class Operands {
 public:
  Operands(const Call& call, int first, const Dims& batch) : batches(count_elements(batch)) {
    for (int i = 0; i < 4; ++i) {
      if (!call.has(first + i)) continue;
      tensors_[i] = call.inputs[first + i];
      const bool apart = i < 3 && tensors_[i]->stride(tensors_[i]->dim() - 1) != 1;
      if (apart) tensors_[i] = dense_copy(*tensors_[i], tensors_[i]->dtype());
    }
    shape.queries = tensors_[0]->size(tensors_[0]->dim() - 2);
    shape.keys = tensors_[1]->size(tensors_[1]->dim() - 2);
    shape.scale = static_cast<float>(call.attributes.scalars[0].to_double());
    shape.causal = call.attributes.flag != 0;
    lay_out(batch);
    // Rarely are there more dimensions than kernels walk over.
    if (sizes_.size() > kBatchDims) {
      for (int i = 0; i < 4; ++i) repeat(i, batch);
      lay_out(batch);
    }
    for (int d = 0; d < kBatchDims; ++d) {
      const int64_t from = d - (kBatchDims - sizes_.size());
      shape.sizes[d] = from < 0 ? 1 : sizes_[from];
      for (int i = 0; i < 4; ++i) at[i].batch[d] = from < 0 ? 0 : strides_[i][from];
    }
  }

  int64_t batches;
  KernelShape shape{};
  KernelOperand at[4];  // q, k, v, mask
  int64_t features() const { return tensors_[0]->shape().back(); }
  int64_t values() const { return tensors_[2]->shape().back(); }
  DType dtype() const { return tensors_[0]->dtype(); }
  DType mask_dtype() const { return tensors_[3] ? tensors_[3]->dtype() : DType::Bool; }
  int device() const { return tensors_[0]->device().index; }
  bool has_mask() const { return tensors_[3] != nullptr; }
  // The inputs for cuDNN, which walks over two dimensions of a batch. False: there are more.
  bool describe(const Dims& batch, cuda::CudnnAttention& a) const;

 private:
  // What operand i is broadcast to.
  Dims full_shape(int i, const Dims& batch) const {
    Dims full = batch;
    full.push_back(i == 0 || i == 3 ? shape.queries : shape.keys);
    full.push_back(i == 3 ? shape.keys : tensors_[i]->shape().back());
    return full;
  }
  void repeat(int i, const Dims& batch) {
    if (!tensors_[i]) return;
    TensorRef all =
        Tensor::empty(full_shape(i, batch), tensors_[i]->dtype(), tensors_[i]->device());
    copy(*all, *tensors_[i]);
    tensors_[i] = std::move(all);
  }
  // Dimensions of the batch that all operands walk with one step become one.
  void lay_out(const Dims& batch) {
    sizes_ = batch;
    for (int i = 0; i < 4; ++i) {
      strides_[i] = Dims(batch.size(), 0);
      if (!tensors_[i]) continue;
      const Dims strides = broadcast_strides(*tensors_[i], full_shape(i, batch));
      strides_[i] = Dims(strides.begin(), strides.end() - 2);
      at[i].data = tensors_[i]->data();
      at[i].row = strides[batch.size()];
      at[i].column = strides[batch.size() + 1];
    }
    merge_dimensions(sizes_, strides_);
  }

  TensorRef tensors_[4];
  Dims sizes_;
  std::array<Dims, 4> strides_;
};

bool Operands::describe(const Dims& batch, cuda::CudnnAttention& a) const {
  const Dims& sizes = batch.size() <= 2 ? batch : sizes_;
  if (sizes.size() > 2) return false;
  a.dtype = dtype();
  a.device = device();
  a.causal = shape.causal;
  a.scale = shape.scale;
  a.batch = sizes.size() > 1 ? sizes[0] : 1;
  a.heads = sizes.empty() ? 1 : sizes.back();
  a.queries = shape.queries;
  a.keys = shape.keys;
  a.features = features();
  a.values = values();
  std::array<int64_t, 3>* const strides[] = {&a.q_strides, &a.k_strides, &a.v_strides};
  for (int i = 0; i < 3; ++i) {
    const Dims all = broadcast_strides(*tensors_[i], full_shape(i, batch));
    const Dims& steps = batch.size() <= 2 ? all : strides_[i];
    const int64_t lengths[] = {a.batch, a.heads, i == 0 ? a.queries : a.keys};
    const int64_t given[] = {sizes.size() > 1 ? steps[0] : 0,
                             sizes.empty() ? 0 : steps[sizes.size() - 1], at[i].row};
    // A step that is never taken is that of a dense tensor.
    int64_t dense = tensors_[i]->shape().back();
    for (int d = 2; d >= 0; --d) {
      (*strides[i])[d] = lengths[d] > 1 ? given[d] : dense;
      dense = (*strides[i])[d] * lengths[d];
    }
  }
  a.q = at[0].data;
  a.k = at[1].data;
  a.v = at[2].data;
  return true;
}

// Rows and keys of a tile, by the longer of the features.
struct Tile {
  int rows, keys;
};
Tile forward_tile(int64_t features) {
  return features <= 64 ? Tile{64, 32} : features <= 128 ? Tile{32, 32} : Tile{16, 16};
}
Tile backward_tile(int64_t features) { return features <= 64 ? Tile{32, 32} : Tile{16, 16}; }

// The kernel with its shared memory allowed; null if the GPU has less.
const cuda::Function* kernel(const char* entry, const Operands& operands, Tile tile,
                             size_t shared_bytes) {
  const int device = operands.device();
  if (shared_bytes > kUsualShared &&
      shared_bytes > cuda::properties(device).shared_memory_per_block_optin) {
    return nullptr;
  }
  const std::string head = std::to_string(operands.features());
  const std::string value = std::to_string(operands.values());
  const std::string rows = std::to_string(tile.rows), keys = std::to_string(tile.keys);
  const cuda::Function& function = kFile.get(entry,
                                             {{"T", cuda::type_name(operands.dtype())},
                                              {"MASK", cuda::type_name(operands.mask_dtype())},
                                              {"HEAD", head},
                                              {"VALUE", value},
                                              {"ROWS", rows},
                                              {"KEYS", keys}},
                                             device);
  if (shared_bytes > kUsualShared) {
    cuda::use(device);
    cuda::check(cuda::driver().function_set_attribute(function.handle, kMostDynamicShared,
                                                      static_cast<int>(shared_bytes)),
                "cuFuncSetAttribute");
  }
  return &function;
}

cuda::Extent3 blocks(int64_t tiles) {
  return {static_cast<unsigned>(std::min<int64_t>(tiles, INT32_MAX))};
}

int64_t tiles_of(int64_t length, int tile) { return (length + tile - 1) / tile; }

Dims batch_of(const Tensor& output) {
  return Dims(output.shape().begin(), output.shape().end() - 2);
}

TensorRef dense(const TensorRef& x) { return x->contiguous() ? x : dense_copy(*x, x->dtype()); }

// Whether kernels of our own may be used.
bool ours_permitted() {
  return cuda::math_settings.attention_flash || cuda::math_settings.attention_efficient;
}

}  // namespace

bool attention_kernels_permitted() {
  return cuda::math_settings.attention_cudnn || ours_permitted();
}

bool attention_on_gpu(Call& call) {
  const Tensor &out = call.output(0), &sums = call.output(1);
  if (sums.numel() == 0) return true;
  Operands x(call, 0, batch_of(out));
  cuda::CudnnAttention attention;
  if (!x.has_mask() && x.describe(batch_of(out), attention)) {
    attention.out = out.data();
    attention.log_sums = sums.data();
    if (cuda::cudnn_attend(attention)) return true;
  }
  if (!ours_permitted()) return false;
  const Tile tile = forward_tile(std::max(x.features(), x.values()));
  const size_t shared = sizeof(float) * (tile.rows * (x.features() + 1) +
                                         tile.keys * (std::max(x.features(), x.values()) + 1) +
                                         tile.rows * (tile.keys + 1));
  const cuda::Function* function = kernel("attention", x, tile, shared);
  if (!function) return false;
  x.shape.tiles = tiles_of(x.shape.queries, tile.rows) * x.batches;
  cuda::launch(*function, blocks(x.shape.tiles), {kThreads}, static_cast<unsigned>(shared), x.shape,
               x.at[0], x.at[1], x.at[2], x.at[3], out.data(), sums.data());
  return true;
}

bool attention_backward_on_gpu(Call& call) {
  const Tensor &dq = call.output(0), &dk = call.output(1), &dv = call.output(2);
  const int device = dq.device().index;
  Operands x(call, 3, batch_of(dq));
  const TensorRef g = dense(call.inputs[0]), out = dense(call.inputs[1]);
  const TensorRef sums = dense(call.inputs[2]);
  cuda::CudnnAttention attention;
  if (!x.has_mask() && x.describe(batch_of(dq), attention)) {
    attention.out = out->data();
    attention.log_sums = sums->data();
    attention.g = g->data();
    attention.dq = dq.data();
    attention.dk = dk.data();
    attention.dv = dv.data();
    if (cuda::cudnn_attend(attention)) return true;
  }
  if (!ours_permitted()) return false;
  const Tile tile = backward_tile(std::max(x.features(), x.values()));
  const int64_t features = x.features() + x.values() + 2;
  const size_t shared =
      sizeof(float) * ((tile.rows + tile.keys) * features + 2 * tile.rows * (tile.keys + 1));
  const cuda::Function* queries = kernel("attention_dq", x, tile, shared);
  if (!queries) return false;
  const cuda::Function* keys = kernel("attention_dkv", x, tile, shared);
  const cuda::Function* rows = kernel("attention_deltas", x, tile, 0);
  const int64_t count = x.batches * x.shape.queries;
  const cuda::Scratch deltas(count * sizeof(float), device);
  if (count > 0) {
    cuda::launch(*rows, {cuda::blocks_for(count * 32, kThreads, device)}, {kThreads}, 0, count,
                 g->data(), out->data(), deltas.data());
  }
  const KernelPass pass{g->data(), sums->data(), deltas.data()};
  x.shape.tiles = tiles_of(x.shape.queries, tile.rows) * x.batches;
  cuda::launch(*queries, blocks(x.shape.tiles), {kThreads}, static_cast<unsigned>(shared), x.shape,
               x.at[0], x.at[1], x.at[2], x.at[3], pass, dq.data());
  x.shape.tiles = tiles_of(x.shape.keys, tile.keys) * x.batches;
  cuda::launch(*keys, blocks(x.shape.tiles), {kThreads}, static_cast<unsigned>(shared), x.shape,
               x.at[0], x.at[1], x.at[2], x.at[3], pass, dk.data(), dv.data());
  return true;
}

}  // namespace flambeau
