// Sparse convolution on a CPU: gather, matrix product and sum in one pass, forward and backward.
//
// A kernel map is a list of pairs (source row, target row), tap after tap; within a tap the targets
// ascend. Output rows are computed in blocks that stay in the cache while all taps add to them.
// Blocks and their order depend on the shapes alone, so any number of threads gives the same sums.
// Features and weights may be rounded to bfloat16, two numbers in the 4 bytes of a float; sums are
// float32 all the same.

#include <algorithm>
#include <numeric>
#include <type_traits>
#include <vector>

#include "kernels.h"
#include "lanes.h"
#include "products.h"
#include "threads.h"
#include "tiles.h"

namespace {

constexpr int64_t BLOCK_SIZE = 65536;  // numbers of the output, per unit of work

// How many numbers 4 bytes hold, how many times 4 bytes a row of so many numbers takes, and how one
// of the numbers is written there.
template <typename Number>
constexpr int PER_WORD = std::is_same_v<Number, Bf16Pair> ? 2 : 1;
template <typename Number>
int64_t words_of(int64_t numbers) {
    return PER_WORD<Number> == 1 ? numbers : padded_pairs(ceil_div(numbers, 2));
}
inline void write_number(float& to, int64_t, float value) { to = value; }
inline void write_number(Bf16Pair& to, int64_t index, float value) {
    to.number[index] = to_bfloat16(value);
}

// Size of packed weights in units of 4 bytes.
template <typename Number>
int64_t packed_size(int taps, int64_t from, int64_t to) {
    return taps * words_of<Number>(from) * ceil_div(to, LANES) * LANES;
}

// Weights [outputs, taps, inputs] as tap after tap, strip after strip: [from, vectors * LANES].
// Backward, gradients come from the outputs and go to the inputs.
template <typename Number>
void pack_weight(const float* weight, int64_t outputs, int taps, int64_t inputs, bool backward,
                 bool mirrored, Number* packed, int threads) {
    constexpr int per_word = PER_WORD<Number>;
    const int64_t from = backward ? outputs : inputs, to = backward ? inputs : outputs;
    const int64_t rows = words_of<Number>(from), width = ceil_div(to, LANES) * LANES;
    const std::vector<Strip> strips = strips_of(to);
    parallel_for(taps, threads, [&](int64_t tap) {
        const float* source = weight + (mirrored ? taps - 1 - tap : tap) * inputs;
        for (const Strip& strip : strips) {
            Number* target = packed + tap * rows * width + strip.first * rows;
            const int64_t columns = strip.vectors * LANES;
            const int64_t valid = std::min(columns, to - strip.first);
            if (valid < columns || from < rows * per_word)
                std::fill(target, target + rows * columns, Number{});
            // Weights are read row by row, since rows lie far apart; the target stays in the cache.
            for (int64_t o = 0; o < (backward ? from : valid); ++o) {
                const float* row = source + (backward ? o : strip.first + o) * taps * inputs;
                if (backward)
                    for (int64_t i = 0; i < valid; ++i)
                        write_number(target[o / per_word * columns + i], o % per_word,
                                     row[strip.first + i]);
                else
                    for (int64_t i = 0; i < from; ++i)
                        write_number(target[i / per_word * columns + o], i % per_word, row[i]);
            }
        }
    });
}

// Rows of features in bfloat16, padded with 0.
Buffer<Bf16Pair> round_to_bf16(const Features<float>& features, int64_t rows, int threads) {
    const int64_t first = features.columns[0], tail = features.columns[1];
    const int64_t stride = words_of<Bf16Pair>(first + tail);
    Buffer<Bf16Pair> result = aligned_buffer<Bf16Pair>(rows * stride);
    const int64_t block_rows = ceil_div(BLOCK_SIZE, stride);
    parallel_for_rows(rows, block_rows, threads, [&](int64_t, int64_t begin, int64_t end) {
        for (int64_t row = begin; row < end; ++row) {
            auto* to = reinterpret_cast<uint16_t*>(result.get() + row * stride);
            const float* from = features.x[0] + row * features.stride[0];
            for (int64_t i = 0; i < first; ++i) to[i] = to_bfloat16(from[i]);
            from = features.x[1] + row * features.stride[1];
            for (int64_t i = 0; i < tail; ++i) to[first + i] = to_bfloat16(from[i]);
            std::fill(to + first + tail, to + 2 * stride, uint16_t{0});
        }
    });
    return result;
}

// ---- epilogue

// y = relu(y + bias + addend[addend_rows[row]]). What is null is left out, and the ReLU where it is
// false; addend_rows null: row i gets row i.
struct Epilogue {
    const float* bias;
    const float* addend;
    const int64_t* addend_rows;
    bool relu;
    int64_t columns;

    void run(float* y, int64_t first, int64_t last) const {
        if (!bias && !addend && !relu) return;
        for (int64_t row = first; row < last; ++row) {
            const float* added = nullptr;
            if (addend) added = addend + (addend_rows ? addend_rows[row] : row) * columns;
            float* to = y + row * columns;
            int64_t c = 0;
            for (; c + LANES <= columns; c += LANES)
                store(to + c, result(load(to + c), bias ? load(bias + c) : Vector{},
                                     added ? load(added + c) : Vector{}));
            if (const int64_t left = columns - c)
                store_first(to + c,
                            result(load_first(to + c, left),
                                   bias ? load_first(bias + c, left) : Vector{},
                                   added ? load_first(added + c, left) : Vector{}),
                            left);
        }
    }

