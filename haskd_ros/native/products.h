// y[target] += x[source] w: the products of a sparse convolution under one tap, in vectors of floats
// or in matrix registers.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <type_traits>

#include "lanes.h"
#include "matrix_registers.h"
#include "tiles.h"

// Rows of features, one every `stride` numbers, or the rows of two matrices concatenated:
// columns[1] may be 0.
template <typename Number>
struct Features {
    const Number* x[2];
    int64_t columns[2];
    int64_t stride[2];
};

template <typename Number>
struct Product {
    Features<Number> features;
    const Number* weights;  // [columns, vectors * LANES]
    float* y;               // at the strip's first column
    int64_t outputs;
    int64_t valid;  // columns of the strip that exist
    bool overwrite;  // instead of adding
};

// Adds rows of sums, a strip wide, to y.
template <int VECTORS, typename Number>
inline void add_rows(const Product<Number>& p, const Vector (*sums)[VECTORS],
                     const int32_t* targets, int64_t rows) {
    const int64_t left = p.valid % LANES;
    const int whole = static_cast<int>(p.valid / LANES);
    for (int64_t r = 0; r < rows; ++r) {
        float* to = p.y + targets[r] * p.outputs;
        for (int v = 0; v < VECTORS; ++v) {
            float* part = to + v * LANES;
            if (v < whole)
                store(part, p.overwrite ? sums[r][v] : load(part) + sums[r][v]);
            else
                store_first(part, p.overwrite ? sums[r][v] : load_first(part, left) + sums[r][v],
                            left);
        }
    }
}

// ---- in vectors

// Gathered rows have an address each: x86 has registers for a dozen.
constexpr int gathered_rows(int vectors) { return std::min(12, tile_rows(vectors)); }

template <typename Number, int ROWS, int VECTORS>
struct MultiplyTile {
    static void run(const Product<Number>& p, const int32_t* sources, const int32_t* targets) {
        Vector sum[ROWS][VECTORS] = {};
        const Number* weights = p.weights;
        for (int matrix = 0; matrix < 2; ++matrix) {
            const int64_t columns = p.features.columns[matrix];
            const Number* from[ROWS];
            for (int r = 0; r < ROWS; ++r)
                from[r] = p.features.x[matrix] + sources[r] * p.features.stride[matrix];
            for (int64_t i = 0; i < columns; ++i, weights += VECTORS * LANES) {
                Vector weight[VECTORS];
                for (int v = 0; v < VECTORS; ++v) weight[v] = load(weights + v * LANES);
                for (int r = 0; r < ROWS; ++r)
                    for (int v = 0; v < VECTORS; ++v)
                        sum[r][v] = add_product(sum[r][v], weight[v], from[r][i]);
            }
        }
        add_rows<VECTORS>(p, sum, targets, ROWS);
    }
};
template <typename Number>
struct MultiplyTileOf {
    template <int ROWS, int VECTORS>
    using Tile = MultiplyTile<Number, ROWS, VECTORS>;
};

template <typename Number>
void multiply_in_vectors(const Product<Number>& p, int vectors, const int32_t* sources,
                         const int32_t* targets, int64_t pairs) {
    const int rows = gathered_rows(vectors);
    const auto& tiles = TILES<MultiplyTileOf<Number>::template Tile>[vectors - 1];
    const auto& [x, columns, stride] = p.features;
    for (; pairs >= rows; pairs -= rows, sources += rows, targets += rows) {
        for (int64_t r = rows; r < std::min<int64_t>(pairs, 2 * rows); ++r)
            for (int matrix = 0; matrix < 2; ++matrix)
                __builtin_prefetch(x[matrix] + sources[r] * stride[matrix]);
        tiles[rows - 1](p, sources, targets);
    }
    if (pairs) tiles[pairs - 1](p, sources, targets);
}

// ---- in matrix registers

#if defined(HAS_MATRIX_REGISTERS)

// Of one thread, for one convolution of bfloat16 whose features are rows of so many pairs.
class MatrixProducts {
   public:
    explicit MatrixProducts(int64_t columns)
        : registers(pairs_of_part(columns)),
          gathered(aligned_buffer<Bf16Pair>(2 * REGISTER_ROWS * columns)) {}

    void multiply(const Product<Bf16Pair>& p, int vectors, const int32_t* sources,
                  const int32_t* targets, int64_t pairs) const {
        switch (vectors) {
            case 1: return run<1>(p, sources, targets, pairs);
            case 2: return run<2>(p, sources, targets, pairs);
            case 3: return run<3>(p, sources, targets, pairs);
            default: return run<4>(p, sources, targets, pairs);
        }
    }

