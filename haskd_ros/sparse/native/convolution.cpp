// Sparse convolution on a CPU: gather, matrix product and sum in one pass, forward and backward.
//
// A kernel map is a list of pairs (source row, target row), tap after tap; within a tap the targets
// ascend. Output rows are worked on in blocks that stay in the cache while all taps add to them.
// Blocks and their order depend on the shapes alone, so any number of threads gives the same sums.

#include <algorithm>
#include <array>
#include <cstdlib>
#include <memory>
#include <numeric>
#include <utility>
#include <vector>

#include "lanes.h"
#include "threads.h"

namespace {

constexpr int64_t BLOCK_SIZE = 65536;  // numbers of the output, per unit of work
constexpr int64_t PIECE_PAIRS = 8192;  // of a tap, per unit of work of the weights' gradient
constexpr int CHUNK_PAIRS = 128;       // whose rows stay in the innermost cache

// A tile of ROWS x VECTORS sums lives in registers, with room for one row of vectors and a spare.
constexpr int MOST_VECTORS = REGISTERS == 32 ? 4 : 2;
constexpr int MOST_ROWS = 16;
constexpr int tile_rows(int vectors) {
    constexpr int by_vectors[2][4] = {{8, 6, 0, 0}, {16, 12, 8, 6}};
    return by_vectors[REGISTERS == 32][vectors - 1];
}
// Where every row has an address of its own: on x86 there are registers for a dozen.
constexpr int gathered_rows(int vectors) { return std::min(12, tile_rows(vectors)); }

// TILES<Kernel>[vectors - 1][rows - 1] is Kernel<rows, vectors>::run, for every tile that fits.
template <template <int, int> class Kernel, int VECTORS, int... R>
constexpr auto tiles_of(std::integer_sequence<int, R...>) {
    constexpr int most = tile_rows(VECTORS);
    return std::array<decltype(&Kernel<1, 1>::run), MOST_ROWS>{
        (R < most ? &Kernel<(R < most ? R + 1 : 1), VECTORS>::run : nullptr)...};
}
template <template <int, int> class Kernel, int... V>
constexpr auto all_tiles(std::integer_sequence<int, V...>) {
    return std::array{tiles_of<Kernel, V + 1>(std::make_integer_sequence<int, MOST_ROWS>())...};
}
template <template <int, int> class Kernel>
constexpr auto TILES = all_tiles<Kernel>(std::make_integer_sequence<int, MOST_VECTORS>());

// Columns [first, first + vectors * LANES) of a matrix; the last ones may lie outside.
struct Strip {
    int64_t first;
    int vectors;
};

std::vector<Strip> strips_of(int64_t columns) {
    const int64_t vectors = ceil_div(columns, LANES);
    const int64_t count = ceil_div(vectors, MOST_VECTORS);
    std::vector<Strip> strips;
    for (int64_t i = 0, done = 0; i < count; ++i) {
        const int take = static_cast<int>(ceil_div(vectors - done, count - i));
        strips.push_back({done * LANES, take});
        done += take;
    }
    return strips;
}

struct Free {
    void operator()(float* memory) const { std::free(memory); }
};
using Floats = std::unique_ptr<float, Free>;

Floats floats(int64_t count) {
    const int64_t octets = ceil_div(std::max<int64_t>(count, 1) * 4, 64) * 64;
    return Floats(static_cast<float*>(std::aligned_alloc(64, octets)));
}

// ---- y[target] += x[source] w

// Rows of features, one every `step` floats, or rows of two matrices side by side: columns[1] may
// be 0.
struct Features {
    const float* x[2];
    int64_t columns[2];
    int64_t step[2];
};

struct Product {
    Features features;
    const float* weights;  // [inputs, vectors * LANES]
    float* y;              // at the strip's first column
    int64_t outputs;
    int64_t valid;  // columns of the strip that exist
    bool fresh;     // write instead of add
};

template <int ROWS, int VECTORS>
struct Multiply {
    static void run(const Product& p, const int32_t* sources, const int32_t* targets);
};

template <int ROWS, int VECTORS>
void Multiply<ROWS, VECTORS>::run(const Product& p, const int32_t* sources,
                                  const int32_t* targets) {
    Vector sum[ROWS][VECTORS] = {};
    const float* weights = p.weights;
    for (int side = 0; side < 2; ++side) {
        const int64_t columns = p.features.columns[side];
        const float* from[ROWS];
        for (int r = 0; r < ROWS; ++r)
            from[r] = p.features.x[side] + sources[r] * p.features.step[side];
        for (int64_t i = 0; i < columns; ++i, weights += VECTORS * LANES) {
            Vector weight[VECTORS];
            for (int v = 0; v < VECTORS; ++v) weight[v] = load(weights + v * LANES);
            for (int r = 0; r < ROWS; ++r)
                for (int v = 0; v < VECTORS; ++v) sum[r][v] += weight[v] * from[r][i];
        }
    }
    if (p.valid < VECTORS * LANES) {
        for (int r = 0; r < ROWS; ++r) {
            float* to = p.y + targets[r] * p.outputs;
            float row[VECTORS * LANES];
            for (int v = 0; v < VECTORS; ++v) store(row + v * LANES, sum[r][v]);
            for (int64_t c = 0; c < p.valid; ++c) to[c] = p.fresh ? row[c] : to[c] + row[c];
        }
        return;
    }
    for (int r = 0; r < ROWS; ++r) {
        float* to = p.y + targets[r] * p.outputs;
        for (int v = 0; v < VECTORS; ++v) {
            float* part = to + v * LANES;
            store(part, p.fresh ? sum[r][v] : load(part) + sum[r][v]);
        }
    }
}

void multiply(const Product& p, int vectors, const int32_t* sources, const int32_t* targets,
              int64_t pairs) {
    const int rows = gathered_rows(vectors);
    const auto& tiles = TILES<Multiply>[vectors - 1];
    const auto& [x, columns, step] = p.features;
    for (; pairs >= rows; pairs -= rows, sources += rows, targets += rows) {
        for (int64_t r = rows; r < std::min<int64_t>(pairs, 2 * rows); ++r)
            for (int side = 0; side < 2; ++side)
                __builtin_prefetch(x[side] + sources[r] * step[side]);
        tiles[rows - 1](p, sources, targets);
    }
    if (pairs) tiles[pairs - 1](p, sources, targets);
}

// How many floats weights are once they are packed.
int64_t packed_size(int taps, int64_t from, int64_t to) {
    return taps * from * ceil_div(to, LANES) * LANES;
}

// Weights [outputs, taps, inputs] as tap after tap, strip after strip: [from, vectors * LANES].
// Backward, gradients come from the outputs and go to the inputs.
void pack(const float* weight, int64_t outputs, int taps, int64_t inputs, bool backward,
          bool mirrored, float* packed, int threads) {
    const int64_t from = backward ? outputs : inputs, to = backward ? inputs : outputs;
    const int64_t width = ceil_div(to, LANES) * LANES;
    const std::vector<Strip> strips = strips_of(to);
    share(taps, threads, [&](int64_t tap) {
        const float* source = weight + (mirrored ? taps - 1 - tap : tap) * inputs;
        for (const Strip& strip : strips) {
            float* target = packed + tap * from * width + strip.first * from;
            const int64_t columns = strip.vectors * LANES;
            const int64_t valid = std::min(columns, to - strip.first);
            if (valid < columns) std::fill(target, target + from * columns, 0.0f);
            // Read along the rows of the weights, which are far apart; what is written is small.
            for (int64_t o = 0; o < (backward ? from : valid); ++o) {
                const float* row = source + (backward ? o : strip.first + o) * taps * inputs;
                if (backward)
                    std::copy_n(row + strip.first, valid, target + o * columns);
                else
                    for (int64_t i = 0; i < from; ++i) target[i * columns + o] = row[i];
            }
        }
    });
}

// ---- what follows

constexpr int FINISH_ROWS = 64;  // whose numbers stay in the innermost cache

// y = y + bias + added[row], cut off at 0 for a ReLU. A null pointer stands for nothing; added_rows
// null: row i itself.
struct Finish {
    const float* added;
    const int64_t* added_rows;
    bool relu;
    int64_t columns;
    // Rows lie end to end, so that vectors run across their ends; after as many rows as a vector
    // has lanes the bias stands as it stood at first.
    std::vector<float> bias;

