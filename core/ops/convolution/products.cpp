// Convolutions as matrix products: Note [Pixel-major convolution] in pixel_major.h.
#include "ops/convolution/products.h"

#include <algorithm>
#include <vector>

#include "base/thread_pool.h"
#include "blas/gemm.h"
#include "ops/convolution/pixel_major.h"

namespace flambeau {
namespace {

constexpr int64_t kBlockPixels = 384;  // most pixels of a product
constexpr int64_t kRowBlock = 128;     // most output channels of a work item
constexpr int64_t kItems = 8;          // work items worth having; independent of threads
constexpr int64_t kFewPixels = 48, kFewChannels = 8;

template <class T>
struct WeightProduct : PixelMajor<T> {
  using Base = PixelMajor<T>;
  using Base::channels, Base::geometry, Base::kernel_rows, Base::narrow, Base::pixels;
  int64_t group;                          // images at a time
  int64_t block, joined;                  // pixels of a product; images whose pixels it joins
  int64_t rows_joined;                    // rows of the kernel in one product: all, or one
  int64_t columns, kernel_items;          // of a product; products for a pixel
  int64_t row_block, row_blocks, chunks;  // output channels of an item; parts of the pixels
  bool direct;                            // the sums of all items are the weight itself
  bool in_place;                          // every pixel is read once, in order

  explicit WeightProduct(const ConvolutionGeometry& geometry);
  int64_t items() const { return chunks * row_blocks * kernel_items; }
  int64_t item_size() const { return row_block * columns; }
  int64_t size() const { return geometry.out_channels * geometry.in_channels * geometry.taps(); }
  // Adds the products of the images at hand to the sums of an item.
  void run(int64_t item, const T* turned, const T* g, int64_t images, T* sums) const;
  void collect(const T* sums, T* w) const;
};

template <class T>
WeightProduct<T>::WeightProduct(const ConvolutionGeometry& geometry) : Base(geometry) {
  group = this->images_at_once();
  joined = pixels < kBlockPixels / 2 ? std::min(group, kBlockPixels / pixels) : 1;
  block = joined > 1 ? joined * pixels : divide_up(pixels, divide_up(pixels, kBlockPixels));
  rows_joined = narrow ? kernel_rows() : 1;
  columns = this->row_size(rows_joined);
  kernel_items = kernel_rows() / rows_joined;
  row_blocks = divide_up(geometry.out_channels, kRowBlock);
  row_block = divide_up(geometry.out_channels, row_blocks);
  int64_t blocks = joined > 1 ? divide_up(group, joined) : group * divide_up(pixels, block);
  chunks = std::clamp<int64_t>(divide_up(kItems, row_blocks * kernel_items), 1, blocks);
  direct = geometry.taps() == 1 && channels == geometry.in_channels;
  if (direct) chunks = 1;
  in_place = geometry.taps() == 1 && volume(this->padded) == pixels;
}

template <class T>
void WeightProduct<T>::run(int64_t item, const T* turned, const T* g, int64_t images,
                           T* sums) const {
  int64_t kernel_item = item % kernel_items, row = item / kernel_items % row_blocks * row_block;
  int64_t chunk = item / (kernel_items * row_blocks);
  int64_t rows = std::min(row_block, geometry.out_channels - row);
  int64_t image_blocks = joined > 1 ? 1 : divide_up(pixels, block);
  int64_t blocks = joined > 1 ? divide_up(images, joined) : images * image_blocks;
  Scratch<T> right(in_place ? 0 : block * columns), left(joined > 1 ? rows * block : 0);
  for (int64_t b = blocks * chunk / chunks; b < blocks * (chunk + 1) / chunks; ++b) {
    int64_t image = joined > 1 ? b * joined : b / image_blocks;
    int64_t at = joined > 1 ? 0 : b % image_blocks * block;
    int64_t joins = std::min(joined, images - image);
    int64_t count = joined > 1 ? joins * pixels : std::min(block, pixels - at);
    const T* pieces = in_place ? turned + (image * pixels + at) * channels : right.data();
    if (!in_place) {
      this->gather(turned, kernel_item * rows_joined, rows_joined, image * pixels + at, count,
                   right.data());
    }
    const T* from = g + (image * geometry.out_channels + row) * pixels + at;
    int64_t from_ld = pixels;
    if (joins > 1) {
      for (int64_t r = 0; r < rows; ++r) {
        for (int64_t i = 0; i < joins; ++i) {
          const T* line = from + (i * geometry.out_channels + r) * pixels;
          std::copy(line, line + pixels, left.data() + r * count + i * pixels);
        }
      }
      from = left.data();
      from_ld = count;
    }
    gemm<T>(false, false, rows, columns, count, 1, from, from_ld, pieces, columns, 1, sums,
            columns);
  }
}

template <class T>
void WeightProduct<T>::collect(const T* sums, T* w) const {
  int64_t taps = geometry.taps(), width = geometry.kernel[2], in_channels = geometry.in_channels;
  int64_t chunk_size = row_blocks * kernel_items * item_size();
  parallel_for(geometry.out_channels, grain_for(4 * in_channels * taps),
               [&](int64_t begin, int64_t end) {
                 for (int64_t row = begin; row < end; ++row) {
                   for (int64_t tap = 0; tap < taps; ++tap) {
                     int64_t line = tap / width, column = line % rows_joined * width + tap % width;
                     int64_t item = row / row_block * kernel_items + line / rows_joined;
                     const T* from =
                         sums + item * item_size() + row % row_block * columns + column * channels;
                     T* to = w + row * in_channels * taps + tap;
                     for (int64_t channel = 0; channel < in_channels; ++channel) {
                       T sum = from[channel];
                       for (int64_t c = 1; c < chunks; ++c) sum += from[c * chunk_size + channel];
                       to[channel * taps] = sum;
                     }
                   }
                 }
               });
}

// Starts every output at its bias.
template <class T>
void fill_bias(int64_t images, int64_t channels, int64_t pixels, const T* bias, T* out) {
  parallel_for(images * channels, kGrain / pixels + 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      std::fill(out + i * pixels, out + (i + 1) * pixels, bias[i % channels]);
    }
  });
}

