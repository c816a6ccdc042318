// Convolution of integers, one product after another; sums wrap around.
#include <algorithm>

#include "base/thread_pool.h"
#include "ops/convolution/convolution_kernels.h"

namespace flambeau {
namespace {

int64_t count_of(const int64_t lengths[3]) { return lengths[0] * lengths[1] * lengths[2]; }

// Calls visit(input index, weight index, output index), all within one channel, for every product.
template <class Visit>
void each_product(const ConvolutionGeometry& geometry, Visit visit) {
  const int64_t *input = geometry.input, *kernel = geometry.kernel, *output = geometry.output;
  for (int64_t o = 0; o < count_of(output); ++o) {
    const int64_t at[3] = {o / (output[1] * output[2]), o / output[2] % output[1], o % output[2]};
    for (int64_t t = 0; t < count_of(kernel); ++t) {
      const int64_t tap[3] = {t / (kernel[1] * kernel[2]), t / kernel[2] % kernel[1],
                              t % kernel[2]};
      int64_t index = 0;
      bool inside = true;
      for (int i = 0; i < 3; ++i) {
        int64_t u =
            at[i] * geometry.stride[i] - geometry.padding[i] + tap[i] * geometry.dilation[i];
        inside = inside && u >= 0 && u < input[i];
        index = index * input[i] + u;
      }
      if (inside) visit(index, t, o);
    }
  }
}

// Calls visit(image, output channel, input channel, weight's row) for the pairs of an image.
template <class Visit>
void each_pair(const ConvolutionGeometry& geometry, int64_t image, Visit visit) {
  int64_t in = geometry.in_channels / geometry.groups;
  int64_t out = geometry.out_channels / geometry.groups;
  for (int64_t channel = 0; channel < geometry.out_channels; ++channel) {
    for (int64_t c = 0; c < in; ++c) {
      visit(image * geometry.out_channels + channel,
            image * geometry.in_channels + channel / out * in + c, channel * in + c);
    }
  }
}

// Unsigned arithmetic, because it may wrap around.
void add_product(int64_t& sum, int64_t a, int64_t b) {
  sum = static_cast<int64_t>(static_cast<uint64_t>(sum) +
                             static_cast<uint64_t>(a) * static_cast<uint64_t>(b));
}

void fill_bias(int64_t batch, int64_t channels, int64_t plane, const int64_t* bias, int64_t* out) {
  for (int64_t i = 0; i < batch * channels * plane; ++i) {
    out[i] = bias ? bias[i / plane % channels] : 0;
  }
}

}  // namespace

template <>
void convolution_forward(const ConvolutionGeometry& geometry, const int64_t* x, const int64_t* w,
                         const int64_t* bias, int64_t* y) {
  int64_t inputs = count_of(geometry.input), outputs = count_of(geometry.output);
  int64_t taps = geometry.taps();
  fill_bias(geometry.batch, geometry.out_channels, outputs, bias, y);
  parallel_for(geometry.batch, 1, [&](int64_t begin, int64_t end) {
    for (int64_t image = begin; image < end; ++image) {
      each_pair(geometry, image, [&](int64_t out, int64_t in, int64_t row) {
        each_product(geometry, [&](int64_t i, int64_t t, int64_t o) {
          add_product(y[out * outputs + o], x[in * inputs + i], w[row * taps + t]);
        });
      });
    }
  });
}

template <>
void convolution_input_gradient(const ConvolutionGeometry& geometry, const int64_t* g,
                                const int64_t* w, const int64_t* bias, int64_t* x) {
  int64_t inputs = count_of(geometry.input), outputs = count_of(geometry.output);
  int64_t taps = geometry.taps();
  fill_bias(geometry.batch, geometry.in_channels, inputs, bias, x);
  parallel_for(geometry.batch, 1, [&](int64_t begin, int64_t end) {
    for (int64_t image = begin; image < end; ++image) {
      each_pair(geometry, image, [&](int64_t out, int64_t in, int64_t row) {
        each_product(geometry, [&](int64_t i, int64_t t, int64_t o) {
          add_product(x[in * inputs + i], g[out * outputs + o], w[row * taps + t]);
        });
      });
    }
  });
}

template <>
void convolution_weight_gradient(const ConvolutionGeometry& geometry, const int64_t* x,
                                 const int64_t* g, int64_t* w) {
  int64_t inputs = count_of(geometry.input), outputs = count_of(geometry.output);
  int64_t taps = geometry.taps();
  std::fill(w, w + geometry.out_channels * geometry.in_channels / geometry.groups * taps, 0);
  for (int64_t image = 0; image < geometry.batch; ++image) {
    each_pair(geometry, image, [&](int64_t out, int64_t in, int64_t row) {
      each_product(geometry, [&](int64_t i, int64_t t, int64_t o) {
        add_product(w[row * taps + t], x[in * inputs + i], g[out * outputs + o]);
      });
    });
  }
}

}  // namespace flambeau
