#include <cmath>
#include <cstring>
#include <limits>

#include "cudnn.h"
#include "elements.h"

namespace emulated {

double GraphTensor::load(int64_t index) const { return load_element(type, data, index); }

void GraphTensor::store(int64_t index, double value) const {
  store_element(type, data, index, value);
}

bool GraphTensor::in_memory(const char* what) const {
  int64_t last = 0;
  for (size_t d = 0; d < sizes.size(); ++d) last += (sizes[d] - 1) * strides[d];
  const size_t width = type == kDouble ? 8 : type == kFloat ? 4 : 2;
  return emulated_cuda_check_range(what, data, (static_cast<size_t>(last) + 1) * width) != 0;
}

namespace {

// Three axes, missing ones first.
std::array<int64_t, 3> axes_of(const std::vector<int64_t>& values, size_t skipped,
                               int64_t missing) {
  std::array<int64_t, 3> result = {missing, missing, missing};
  const size_t count = values.size() - skipped;
  for (size_t i = 0; i < count; ++i) result[3 - count + i] = values[skipped + i];
  return result;
}

int64_t place_of(const GraphTensor& tensor, int64_t outer, int64_t channel, const int64_t* at) {
  const auto strides = axes_of(tensor.strides, 2, 0);
  int64_t place = outer * tensor.strides[0] + channel * tensor.strides[1];
  for (int i = 0; i < 3; ++i) place += at[i] * strides[i];
  return place;
}

double rounded(const GraphWork& work, const GraphTensor& tensor, int64_t place) {
  const double value = tensor.load(place);
  if (!work.rounds || tensor.type != kFloat) return value;
  return rounded_to_tf32(static_cast<float>(value));
}

// Calls visit(place in x, in w, in y) for every product of the convolution.
template <typename Visit>
void each_product(const GraphWork& work, Visit visit) {
  const GraphTensor &x = work["x"], &w = work["w"], &y = work["y"];
  const auto input = axes_of(x.sizes, 2, 1), kernel = axes_of(w.sizes, 2, 1);
  const auto output = axes_of(y.sizes, 2, 1);
  const auto padding = axes_of(work.padding, 0, 0), stride = axes_of(work.stride, 0, 1);
  const auto dilation = axes_of(work.dilation, 0, 1);
  const int64_t groups = x.sizes[1] / w.sizes[1], rows = w.sizes[0] / groups;
  const int64_t taps = kernel[0] * kernel[1] * kernel[2];
  const int64_t places = output[0] * output[1] * output[2];
  for (int64_t n = 0; n < y.sizes[0] * y.sizes[1] * places; ++n) {
    const int64_t place = n % places, row = n / places % y.sizes[1],
                  image = n / places / y.sizes[1];
    const int64_t o[3] = {place / output[2] / output[1], place / output[2] % output[1],
                          place % output[2]};
    for (int64_t tap = 0; tap < taps; ++tap) {
      const int64_t t[3] = {tap / kernel[2] / kernel[1], tap / kernel[2] % kernel[1],
                            tap % kernel[2]};
      int64_t from[3];
      bool inside = true;
      for (int i = 0; i < 3; ++i) {
        from[i] = o[i] * stride[i] - padding[i] + t[i] * dilation[i];
        inside = inside && from[i] >= 0 && from[i] < input[i];
      }
      for (int64_t channel = 0; inside && channel < w.sizes[1]; ++channel) {
        visit(place_of(x, image, row / rows * w.sizes[1] + channel, from),
              place_of(w, row, channel, t), place_of(y, image, row, o));
      }
    }
  }
}

// The result's places are dense in some order, so that sums can be kept by place.
void convolve(const GraphWork& work) {
  const GraphTensor &x = work["x"], &w = work["w"], &y = work["y"];
  const GraphTensor& to = work.kind == GraphKind::Forward        ? y
                          : work.kind == GraphKind::BackwardData ? x
                                                                 : w;
  int64_t count = 1;
  for (int64_t size : to.sizes) count *= size;
  std::vector<double> sums(static_cast<size_t>(count));
  each_product(work, [&](int64_t at_x, int64_t at_w, int64_t at_y) {
    if (work.kind == GraphKind::Forward) {
      sums[at_y] += rounded(work, x, at_x) * rounded(work, w, at_w);
    } else if (work.kind == GraphKind::BackwardData) {
      sums[at_x] += rounded(work, y, at_y) * rounded(work, w, at_w);
    } else {
      sums[at_w] += rounded(work, x, at_x) * rounded(work, y, at_y);
    }
  });
  for (int64_t i = 0; i < count; ++i) to.store(i, sums[static_cast<size_t>(i)]);
}

// One head of attention: rows of q, k, v ... by their place of element 0.
struct Head {
  const GraphWork& work;
  int64_t batch, head;

