struct Parameters {
  const float* in0[78];
  const float* in1[78];
  const float* in2[78];
  float* out0[78];
  float* out1[78];
  alignas(8) float n3;
  alignas(8) float n4;
  int64 tensors;
  int64 lengths[78];
  unsigned starts[79];
};

DEVICE void compute(float v0, float v1, float v2, float n3, float n4, float& y0, float& y1) {
  const float v5 = v2 * n4;  // mul
  const float v6 = v5 + v1;  // add
  const float v7 = n3 * v6;  // mul
  const float v8 = v0 - v7;  // sub
  y0 = convert<float>(v8);
  y1 = convert<float>(v6);
}

extern "C" __global__ void __launch_bounds__(256) program(const Parameters p) {
  const int tensors = static_cast<int>(p.tensors);
  for (unsigned chunk = blockIdx.x; chunk < p.starts[tensors]; chunk += gridDim.x) {
    const int tensor = tensor_of_chunk(p.starts, tensors, chunk);
    const int64 first = static_cast<int64>(chunk - p.starts[tensor]) * 4096;
    const int64 left = p.lengths[tensor] - first;
    const int count = static_cast<int>(left < 4096 ? left : 4096);
    const float* const in0 = p.in0[tensor] + first;
    const float* const in1 = p.in1[tensor] + first;
    const float* const in2 = p.in2[tensor] + first;
    float* const out0 = p.out0[tensor] + first;
    float* const out1 = p.out1[tensor] + first;
    const int whole = count / 4 * 4;
    for (int i = threadIdx.x * 4; i < whole; i += 1024) {
      const auto x0 = load_pack<4>(in0 + i);
      const auto x1 = load_pack<4>(in1 + i);
      const auto x2 = load_pack<4>(in2 + i);
      Pack<float, 4> y0;
      Pack<float, 4> y1;
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        compute(convert<float>(x0.at[k]), convert<float>(x1.at[k]), convert<float>(x2.at[k]), p.n3, p.n4, y0.at[k], y1.at[k]);
      }
      store_pack(out0 + i, y0);
      store_pack(out1 + i, y1);
    }
    for (int i = whole + threadIdx.x; i < count; i += 256) {
      const auto x0 = *(in0 + i);
      const auto x1 = *(in1 + i);
      const auto x2 = *(in2 + i);
      float y0;
      float y1;
      compute(convert<float>(x0), convert<float>(x1), convert<float>(x2), p.n3, p.n4, y0, y1);
      *(out0 + i) = y0;
      *(out1 + i) = y1;
    }
  }
}
