// Sorting long lines by digits of four bits, the least significant first (each pass is stable).
// A line is cut into tiles of 2048 items, one per block. A pass counts the tiles' digits
// (`count_digits`), runs over the counts by digit and tile (scan.cu), and puts every item where it
// belongs (`place_items`): items are read twice and written once per pass.

static constexpr int kSortThreads = 256;
static constexpr int kItems = 8;  // neighbours that a thread has
static constexpr int kTile = kSortThreads * kItems;
static constexpr int kDigits = 16;

struct Lines {
  int64 length, tiles;
  int shift;
};

// Where the i-th count lies: threads that read every 16th one after another do so in different
// banks of shared memory.
DEVICE int spread(int i) { return i + i / 32; }

// counts[line][digit][tile]
extern "C" __global__ void __launch_bounds__(256)
    count_digits(int64* counts, const KEY* keys, Lines lines) {
  __shared__ int found[kDigits];
  const int64 line = blockIdx.x / lines.tiles, tile = blockIdx.x % lines.tiles;
  if (threadIdx.x < kDigits) found[threadIdx.x] = 0;
  __syncthreads();
  for (int k = 0; k < kItems; ++k) {
    const int64 i = tile * kTile + k * kSortThreads + static_cast<int64>(threadIdx.x);
    if (i >= lines.length) continue;
    const int digit = static_cast<int>(keys[line * lines.length + i] >> lines.shift) & 15;
    atomicAdd(&found[digit], 1);
  }
  __syncthreads();
  if (threadIdx.x < kDigits) {
    counts[(line * kDigits + threadIdx.x) * lines.tiles + tile] = found[threadIdx.x];
  }
}

// `ends` are the running counts: where each digit of each tile ends.
extern "C" __global__ void __launch_bounds__(256)
    place_items(KEY* to_keys, unsigned* to_places, const KEY* keys, const unsigned* places,
                const int64* ends, Lines lines) {
  // Digit by digit, in each the threads.
  __shared__ int starts[kDigits * kSortThreads + kDigits * kSortThreads / 32];
  __shared__ int sums[kSortThreads];
  const int64 line = blockIdx.x / lines.tiles, tile = blockIdx.x % lines.tiles;
  const int me = static_cast<int>(threadIdx.x);
  const int64 own = tile * kTile + static_cast<int64>(me) * kItems;
  for (int d = 0; d < kDigits; ++d) starts[spread(d * kSortThreads + me)] = 0;
  KEY key[kItems];
  for (int k = 0; k < kItems; ++k) {
    if (own + k >= lines.length) break;
    key[k] = keys[line * lines.length + own + k];
    const int digit = static_cast<int>(key[k] >> lines.shift) & 15;
    ++starts[spread(digit * kSortThreads + me)];
  }
  __syncthreads();
  // Counts become starts: each thread runs over 16 of them, the block over the threads' sums.
  int sum = 0;
  for (int k = 0; k < kDigits; ++k) sum += starts[spread(me * kDigits + k)];
  sums[me] = sum;
  __syncthreads();
  for (int distance = 1; distance < kSortThreads; distance *= 2) {
    const int other = me >= distance ? sums[me - distance] : 0;
    __syncthreads();
    sums[me] += other;
    __syncthreads();
  }
  int start = sums[me] - sum;
  for (int k = 0; k < kDigits; ++k) {
    const int count = starts[spread(me * kDigits + k)];
    starts[spread(me * kDigits + k)] = start;
    start += count;
  }
  __syncthreads();
  __shared__ int begins[kDigits];
  if (me < kDigits) begins[me] = starts[spread(me * kSortThreads)];
  __syncthreads();
  for (int k = 0; k < kItems; ++k) {
    if (own + k >= lines.length) break;
    const int digit = static_cast<int>(key[k] >> lines.shift) & 15;
    const int64 group = static_cast<int64>(digit) * lines.tiles + tile;
    const int64* line_ends = ends + line * kDigits * lines.tiles;
    const int64 before = group ? line_ends[group - 1] : 0;
    const int place = starts[spread(digit * kSortThreads + me)]++;
    const int64 at = line * lines.length + before + place - begins[digit];
    to_keys[at] = key[k];
    to_places[at] = places[line * lines.length + own + k];
  }
}