  int64_t at(const GraphTensor& tensor, int64_t row) const {
    return batch * tensor.strides[0] + head * tensor.strides[1] + row * tensor.strides[2];
  }
  double dot(const GraphTensor& a, int64_t row, const GraphTensor& b, int64_t other) const {
    double sum = 0;
    for (int64_t e = 0; e < a.sizes[3]; ++e) {
      sum += a.load(at(a, row) + e * a.strides[3]) * b.load(at(b, other) + e * b.strides[3]);
    }
    return sum;
  }
  // exp(scores - their logsumexp); the second: the logsumexp.
  std::pair<std::vector<double>, double> weights(int64_t row) const {
    const GraphTensor &q = work["q"], &k = work["k"];
    std::vector<double> scores(static_cast<size_t>(k.sizes[2]));
    double most = -std::numeric_limits<double>::infinity(), sum = 0;
    for (int64_t key = 0; key < k.sizes[2]; ++key) {
      double& score = scores[static_cast<size_t>(key)];
      score = work["scale"].value * dot(q, row, k, key);
      if (work.causal && row < key) score = work.masked;
      most = std::fmax(most, score);
    }
    for (double score : scores) sum += std::exp(score - most);
    const double log_sum = most + std::log(sum);
    for (double& score : scores) score = std::exp(score - log_sum);
    return {scores, log_sum};
  }
};

void attend(const GraphWork& work, const Head& head) {
  const GraphTensor &q = work["q"], &v = work["v"], &out = work["out"], &stats = work["stats"];
  for (int64_t row = 0; row < q.sizes[2]; ++row) {
    const auto [weights, log_sum] = head.weights(row);
    for (int64_t e = 0; e < v.sizes[3]; ++e) {
      double sum = 0;
      for (int64_t key = 0; key < v.sizes[2]; ++key) {
        sum += weights[static_cast<size_t>(key)] * v.load(head.at(v, key) + e * v.strides[3]);
      }
      out.store(head.at(out, row) + e * out.strides[3], sum);
    }
    stats.store(head.at(stats, row), log_sum);
  }
}

void attend_backward(const GraphWork& work, const Head& head) {
  const GraphTensor &q = work["q"], &k = work["k"], &v = work["v"], &out = work["out"];
  const GraphTensor &g = work["dout"], &dq = work["dq"], &dk = work["dk"], &dv = work["dv"];
  const double scale = work["scale"].value;
  std::vector<double> sums_k(static_cast<size_t>(k.sizes[2] * k.sizes[3]));
  std::vector<double> sums_v(static_cast<size_t>(v.sizes[2] * v.sizes[3]));
  for (int64_t row = 0; row < q.sizes[2]; ++row) {
    // The statistics of the forward pass, which it must have been given.
    const double log_sum = work["stats"].load(head.at(work["stats"], row));
    std::vector<double> sums_q(static_cast<size_t>(q.sizes[3]));
    const double delta = head.dot(g, row, out, row);
    for (int64_t key = 0; key < k.sizes[2]; ++key) {
      double score = scale * head.dot(q, row, k, key);
      if (work.causal && row < key) score = work.masked;
      const double weight = std::exp(score - log_sum);
      const double slope = weight * (head.dot(g, row, v, key) - delta) * scale;
      for (int64_t e = 0; e < q.sizes[3]; ++e) {
        sums_q[static_cast<size_t>(e)] += slope * k.load(head.at(k, key) + e * k.strides[3]);
        sums_k[static_cast<size_t>(key * k.sizes[3] + e)] +=
            slope * q.load(head.at(q, row) + e * q.strides[3]);
      }
      for (int64_t e = 0; e < v.sizes[3]; ++e) {
        sums_v[static_cast<size_t>(key * v.sizes[3] + e)] +=
            weight * g.load(head.at(g, row) + e * g.strides[3]);
      }
    }
    for (int64_t e = 0; e < q.sizes[3]; ++e) {
      dq.store(head.at(dq, row) + e * dq.strides[3], sums_q[static_cast<size_t>(e)]);
    }
  }
  for (int64_t key = 0; key < k.sizes[2]; ++key) {
    for (int64_t e = 0; e < k.sizes[3]; ++e) {
      dk.store(head.at(dk, key) + e * dk.strides[3],
               sums_k[static_cast<size_t>(key * k.sizes[3] + e)]);
    }
    for (int64_t e = 0; e < v.sizes[3]; ++e) {
      dv.store(head.at(dv, key) + e * dv.strides[3],
               sums_v[static_cast<size_t>(key * v.sizes[3] + e)]);
    }
  }
}

}  // namespace

int run_graph_work(void* data) {
  const GraphWork& work = *static_cast<GraphWork*>(data);
  for (const auto& [name, tensor] : work.tensors) {
    if (!tensor.by_value && !tensor.in_memory(("cuDNN: " + name).c_str())) {
      return CUDA_ERROR_ILLEGAL_ADDRESS;
    }
  }
  if (work.workspace_bytes != 0) {
    if (emulated_cuda_check_range("cuDNN: workspace", work.workspace, work.workspace_bytes) == 0) {
      return CUDA_ERROR_ILLEGAL_ADDRESS;
    }
    // Whoever keeps values in the workspace is found out.
    std::memset(work.workspace, 0xFF, work.workspace_bytes);
  }
  if (work.kind != GraphKind::Attention && work.kind != GraphKind::AttentionBackward) {
    convolve(work);
    return CUDA_SUCCESS;
  }
  for (int64_t i = 0; i < work["q"].sizes[0] * work["q"].sizes[1]; ++i) {
    const Head head{work, i / work["q"].sizes[1], i % work["q"].sizes[1]};
    (work.kind == GraphKind::Attention ? attend : attend_backward)(work, head);
  }
  return CUDA_SUCCESS;
}

}  // namespace emulated
