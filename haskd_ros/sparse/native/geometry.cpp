// Which voxel holds a point and which voxels meet: walks along sorted keys (see voxels.py).

#include <algorithm>
#include <cstdint>

extern "C" {

// Groups rows of equal keys. order [rows]: ascending order of the keys. Gives the unique keys,
// where in `order` each begins, the group of each row, and the order in 32 bits; returns how many.
int64_t haskd_group(const int64_t* keys, const int64_t* order, int64_t rows, int64_t* unique,
                    int32_t* starts, int64_t* group, int32_t* order_32) {
    int64_t groups = 0;
    for (int64_t i = 0; i < rows; ++i) {
        const int64_t row = order[i], key = keys[row];
        if (groups == 0 || key != unique[groups - 1]) {
            unique[groups] = key;
            starts[groups++] = static_cast<int32_t>(i);
        }
        group[row] = groups - 1;
        order_32[i] = static_cast<int32_t>(row);
    }
    return groups;
}

// Pairs of neighbouring voxels under the 13 offsets behind the centre's, [13, rows] each: the next
// in z, then z - 1, z, z + 1 of four other columns, whose keys are higher by columns[0..3].
void haskd_neighbours(const int64_t* keys, int64_t rows, const int64_t* columns, int32_t* sources,
                      int32_t* targets, int64_t* counts, int threads) {
#pragma omp parallel for schedule(dynamic) num_threads(threads)
    for (int column = -1; column < 4; ++column) {
        if (column < 0) {
            int64_t count = 0;
            for (int64_t row = 0; row + 1 < rows; ++row)
                if (keys[row + 1] == keys[row] + 1) {
                    sources[count] = static_cast<int32_t>(row + 1);
                    targets[count++] = static_cast<int32_t>(row);
                }
            counts[0] = count;
            continue;
        }
        int64_t found[3] = {};
        int32_t *from[3], *to[3];
        for (int z = 0; z < 3; ++z) {
            const int64_t offset = 1 + column * 3 + z;
            from[z] = sources + offset * rows;
            to[z] = targets + offset * rows;
        }
        int64_t at = 0;  // the first key that is not below the lowest one wanted
        for (int64_t row = 0; row < rows; ++row) {
            const int64_t lowest = keys[row] + columns[column] - 1;
            while (at < rows && keys[at] < lowest) ++at;
            for (int64_t z = 0, near = at; z < 3; ++z)
                if (near < rows && keys[near] == lowest + z) {
                    from[z][found[z]] = static_cast<int32_t>(near++);
                    to[z][found[z]++] = static_cast<int32_t>(row);
                }
        }
        std::copy_n(found, 3, counts + 1 + column * 3);
    }
}

// Rows octant after octant, ascending within each, and the rows of each of the 8; an octant is made
// of the lowest bits of x, y and z, which stand at bits 2 * field_bits, field_bits and 0 of a key.
void haskd_by_octant(const int64_t* keys, int64_t rows, int field_bits, int64_t* order,
                     int64_t* sizes) {
    const auto octant = [&](int64_t key) {
        return (key >> (2 * field_bits) & 1) << 2 | (key >> field_bits & 1) << 1 | (key & 1);
    };
    std::fill(sizes, sizes + 8, 0);
    for (int64_t row = 0; row < rows; ++row) ++sizes[octant(keys[row])];
    int64_t next[8] = {};
    for (int i = 1; i < 8; ++i) next[i] = next[i - 1] + sizes[i - 1];
    for (int64_t row = 0; row < rows; ++row) order[next[octant(keys[row])]++] = row;
}

}  // extern "C"