std::vector<int64_t> offsets_of(int64_t count, int64_t step) {
  std::vector<int64_t> offsets(count);
  for (int64_t i = 0; i < count; ++i) offsets[i] = i * step;
  return offsets;
}

// out[image] = op(w) times x[image], channels x pixels each, plus the bias.
template <class T>
void multiply_images(const ConvolutionGeometry& geometry, bool transpose_w, int64_t out_channels,
                     int64_t in_channels, const T* w, const T* x, const T* bias, T* out) {
  int64_t pixels = volume(geometry.output), batch = geometry.batch;
  if (bias) fill_bias(batch, out_channels, pixels, bias, out);
  gemm_batch<T>(transpose_w, false, batch, out_channels, pixels, in_channels, 1, w,
                geometry.in_channels, offsets_of(batch, 0).data(), x, pixels,
                offsets_of(batch, in_channels * pixels).data(), bias ? 1 : 0, out, pixels,
                out_channels * pixels);
}

}  // namespace

template <class T>
bool is_pointwise(const ConvolutionGeometry& geometry) {
  if (geometry.groups != 1 || geometry.taps() != 1) return false;
  for (int d = 0; d < 3; ++d) {
    if (geometry.stride[d] != 1 || geometry.padding[d] != 0) return false;
    if (geometry.output[d] != geometry.input[d]) return false;
  }
  // Few pixels: a shifted view joins images.
  int64_t pixels = volume(geometry.output);
  return pixels >= kFewPixels && geometry.out_channels >= kFewChannels &&
         geometry.in_channels >= kFewChannels;
}

template <class T>
void pointwise_forward(const ConvolutionGeometry& geometry, const T* x, const T* w, const T* bias,
                       T* y) {
  multiply_images(geometry, false, geometry.out_channels, geometry.in_channels, w, x, bias, y);
}

template <class T>
void pointwise_input_gradient(const ConvolutionGeometry& geometry, const T* g, const T* w,
                              const T* bias, T* x) {
  multiply_images(geometry, true, geometry.in_channels, geometry.out_channels, w, g, bias, x);
}

template <class T>
bool prefers_weight_product(const ConvolutionGeometry& geometry) {
  if (geometry.groups != 1 || volume(geometry.output) == 0) return false;
  int64_t lanes = tile_kernels<T>().lanes;
  int64_t columns = geometry.in_channels;
  if (columns < lanes) columns *= geometry.taps();
  int64_t wasted = divide_up(columns, lanes) * lanes - columns;
  return 5 * wasted <= columns && geometry.out_channels >= lanes;
}

template <class T>
void weight_product(const ConvolutionGeometry& geometry, const T* x, const T* g, T* w) {
  WeightProduct<T> product(geometry);
  int64_t items = product.items(), size = product.item_size();
  Scratch<T> turned(product.group * product.image_size()),
      scratch(product.direct ? 0 : items * size);
  T* sums = product.direct ? w : scratch.data();
  std::fill(sums, sums + (product.direct ? product.size() : items * size), T(0));
  int64_t in_size = geometry.in_channels * volume(geometry.input);
  for (int64_t image = 0; image < geometry.batch; image += product.group) {
    int64_t images = std::min(product.group, geometry.batch - image);
    product.turn(x + image * in_size, images, turned.data());
    const T* from = g + image * geometry.out_channels * product.pixels;
    int64_t work = images * product.pixels * size / product.chunks;
    parallel_for(items, grain_for(work), [&](int64_t begin, int64_t end) {
      for (int64_t item = begin; item < end; ++item) {
        product.run(item, turned.data(), from, images, sums + item * size);
      }
    });
  }
  if (!product.direct) product.collect(sums, w);
}

#define FLAMBEAU_PRODUCTS(T)                                                                       \
  template bool is_pointwise<T>(const ConvolutionGeometry&);                                       \
  template void pointwise_forward(const ConvolutionGeometry&, const T*, const T*, const T*, T*);   \
  template void pointwise_input_gradient(const ConvolutionGeometry&, const T*, const T*, const T*, \
                                         T*);                                                      \
  template bool prefers_weight_product<T>(const ConvolutionGeometry&);                             \
  template void weight_product(const ConvolutionGeometry&, const T*, const T*, T*);
FLAMBEAU_PRODUCTS(float)
FLAMBEAU_PRODUCTS(double)
#undef FLAMBEAU_PRODUCTS

}  // namespace flambeau
