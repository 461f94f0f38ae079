// Register tiles and buffers of the matrix products of convolution.cpp and weight_gradient.cpp.
#pragma once

#include <algorithm>
#include <array>
#include <cstdlib>
#include <memory>
#include <new>
#include <utility>
#include <vector>

#include "lanes.h"

// A tile of ROWS x VECTORS sums lives in registers, with room for one row of vectors and a spare.
constexpr int MAX_VECTORS = REGISTERS == 32 ? 4 : 2;
constexpr int MAX_ROWS = 16;
constexpr int tile_rows(int vectors) {
    constexpr int by_vectors[2][4] = {{8, 6, 0, 0}, {16, 12, 8, 6}};
    return by_vectors[REGISTERS == 32][vectors - 1];
}

// TILES<Kernel>[vectors - 1][rows - 1] is Kernel<rows, vectors>::run, for every tile that fits.
template <template <int, int> class Kernel, int VECTORS, int... R>
constexpr auto tiles_of(std::integer_sequence<int, R...>) {
    constexpr int max_rows = tile_rows(VECTORS);
    return std::array<decltype(&Kernel<1, 1>::run), MAX_ROWS>{
        (R < max_rows ? &Kernel<(R < max_rows ? R + 1 : 1), VECTORS>::run : nullptr)...};
}
template <template <int, int> class Kernel, int... V>
constexpr auto all_tiles(std::integer_sequence<int, V...>) {
    return std::array{tiles_of<Kernel, V + 1>(std::make_integer_sequence<int, MAX_ROWS>())...};
}
template <template <int, int> class Kernel>
constexpr auto TILES = all_tiles<Kernel>(std::make_integer_sequence<int, MAX_VECTORS>());

// Columns [first, first + vectors * LANES) of a matrix; the last ones may lie outside.
struct Strip {
    int64_t first;
    int vectors;
};

inline std::vector<Strip> strips_of(int64_t columns) {
    const int64_t vectors = ceil_div(columns, LANES);
    const int64_t count = ceil_div(vectors, MAX_VECTORS);
    std::vector<Strip> strips;
    for (int64_t i = 0, first_vector = 0; i < count; ++i) {
        const int width = static_cast<int>(ceil_div(vectors - first_vector, count - i));
        strips.push_back({first_vector * LANES, width});
        first_vector += width;
    }
    return strips;
}

struct FreeMemory {
    void operator()(void* memory) const { std::free(memory); }
};
template <typename Number>
using Buffer = std::unique_ptr<Number, FreeMemory>;

template <typename Number>
Buffer<Number> aligned_buffer(int64_t count) {
    static_assert(sizeof(Number) == 4);
    const int64_t bytes = ceil_div(std::max<int64_t>(count, 1) * 4, 64) * 64;
    Buffer<Number> buffer(static_cast<Number*>(std::aligned_alloc(64, bytes)));
    if (!buffer) throw std::bad_alloc();
    return buffer;
}