   private:
    template <int VECTORS>
    void run(const Product<Bf16Pair>& p, const int32_t* sources, const int32_t* targets,
             int64_t pairs) const {
        switch (p.features.columns[0]) {
            case 8: return run<VECTORS, 8>(p, sources, targets, pairs);
            case 16: return run<VECTORS, 16>(p, sources, targets, pairs);
            case 24: return run<VECTORS, 24>(p, sources, targets, pairs);
            case 32: return run<VECTORS, 32>(p, sources, targets, pairs);
            default: return run<VECTORS, 0>(p, sources, targets, pairs);
        }
    }

    // COLUMNS: how many pairs a row has, 0 for any number.
    template <int VECTORS, int COLUMNS>
    void run(const Product<Bf16Pair>& p, const int32_t* sources, const int32_t* targets,
             int64_t pairs) const {
        const int64_t columns = COLUMNS ? COLUMNS : p.features.columns[0];
        Bf16Pair* rows = gathered.get();
        Bf16Pair* next = rows + REGISTER_ROWS * columns;
        gather<COLUMNS>(p.features, sources, std::min<int64_t>(pairs, REGISTER_ROWS), rows);
        for (; pairs > 0; pairs -= REGISTER_ROWS, targets += REGISTER_ROWS) {
            sources += REGISTER_ROWS;
            // Before this turn's products: what has just been written takes a while to be read.
            gather<COLUMNS>(p.features, sources,
                            std::min<int64_t>(pairs - REGISTER_ROWS, REGISTER_ROWS), next);
            alignas(64) Vector sums[REGISTER_ROWS][VECTORS];
            multiply_rows<VECTORS>(p.weights, rows, columns, sums);
            add_rows<VECTORS>(p, sums, targets, std::min<int64_t>(pairs, REGISTER_ROWS));
            std::swap(rows, next);
        }
    }

    template <int COLUMNS>
    static void gather(const Features<Bf16Pair>& features, const int32_t* sources, int64_t rows,
                       Bf16Pair* to) {
        const int64_t columns = COLUMNS ? COLUMNS : features.columns[0];
        const Bf16Pair* x = features.x[0];
        for (int64_t row = 0; row < rows; ++row, to += columns) {
            const Bf16Pair* from = x + sources[row] * columns;
            for (int64_t i = 0; i < columns; i += COPIED)
                _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + i),
                                    _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from + i)));
        }
    }

    template <int VECTORS>
    static void multiply_rows(const Bf16Pair* weights, const Bf16Pair* rows, int64_t columns,
                              Vector (*sums)[VECTORS]) {
        using R = MatrixRegisters;
        constexpr int64_t width = VECTORS * LANES;
        const int64_t part = pairs_of_part(columns);
        each<VECTORS>([](auto v) { R::clear<v>(); });
        for (int64_t i = 0; i < columns; i += part) {
            R::read<R::ROWS>(rows + i, columns);
            each<VECTORS>([&](auto v) {
                R::read<R::COLUMNS + v % 2>(weights + i * width + v * LANES, width);
                R::add_products<v, R::ROWS, R::COLUMNS + v % 2>();
            });
        }
        each<VECTORS>([&](auto v) {
            R::write<v>(reinterpret_cast<float*>(&sums[0][v]), width);
        });
    }

    MatrixRegisters registers;
    Buffer<Bf16Pair> gathered;  // [2, REGISTER_ROWS, columns]
};

#endif

// Of one thread, for one convolution.
template <typename Number>
class Multiplier {
   public:
    explicit Multiplier(int64_t columns) {
#if defined(HAS_MATRIX_REGISTERS)
        if constexpr (std::is_same_v<Number, Bf16Pair>)
            if (has_matrix_registers()) in_registers.emplace(columns);
#else
        (void)columns;
#endif
    }
    void operator()(const Product<Number>& p, int vectors, const int32_t* sources,
                    const int32_t* targets, int64_t pairs) const {
#if defined(HAS_MATRIX_REGISTERS)
        if constexpr (std::is_same_v<Number, Bf16Pair>)
            if (in_registers) return in_registers->multiply(p, vectors, sources, targets, pairs);
#endif
        multiply_in_vectors(p, vectors, sources, targets, pairs);
    }

   private:
#if defined(HAS_MATRIX_REGISTERS)
    std::optional<MatrixProducts> in_registers;
#endif
};
