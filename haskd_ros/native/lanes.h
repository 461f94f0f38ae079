// Vectors of float as wide as the instruction set that is compiled for.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__AVX512F__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
constexpr int LANES = 16, REGISTERS = 32;
#elif defined(__AVX__)
constexpr int LANES = 8, REGISTERS = 16;
#elif defined(__aarch64__)
constexpr int LANES = 4, REGISTERS = 32;
#else
constexpr int LANES = 4, REGISTERS = 16;
#endif

// Of gcc and clang; any address will do, and it may be that of plain floats.
typedef float Vector __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

inline Vector load(const void* from) { return *static_cast<const Vector*>(from); }
inline void store(float* to, Vector value) { *reinterpret_cast<Vector*>(to) = value; }

// The first `count` of a vector's numbers, 0 < count < LANES; what is read behind them is 0.
inline Vector load_first(const float* from, int64_t count) {
#if defined(__AVX512F__)
    return (Vector)_mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << count) - 1), from);
#else
    Vector value{};
    std::memcpy(&value, from, 4 * count);
    return value;
#endif
}
inline void store_first(float* to, Vector value, int64_t count) {
#if defined(__AVX512F__)
    _mm512_mask_storeu_ps(to, static_cast<__mmask16>((1u << count) - 1), (__m512)value);
#else
    std::memcpy(to, &value, 4 * count);
#endif
}

inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// One float or one vector of them, so that one template serves both.
template <typename T> T read(const float* from);
template <> inline float read<float>(const float* from) { return *from; }
template <> inline Vector read<Vector>(const float* from) { return load(from); }
inline void write(float* to, float value) { *to = value; }
inline void write(float* to, Vector value) { store(to, value); }

// The value, or 0 where the condition is not positive; where that is NaN, the value.
inline float where_positive(float value, float condition) { return condition <= 0 ? 0 : value; }
inline Vector where_positive(Vector value, Vector condition) {
    return condition <= 0 ? Vector{} : value;
}

// Two numbers of bfloat16, the upper half of a float each, in the 4 bytes of a float: the sum of
// their products with two others is one instruction, where the processor has it.
struct Bf16Pair {
    uint16_t number[2];
};

inline float upper_half(uint16_t half) {
    const uint32_t bits = static_cast<uint32_t>(half) << 16;
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

// Round to nearest, ties to even; NaN stays NaN.
inline uint16_t to_bfloat16(float value) {
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    const uint32_t rounded = bits + 0x7fff + (bits >> 16 & 1);
    return static_cast<uint16_t>((value == value ? rounded : bits | 0x400000) >> 16);
}

// sum + weights * x, lane by lane.
inline Vector add_product(Vector sum, Vector weights, float x) { return sum + weights * x; }

// The same with a pair in each lane.
inline Vector add_product(Vector sum, Vector weights, Bf16Pair x) {
#if defined(__AVX512BF16__)
    int32_t both;
    std::memcpy(&both, &x, sizeof both);
    return (Vector)_mm512_dpbf16_ps((__m512)sum, (__m512bh)weights,
                                    (__m512bh)_mm512_set1_epi32(both));
#else
    typedef uint32_t Bits __attribute__((vector_size(4 * LANES), may_alias));
    const Bits bits = (Bits)weights;
    sum += (Vector)(bits << 16) * upper_half(x.number[0]);
    return sum + (Vector)(bits & 0xffff0000u) * upper_half(x.number[1]);
#endif
}

// f(c, T()) for each whole vector of columns, then for each column that is left.
template <typename Function>
void by_columns(int64_t columns, Function f) {
    int64_t c = 0;
    for (; c + LANES <= columns; c += LANES) f(c, Vector{});
    for (; c < columns; ++c) f(c, 0.0f);
}
