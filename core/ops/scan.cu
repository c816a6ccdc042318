// Running combinations along dense lines.
//
// A line is cut into chunks, one per block. With one chunk per line a single pass does it. With
// more, three do: `scan_totals` combines each chunk, `scan_carries` runs over a line's totals, and
// `scan_lines` starts each chunk from what is before it. So memory is read twice and written once,
// and the order of combining depends on the length alone. Threads take neighbouring elements.
//
// OP: 0 sum, 1 product, 2 log of the sum of exponentials, 3 largest, 4 smallest. A: what is
// combined in. Extremes keep the position of the last of equals, and a NaN stays.

static constexpr int kScanThreads = 256;
static constexpr int kPerThread = 4;
static constexpr int kTile = kScanThreads * kPerThread;

#if OP < 3
typedef A State;
DEVICE State start_state() {
#if OP == 0
  return 0;
#elif OP == 1
  return 1;
#else
  return -kInfinity;
#endif
}
DEVICE State join(State a, State b) {
#if OP == 0
  return a + b;
#elif OP == 1
  return a * b;
#else
  const double x = a, y = b;
  if (x != x || y != y) return a + b;
  const double low = x < y ? x : y, high = x < y ? y : x;
  // Equal infinities stay.
  if (low == high && (high == double(kInfinity) || high == -double(kInfinity))) return a;
  return static_cast<State>(high + log1p(exp(low - high)));
#endif
}
DEVICE State state_of(T value, int64) { return convert<A>(value); }
#else
struct State {
  A value;
  int64 index;  // -1: nothing yet
};
DEVICE State start_state() {
  State state;
  state.value = 0;
  state.index = -1;
  return state;
}
DEVICE State join(State a, State b) {
  if (b.index < 0) return a;
  if (a.index < 0 || b.value != b.value) return b;
#if OP == 3
  return b.value >= a.value ? b : a;
#else
  return b.value <= a.value ? b : a;
#endif
}
DEVICE State state_of(T value, int64 index) {
  State state;
  state.value = convert<A>(value);
  state.index = index;
  return state;
}
#endif

// What comes before this thread's state among the block's, and all of them together.
DEVICE State block_before(State mine, State* total) {
  __shared__ Words<State> of_warps[kScanThreads / kWarpSize];
  State running = mine;
#pragma unroll
  for (int distance = 1; distance < kWarpSize; distance *= 2) {
    const State other = shuffle_up(running, distance);
    if (lane_index() >= distance) running = join(other, running);
  }
  State before = shuffle_up(running, 1);
  if (lane_index() == 0) before = start_state();
  __syncthreads();  // the last use has been read
  if (lane_index() == kWarpSize - 1) of_warps[warp_index()].value = running;
  __syncthreads();
  State all = start_state(), others = start_state();
#pragma unroll
  for (int warp = 0; warp < kScanThreads / kWarpSize; ++warp) {
    if (warp == warp_index()) others = all;
    all = join(all, of_warps[warp].value);
  }
  *total = all;
  return join(others, before);
}

struct Lines {
  int64 length, chunk, chunks;
  int backward;  // from the end to the start
};
DEVICE int64 place(const Lines& lines, int64 i) {
  return lines.backward ? lines.length - 1 - i : i;
}
DEVICE int64 chunk_end(const Lines& lines, int64 begin) {
  const int64 end = begin + lines.chunk;
  return end < lines.length ? end : lines.length;
}

extern "C" __global__ void __launch_bounds__(256)
    scan_totals(State* totals, const T* from, Lines lines) {
  const int64 line = blockIdx.x / lines.chunks, chunk = blockIdx.x % lines.chunks;
  const int64 begin = chunk * lines.chunk, end = chunk_end(lines, begin);
  const T* values = from + line * lines.length;
  State running = start_state();
  for (int64 tile = begin; tile < end; tile += kTile) {
    State mine = start_state(), total;
    for (int k = 0; k < kPerThread; ++k) {
      const int64 i = tile + static_cast<int64>(threadIdx.x) * kPerThread + k;
      if (i < end) mine = join(mine, state_of(values[place(lines, i)], place(lines, i)));
    }
    block_before(mine, &total);
    running = join(running, total);
  }
  if (threadIdx.x == 0) totals[blockIdx.x] = running;
}

// Totals of a line's chunks become what is before each of them.
extern "C" __global__ void __launch_bounds__(256)
    scan_carries(State* totals, Lines lines) {
  State* mine = totals + static_cast<int64>(blockIdx.x) * lines.chunks;
  State running = start_state();
  for (int64 tile = 0; tile < lines.chunks; tile += kScanThreads) {
    const int64 i = tile + threadIdx.x;
    State total;
    State before = block_before(i < lines.chunks ? mine[i] : start_state(), &total);
    if (i < lines.chunks) mine[i] = join(running, before);
    running = join(running, total);
  }
}

extern "C" __global__ void __launch_bounds__(256)
    scan_lines(OUT* to, int64* where, const T* from, const State* carries, Lines lines) {
  const int64 line = blockIdx.x / lines.chunks, chunk = blockIdx.x % lines.chunks;
  const int64 begin = chunk * lines.chunk, end = chunk_end(lines, begin);
  const int64 first = line * lines.length;
  State running = carries ? carries[blockIdx.x] : start_state();
  for (int64 tile = begin; tile < end; tile += kTile) {
    const int64 own = tile + static_cast<int64>(threadIdx.x) * kPerThread;
    State states[kPerThread], mine = start_state(), total;
    for (int k = 0; k < kPerThread; ++k) {
      const int64 at = place(lines, own + k);
      if (own + k < end) mine = join(mine, state_of(from[first + at], at));
      states[k] = mine;
    }
    const State before = join(running, block_before(mine, &total));
    for (int k = 0; k < kPerThread; ++k) {
      if (own + k >= end) continue;
      const State result = join(before, states[k]);
      const int64 at = first + place(lines, own + k);
#if OP < 3
      to[at] = convert<OUT>(result);
#else
      to[at] = convert<OUT>(result.value);
      where[at] = result.index;
#endif
    }
    running = join(running, total);
  }
}
