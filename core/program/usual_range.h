// The same functions as mathematics.h, to the bit, for arguments in the usual range: no bounds, no
// special values, and powers of two are added to the exponent. A chunk of numbers is looked at
// first. Included by kernels_float_simd.cpp.

struct usual_exp_op {
  FLAMBEAU_SCALAR bool takes(float x) { return absolute(x) <= kUsualExp; }
  template <class T>
  FLAMBEAU_SCALAR T call(T x, T, T) {
    return usual_exp(x);
  }
};
struct usual_sigmoid_op {
  FLAMBEAU_SCALAR bool takes(float x) { return absolute(x) <= kUsualExp; }
  template <class T>
  FLAMBEAU_SCALAR T call(T x, T, T) {
    return 1 / (1 + usual_exp(-x));
  }
};
struct usual_log_op {
  FLAMBEAU_SCALAR bool takes(float x) { return (x >= 1.17549435e-38f) & (x <= 3.40282347e38f); }
  template <class T>
  FLAMBEAU_SCALAR T call(T x, T, T) {
    int32_t u = bits_as<int32_t>(x) + (0x3F800000 - 0x3F3504F3);
    float k = static_cast<float>((u >> 23) - 127);
    float l = log_mantissa(bits_as<float>((u & 0x7FFFFF) + 0x3F3504F3) - 1);
    return fused(k, kLn2HighFloat, fused(k, kLn2LowFloat, l));
  }
};

// Chunks whose numbers Usual takes run it, others Op.
template <class Op, class Usual>
static bool run_usual(Number* out, const Number* a, int64_t count) {
  constexpr int64_t kChunk = 512;
  for (int64_t i = 0; i < count; i += kChunk) {
    int64_t length = count - i < kChunk ? count - i : kChunk;
    int others = 0;
    for (int64_t j = 0; j < length; ++j) others |= !Usual::takes(a[i + j]);
    if (others) {
      loop<Op, 6>(out + i, a + i, a + i, a + i, length);
    } else {
      loop<Usual, 6>(out + i, a + i, a + i, a + i, length);
    }
  }
  return true;
}

#define FLAMBEAU_USUAL(name)                                                     \
  template <>                                                                    \
  struct Before<name##_op> {                                                     \
    static bool run(Number* out, const Number* a, const Number*, int64_t count,  \
                    uint32_t scalars) {                                          \
      return !scalars && run_usual<name##_op, usual_##name##_op>(out, a, count); \
    }                                                                            \
  };
FLAMBEAU_USUAL(exp)
FLAMBEAU_USUAL(sigmoid)
FLAMBEAU_USUAL(log)
#undef FLAMBEAU_USUAL
