#include "random/fill.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <vector>

#include "base/thread_pool.h"
#include "random/kernels.h"

namespace flambeau {

namespace {

using Lock = std::lock_guard<std::mutex>;
constexpr int64_t kChunk = 1024;  // elements whose random bits are drawn at a time

template <class T>
constexpr bool kIsSixteenBit = std::is_same_v<T, Half> || std::is_same_v<T, BFloat>;

// Calls function.template operator()<T>() for floating dtypes.
template <class Function>
void visit_floating(DType dtype, Function&& function) {
  switch (dtype) {
    case DType::Float16:
      return function.template operator()<Half>();
    case DType::BFloat16:
      return function.template operator()<BFloat>();
    case DType::Float32:
      return function.template operator()<float>();
    default:
      return function.template operator()<double>();
  }
}

// Random bits for `count` elements of `words` words each, a chunk at a time:
// body(bits, first, chunk).
template <int words, class Body>
void draw_chunks(int64_t count, CpuGenerator& generator, Body body) {
  uint32_t bits[words * kChunk];
  for (int64_t first = 0; first < count; first += kChunk) {
    int64_t chunk = std::min(kChunk, count - first);
    generator.draw(bits, words * chunk);
    body(bits, first, chunk);
  }
}

uint64_t wide(const uint32_t* pair) { return static_cast<uint64_t>(pair[0]) << 32 | pair[1]; }

// Uniform in [0, 1) from 53 of the 64 bits of a pair.
double unit(const uint32_t* pair) {
  return static_cast<double>(wide(pair) & ((uint64_t{1} << 53) - 1)) * 0x1p-53;
}

// Elementwise transform of one uniform in [0, 1), computed in double.
template <class Transform>
void fill_from_unit(DType dtype, void* data, int64_t count, CpuGenerator& generator,
                    Transform transform) {
  Lock lock(generator.mutex());
  visit_dtype(dtype, [&]<class T>() {
    T* out = static_cast<T*>(data);
    draw_chunks<2>(count, generator, [&](const uint32_t* bits, int64_t first, int64_t chunk) {
      for (int64_t i = 0; i < chunk; ++i)
        out[first + i] = convert<T>(transform(unit(bits + 2 * i)));
    });
  });
}

// One normal value by Box and Muller ("A note on the generation of random normal deviates", 1958).
double next_normal(CpuGenerator& generator) {
  if (auto kept = generator.take_next_normal()) return *kept;
  uint32_t bits[4];
  generator.draw(bits, 4);
  double radius = std::sqrt(-2.0 * std::log1p(-unit(bits + 2)));
  double angle = 2.0 * std::numbers::pi * unit(bits);
  generator.keep_next_normal(radius * std::sin(angle));
  return radius * std::cos(angle);
}

// Normals for whole blocks of 16, already drawn as uniforms.
void transform_blocks(float* data, int64_t blocks, double mean, double std) {
  auto normal_blocks = FLAMBEAU_CHOOSE(normal_blocks);
  parallel_for(blocks, 256, [&](int64_t begin, int64_t end) {
    normal_blocks(data + 16 * begin, end - begin, static_cast<float>(mean),
                  static_cast<float>(std));
  });
}

void transform_blocks(double* data, int64_t blocks, double mean, double std) {
  for (double* block = data; block < data + 16 * blocks; block += 16) {
    for (int j = 0; j < 8; ++j) {
      double radius = std::sqrt(-2.0 * std::log(1.0 - block[j]));
      double angle = 2.0 * std::numbers::pi * block[j + 8];
      block[j] = std::fma(radius * std::cos(angle), std, mean);
      block[j + 8] = std::fma(radius * std::sin(angle), std, mean);
    }
  }
}

void draw_units(float* data, int64_t count, CpuGenerator& generator) {
  draw_chunks<1>(count, generator, [&](const uint32_t* bits, int64_t first, int64_t chunk) {
    FLAMBEAU_CHOOSE(unit_floats)(bits, data + first, chunk);
  });
}

void draw_units(double* data, int64_t count, CpuGenerator& generator) {
  draw_chunks<2>(count, generator, [&](const uint32_t* bits, int64_t first, int64_t chunk) {
    FLAMBEAU_CHOOSE(scaled_doubles)(bits, data + first, chunk, 0.0, 1.0);
  });
}

// Slabs stay in the second-level cache between drawing (in order) and transforming (in parallel).
constexpr int64_t kSlab = 65536;

// Float and double: uniforms are drawn for all elements, whole blocks transformed, and a partial
// block at the end is made good by drawing the last 16 elements anew.
template <class T>
void fill_normal_blocks(T* data, int64_t count, double mean, double std, CpuGenerator& generator) {
  for (int64_t first = 0; first < count; first += kSlab) {
    int64_t slab = std::min(kSlab, count - first);
    draw_units(data + first, slab, generator);
    transform_blocks(data + first, slab / 16, mean, std);
  }
  if (count % 16 != 0) {
    draw_units(data + count - 16, 16, generator);
    transform_blocks(data + count - 16, 1, mean, std);
  }
}

// 16-bit types: float blocks, rounded; here PyTorch draws nothing for the partial block itself.
template <class T>
void fill_normal_rounded_blocks(T* data, int64_t count, double mean, double std,
                                CpuGenerator& generator) {
  std::vector<float> slab(std::min(count, kSlab));
  auto fill = [&](T* out, int64_t size) {
    draw_units(slab.data(), size, generator);
    transform_blocks(slab.data(), size / 16, mean, std);
    for (int64_t i = 0; i < size; ++i) out[i] = convert<T>(slab[i]);
  };
  int64_t whole = count / 16 * 16;
  for (int64_t first = 0; first < whole; first += kSlab) {
    fill(data + first, std::min(kSlab, whole - first));
  }
  if (whole != count) fill(data + count - 16, 16);
}

// Digits of whole numbers that random_() asks for: 2^digits is the largest exact one.
template <class T>
constexpr int whole_digits() {
  if constexpr (std::is_same_v<T, Half>) return 11;
  if constexpr (std::is_same_v<T, BFloat>) return 8;
  return std::numeric_limits<T>::digits;
}

}  // namespace

void fill_uniform(DType dtype, void* data, int64_t count, double low, double high,
                  CpuGenerator& generator) {
  Lock lock(generator.mutex());
  float low_float = static_cast<float>(low), high_float = static_cast<float>(high);
  bool is_unit = low_float == 0.0f && high_float == 1.0f;
  auto make_floats = [&](const uint32_t* bits, float* out, int64_t chunk) {
    if (is_unit) return FLAMBEAU_CHOOSE(unit_floats)(bits, out, chunk);
    FLAMBEAU_CHOOSE(scaled_floats)(bits, out, chunk, low_float, high_float);
  };
  visit_floating(dtype, [&]<class T>() {
    T* out = static_cast<T*>(data);
    if constexpr (std::is_same_v<T, double>) {
      draw_chunks<2>(count, generator, [&](const uint32_t* bits, int64_t first, int64_t chunk) {
        FLAMBEAU_CHOOSE(scaled_doubles)(bits, out + first, chunk, low, high);
      });
    } else if constexpr (std::is_same_v<T, float>) {
      draw_chunks<1>(count, generator, [&](const uint32_t* bits, int64_t first, int64_t chunk) {
        make_floats(bits, out + first, chunk);
      });
    } else {
      T lowest = convert<T>(low_float);
      float end = to_float(convert<T>(high_float));
      draw_chunks<1>(count, generator, [&](const uint32_t* bits, int64_t first, int64_t chunk) {
        float values[kChunk];
        make_floats(bits, values, chunk);
        for (int64_t i = 0; i < chunk; ++i) {
          T rounded = convert<T>(values[i]);
          out[first + i] = to_float(rounded) >= end ? lowest : rounded;
        }
      });
    }
  });
}

void fill_normal(DType dtype, void* data, int64_t count, double mean, double std, bool in_blocks,
                 CpuGenerator& generator) {
  Lock lock(generator.mutex());
  visit_floating(dtype, [&]<class T>() {
    T* out = static_cast<T*>(data);
    if (in_blocks && count >= 16) {
      if constexpr (kIsSixteenBit<T>) {
        fill_normal_rounded_blocks(out, count, mean, std, generator);
      } else {
        fill_normal_blocks(out, count, mean, std, generator);
      }
    } else {
      for (int64_t i = 0; i < count; ++i) {
        out[i] = convert<T>(std::fma(next_normal(generator), std, mean));
      }
    }
  });
}

void fill_integers(DType dtype, void* data, int64_t count, int64_t low, uint64_t range,
                   CpuGenerator& generator) {
  Lock lock(generator.mutex());
  uint64_t base = static_cast<uint64_t>(low);  // unsigned sums wrap as they must
  visit_dtype(dtype, [&]<class T>() {
    T* out = static_cast<T*>(data);
    if (range != 0 && range < uint64_t{1} << 28) {
      uint32_t divisor = static_cast<uint32_t>(range);
      draw_chunks<1>(count, generator, [&](const uint32_t* bits, int64_t first, int64_t chunk) {
        for (int64_t i = 0; i < chunk; ++i) {
          out[first + i] = convert<T>(static_cast<int64_t>(base + bits[i] % divisor));
        }
      });
    } else {
      draw_chunks<2>(count, generator, [&](const uint32_t* bits, int64_t first, int64_t chunk) {
        for (int64_t i = 0; i < chunk; ++i) {
          uint64_t value = wide(bits + 2 * i);
          if (range != 0) value %= range;
          out[first + i] = convert<T>(static_cast<int64_t>(base + value));
        }
      });
    }
  });
}

void fill_random(DType dtype, void* data, int64_t count, CpuGenerator& generator) {
  Lock lock(generator.mutex());
  visit_dtype(dtype, [&]<class T>() {
    T* out = static_cast<T*>(data);
    constexpr uint64_t power = uint64_t{1} << whole_digits<T>();
    constexpr uint64_t range = power + (std::is_integral_v<T> ? 0 : 1);
    if constexpr (sizeof(T) == 8) {
      draw_chunks<2>(count, generator, [&](const uint32_t* bits, int64_t first, int64_t chunk) {
        for (int64_t i = 0; i < chunk; ++i) {
          out[first + i] = convert<T>(static_cast<int64_t>(wide(bits + 2 * i) % range));
        }
      });
    } else {
      draw_chunks<1>(count, generator, [&](const uint32_t* bits, int64_t first, int64_t chunk) {
        for (int64_t i = 0; i < chunk; ++i) {
          out[first + i] = convert<T>(static_cast<int64_t>(bits[i] % range));
        }
      });
    }
  });
}

void fill_bernoulli(DType dtype, void* data, int64_t count, double probability,
                    CpuGenerator& generator) {
  Lock lock(generator.mutex());
  visit_dtype(dtype, [&]<class T>() {
    T* out = static_cast<T*>(data);
    const T outcomes[2] = {convert<T>(0.0f), convert<T>(1.0f)};
    draw_chunks<2>(count, generator, [&](const uint32_t* bits, int64_t first, int64_t chunk) {
      bool hits[kChunk];
      FLAMBEAU_CHOOSE(below)(bits, hits, chunk, probability);
      for (int64_t i = 0; i < chunk; ++i) out[first + i] = outcomes[hits[i]];
    });
  });
}

void fill_bernoulli(DType dtype, void* data, int64_t count, DType probability_dtype,
                    const void* probabilities, CpuGenerator& generator) {
  Lock lock(generator.mutex());
  visit_dtype(dtype, [&]<class T>() {
    T* out = static_cast<T*>(data);
    const T outcomes[2] = {convert<T>(0.0f), convert<T>(1.0f)};
    visit_floating(probability_dtype, [&]<class P>() {
      const P* limits = static_cast<const P*>(probabilities);
      constexpr int words = std::is_same_v<P, double> ? 2 : 1;
      draw_chunks<words>(count, generator, [&](const uint32_t* bits, int64_t first, int64_t chunk) {
        for (int64_t i = 0; i < chunk; ++i) {
          bool hit;
          if constexpr (words == 2) {
            hit = unit(bits + 2 * i) < limits[first + i];
          } else {
            float value = static_cast<float>(bits[i] & 0xFFFFFF) * 0x1p-24f;
            hit = value < convert<float>(limits[first + i]);
          }
          out[first + i] = outcomes[hit];
        }
      });
    });
  });
}

void fill_exponential(DType dtype, void* data, int64_t count, double rate,
                      CpuGenerator& generator) {
  fill_from_unit(dtype, data, count, generator,
                 [=](double u) { return -1.0 / rate * std::log1p(-u); });
}

void fill_geometric(DType dtype, void* data, int64_t count, double probability,
                    CpuGenerator& generator) {
  fill_from_unit(dtype, data, count, generator,
                 [=](double u) { return std::ceil(std::log(u) / std::log1p(-probability)); });
}

void fill_log_normal(DType dtype, void* data, int64_t count, double mean, double std,
                     CpuGenerator& generator) {
  Lock lock(generator.mutex());
  visit_floating(dtype, [&]<class T>() {
    T* out = static_cast<T*>(data);
    for (int64_t i = 0; i < count; ++i) {
      out[i] = convert<T>(std::exp(std::fma(next_normal(generator), std, mean)));
    }
  });
}

void fill_cauchy(DType dtype, void* data, int64_t count, double median, double sigma,
                 CpuGenerator& generator) {
  fill_from_unit(dtype, data, count, generator, [=](double u) {
    return std::fma(sigma, std::tan(std::numbers::pi * (u - 0.5)), median);
  });
}

// Fisher and Yates, from the front.
void fill_permutation(DType dtype, void* data, int64_t count, CpuGenerator& generator) {
  Lock lock(generator.mutex());
  visit_dtype(dtype, [&]<class T>() {
    T* out = static_cast<T*>(data);
    for (int64_t i = 0; i < count; ++i) out[i] = convert<T>(i);
    draw_chunks<1>(count - 1, generator, [&](const uint32_t* bits, int64_t first, int64_t chunk) {
      for (int64_t i = 0; i < chunk; ++i) {
        int64_t at = first + i;
        std::swap(out[at], out[at + bits[i] % (count - at)]);
      }
    });
  });
}

template <class T>
static void sample_rows(const T* weights, int64_t rows, int64_t categories, int64_t samples,
                        int64_t* out, CpuGenerator& generator) {
  std::vector<T> cumulative(categories);
  for (int64_t row = 0; row < rows; ++row) {
    T sum = 0;
    for (int64_t i = 0; i < categories; ++i) cumulative[i] = sum += weights[row * categories + i];
    for (T& value : cumulative) value /= sum;
    cumulative.back() = 1;
    int64_t* results = out + row * samples;
    draw_chunks<2>(samples, generator, [&](const uint32_t* bits, int64_t first, int64_t chunk) {
      for (int64_t i = 0; i < chunk; ++i) {
        auto found = std::lower_bound(cumulative.begin(), cumulative.end(), unit(bits + 2 * i));
        results[first + i] = found - cumulative.begin();
      }
    });
  }
}

void sample_with_replacement(DType dtype, const void* weights, int64_t rows, int64_t categories,
                             int64_t samples, int64_t* out, CpuGenerator& generator) {
  Lock lock(generator.mutex());
  if (dtype == DType::Float64) {
    sample_rows(static_cast<const double*>(weights), rows, categories, samples, out, generator);
  } else {
    sample_rows(static_cast<const float*>(weights), rows, categories, samples, out, generator);
  }
}

}  // namespace flambeau
