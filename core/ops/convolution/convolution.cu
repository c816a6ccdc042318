// The three products of a convolution, as in ops/convolution/convolution_kernels.h, on contiguous
// memory. Each is a matrix product whose operands are read from where they lie ("implicit GEMM");
// groups of few channels, where tiles would be mostly empty, are computed element by element.
// After ops/tiles.cuh.

struct ConvolutionGeometry {
  INDEX batch, groups, in_channels, out_channels;
  INDEX input[3], kernel[3], output[3], stride[3], padding[3], dilation[3];
};

DEVICE INDEX volume(const INDEX (&lengths)[3]) { return lengths[0] * lengths[1] * lengths[2]; }

// A flat place in a volume as three coordinates.
struct Place {
  INDEX at[3];
};
DEVICE Place place_of(INDEX flat, const INDEX (&lengths)[3]) {
  Place place;
  place.at[2] = flat % lengths[2];
  flat /= lengths[2];
  place.at[1] = flat % lengths[1];
  place.at[0] = flat / lengths[1];
  return place;
}

// Where tap `tap` of the window at output place `o` reads the input, flat; -1: in the padding.
DEVICE INDEX input_place(const ConvolutionGeometry& g, const Place& o, const Place& tap) {
  INDEX flat = 0;
#pragma unroll
  for (int i = 0; i < 3; ++i) {
    const INDEX at = o.at[i] * g.stride[i] - g.padding[i] + tap.at[i] * g.dilation[i];
    if (at < 0 || at >= g.input[i]) return -1;
    flat = flat * g.input[i] + at;
  }
  return flat;
}
// The output place whose window reads input place `x` with tap `tap`, flat; -1: there is none.
DEVICE INDEX output_place(const ConvolutionGeometry& g, const Place& x, const Place& tap) {
  INDEX flat = 0;
#pragma unroll
  for (int i = 0; i < 3; ++i) {
    const INDEX reach = x.at[i] + g.padding[i] - tap.at[i] * g.dilation[i];
    if (reach < 0 || reach % g.stride[i] != 0) return -1;
    const INDEX at = reach / g.stride[i];
    if (at >= g.output[i]) return -1;
    flat = flat * g.output[i] + at;
  }
  return flat;
}

// The tile that a block works on: `rows` x `columns` elements for each group.
struct TileOf {
  INDEX group, first_row, first_column, part;
};
DEVICE TileOf tile_of(int64 block, INDEX rows, INDEX columns, INDEX groups) {
  const int64 down = (rows + kTile - 1) / kTile, across = (columns + kTile - 1) / kTile;
  TileOf tile;
  tile.first_column = static_cast<INDEX>(block % across * kTile);
  block /= across;
  tile.first_row = static_cast<INDEX>(block % down * kTile);
  block /= down;
  tile.group = static_cast<INDEX>(block % groups);
  tile.part = static_cast<INDEX>(block / groups);
  return tile;
}
// The column of a tile that this thread loads (see multiply_tiles with b_inner == false).
DEVICE int own_column() { return static_cast<int>(threadIdx.x) % kTile; }

// y: rows are output channels, columns (image, place of the output), inner (channel, tap).
extern "C" __global__ void __launch_bounds__(256)
    forward(ConvolutionGeometry g, const T* x, const T* w, const T* bias, T* y, int64 tiles) {
  const INDEX taps = volume(g.kernel), places = volume(g.output), pixels = volume(g.input);
  const INDEX rows = g.out_channels / g.groups, channels = g.in_channels / g.groups;
  const INDEX columns = g.batch * places, inner = channels * taps;
  for (int64 block = blockIdx.x; block < tiles; block += gridDim.x) {
    const TileOf tile = tile_of(block, rows, columns, g.groups);
    const INDEX mine = tile.first_column + own_column();
    const Place o = place_of(mine % places, g.output);
    const T* source = x + (mine / places * g.in_channels + tile.group * channels) * pixels;
    const T* weights = w + tile.group * rows * inner;
    Accumulator sums[kEach][kEach] = {};
    multiply_tiles(
        INDEX(0), inner, true, false,
        [&](int row, INDEX k) -> Accumulator {
          if (tile.first_row + row >= rows) return 0;
          return convert<Accumulator>(weights[(tile.first_row + row) * inner + k]);
        },
        [&](INDEX k, int) -> Accumulator {
          if (mine >= columns) return 0;
          const INDEX from = input_place(g, o, place_of(k % taps, g.kernel));
          return from < 0 ? Accumulator(0)
                          : convert<Accumulator>(source[k / taps * pixels + from]);
        },
        sums);
    each_of_tile(sums, [&](int row, int column, Accumulator sum) {
      const INDEX i = tile.first_row + row, j = tile.first_column + column;
      if (i >= rows || j >= columns) return;
      const INDEX channel = tile.group * rows + i;
      if (bias) sum += convert<Accumulator>(bias[channel]);
      y[(j / places * g.out_channels + channel) * places + j % places] = convert<T>(sum);
    });
  }
}