    Finish(const float* bias, const float* added, const int64_t* added_rows, bool relu,
           int64_t columns)
        : added(added), added_rows(added_rows), relu(relu), columns(columns) {
        if (bias || added || relu) {
            this->bias.resize(columns * LANES);
            for (int64_t i = 0; bias && i < columns * LANES; ++i) this->bias[i] = bias[i % columns];
        }
    }

    void run(float* y, int64_t first, int64_t last) const {
        if (bias.empty()) return;
        std::vector<float> gathered(added_rows ? FINISH_ROWS * columns : 0);
        for (int64_t row = first; row < last; row += FINISH_ROWS) {
            const int64_t rows = std::min<int64_t>(FINISH_ROWS, last - row);
            const float* more = added ? added + row * columns : nullptr;
            if (added && added_rows) {
                for (int64_t r = 0; r < rows; ++r)
                    std::copy_n(added + added_rows[row + r] * columns, columns,
                                gathered.data() + r * columns);
                more = gathered.data();
            }
            run_through(y + row * columns, more, rows * columns);
        }
    }

   private:
    void run_through(float* y, const float* more, int64_t count) const {
        int64_t in_bias = 0;
        by_columns(count, [&](int64_t i, auto zero) {
            using T = decltype(zero);
            T value = read<T>(y + i) + read<T>(bias.data() + in_bias);
            in_bias += sizeof(T) / sizeof(float);
            if (in_bias == columns * LANES) in_bias = 0;
            if (more) value += read<T>(more + i);
            write(y + i, relu ? where_positive(value, value) : value);
        });
    }
};

// ---- weights' gradient: sum over pairs of g[target]^T x[source]

struct Factors {
    const float* x;  // [.., inputs], at the strip's first column
    const float* g;  // [.., outputs], at the first of ROWS columns
    int64_t inputs, outputs;
    float* sums;  // [ROWS, width], at the strip's first column
    int64_t width;
};

template <int ROWS, int VECTORS>
struct Outer {
    static void run(const Factors& p, const int32_t* sources, const int32_t* targets,
                    int64_t pairs);
};

template <int ROWS, int VECTORS>
void Outer<ROWS, VECTORS>::run(const Factors& p, const int32_t* sources, const int32_t* targets,
                               int64_t pairs) {
    Vector sum[ROWS][VECTORS] = {};
    for (int64_t i = 0; i < pairs; ++i) {
        const float* x = p.x + sources[i] * p.inputs;
        const float* g = p.g + targets[i] * p.outputs;
        // Sources follow no pattern that the processor would see by itself.
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
    std::array<int32_t, CHUNK_PAIRS> own;
    std::vector<float> padded;
    if (width != inputs) padded.resize(CHUNK_PAIRS * width);
    for (int64_t at = first; at < last; at += CHUNK_PAIRS) {
        const int64_t pairs = std::min<int64_t>(CHUNK_PAIRS, last - at);
        std::iota(own.begin(), own.end(), static_cast<int32_t>(at));
        const int32_t* from = sources ? sources + at : own.data();
        const int32_t* to = targets ? targets + at : own.data();
        std::array<int32_t, CHUNK_PAIRS> counted;
        Factors p{x, g, inputs, outputs, sums, width};
        if (width != inputs) {
            // A whole vector must not reach beyond a row: the last row is the end of the memory.
            for (int64_t i = 0; i < pairs; ++i)
                std::copy_n(x + from[i] * inputs, inputs, padded.data() + i * width);
            std::iota(counted.begin(), counted.end(), 0);
            from = counted.data();
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
                TILES<Outer>[strip.vectors - 1][rows - 1](p, from, to, pairs);
                row += rows;
            }
        }
    }
}

}  // namespace

