// The polynomials of mathematics.h, highest power first: minimax fits of our own (Remez, 60
// digits). The block machine's kernels and the emitter's expansions read the same numbers.
#pragma once

namespace flambeau {

// (exp(r) - 1 - r) / r^2 for |r| <= ln(2) / 2.
inline constexpr float kExpTailFloat[] = {1.39507804e-3f, 8.36902466e-3f, 4.16662014e-2f,
                                          1.66665177e-1f, 5.00000010e-1f};
inline constexpr double kExpTailDouble[] = {2.0927060410786364e-9,
                                            2.51124692936485613e-8,
                                            2.75572329741415802e-7,
                                            2.75572335871618775e-6,
                                            2.48015873742051473e-5,
                                            1.98412698976997052e-4,
                                            1.38888888888581944e-3,
                                            8.33333333331648408e-3,
                                            4.16666666666667251e-2,
                                            1.66666666666666842e-1,
                                            0.5};
// ln(2) in two parts: products of the first with small integers are exact.
inline constexpr float kLog2EFloat = 1.44269504f, kLn2HighFloat = 0.693359375f,
                       kLn2LowFloat = -2.12194440e-4f;
inline constexpr double kLog2EDouble = 1.4426950408889634,
                        kLn2HighDouble = 6.93147180369123816490e-01,
                        kLn2LowDouble = 1.90821492927058770002e-10;
// See log_mantissa.
inline constexpr float kLogMantissaFloat[] = {-7.63432956e-2f, 1.27614139e-1f,  -1.31601690e-1f,
                                              1.42017812e-1f,  -1.66233613e-1f, 2.00012260e-1f,
                                              -2.50008209e-1f, 3.33333317e-1f};
inline constexpr double kLogMantissaDouble[] = {
    0.147959770018454357, 0.153140475081100775, 0.181835644607228322, 0.222221985701995381,
    0.285714287424220328, 0.399999999994144882, 0.666666666666673445};
// erf(x) is x + x P(x^2) below 0.9 and 1 - exp(-x Q(x)) above.
inline constexpr float kErfSmallFloat[] = {8.39724493e-5f,  -8.14967623e-4f, 5.20170468e-3f,
                                           -2.68596977e-2f, 1.12837015e-1f,  -3.76126342e-1f,
                                           1.28379167e-1f};  // 2 / sqrt(pi) - 1
inline constexpr float kErfLargeFloat[] = {-1.56991977e-6f, 2.63492791e-5f, -1.70429578e-4f,
                                           3.57122795e-4f,  2.12013469e-3f, -2.16634860e-2f,
                                           1.04490705e-1f,  6.35955614e-1f, 1.12849107e+0f};
// sin(r) = r + r z S(z), cos(r) = 1 - z / 2 + z^2 C(z) with z = r^2.
inline constexpr float kSinFloat[] = {2.71816281e-6f, -1.98393193e-4f, 8.33332934e-3f,
                                      -1.66666666e-1f};
inline constexpr float kCosFloat[] = {-2.72088591e-7f, 2.47995035e-5f, -1.38888837e-3f,
                                      4.16666666e-2f};
inline constexpr double kTwoOverPi = 0.63661977236758134, kHalfPiHigh = 1.57079632673412561417,
                        kHalfPiLow = 6.07710050650619224932e-11;
// Beyond it the reduction of sin and cos loses bits.
inline constexpr float kTrigonometricLimitFloat = 1e5f;

}  // namespace flambeau