// x: rows are input channels, columns (image, place of the input), inner (output channel, tap).
extern "C" __global__ void __launch_bounds__(256)
    input_gradient(ConvolutionGeometry g, const T* y, const T* w, const T* bias, T* x,
                   int64 tiles) {
  const INDEX taps = volume(g.kernel), places = volume(g.output), pixels = volume(g.input);
  const INDEX rows = g.in_channels / g.groups, channels = g.out_channels / g.groups;
  const INDEX columns = g.batch * pixels, inner = channels * taps;
  for (int64 block = blockIdx.x; block < tiles; block += gridDim.x) {
    const TileOf tile = tile_of(block, rows, columns, g.groups);
    const INDEX mine = tile.first_column + own_column();
    const Place at = place_of(mine % pixels, g.input);
    const T* source = y + (mine / pixels * g.out_channels + tile.group * channels) * places;
    const T* weights = w + tile.group * channels * rows * taps;
    Accumulator sums[kEach][kEach] = {};
    multiply_tiles(
        INDEX(0), inner, true, false,
        [&](int row, INDEX k) -> Accumulator {
          if (tile.first_row + row >= rows) return 0;
          return convert<Accumulator>(
              weights[(k / taps * rows + tile.first_row + row) * taps + k % taps]);
        },
        [&](INDEX k, int) -> Accumulator {
          if (mine >= columns) return 0;
          const INDEX from = output_place(g, at, place_of(k % taps, g.kernel));
          return from < 0 ? Accumulator(0)
                          : convert<Accumulator>(source[k / taps * places + from]);
        },
        sums);
    each_of_tile(sums, [&](int row, int column, Accumulator sum) {
      const INDEX i = tile.first_row + row, j = tile.first_column + column;
      if (i >= rows || j >= columns) return;
      const INDEX channel = tile.group * rows + i;
      if (bias) sum += convert<Accumulator>(bias[channel]);
      x[(j / pixels * g.in_channels + channel) * pixels + j % pixels] = convert<T>(sum);
    });
  }
}

// w: rows are output channels, columns (channel, tap), inner (image, place of the output), which
// is cut into parts of `part_length` so that there is work for the whole GPU. parts: [part][weight].
extern "C" __global__ void __launch_bounds__(256)
    weight_gradient(ConvolutionGeometry g, const T* x, const T* y, Accumulator* parts,
                    INDEX part_length, int64 tiles) {
  const INDEX taps = volume(g.kernel), places = volume(g.output), pixels = volume(g.input);
  const INDEX rows = g.out_channels / g.groups, channels = g.in_channels / g.groups;
  const INDEX columns = channels * taps, inner = g.batch * places;
  for (int64 block = blockIdx.x; block < tiles; block += gridDim.x) {
    const TileOf tile = tile_of(block, rows, columns, g.groups);
    const INDEX mine = tile.first_column + own_column();
    const Place tap = place_of(mine % taps, g.kernel);
    const INDEX begin = tile.part * part_length;
    const INDEX end = inner - begin < part_length ? inner : begin + part_length;
    Accumulator sums[kEach][kEach] = {};
    multiply_tiles(
        begin, end, true, false,
        [&](int row, INDEX k) -> Accumulator {
          if (tile.first_row + row >= rows) return 0;
          const INDEX channel = tile.group * rows + tile.first_row + row;
          return convert<Accumulator>(
              y[(k / places * g.out_channels + channel) * places + k % places]);
        },
        [&](INDEX k, int) -> Accumulator {
          if (mine >= columns) return 0;
          const INDEX from = input_place(g, place_of(k % places, g.output), tap);
          const INDEX channel = tile.group * channels + mine / taps;
          return from < 0 ? Accumulator(0)
                          : convert<Accumulator>(
                                x[(k / places * g.in_channels + channel) * pixels + from]);
        },
        sums);
    Accumulator* to = parts + static_cast<int64>(tile.part) * g.out_channels * columns +
                      static_cast<int64>(tile.group) * rows * columns;
    each_of_tile(sums, [&](int row, int column, Accumulator sum) {
      const INDEX i = tile.first_row + row, j = tile.first_column + column;
      if (i < rows && j < columns) to[i * columns + j] = sum;
    });
  }
}
extern "C" __global__ void __launch_bounds__(256)
    weight_total(const Accumulator* parts, int count, int64 weights, T* w) {
  for (int64 i = thread_index<int64>(); i < weights; i += thread_count<int64>()) {
    Accumulator sum = 0;
    for (int part = 0; part < count; ++part) sum += parts[part * weights + i];
    w[i] = convert<T>(sum);
  }
}

