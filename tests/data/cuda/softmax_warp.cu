struct Parameters {
  const float* in0;
  float* out0;
  int64 rows;
  int64 length;
  Geometry<int, 1, 2> geometry;
  int steps[2];
};

extern "C" __global__ void __launch_bounds__(128) program(const Parameters p) {
  const int rows = static_cast<int>(p.rows);
  const int thread = static_cast<int>(threadIdx.x) % 32;
  for (int first = blockIdx.x * 4; first < rows; first += gridDim.x * 4) {
    const int row = first + static_cast<int>(threadIdx.x) / 32;
    const bool inside = row < rows;
    const int length = inside ? static_cast<int>(p.length) : 0;
    int at[2] = {};
    p.geometry.locate(inside ? row : 0, at);
    Pack<float, 4> x0[2];
    float kept3[2][4];
    float r1 = -kInfinity;
#pragma unroll
    for (int k = 0; k < 2; ++k) {
      const int i = (k * 32 + thread) * 4;
      if (i < length) {
        x0[k] = load_pack<4>(p.in0 + at[0] + i);
      }
    }
#pragma unroll
    for (int k = 0; k < 2; ++k) {
      const int i = (k * 32 + thread) * 4;
      if (i >= length) break;
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const float v0 = convert<float>(x0[k].at[e]);
        r1 = Larger()(r1, v0);
      }
    }
    const float v1 = join_threads<32>(r1, Larger());  // row_max
    float r4 = 0;
#pragma unroll
    for (int k = 0; k < 2; ++k) {
      const int i = (k * 32 + thread) * 4;
      if (i >= length) break;
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const float v0 = convert<float>(x0[k].at[e]);
        const float v2 = v0 - v1;  // sub
        const float v3 = exp(v2);  // exp
        kept3[k][e] = v3;
        r4 = Sum()(r4, v3);
      }
    }
    const float v4 = join_threads<32>(r4, Sum());  // row_sum
#pragma unroll
    for (int k = 0; k < 2; ++k) {
      const int i = (k * 32 + thread) * 4;
      if (i >= length) break;
      Pack<float, 4> y0;
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const float v3 = kept3[k][e];
        const float v5 = v3 / v4;  // div
        y0.at[e] = convert<float>(v5);
      }
      store_pack(p.out0 + at[1] + i, y0);
    }
  }
}
