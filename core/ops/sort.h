// Sorting and what follows from it.
#pragma once

#include <algorithm>
#include <bit>
#include <vector>

#include "base/thread_pool.h"
#include "ops/registry.h"

namespace flambeau {

// Values and positions; stable.
TensorList sort(const TensorRef& x, int64_t dim, bool descending = false);
TensorRef argsort(const TensorRef& x, int64_t dim, bool descending = false);
TensorList topk(const TensorRef& x, int64_t k, int64_t dim, bool largest = true);

// Note [Sort keys]: every element is mapped to an unsigned number that sorts as the element does
// (NaN last, -0 equal to 0), so that one sort of numbers serves all dtypes and both directions.
// Elements of up to 32 bits are sorted as key << 32 | position, which is one comparison and stable
// by itself.
template <class T>
auto sort_key(T value) {
  if constexpr (std::is_same_v<T, bool>) {
    return static_cast<uint32_t>(value);
  } else if constexpr (std::is_integral_v<T>) {
    using Key = std::conditional_t<sizeof(T) == 8, uint64_t, uint32_t>;
    constexpr Key kSign = std::is_signed_v<T> ? Key(1) << (8 * sizeof(Key) - 1) : 0;
    return static_cast<Key>(static_cast<Key>(value) ^ kSign);
  } else if constexpr (std::is_same_v<T, double>) {
    if (value != value) return ~uint64_t(0);
    uint64_t bits = std::bit_cast<uint64_t>(value + 0.0);
    return bits >> 63 ? ~bits : bits | uint64_t(1) << 63;
  } else {
    float number = convert<float>(value);
    if (number != number) return ~uint32_t(0);
    uint32_t bits = std::bit_cast<uint32_t>(number + 0.0f);
    return bits >> 31 ? ~bits : bits | uint32_t(1) << 31;
  }
}

struct WideItem {
  uint64_t key;
  int64_t position;
  bool operator<(const WideItem& other) const {
    return key != other.key ? key < other.key : position < other.position;
  }
};

template <class T>
struct SortItem {
  static constexpr bool wide = sizeof(sort_key(T{})) == 8;
  using Type = std::conditional_t<wide, WideItem, uint64_t>;

  static Type make(T value, int64_t position, bool descending) {
    auto key = sort_key(value);
    if (descending) key = ~key;
    if constexpr (wide)
      return {key, position};
    else
      return static_cast<uint64_t>(key) << 32 | static_cast<uint64_t>(position);
  }
  static int64_t position(const Type& item) {
    if constexpr (wide)
      return item.position;
    else
      return static_cast<int64_t>(item & 0xFFFFFFFF);
  }
  static uint64_t key(const Type& item) {
    if constexpr (wide)
      return item.key;
    else
      return item >> 32;
  }
};

// The last place in a sorted vector where each value can be inserted.
TensorRef places_after(const TensorRef& sorted, const TensorRef& values);

// Sorts items in place; `scratch` has room for as many.
void sort_items(uint64_t* items, uint64_t* scratch, int64_t count);
void sort_items(WideItem* items, WideItem* scratch, int64_t count);

// A tensor's lines along one dimension, each dense: a copy when they are not.
struct Lines {
  TensorRef x;  // (..., length), dense
  int64_t count, length;

  Lines(const TensorRef& input, int64_t dim);
};
// Writes a dense (..., length) tensor into `out`, where the lines run along `dim`.
void store_lines(const Tensor& out, const TensorRef& lines, int64_t dim);
// The same shape as x with dimension `dim` last.
Dims lines_shape(const Dims& shape, int64_t dim, int64_t length);

// Calls body(values, items, scratch, line) for every line of x, in parallel; items are filled and
// unsorted.
template <class T, class Body>
void for_each_line(const Lines& lines, bool descending, Body&& body) {
  using Item = typename SortItem<T>::Type;
  int64_t n = lines.length;
  int64_t grain = std::max<int64_t>(1, 1024 / std::max<int64_t>(n, 1));
  parallel_for(lines.count, grain, [&](int64_t begin, int64_t end) {
    std::vector<Item> items(n), scratch(n);
    for (int64_t line = begin; line < end; ++line) {
      const T* values = lines.x->data<T>() + line * n;
      for (int64_t i = 0; i < n; ++i) items[i] = SortItem<T>::make(values[i], i, descending);
      body(values, items, scratch, line);
    }
  });
}

}  // namespace flambeau