// After a convolution of cuDNN: `places` neighbours share a channel.
extern "C" __global__ void __launch_bounds__(256)
    add_bias(const T* bias, int64 channels, int64 places, int64 count, T* out) {
  for (INDEX i = thread_index<INDEX>(); i < count; i += thread_count<INDEX>()) {
    const T added = bias[i / static_cast<INDEX>(places) % static_cast<INDEX>(channels)];
    out[i] = convert<T>(convert<Accumulator>(out[i]) + convert<Accumulator>(added));
  }
}

// --- element by element

extern "C" __global__ void __launch_bounds__(256)
    direct_forward(ConvolutionGeometry g, const T* x, const T* w, const T* bias, T* y) {
  const INDEX taps = volume(g.kernel), places = volume(g.output), pixels = volume(g.input);
  const INDEX rows = g.out_channels / g.groups, channels = g.in_channels / g.groups;
  const INDEX count = g.batch * g.out_channels * places;
  for (INDEX n = thread_index<INDEX>(); n < count; n += thread_count<INDEX>()) {
    const INDEX channel = n / places % g.out_channels, image = n / places / g.out_channels;
    const Place o = place_of(n % places, g.output);
    const T* source = x + (image * g.in_channels + channel / rows * channels) * pixels;
    const T* weights = w + channel * channels * taps;
    Accumulator sum = bias ? convert<Accumulator>(bias[channel]) : Accumulator(0);
    for (INDEX tap = 0; tap < taps; ++tap) {
      const INDEX from = input_place(g, o, place_of(tap, g.kernel));
      if (from < 0) continue;
      for (INDEX c = 0; c < channels; ++c) {
        sum += convert<Accumulator>(weights[c * taps + tap]) *
               convert<Accumulator>(source[c * pixels + from]);
      }
    }
    y[n] = convert<T>(sum);
  }
}

extern "C" __global__ void __launch_bounds__(256)
    direct_input_gradient(ConvolutionGeometry g, const T* y, const T* w, const T* bias, T* x) {
  const INDEX taps = volume(g.kernel), places = volume(g.output), pixels = volume(g.input);
  const INDEX rows = g.in_channels / g.groups, channels = g.out_channels / g.groups;
  const INDEX count = g.batch * g.in_channels * pixels;
  for (INDEX n = thread_index<INDEX>(); n < count; n += thread_count<INDEX>()) {
    const INDEX channel = n / pixels % g.in_channels, image = n / pixels / g.in_channels;
    const INDEX first = channel / rows * channels;  // output channel of the group
    const Place at = place_of(n % pixels, g.input);
    const T* source = y + (image * g.out_channels + first) * places;
    const T* weights = w + (first * rows + channel % rows) * taps;
    Accumulator sum = bias ? convert<Accumulator>(bias[channel]) : Accumulator(0);
    for (INDEX tap = 0; tap < taps; ++tap) {
      const INDEX from = output_place(g, at, place_of(tap, g.kernel));
      if (from < 0) continue;
      for (INDEX c = 0; c < channels; ++c) {
        sum += convert<Accumulator>(weights[c * rows * taps + tap]) *
               convert<Accumulator>(source[c * places + from]);
      }
    }
    x[n] = convert<T>(sum);
  }
}

// A block for each weight.
extern "C" __global__ void __launch_bounds__(256)
    direct_weight_gradient(ConvolutionGeometry g, const T* x, const T* y, T* w) {
  const INDEX taps = volume(g.kernel), places = volume(g.output), pixels = volume(g.input);
  const INDEX rows = g.out_channels / g.groups, channels = g.in_channels / g.groups;
  const INDEX count = g.out_channels * channels * taps, inner = g.batch * places;
  for (INDEX n = static_cast<INDEX>(blockIdx.x); n < count; n += static_cast<INDEX>(gridDim.x)) {
    const INDEX row = n / taps / channels;
    const INDEX channel = row / rows * channels + n / taps % channels;
    const Place tap = place_of(n % taps, g.kernel);
    Accumulator sum = 0;
    for (INDEX k = static_cast<INDEX>(threadIdx.x); k < inner; k += kThreads) {
      const INDEX from = input_place(g, place_of(k % places, g.output), tap);
      if (from < 0) continue;
      sum += convert<Accumulator>(x[(k / places * g.in_channels + channel) * pixels + from]) *
             convert<Accumulator>(y[(k / places * g.out_channels + row) * places + k % places]);
    }
    sum = block_reduce(sum, Sum());
    if (threadIdx.x == 0) w[n] = convert<T>(sum);
  }
}
