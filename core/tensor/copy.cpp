#include "tensor/copy.h"

#include "base/thread_pool.h"
#include "tensor/device_memory.h"

namespace flambeau {

Dims broadcast_strides(const Tensor& tensor, const Dims& shape) {
  Dims strides(shape.size(), 0);
  int64_t lead = shape.size() - tensor.dim();
  bool fits = lead >= 0;
  for (int64_t d = 0; fits && d < tensor.dim(); ++d) {
    if (tensor.size(d) == shape[lead + d]) {
      strides[lead + d] = tensor.stride(d);
    } else {
      fits = tensor.size(d) == 1;
    }
  }
  require(fits, "expand: a tensor of shape ", tensor.shape(), " cannot be broadcast to ", shape,
          "; every dimension must be equal or 1");
  return strides;
}

void merge_dimensions(Dims& shape, std::span<Dims> strides) {
  int64_t last = -1;  // index of the last kept dimension
  for (int64_t d = 0; d < shape.size(); ++d) {
    if (shape[d] == 1) continue;
    bool joins = last >= 0;
    for (const Dims& s : strides) joins = joins && s[last] == s[d] * shape[d];
    if (joins) {
      shape[last] *= shape[d];
    } else {
      shape[++last] = shape[d];
    }
    for (Dims& s : strides) s[last] = s[d];
  }
  shape.resize(last + 1);
  for (Dims& s : strides) s.resize(last + 1);
}

namespace {

// Puts the dimension with the smallest target stride last, so that writes are sequential.
void sort_by_stride(Dims& shape, Dims& target, Dims& source) {
  for (int64_t i = 1; i < shape.size(); ++i) {
    for (int64_t j = i; j > 0 && target[j - 1] < target[j]; --j) {
      std::swap(shape[j - 1], shape[j]);
      std::swap(target[j - 1], target[j]);
      std::swap(source[j - 1], source[j]);
    }
  }
}

template <class To, class From>
void copy_line(To* to, int64_t to_step, const From* from, int64_t from_step, int64_t count) {
  if (to_step == 1 && from_step == 1) {
    if constexpr (std::is_same_v<To, From>) {
      std::memcpy(to, from, count * sizeof(To));
    } else {
      for (int64_t i = 0; i < count; ++i) to[i] = convert<To>(from[i]);
    }
  } else if (to_step == 1 && from_step == 0) {
    To value = convert<To>(*from);
    for (int64_t i = 0; i < count; ++i) to[i] = value;
  } else {
    for (int64_t i = 0; i < count; ++i) to[i * to_step] = convert<To>(from[i * from_step]);
  }
}

// Two dimensions, written along the inner and read along the outer: by tiles that stay in cache.
template <class To, class From>
void copy_tile(To* to, int64_t to_outer, const From* from, int64_t from_outer, int64_t from_inner,
               int64_t rows, int64_t columns) {
  constexpr int64_t kTile = 32;
  for (int64_t r = 0; r < rows; r += kTile) {
    int64_t row_end = std::min(rows, r + kTile);
    for (int64_t c = 0; c < columns; c += kTile) {
      int64_t column_end = std::min(columns, c + kTile);
      for (int64_t i = r; i < row_end; ++i) {
        for (int64_t j = c; j < column_end; ++j) {
          to[i * to_outer + j] = convert<To>(from[i * from_outer + j * from_inner]);
        }
      }
    }
  }
}

template <class To, class From>
void copy_strided(To* to, const From* from, const Dims& shape, const Dims& to_strides,
                  const Dims& from_strides) {
  int64_t dims = shape.size();
  if (dims == 0) {
    *to = convert<To>(*from);
    return;
  }
  if (dims == 1) {
    parallel_for(shape[0], kGrain, [&](int64_t begin, int64_t end) {
      copy_line(to + begin * to_strides[0], to_strides[0], from + begin * from_strides[0],
                from_strides[0], end - begin);
    });
    return;
  }
  int64_t rows = shape[dims - 2], columns = shape[dims - 1], outer = 1;
  for (int64_t d = 0; d < dims - 2; ++d) outer *= shape[d];
  int64_t to_row = to_strides[dims - 2], to_column = to_strides[dims - 1];
  int64_t from_row = from_strides[dims - 2], from_column = from_strides[dims - 1];
  bool tiled = to_column == 1 && from_row == 1 && from_column != 1;
  // Work is dealt out in bands of rows so that one large matrix also uses all threads.
  int64_t band = tiled ? 32 : 1, bands = (rows + band - 1) / band;
  int64_t grain = std::max<int64_t>(1, kGrain / std::max<int64_t>(band * columns, 1));
  parallel_for(outer * bands, grain, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      int64_t rest = task / bands, row = task % bands * band;
      int64_t count = std::min(band, rows - row);
      To* t = to + row * to_row;
      const From* f = from + row * from_row;
      for (int64_t d = dims - 3; d >= 0; --d) {
        t += rest % shape[d] * to_strides[d];
        f += rest % shape[d] * from_strides[d];
        rest /= shape[d];
      }
      if (tiled) {
        copy_tile(t, to_row, f, from_row, from_column, count, columns);
      } else {
        copy_line(t, to_column, f, from_column, columns);
      }
    }
  });
}

}  // namespace

