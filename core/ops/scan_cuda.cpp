// The GPU's side of scan.cpp.
#include "ops/scan_cuda.h"

#include "ops/cuda_layout.h"
#include "ops/cuda_runs.h"
#include "ops/reduction.h"
#include "ops/sort.h"
#include "ops/views.h"
#include "tensor/copy.h"

namespace flambeau {

using namespace cuda_ops;

namespace {

const cuda::KernelFile kFile{"ops/scan.cu"};

// Sums and products of float32 run in double, as on the CPU; integers as int64, modulo 2^64.
DType running_type(DType dtype, bool extremes) {
  if (!is_floating(dtype)) return DType::Int64;
  if (dtype == DType::Float64 || (dtype == DType::Float32 && !extremes)) return DType::Float64;
  return DType::Float32;
}

}  // namespace

namespace cuda_ops {

void scan_lines(const Tensor& out, const Tensor* positions, const Tensor& x, int64_t length,
                Scan scan, bool backward) {
  if (x.numel() == 0) return;
  constexpr int64_t kTile = 1024, kMostChunks = int64_t{1} << 16;
  const int device = x.device().index;
  const int64_t count = x.numel() / length;
  // Enough blocks to fill the GPU, but chunks of several tiles.
  const int64_t wanted = std::max<int64_t>(1, 8 * cuda::properties(device).multiprocessors / count);
  const int64_t most = std::min(kMostChunks, (length + 4 * kTile - 1) / (4 * kTile));
  int64_t chunks = std::min(wanted, most);
  const int64_t chunk = ((length + chunks - 1) / chunks + kTile - 1) / kTile * kTile;
  chunks = (length + chunk - 1) / chunk;
  const struct {  // twin of Lines in scan.cu
    int64_t length, chunk, chunks;
    int backward;
  } lines{length, chunk, chunks, backward};
  const bool extremes = scan >= Scan::Largest;
  const std::string op = std::to_string(static_cast<int>(scan));
  const char* running = cuda::type_name(running_type(x.dtype(), extremes));
  auto kernel = [&](const char* entry) -> const cuda::Function& {
    return kFile.get(entry,
                     {{"T", cuda::type_name(x.dtype())},
                      {"OUT", cuda::type_name(out.dtype())},
                      {"A", running},
                      {"OP", op}},
                     device);
  };
  const unsigned blocks = blocks_of(count * chunks);
  TensorRef carries;
  if (chunks > 1) {
    carries = Tensor::empty({count * chunks * 16}, DType::UInt8, x.device());
    cuda::launch(kernel("scan_totals"), {blocks}, {kThreads}, 0, carries->data(), x.data(), lines);
    cuda::launch(kernel("scan_carries"), {blocks_of(count)}, {kThreads}, 0, carries->data(), lines);
  }
  cuda::launch(kernel("scan_lines"), {blocks}, {kThreads}, 0, out.data(),
               positions ? positions->data() : nullptr, x.data(),
               carries ? carries->data() : nullptr, lines);
}

}  // namespace cuda_ops

namespace {

template <Scan scan>
void run_scan(Call& call) {
  Unrecorded scope;
  const int64_t dim = call.attributes.ints[0];
  Lines lines(call.inputs[0], dim);
  const bool pair = call.output_count > 1;
  if (lines.x->numel() == 0) return;
  // Lines that lie apart are scanned in a dense copy.
  const bool dense = call.output().dim() == 0 || dim == call.output().dim() - 1;
  const Tensor& x = *lines.x;
  TensorRef out =
      dense ? call.outputs[0] : Tensor::empty(x.shape(), call.output().dtype(), x.device());
  TensorRef where;
  if (pair) where = dense ? call.outputs[1] : Tensor::empty(x.shape(), DType::Int64, x.device());
  scan_lines(*out, where.get(), x, lines.length, scan, call.attributes.flag);
  if (dense) return;
  store_lines(call.output(0), out, dim);
  if (pair) store_lines(call.output(1), where, dim);
}

}  // namespace

void run_cumsum_cuda(Call& call) { run_scan<Scan::Sum>(call); }
void run_cumprod_cuda(Call& call) { run_scan<Scan::Product>(call); }
void run_logcumsumexp_cuda(Call& call) { run_scan<Scan::LogSumExp>(call); }
void run_cummax_cuda(Call& call) { run_scan<Scan::Largest>(call); }
void run_cummin_cuda(Call& call) { run_scan<Scan::Smallest>(call); }

}  // namespace flambeau