extern "C" {

// Weights [outputs, taps, inputs] as haskd_convolve takes them forward. Returns how many floats
// that are, and writes them where `packed` is not null.
int64_t haskd_pack(const float* weight, int64_t outputs, int taps, int64_t inputs, float* packed,
                   int threads) {
    if (packed) pack(weight, outputs, taps, inputs, false, false, packed, threads);
    return packed_size(taps, inputs, outputs);
}

// y [rows, outputs] = convolution of x with weight [outputs, taps, inputs], and what follows it;
// backward, the gradient of x [rows, inputs] from that of y. The last `more_inputs` columns of x
// stand in a matrix of their own, `more`; rows of the two lie so many floats apart. packed: the
// weight by haskd_pack, or null.
void haskd_convolve(const float* x, int64_t x_step, const float* more, int64_t more_inputs,
                    int64_t more_step, const float* weight, const float* packed, int64_t outputs,
                    int taps, int64_t inputs, int backward, int mirrored, const int32_t* sources,
                    const int32_t* targets, const int64_t* starts, int identity, float* y,
                    int64_t rows, const float* bias, const float* added, const int64_t* added_rows,
                    int relu, int threads) {
    const int64_t from = backward ? outputs : inputs, to = backward ? inputs : outputs;
    const Features features{
        {x, more_inputs ? more : x}, {from - more_inputs, more_inputs}, {x_step, more_step}};
    const Finish finish(bias, added, added_rows, relu != 0, to);
    const std::vector<Strip> strips = strips_of(to);
    const int64_t width = ceil_div(to, LANES) * LANES;
    Floats here;
    if (!packed) {
        here = floats(packed_size(taps, from, to));
        pack(weight, outputs, taps, inputs, backward, mirrored, here.get(), threads);
        packed = here.get();
    }
    // Equally large and a multiple of four, for the sake of two or four threads.
    const int64_t blocks = 4 * ceil_div(rows * width, 4 * BLOCK_SIZE);
    const int64_t block_rows = std::max<int64_t>(1, ceil_div(rows, std::max<int64_t>(blocks, 1)));
    share_rows(rows, block_rows, threads, [&](int64_t, int64_t first, int64_t last) {
        const auto add = [&](int tap, const int32_t* source, const int32_t* target, int64_t pairs,
                             bool fresh) {
            for (const Strip& strip : strips) {
                const float* panel = packed + tap * from * width + strip.first * from;
                const int64_t valid = std::min<int64_t>(strip.vectors * LANES, to - strip.first);
                const Product p{features, panel, y + strip.first, to, valid, fresh};
                multiply(p, strip.vectors, source, target, pairs);
            }
        };
        if (identity < 0) {
            std::fill(y + first * to, y + last * to, 0.0f);
        } else {
            std::vector<int32_t> own(last - first);
            std::iota(own.begin(), own.end(), static_cast<int32_t>(first));
            add(identity, own.data(), own.data(), last - first, true);
        }
        for (int tap = 0; tap < taps; ++tap) {
            const int32_t* tap_end = targets + starts[tap + 1];
            const int32_t* begin = std::lower_bound(targets + starts[tap], tap_end, first);
            const int32_t* end = std::lower_bound(begin, tap_end, last);
            if (begin != end) add(tap, sources + (begin - targets), begin, end - begin, false);
        }
        finish.run(y, first, last);
    });
}

// gradient [outputs, taps, inputs] of the weight from x [.., inputs] and the gradient g
// [rows, outputs] of y.
void haskd_weight_gradient(const float* x, int64_t inputs, const float* g, int64_t outputs,
                           int taps, const int32_t* sources, const int32_t* targets,
                           const int64_t* starts, int identity, int64_t rows, float* gradient,
                           int threads) {
    struct Piece {
        int tap;
        int64_t first, last;
    };
    std::vector<Piece> pieces;
    for (int tap = 0; tap < taps; ++tap) {
        const int64_t end = tap == identity ? rows : starts[tap + 1];
        for (int64_t at = tap == identity ? 0 : starts[tap]; at < end; at += PIECE_PAIRS)
            pieces.push_back({tap, at, std::min(end, at + PIECE_PAIRS)});
    }
    const std::vector<Strip> strips = strips_of(inputs);
    const int64_t width = ceil_div(inputs, LANES) * LANES, size = outputs * width;
    const int64_t count = static_cast<int64_t>(pieces.size());
    const Floats sums = floats(count * size);
    share(count, threads, [&](int64_t i) {
        const Piece& piece = pieces[i];
        const bool own = piece.tap == identity;
        float* sum = sums.get() + i * size;
        std::fill(sum, sum + size, 0.0f);
        outer_sum(x, inputs, g, outputs, own ? nullptr : sources, own ? nullptr : targets,
                  piece.first, piece.last, sum, width, strips);
    });
    std::fill(gradient, gradient + outputs * taps * inputs, 0.0f);
    for (int64_t i = 0; i < count; ++i)
        for (int64_t o = 0; o < outputs; ++o) {
            float* to = gradient + (o * taps + pieces[i].tap) * inputs;
            const float* from = sums.get() + i * size + o * width;
            for (int64_t c = 0; c < inputs; ++c) to[c] += from[c];
        }
}

}  // extern "C"