void copy(const Tensor& target, const Tensor& source, bool wait) {
  if (target.numel() == 0) return;
  if (!target.device().is_cpu() || !source.device().is_cpu()) [[unlikely]] {
    return device_memory.copy(target, source, wait);
  }
  if (target.dtype() == source.dtype() && target.contiguous() && source.contiguous() &&
      target.numel() == source.numel()) {
    int64_t bytes = target.numel() * item_size(target.dtype());
    if (bytes <= 4096) {
      std::memmove(target.data(), source.data(), bytes);
      return;
    }
    parallel_for(bytes, 4 * kGrain, [&](int64_t begin, int64_t end) {
      std::memmove(target.data<char>() + begin, source.data<char>() + begin, end - begin);
    });
    return;
  }
  Dims shape = target.shape();
  Dims strides[2] = {target.strides(), broadcast_strides(source, shape)};
  sort_by_stride(shape, strides[0], strides[1]);
  merge_dimensions(shape, strides);
  visit_dtype(target.dtype(), [&]<class To>() {
    if (source.dtype() == target.dtype()) {
      copy_strided(target.data<To>(), source.data<To>(), shape, strides[0], strides[1]);
      return;
    }
    visit_dtype(source.dtype(), [&]<class From>() {
      copy_strided(target.data<To>(), source.data<From>(), shape, strides[0], strides[1]);
    });
  });
}

void copy_bytes(const Storage& to, size_t to_offset, const Storage& from, size_t from_offset,
                size_t bytes) {
  if (to.device().is_cpu() && from.device().is_cpu()) {
    std::memcpy(to.data() + to_offset, from.data() + from_offset, bytes);
  } else {
    device_memory.copy_bytes(to.data() + to_offset, to.device(), from.data() + from_offset,
                             from.device(), bytes, true);
  }
}

void fill(const Tensor& target, Scalar value) {
  if (!target.device().is_cpu()) [[unlikely]] {
    return device_memory.fill(target, value);
  }
  visit_dtype(target.dtype(), [&]<class T>() {
    T number = value.to<T>();
    if (target.contiguous()) {
      T* data = target.data<T>();
      parallel_for(target.numel(), 2 * kGrain, [&](int64_t begin, int64_t end) {
        std::fill(data + begin, data + end, number);
      });
      return;
    }
    auto source = Tensor::empty({}, target.dtype());
    *source->data<T>() = number;
    copy(target, *source);
  });
}

TensorRef on_host(const Tensor& tensor) {
  auto result = Tensor::empty(tensor.shape(), tensor.dtype());
  copy(*result, tensor);
  return result;
}

TensorRef dense_copy(const Tensor& source, DType dtype) {
  auto result = Tensor::empty(source.shape(), dtype, source.device());
  copy(*result, source);
  return result;
}

}  // namespace flambeau
