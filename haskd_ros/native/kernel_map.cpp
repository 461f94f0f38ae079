// Kernel maps of submanifold convolutions, from sorted voxel keys (sparse/keys.py).

#include <algorithm>
#include <cstdint>
#include <memory>
#include <numeric>

#include "kernels.h"
#include "lanes.h"
#include "threads.h"

namespace {

constexpr int HALF = 13;  // taps after the centre of a 3 x 3 x 3 kernel
constexpr int PARTS = 8;

}  // namespace

extern "C" {

// Pairs of all taps of a 3 x 3 x 3 kernel but the centre, [26 * rows] at most: tap after tap,
// within a tap the targets ascend. sizes [27]: pairs of each tap, 0 for the centre. Returns the
// number of pairs.
//
// Only the taps after the centre are searched: the next voxel in z, then z - 1, z, z + 1 of four
// neighbouring columns, whose keys are higher by columns[0..3]; mirrored taps have the same pairs,
// swapped.
int64_t haskd_submanifold_pairs(const int64_t* keys, int64_t rows, const int64_t* columns,
                                int32_t* sources, int32_t* targets, int64_t* sizes, int threads) {
    // Rows are searched in parts; each writes its pairs at the index of its own first row.
    const int64_t part_rows = ceil_div(rows, PARTS) + 1;
    std::unique_ptr<int32_t[]> ahead(new int32_t[HALF * rows]), centre(new int32_t[HALF * rows]);
    int64_t counts[HALF][PARTS] = {};

    const auto vertical_neighbours = [&](int64_t part, int64_t first, int64_t last) {
        int64_t count = 0;
        for (int64_t row = first; row < std::min(last, rows - 1); ++row)
            if (keys[row + 1] == keys[row] + 1) {
                ahead[first + count] = static_cast<int32_t>(row + 1);
                centre[first + count++] = static_cast<int32_t>(row);
            }
        counts[0][part] = count;
    };
    const auto neighbour_column = [&](int column, int64_t part, int64_t first, int64_t last) {
        int64_t count[3] = {};
        int32_t *from[3], *to[3];
        for (int z = 0; z < 3; ++z) {
            const int64_t start = (1 + column * 3 + z) * rows + first;
            from[z] = ahead.get() + start;
            to[z] = centre.get() + start;
        }
        // The first key that is not below the lowest neighbour's.
        int64_t at = std::lower_bound(keys, keys + rows, keys[first] + columns[column] - 1) - keys;
        for (int64_t row = first; row < last; ++row) {
            const int64_t lowest = keys[row] + columns[column] - 1;
            while (at < rows && keys[at] < lowest) ++at;
            for (int64_t z = 0, here = at; z < 3; ++z)
                if (here < rows && keys[here] == lowest + z) {
                    from[z][count[z]] = static_cast<int32_t>(here++);
                    to[z][count[z]++] = static_cast<int32_t>(row);
                }
        }
        for (int z = 0; z < 3; ++z) counts[1 + column * 3 + z][part] = count[z];
    };
    parallel_for(5 * PARTS, threads, [&](int64_t piece) {
        const int64_t part = piece / 5, first = std::min(rows, part * part_rows);
        const int64_t last = std::min(rows, first + part_rows);
        const int column = static_cast<int>(piece % 5) - 1;
        if (first == last) return;
        if (column < 0)
            vertical_neighbours(part, first, last);
        else
            neighbour_column(column, part, first, last);
    });

    int64_t starts[2 * HALF + 2] = {};
    for (int tap = 0; tap < 2 * HALF + 1; ++tap) {
        sizes[tap] = 0;
        if (tap != HALF) {
            const int64_t* of_parts = counts[tap < HALF ? HALF - 1 - tap : tap - HALF - 1];
            sizes[tap] = std::accumulate(of_parts, of_parts + PARTS, int64_t{0});
        }
        starts[tap + 1] = starts[tap] + sizes[tap];
    }
    parallel_for(2 * HALF + 1, threads, [&](int64_t tap) {
        if (tap == HALF) return;
        const int64_t half = tap < HALF ? HALF - 1 - tap : tap - HALF - 1;
        const int32_t* of_source = (tap < HALF ? centre : ahead).get() + half * rows;
        const int32_t* of_target = (tap < HALF ? ahead : centre).get() + half * rows;
        int64_t at = starts[tap];
        for (int64_t part = 0; part < PARTS; ++part) {
            const int64_t count = counts[half][part], first = std::min(rows, part * part_rows);
            std::copy_n(of_source + first, count, sources + at);
            std::copy_n(of_target + first, count, targets + at);
            at += count;
        }
    });
    return starts[2 * HALF + 1];
}

}  // extern "C"
