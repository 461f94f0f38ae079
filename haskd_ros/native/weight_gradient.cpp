// Gradient of a sparse convolution's weights: sum over pairs of g[target]^T x[source].
//
// Each tap's pairs are cut into pieces that depend on the kernel map alone, and the pieces' sums
// are added up in their order, so any number of threads gives the same sums.

#include <algorithm>
#include <array>
#include <numeric>
#include <vector>

#include "arguments.h"
#include "lanes.h"
#include "threads.h"
#include "tiles.h"

namespace {

constexpr int64_t PIECE_PAIRS = 8192;  // of a tap, per unit of work
constexpr int CHUNK_PAIRS = 128;       // whose rows stay in the innermost cache

struct Factors {
    const float* x;  // [.., inputs], at the strip's first column
    const float* g;  // [.., outputs], at the first of ROWS columns
    int64_t inputs, outputs;
    float* sums;  // [ROWS, width], at the strip's first column
    int64_t width;
};

template <int ROWS, int VECTORS>
struct OuterProductTile {
    static void run(const Factors& p, const int32_t* sources, const int32_t* targets,
                    int64_t pairs);
};

template <int ROWS, int VECTORS>
void OuterProductTile<ROWS, VECTORS>::run(const Factors& p, const int32_t* sources,
                                          const int32_t* targets, int64_t pairs) {
    Vector sum[ROWS][VECTORS] = {};
    for (int64_t i = 0; i < pairs; ++i) {
        const float* x = p.x + sources[i] * p.inputs;
        const float* g = p.g + targets[i] * p.outputs;
        // Source rows follow no pattern that the hardware prefetcher would recognise.
        const int64_t ahead = std::min<int64_t>(i + 12, pairs - 1);
        __builtin_prefetch(p.x + sources[ahead] * p.inputs);
        __builtin_prefetch(p.g + targets[ahead] * p.outputs);
        Vector part[VECTORS];
        for (int v = 0; v < VECTORS; ++v) part[v] = load(x + v * LANES);
        for (int r = 0; r < ROWS; ++r)
            for (int v = 0; v < VECTORS; ++v) sum[r][v] += part[v] * g[r];
    }
    for (int r = 0; r < ROWS; ++r)
        for (int v = 0; v < VECTORS; ++v) {
            float* to = p.sums + r * p.width + v * LANES;
            store(to, load(to) + sum[r][v]);
        }
}

// sums [outputs, width] += over pairs g[target]^T x[source]; sources or targets null: row i itself.
void outer_sum(const float* x, int64_t inputs, const float* g, int64_t outputs,
               const int32_t* sources, const int32_t* targets, int64_t first, int64_t last,
               float* sums, int64_t width, const std::vector<Strip>& strips) {
    std::array<int32_t, CHUNK_PAIRS> identity_rows;
    std::vector<float> padded;
    if (width != inputs) padded.resize(CHUNK_PAIRS * width);
    for (int64_t at = first; at < last; at += CHUNK_PAIRS) {
        const int64_t pairs = std::min<int64_t>(CHUNK_PAIRS, last - at);
        std::iota(identity_rows.begin(), identity_rows.end(), static_cast<int32_t>(at));
        const int32_t* from = sources ? sources + at : identity_rows.data();
        const int32_t* to = targets ? targets + at : identity_rows.data();
        std::array<int32_t, CHUNK_PAIRS> padded_rows;
        Factors p{x, g, inputs, outputs, sums, width};
        if (width != inputs) {
            // A whole vector must not reach beyond a row: memory ends with the last one.
            for (int64_t i = 0; i < pairs; ++i)
                std::copy_n(x + from[i] * inputs, inputs, padded.data() + i * width);
            std::iota(padded_rows.begin(), padded_rows.end(), 0);
            from = padded_rows.data();
            p.x = padded.data();
            p.inputs = width;
        }
        const float* origin = p.x;
        for (const Strip& strip : strips) {
            const int64_t passes = ceil_div(outputs, tile_rows(strip.vectors));
            p.x = origin + strip.first;
            for (int64_t pass = 0, row = 0; pass < passes; ++pass) {
                const int64_t rows = ceil_div(outputs - row, passes - pass);
                p.g = g + row;
                p.sums = sums + row * width + strip.first;
                TILES<OuterProductTile>[strip.vectors - 1][rows - 1](p, from, to, pairs);
                row += rows;
            }
        }
    }
}

}  // namespace

extern "C" {

// The gradient of the weight, summed over all pairs.
void haskd_weight_gradient(const WeightGradientArguments* arguments) {
    const WeightGradientArguments& a = *arguments;
    struct Piece {
        int tap;
        int64_t first, last;
    };
    std::vector<Piece> pieces;
    for (int tap = 0; tap < a.taps; ++tap) {
        const bool identity = tap == a.identity_tap;
        const int64_t end = identity ? a.y_rows : a.tap_offsets[tap + 1];
        for (int64_t at = identity ? 0 : a.tap_offsets[tap]; at < end; at += PIECE_PAIRS)
            pieces.push_back({tap, at, std::min(end, at + PIECE_PAIRS)});
    }
    const std::vector<Strip> strips = strips_of(a.inputs);
    const int64_t width = ceil_div(a.inputs, LANES) * LANES, size = a.outputs * width;
    const int64_t count = static_cast<int64_t>(pieces.size());
    const Buffer<float> sums = aligned_buffer<float>(count * size);
    parallel_for(count, a.threads, [&](int64_t i) {
        const Piece& piece = pieces[i];
        const bool identity = piece.tap == a.identity_tap;
        float* sum = sums.get() + i * size;
        std::fill(sum, sum + size, 0.0f);
        outer_sum(a.x, a.inputs, a.y_gradient, a.outputs, identity ? nullptr : a.sources,
                  identity ? nullptr : a.targets, piece.first, piece.last, sum, width, strips);
    });
    std::fill(a.gradient, a.gradient + a.outputs * a.taps * a.inputs, 0.0f);
    for (int64_t i = 0; i < count; ++i)
        for (int64_t o = 0; o < a.outputs; ++o) {
            float* to = a.gradient + (o * a.taps + pieces[i].tap) * a.inputs;
            const float* from = sums.get() + i * size + o * width;
            for (int64_t c = 0; c < a.inputs; ++c) to[c] += from[c];
        }
}

}  // extern "C"