   private:
    Vector result(Vector y, Vector bias, Vector added) const {
        const Vector sum = y + bias + added;
        return relu ? where_positive(sum, sum) : sum;
    }
};

// ---- the whole convolution

// Pairs of source and target rows, tap after tap; `identity_tap` is the tap under which each row
// meets itself, or below 0.
struct KernelMap {
    int taps;
    const int32_t* sources;
    const int32_t* targets;
    const int64_t* tap_offsets;
    int identity_tap;
};

// y [rows, outputs] from features and packed weights.
template <typename Number>
void convolve(const Features<Number>& features, const Number* packed, const KernelMap& map,
              float* y, int64_t rows, int64_t outputs, const Epilogue& epilogue, int threads) {
    const int64_t columns = features.columns[0] + features.columns[1];
    const std::vector<Strip> strips = strips_of(outputs);
    const int64_t width = ceil_div(outputs, LANES) * LANES;
    // Blocks of one size, their number a multiple of four: two or four threads get equal work.
    const int64_t blocks = 4 * ceil_div(rows * width, 4 * BLOCK_SIZE);
    const int64_t block_rows = std::max<int64_t>(1, ceil_div(rows, std::max<int64_t>(blocks, 1)));
    parallel_for_rows(rows, block_rows, threads, [&](int64_t, int64_t first, int64_t last) {
        const Multiplier<Number> multiplier(columns);
        const auto add = [&](int tap, const int32_t* source, const int32_t* target, int64_t pairs,
                             bool overwrite) {
            for (const Strip& strip : strips) {
                const Number* panel = packed + tap * columns * width + strip.first * columns;
                const int64_t valid =
                    std::min<int64_t>(strip.vectors * LANES, outputs - strip.first);
                const Product<Number> p{features, panel, y + strip.first,
                                        outputs,  valid, overwrite};
                multiplier(p, strip.vectors, source, target, pairs);
            }
        };
        if (map.identity_tap < 0) {
            std::fill(y + first * outputs, y + last * outputs, 0.0f);
        } else {
            std::vector<int32_t> identity_rows(last - first);
            std::iota(identity_rows.begin(), identity_rows.end(), static_cast<int32_t>(first));
            add(map.identity_tap, identity_rows.data(), identity_rows.data(), last - first, true);
        }
        for (int tap = 0; tap < map.taps; ++tap) {
            const int32_t* tap_end = map.targets + map.tap_offsets[tap + 1];
            const int32_t* tap_begin = map.targets + map.tap_offsets[tap];
            const int32_t* begin = std::lower_bound(tap_begin, tap_end, first);
            const int32_t* end = std::lower_bound(begin, tap_end, last);
            if (begin != end)
                add(tap, map.sources + (begin - map.targets), begin, end - begin, false);
        }
        epilogue.run(y, first, last);
    });
}

// The packed weight if there is one; else the weight, packed into `storage`.
template <typename Number>
const Number* packed_weight(const void* packed, Buffer<Number>& storage, const float* weight,
                            int64_t outputs, int taps, int64_t inputs, bool backward,
                            bool mirrored, int threads) {
    if (packed) return static_cast<const Number*>(packed);
    storage = aligned_buffer<Number>(packed_size<Number>(taps, backward ? outputs : inputs,
                                                         backward ? inputs : outputs));
    pack_weight(weight, outputs, taps, inputs, backward, mirrored, storage.get(), threads);
    return storage.get();
}

}  // namespace

extern "C" {

// Whether products of bfloat16 are faster on this CPU than those of float32.
int haskd_bf16_is_faster() {
#if defined(__AVX512BF16__)
    // Intel's vectors multiply bfloat16 slower than float32: 0.8 times as fast on an Emerald Rapids.
    return has_matrix_registers() || !__builtin_cpu_is("intel");
#else
    return false;
#endif
}

// Weights [outputs, taps, inputs] as haskd_convolve takes them forward, in float32 or bfloat16.
// Returns their size in units of 4 bytes, and writes them where `packed` is not null.
int64_t haskd_pack_weight(const float* weight, int64_t outputs, int taps, int64_t inputs,
                          int bf16, void* packed, int threads) {
    const auto in_format = [&](auto number) {
        using Number = decltype(number);
        if (packed)
            pack_weight(weight, outputs, taps, inputs, false, false,
                        static_cast<Number*>(packed), threads);
        return packed_size<Number>(taps, inputs, outputs);
    };
    return bf16 ? in_format(Bf16Pair{}) : in_format(0.0f);
}

// Convolution of x with the weight into y, and its epilogue.
void haskd_convolve(const ConvolveArguments* arguments) {
    const ConvolveArguments& a = *arguments;
    const int64_t from = a.backward ? a.outputs : a.inputs, to = a.backward ? a.inputs : a.outputs;
    const Features<float> features{{a.x, a.tail_inputs ? a.x_tail : a.x},
                                   {from - a.tail_inputs, a.tail_inputs},
                                   {a.x_stride, a.tail_stride}};
    const KernelMap map{a.taps, a.sources, a.targets, a.tap_offsets, a.identity_tap};
    const Epilogue epilogue{a.bias, a.addend, a.addend_rows, a.relu != 0, to};
    const auto run = [&](const auto& rows_of_x, auto number) {
        Buffer<decltype(number)> storage;
        const auto* weights = packed_weight(a.packed, storage, a.weight, a.outputs, a.taps,
                                            a.inputs, a.backward, a.mirrored, a.threads);
        convolve(rows_of_x, weights, map, a.y, a.y_rows, to, epilogue, a.threads);
    };
    if (!a.bf16) {
        run(features, 0.0f);
        return;
    }
    const Buffer<Bf16Pair> pairs = round_to_bf16(features, a.x_rows, a.threads);
    const int64_t stride = words_of<Bf16Pair>(from);
    run(Features<Bf16Pair>{{pairs.get(), pairs.get()}, {stride, 0}, {stride, stride}}, Bf16Pair{});
}

}  // extern "C"
