// Sparse convolution on a CPU: gather, matrix product and sum in one pass, forward and backward.
//
// A kernel map is a list of pairs (source row, target row), tap after tap; within a tap the targets
// ascend. Output rows are worked on in blocks that stay in the cache while all taps add to them.
// Blocks and their order depend on the shapes alone, so any number of threads gives the same sums.
// Features and weights may be rounded to bfloat16, pairs of which lie where a float would; sums are
// float32 all the same.

#include <algorithm>
#include <numeric>
#include <type_traits>
#include <vector>

#include "arguments.h"
#include "lanes.h"
#include "threads.h"
#include "tiles.h"

namespace {

constexpr int64_t BLOCK_SIZE = 65536;  // numbers of the output, per unit of work

// Where every row has an address of its own: on x86 there are registers for a dozen.
constexpr int gathered_rows(int vectors) { return std::min(12, tile_rows(vectors)); }

// How many numbers stand in one of 4 bytes, and how one of them is put there.
template <typename Number>
constexpr int PER = std::is_same_v<Number, Pair> ? 2 : 1;
inline void put(float& to, int64_t, float value) { to = value; }
inline void put(Pair& to, int64_t place, float value) { to.number[place] = to_bfloat16(value); }

// ---- y[target] += x[source] w

// Rows of features, one every `step` numbers, or rows of two matrices side by side: columns[1] may
// be 0.
template <typename Number>
struct Features {
    const Number* x[2];
    int64_t columns[2];
    int64_t step[2];
};

template <typename Number>
struct Product {
    Features<Number> features;
    const Number* weights;  // [columns, vectors * LANES]
    float* y;               // at the strip's first column
    int64_t outputs;
    int64_t valid;  // columns of the strip that exist
    bool fresh;     // write instead of add
};

template <typename Number, int ROWS, int VECTORS>
struct Multiply {
    static void run(const Product<Number>& p, const int32_t* sources, const int32_t* targets);
};
template <typename Number>
struct Multiplied {
    template <int ROWS, int VECTORS>
    using By = Multiply<Number, ROWS, VECTORS>;
};

template <typename Number, int ROWS, int VECTORS>
void Multiply<Number, ROWS, VECTORS>::run(const Product<Number>& p, const int32_t* sources,
                                          const int32_t* targets) {
    Vector sum[ROWS][VECTORS] = {};
    const Number* weights = p.weights;
    for (int side = 0; side < 2; ++side) {
        const int64_t columns = p.features.columns[side];
        const Number* from[ROWS];
        for (int r = 0; r < ROWS; ++r)
            from[r] = p.features.x[side] + sources[r] * p.features.step[side];
        for (int64_t i = 0; i < columns; ++i, weights += VECTORS * LANES) {
            Vector weight[VECTORS];
            for (int v = 0; v < VECTORS; ++v) weight[v] = load(weights + v * LANES);
            for (int r = 0; r < ROWS; ++r)
                for (int v = 0; v < VECTORS; ++v)
                    sum[r][v] = add_product(sum[r][v], weight[v], from[r][i]);
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

template <typename Number>
void multiply(const Product<Number>& p, int vectors, const int32_t* sources,
              const int32_t* targets, int64_t pairs) {
    const int rows = gathered_rows(vectors);
    const auto& tiles = TILES<Multiplied<Number>::template By>[vectors - 1];
    const auto& [x, columns, step] = p.features;
    for (; pairs >= rows; pairs -= rows, sources += rows, targets += rows) {
        for (int64_t r = rows; r < std::min<int64_t>(pairs, 2 * rows); ++r)
            for (int side = 0; side < 2; ++side)
                __builtin_prefetch(x[side] + sources[r] * step[side]);
        tiles[rows - 1](p, sources, targets);
    }
    if (pairs) tiles[pairs - 1](p, sources, targets);
}

// How many numbers of 4 bytes weights are once they are packed.
template <typename Number>
int64_t packed_size(int taps, int64_t from, int64_t to) {
    return taps * ceil_div(from, PER<Number>) * ceil_div(to, LANES) * LANES;
}

// Weights [outputs, taps, inputs] as tap after tap, strip after strip: [from, vectors * LANES].
// Backward, gradients come from the outputs and go to the inputs.
template <typename Number>
void pack(const float* weight, int64_t outputs, int taps, int64_t inputs, bool backward,
          bool mirrored, Number* packed, int threads) {
    constexpr int per = PER<Number>;
    const int64_t from = backward ? outputs : inputs, to = backward ? inputs : outputs;
    const int64_t rows = ceil_div(from, per), width = ceil_div(to, LANES) * LANES;
    const std::vector<Strip> strips = strips_of(to);
    share(taps, threads, [&](int64_t tap) {
        const float* source = weight + (mirrored ? taps - 1 - tap : tap) * inputs;
        for (const Strip& strip : strips) {
            Number* target = packed + tap * rows * width + strip.first * rows;
            const int64_t columns = strip.vectors * LANES;
            const int64_t valid = std::min(columns, to - strip.first);
            if (valid < columns || from % per) std::fill(target, target + rows * columns, Number{});
            // Read along the rows of the weights, which are far apart; what is written is small.
            for (int64_t o = 0; o < (backward ? from : valid); ++o) {
                const float* row = source + (backward ? o : strip.first + o) * taps * inputs;
                if (backward)
                    for (int64_t i = 0; i < valid; ++i)
                        put(target[o / per * columns + i], o % per, row[strip.first + i]);
                else
                    for (int64_t i = 0; i < from; ++i)
                        put(target[i / per * columns + o], i % per, row[i]);
            }
        }
    });
}

// Rows of features as pairs, the last one of an odd number of columns with a 0.
Numbers<Pair> in_pairs(const Features<float>& features, int64_t rows, int threads) {
    const int64_t first = features.columns[0], more = features.columns[1];
    const int64_t step = ceil_div(first + more, 2);
    Numbers<Pair> result = numbers<Pair>(rows * step);
    share_rows(rows, ceil_div(BLOCK_SIZE, step), threads, [&](int64_t, int64_t begin, int64_t end) {
        for (int64_t row = begin; row < end; ++row) {
            auto* to = reinterpret_cast<uint16_t*>(result.get() + row * step);
            const float* from = features.x[0] + row * features.step[0];
            for (int64_t i = 0; i < first; ++i) to[i] = to_bfloat16(from[i]);
            from = features.x[1] + row * features.step[1];
            for (int64_t i = 0; i < more; ++i) to[first + i] = to_bfloat16(from[i]);
            if ((first + more) % 2) to[first + more] = 0;
        }
    });
    return result;
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

// ---- the whole convolution

// Which source row meets which target row, tap after tap; `identity` is the tap under which each
// row meets itself, or below 0.
struct Pairs {
    int taps;
    const int32_t* sources;
    const int32_t* targets;
    const int64_t* starts;
    int identity;
};

// y [rows, outputs] from features and packed weights.
template <typename Number>
void convolve(const Features<Number>& features, const Number* packed, const Pairs& map, float* y,
              int64_t rows, int64_t outputs, const Finish& finish, int threads) {
    const int64_t columns = features.columns[0] + features.columns[1];
    const std::vector<Strip> strips = strips_of(outputs);
    const int64_t width = ceil_div(outputs, LANES) * LANES;
    // Equally large and a multiple of four, for the sake of two or four threads.
    const int64_t blocks = 4 * ceil_div(rows * width, 4 * BLOCK_SIZE);
    const int64_t block_rows = std::max<int64_t>(1, ceil_div(rows, std::max<int64_t>(blocks, 1)));
    share_rows(rows, block_rows, threads, [&](int64_t, int64_t first, int64_t last) {
        const auto add = [&](int tap, const int32_t* source, const int32_t* target, int64_t pairs,
                             bool fresh) {
            for (const Strip& strip : strips) {
                const Number* panel = packed + tap * columns * width + strip.first * columns;
                const int64_t valid =
                    std::min<int64_t>(strip.vectors * LANES, outputs - strip.first);
                const Product<Number> p{features, panel, y + strip.first, outputs, valid, fresh};
                multiply(p, strip.vectors, source, target, pairs);
            }
        };
        if (map.identity < 0) {
            std::fill(y + first * outputs, y + last * outputs, 0.0f);
        } else {
            std::vector<int32_t> own(last - first);
            std::iota(own.begin(), own.end(), static_cast<int32_t>(first));
            add(map.identity, own.data(), own.data(), last - first, true);
        }
        for (int tap = 0; tap < map.taps; ++tap) {
            const int32_t* tap_end = map.targets + map.starts[tap + 1];
            const int32_t* begin = std::lower_bound(map.targets + map.starts[tap], tap_end, first);
            const int32_t* end = std::lower_bound(begin, tap_end, last);
            if (begin != end)
                add(tap, map.sources + (begin - map.targets), begin, end - begin, false);
        }
        finish.run(y, first, last);
    });
}

// The packed weight that is given, or one that is made for this call and kept in `here`.
template <typename Number>
const Number* packed_weight(const void* packed, Numbers<Number>& here, const float* weight,
                            int64_t outputs, int taps, int64_t inputs, bool backward,
                            bool mirrored, int threads) {
    if (packed) return static_cast<const Number*>(packed);
    here = numbers<Number>(packed_size<Number>(taps, backward ? outputs : inputs,
                                               backward ? inputs : outputs));
    pack(weight, outputs, taps, inputs, backward, mirrored, here.get(), threads);
    return here.get();
}

}  // namespace

extern "C" {

// Whether pairs of bfloat16 are faster here than floats.
int haskd_bf16_pays() { return PAIRS_PAY; }

// Weights [outputs, taps, inputs] as haskd_convolve takes them forward, in float32 or bfloat16.
// Returns how many numbers of 4 bytes that are, and writes them where `packed` is not null.
int64_t haskd_pack(const float* weight, int64_t outputs, int taps, int64_t inputs, int bf16,
                   void* packed, int threads) {
    const auto as = [&](auto number) {
        using Number = decltype(number);
        if (packed)
            pack(weight, outputs, taps, inputs, false, false, static_cast<Number*>(packed),
                 threads);
        return packed_size<Number>(taps, inputs, outputs);
    };
    return bf16 ? as(Pair{}) : as(0.0f);
}

// Convolution of x with the weight into y, and its epilogue.
void haskd_convolve(const ConvolveArguments* arguments) {
    const ConvolveArguments& a = *arguments;
    const int64_t from = a.backward ? a.outputs : a.inputs, to = a.backward ? a.inputs : a.outputs;
    const Features<float> features{{a.x, a.tail_inputs ? a.x_tail : a.x},
                                   {from - a.tail_inputs, a.tail_inputs},
                                   {a.x_stride, a.tail_stride}};
    const Pairs map{a.taps, a.sources, a.targets, a.tap_offsets, a.identity_tap};
    const Finish finish(a.bias, a.addend, a.addend_rows, a.relu != 0, to);
    const auto run = [&](const auto& rows_of_x, auto number) {
        Numbers<decltype(number)> here;
        const auto* ready = packed_weight(a.packed, here, a.weight, a.outputs, a.taps, a.inputs,
                                          a.backward, a.mirrored, a.threads);
        convolve(rows_of_x, ready, map, a.y, a.y_rows, to, finish, a.threads);
    };
    if (!a.bf16) {
        run(features, 0.0f);
        return;
    }
    const Numbers<Pair> pairs = in_pairs(features, a.x_rows, a.threads);
    const int64_t step = ceil_div(from, 2);
    run(Features<Pair>{{pairs.get(), pairs.get()}, {step, 0}, {step, step}}, Pair{});
}

}  // extern "C"
