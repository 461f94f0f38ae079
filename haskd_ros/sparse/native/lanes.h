// Vectors of float as wide as the instruction set that the compiler was told of.
#pragma once

#include <cstdint>
#include <cstring>

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

inline Vector load(const float* from) { return *reinterpret_cast<const Vector*>(from); }
inline void store(float* to, Vector value) { *reinterpret_cast<Vector*>(to) = value; }

inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// One float or one vector of them, so that one template serves both.
template <typename T> T read(const float* from);
template <> inline float read<float>(const float* from) { return *from; }
template <> inline Vector read<Vector>(const float* from) { return load(from); }
inline void write(float* to, float value) { *to = value; }
inline void write(float* to, Vector value) { store(to, value); }

// The value, or 0 where the condition is not positive; one that is not a number stays.
inline float where_positive(float value, float condition) { return condition <= 0 ? 0 : value; }
inline Vector where_positive(Vector value, Vector condition) {
    return condition <= 0 ? Vector{} : value;
}

// f(c, T()) for each whole vector of columns, then for each column that is left.
template <typename Function>
void by_columns(int64_t columns, Function f) {
    int64_t c = 0;
    for (; c + LANES <= columns; c += LANES) f(c, Vector{});
    for (; c < columns; ++c) f(c, 0.0f);
}
