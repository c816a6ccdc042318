// What strides allow: other shapes of the same memory, and writing to it.
#include "ops/views.h"

namespace flambeau {

bool elements_meet(const Dims& shape, const Dims& strides) {
  Dims s = shape, t = strides;
  for (int64_t i = 1; i < s.size(); ++i) {
    for (int64_t j = i; j > 0 && t[j - 1] > t[j]; --j) {
      std::swap(s[j - 1], s[j]);
      std::swap(t[j - 1], t[j]);
    }
  }
  int64_t reach = 0;
  for (int64_t d = 0; d < s.size(); ++d) {
    if (s[d] <= 1) continue;
    if (t[d] <= reach) return true;
    reach += (s[d] - 1) * t[d];
  }
  return false;
}

bool view_strides(const Tensor& x, const Dims& shape, Dims& strides) {
  strides = contiguous_strides(shape);
  if (x.contiguous()) return true;
  // Both shapes are walked from the right in chunks of equal element count.
  int64_t v = shape.size() - 1;
  int64_t chunk = 1, viewed = 1, base = x.dim() ? x.strides().back() : 1;
  for (int64_t d = x.dim() - 1; d >= 0; --d) {
    chunk *= x.size(d);
    bool ends = d == 0 || (x.size(d - 1) != 1 && x.stride(d - 1) != chunk * base);
    if (!ends) continue;
    while (v >= 0 && (viewed < chunk || shape[v] == 1)) {
      strides[v] = viewed * base;
      viewed *= shape[v--];
    }
    if (viewed != chunk) return false;
    if (d > 0) {
      base = x.stride(d - 1);
      chunk = viewed = 1;
    }
  }
  return v < 0;
}

}  // namespace flambeau
