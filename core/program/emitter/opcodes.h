// The vector instructions that the emitter uses, for float (index 0) and double (index 1) elements.
#pragma once

#include "program/emitter/assembler.h"

namespace flambeau::emitter::opcodes {

using Pair = VectorOpcode[2];

// name, map, prefix, byte, EVEX.W, VEX.W, tuple, extension
inline constexpr Pair kMove = {{"vmovaps", 1, 0, 0x28}, {"vmovapd", 1, 1, 0x28, true}};
inline constexpr Pair kStore = {{"vmovaps", 1, 0, 0x29, false, false, Tuple::Full, -1, false, true},
                                {"vmovapd", 1, 1, 0x29, true, false, Tuple::Full, -1, false, true}};
inline constexpr Pair kMoveAny = {{"vmovups", 1, 0, 0x10}, {"vmovupd", 1, 1, 0x10, true}};
inline constexpr Pair kStoreAny = {
    {"vmovups", 1, 0, 0x11, false, false, Tuple::Full, -1, false, true},
    {"vmovupd", 1, 1, 0x11, true, false, Tuple::Full, -1, false, true}};
inline constexpr Pair kStoreOne = {
    {"vmovss", 1, 2, 0x11, false, false, Tuple::Single, -1, false, true},
    {"vmovsd", 1, 3, 0x11, true, false, Tuple::Single, -1, false, true}};
inline constexpr Pair kBroadcast = {{"vbroadcastss", 2, 1, 0x18, false, false, Tuple::Single},
                                    {"vbroadcastsd", 2, 1, 0x19, true, false, Tuple::Single}};
// Of elements whose indices are in a register; the mask (the source with VEX) is cleared.
inline constexpr Pair kGather = {{"vgatherdps", 2, 1, 0x92, false, false, Tuple::Single},
                                 {"vgatherdpd", 2, 1, 0x92, true, true, Tuple::Single}};
inline constexpr VectorOpcode kBroadcastInt = {"vpbroadcastd", 2, 1, 0x58, false, false,
                                               Tuple::Single};
inline constexpr VectorOpcode kMulInt = {"vpmulld", 2, 1, 0x40};
inline constexpr VectorOpcode kEqualInt = {"vpcmpeqd", 1, 1, 0x76};
inline constexpr Pair kMaskedLoad = {{"vmaskmovps", 2, 1, 0x2C}, {"vmaskmovpd", 2, 1, 0x2D}};
inline constexpr Pair kMaskedStore = {
    {"vmaskmovps", 2, 1, 0x2E, false, false, Tuple::Full, -1, false, true},
    {"vmaskmovpd", 2, 1, 0x2F, false, false, Tuple::Full, -1, false, true}};

inline constexpr Pair kAdd = {{"vaddps", 1, 0, 0x58}, {"vaddpd", 1, 1, 0x58, true}};
inline constexpr Pair kMul = {{"vmulps", 1, 0, 0x59}, {"vmulpd", 1, 1, 0x59, true}};
inline constexpr Pair kSub = {{"vsubps", 1, 0, 0x5C}, {"vsubpd", 1, 1, 0x5C, true}};
inline constexpr Pair kMin = {{"vminps", 1, 0, 0x5D}, {"vminpd", 1, 1, 0x5D, true}};
inline constexpr Pair kDiv = {{"vdivps", 1, 0, 0x5E}, {"vdivpd", 1, 1, 0x5E, true}};
inline constexpr Pair kMax = {{"vmaxps", 1, 0, 0x5F}, {"vmaxpd", 1, 1, 0x5F, true}};
inline constexpr Pair kSqrt = {{"vsqrtps", 1, 0, 0x51}, {"vsqrtpd", 1, 1, 0x51, true}};
inline constexpr Pair kAnd = {{"vandps", 1, 0, 0x54}, {"vandpd", 1, 1, 0x54, true}};
inline constexpr Pair kAndNot = {{"vandnps", 1, 0, 0x55}, {"vandnpd", 1, 1, 0x55, true}};
inline constexpr Pair kOr = {{"vorps", 1, 0, 0x56}, {"vorpd", 1, 1, 0x56, true}};
inline constexpr Pair kXor = {{"vxorps", 1, 0, 0x57}, {"vxorpd", 1, 1, 0x57, true}};
inline constexpr Pair kAddInt = {{"vpaddd", 1, 1, 0xFE}, {"vpaddq", 1, 1, 0xD4, true}};
inline constexpr Pair kSubInt = {{"vpsubd", 1, 1, 0xFA}, {"vpsubq", 1, 1, 0xFB, true}};
inline constexpr Pair kScale = {{"vscalefps", 2, 1, 0x2C}, {"vscalefpd", 2, 1, 0x2C, true}};
inline constexpr Pair kRound = {{"vroundps", 3, 1, 0x08}, {"vroundpd", 3, 1, 0x09, true}};
inline constexpr Pair kShiftLeft = {{"vpslld", 1, 1, 0x72, false, false, Tuple::Full, 6},
                                    {"vpsllq", 1, 1, 0x73, true, false, Tuple::Full, 6}};
inline constexpr Pair kShiftRight = {{"vpsrld", 1, 1, 0x72, false, false, Tuple::Full, 2},
                                     {"vpsrlq", 1, 1, 0x73, true, false, Tuple::Full, 2}};
// Of 32-bit integers only.
inline constexpr Pair kShiftRightSigned = {{"vpsrad", 1, 1, 0x72, false, false, Tuple::Full, 4},
                                           {"vpsrad", 1, 1, 0x72, false, false, Tuple::Full, 4}};
inline constexpr Pair kFromInt = {{"vcvtdq2ps", 1, 0, 0x5B}, {"vcvtdq2ps", 1, 0, 0x5B}};
inline constexpr VectorOpcode kWiden = {"vcvtps2pd", 1, 0, 0x5A, false, false, Tuple::Half};
inline constexpr VectorOpcode kNarrow = {"vcvtpd2ps", 1, 1, 0x5A, true};
inline constexpr VectorOpcode kNarrowOne = {"vcvtsd2ss", 1, 3, 0x5A, true, false, Tuple::Single};

// Halves: of 512 bits, and of 256.
inline constexpr VectorOpcode kExtractHalf = {"vextractf64x4", 3,           1,  0x1B,  true,
                                              false,           Tuple::Full, -1, false, true};
inline constexpr VectorOpcode kInsertHalf = {"vinsertf64x4", 3, 1, 0x1A, true};
inline constexpr VectorOpcode kExtractQuarter = {"vextractf128", 3,           1,  0x19,  false,
                                                 false,          Tuple::Full, -1, false, true};
inline constexpr VectorOpcode kInsertQuarter = {"vinsertf128", 3, 1, 0x18};
inline constexpr Pair kPermute = {{"vpermilps", 3, 1, 0x04}, {"vpermilpd", 3, 1, 0x05, true}};

// Multiply and add: forms 132, 213, 231 by three operations.
enum MultiplyAdd { kFmadd, kFmsub, kFnmadd };
inline constexpr VectorOpcode kMultiplyAdd[3][3][2] = {
    {{{"vfmadd132ps", 2, 1, 0x98}, {"vfmadd132pd", 2, 1, 0x98, true, true}},
     {{"vfmadd213ps", 2, 1, 0xA8}, {"vfmadd213pd", 2, 1, 0xA8, true, true}},
     {{"vfmadd231ps", 2, 1, 0xB8}, {"vfmadd231pd", 2, 1, 0xB8, true, true}}},
    {{{"vfmsub132ps", 2, 1, 0x9A}, {"vfmsub132pd", 2, 1, 0x9A, true, true}},
     {{"vfmsub213ps", 2, 1, 0xAA}, {"vfmsub213pd", 2, 1, 0xAA, true, true}},
     {{"vfmsub231ps", 2, 1, 0xBA}, {"vfmsub231pd", 2, 1, 0xBA, true, true}}},
    {{{"vfnmadd132ps", 2, 1, 0x9C}, {"vfnmadd132pd", 2, 1, 0x9C, true, true}},
     {{"vfnmadd213ps", 2, 1, 0xAC}, {"vfnmadd213pd", 2, 1, 0xAC, true, true}},
     {{"vfnmadd231ps", 2, 1, 0xBC}, {"vfnmadd231pd", 2, 1, 0xBC, true, true}}}};

// Comparisons, and choices by a mask register (EVEX) or a vector (VEX).
inline constexpr Pair kCompare = {{"vcmpps", 1, 0, 0xC2, false, false, Tuple::Full, -1, true},
                                  {"vcmppd", 1, 1, 0xC2, true, false, Tuple::Full, -1, true}};
inline constexpr Pair kBlendMask = {{"vblendmps", 2, 1, 0x65}, {"vblendmpd", 2, 1, 0x65, true}};
inline constexpr Pair kBlend = {{"vblendvps", 3, 1, 0x4A}, {"vblendvpd", 3, 1, 0x4B}};
inline constexpr Pair kSignsToMask = {{"vpmovd2m", 2, 2, 0x39, false, false, Tuple::Full, -1, true},
                                      {"vpmovq2m", 2, 2, 0x39, true, false, Tuple::Full, -1, true}};
inline constexpr VectorOpcode kShuffleInts = {"vpshufd", 1, 1, 0x70};
inline constexpr VectorOpcode kMoveSigns = {"vmovmskps", 1, 0, 0x50};  // to a general register

// Bools.
inline constexpr VectorOpcode kLoadBytes = {"vmovdqu8", 1, 3, 0x6F, false, false, Tuple::Full};
inline constexpr VectorOpcode kStoreBytes = {"vmovdqu8", 1,           3,  0x7F,  false,
                                             false,      Tuple::Full, -1, false, true};
inline constexpr VectorOpcode kLoadQuad = {"vmovq", 1, 2, 0x7E, true, false, Tuple::Single};
inline constexpr VectorOpcode kStoreQuad = {"vmovq",       1,  1,     0xD6, true, false,
                                            Tuple::Single, -1, false, true};
inline constexpr VectorOpcode kStoreInt = {"vmovd",       1,  1,     0x7E, false, false,
                                           Tuple::Single, -1, false, true};
inline constexpr VectorOpcode kFromGeneral = {"vmovq", 1, 1, 0x6E, true, true, Tuple::Single};
inline constexpr VectorOpcode kToGeneral = {"vmovq",       1,  1,     0x7E, true, true,
                                            Tuple::Single, -1, false, true};
inline constexpr VectorOpcode kBroadcastByte = {"vpbroadcastb", 2,     1,           0x78,
                                                false,          false, Tuple::Bytes};
inline constexpr VectorOpcode kTestBytes = {"vptestmb", 2,           1,  0x26, false,
                                            false,      Tuple::Full, -1, true};
inline constexpr Pair kWidenBytes = {{"vpmovzxbd", 2, 1, 0x31, false, false, Tuple::Quarter},
                                     {"vpmovzxbq", 2, 1, 0x32, false, false, Tuple::Eighth}};
inline constexpr Pair kCompareGreaterInt = {{"vpcmpgtd", 1, 1, 0x66}, {"vpcmpgtq", 2, 1, 0x37}};
inline constexpr VectorOpcode kPackInts = {"vpackssdw", 1, 1, 0x6B};
inline constexpr VectorOpcode kPackShorts = {"vpacksswb", 1, 1, 0x63};
inline constexpr VectorOpcode kShuffle = {"vshufps", 1, 0, 0xC6};

}  // namespace flambeau::emitter::opcodes
