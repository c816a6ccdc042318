struct Parameters {
  const float* in0;
  const half_t* in1;
  float* out0;
  alignas(8) float n2;
  int64 count;
};

DEVICE void compute(float v0, float v1, float n2, float& y0) {
  const float v3 = sigmoid(v1);  // sigmoid
  const float v4 = v0 * v3;  // mul
  const float v5 = v4 * n2;  // mul
  const float v7 = v5 + 0.5f;  // add
  y0 = convert<float>(v7);
}

extern "C" __global__ void __launch_bounds__(256) program(const Parameters p) {
  const int count = static_cast<int>(p.count);
  for (int i = thread_index<int>(); i < count / 4; i += thread_count<int>()) {
    const auto x0 = load_pack<4>(p.in0 + i * 4);
    const auto x1 = load_pack<4>(p.in1 + i * 4);
    Pack<float, 4> y0;
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      compute(convert<float>(x0.at[k]), convert<float>(x1.at[k]), p.n2, y0.at[k]);
    }
    store_pack(p.out0 + i * 4, y0);
  }
  const int i = count / 4 * 4 + thread_index<int>();
  if (i < count) {
    const auto x0 = *(p.in0 + i);
    const auto x1 = *(p.in1 + i);
    float y0;
    compute(convert<float>(x0), convert<float>(x1), p.n2, y0);
    *(p.out0 + i) = y0;
  }
}
