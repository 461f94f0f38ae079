// Rows sorted into groups of equal keys (sparse/keys.py, sparse/grouping.py).

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <numeric>
#include <vector>

#include "kernels.h"
#include "lanes.h"

namespace {

constexpr int FIELDS = 4;       // z, y, x and batch of a voxel's key, from the lowest bits on
constexpr int DIGIT_BITS = 11;  // of the sort; its counters stay in the innermost cache

int bit_width(uint64_t value) { return value ? 64 - __builtin_clzll(value) : 0; }

// Keys in as few bits as they need, in the same order: each field counted from its lowest value.
class CompactKeys {
   public:
    CompactKeys(const int64_t* keys, int64_t rows, int field_bits) : field_bits(field_bits) {
        std::array<int64_t, FIELDS> highest;
        for (int f = 0; f < FIELDS; ++f) lowest[f] = highest[f] = field(keys[0], f);
        for (int64_t row = 1; row < rows; ++row)
            for (int f = 0; f < FIELDS; ++f) {
                const int64_t value = field(keys[row], f);
                lowest[f] = std::min(lowest[f], value);
                highest[f] = std::max(highest[f], value);
            }
        for (int f = 0; f < FIELDS; ++f) {
            shift[f] = bits;
            bits += bit_width(highest[f] - lowest[f]);
        }
    }

    uint64_t operator()(int64_t key) const {
        uint64_t compact = 0;
        for (int f = 0; f < FIELDS; ++f)
            compact |= static_cast<uint64_t>(field(key, f) - lowest[f]) << shift[f];
        return compact;
    }

    int bits = 0;  // at most 63

   private:
    // The highest field has the bits that are left, the sign bit among them.
    int64_t field(int64_t key, int f) const {
        const int64_t rest = key >> f * field_bits;
        return f == FIELDS - 1 ? rest : rest & ((int64_t{1} << field_bits) - 1);
    }

    int field_bits;
    std::array<int64_t, FIELDS> lowest;
    std::array<int, FIELDS> shift;
};

// Rows in ascending order of their keys, rows of equal keys in ascending order: an LSD radix sort
// of numbers that hold key and row.
void sort_rows(const int64_t* keys, int64_t rows, int field_bits, int32_t* order) {
    if (rows == 0) return;
    const CompactKeys compact(keys, rows, field_bits);
    const int row_bits = bit_width(rows - 1);
    if (compact.bits + row_bits > 64) {
        std::iota(order, order + rows, 0);
        std::stable_sort(order, order + rows, [&](int a, int b) { return keys[a] < keys[b]; });
        return;
    }
    const int passes = static_cast<int>(ceil_div(compact.bits, DIGIT_BITS));
    std::vector<std::array<int32_t, 1 << DIGIT_BITS>> digit_counts(passes);
    for (auto& counts : digit_counts) counts.fill(0);
    const auto digit = [&](uint64_t item, int pass) {
        return item >> (row_bits + pass * DIGIT_BITS) & ((1 << DIGIT_BITS) - 1);
    };
    std::unique_ptr<uint64_t[]> items(new uint64_t[rows]), sorted(new uint64_t[rows]);
    for (int64_t row = 0; row < rows; ++row) {
        items[row] = compact(keys[row]) << row_bits | row;
        for (int pass = 0; pass < passes; ++pass) ++digit_counts[pass][digit(items[row], pass)];
    }
    for (int pass = 0; pass < passes; ++pass) {
        auto& next = digit_counts[pass];
        std::exclusive_scan(next.begin(), next.end(), next.begin(), 0);
        for (int64_t i = 0; i < rows; ++i) sorted[next[digit(items[i], pass)]++] = items[i];
        items.swap(sorted);
    }
    const uint64_t row_mask = (uint64_t{1} << row_bits) - 1;
    for (int64_t i = 0; i < rows; ++i) order[i] = static_cast<int32_t>(items[i] & row_mask);
}

}  // namespace

extern "C" {

// Groups rows of equal keys; fewer than 2^31 rows. Writes the unique keys in ascending order, the
// rows in the order of their keys, where in that order each group begins, and each row's group.
// Returns the number of groups. A key has three fields of field_bits, and one of the bits above.
int64_t haskd_group_by_key(const int64_t* keys, int64_t rows, int field_bits, int64_t* unique,
                           int32_t* order, int32_t* starts, int64_t* inverse) {
    sort_rows(keys, rows, field_bits, order);
    int64_t groups = 0;
    for (int64_t i = 0; i < rows; ++i) {
        const int64_t row = order[i], key = keys[row];
        if (groups == 0 || key != unique[groups - 1]) {
            unique[groups] = key;
            starts[groups++] = static_cast<int32_t>(i);
        }
        inverse[row] = groups - 1;
    }
    return groups;
}

// Pairs of a 2 x 2 x 2 kernel with stride 2, octant after octant, rows ascending within each: a row
// `fine`, and `coarse`, the row of its parent; and the number of rows in each of the 8 octants. An
// octant is made of the lowest bits of a key's x, y and z.
void haskd_sort_by_octant(const int64_t* keys, const int64_t* parent, int64_t rows,
                          int field_bits, int32_t* fine, int32_t* coarse, int64_t* sizes) {
    const auto octant = [&](int64_t key) {
        return (key >> (2 * field_bits) & 1) << 2 | (key >> field_bits & 1) << 1 | (key & 1);
    };
    std::fill(sizes, sizes + 8, 0);
    for (int64_t row = 0; row < rows; ++row) ++sizes[octant(keys[row])];
    int64_t next[8] = {};
    for (int i = 1; i < 8; ++i) next[i] = next[i - 1] + sizes[i - 1];
    for (int64_t row = 0; row < rows; ++row) {
        const int64_t at = next[octant(keys[row])]++;
        fine[at] = static_cast<int32_t>(row);
        coarse[at] = static_cast<int32_t>(parent[row]);
    }
}

}  // extern "C"
