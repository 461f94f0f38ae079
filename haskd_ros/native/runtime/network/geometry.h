// The voxels of a cloud at every resolution, and which of them a kernel joins
// (sparse/keys.py, grouping.py, kernel_map.py, torch_backend.py).
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "scratch.h"

namespace haskd {

// Pairs of rows that a kernel joins, tap after tap. Points into what it was made from.
struct KernelMap {
    const int32_t* sources;
    const int32_t* targets;
    std::vector<int64_t> tap_offsets;  // [taps + 1]
    int identity_tap;                  // under which each row meets itself; below 0: none
    int64_t output_rows;

    // Of one tap: each row meets itself.
    static KernelMap identity(int64_t rows) { return {nullptr, nullptr, {0, 0}, 0, rows}; }
};

// Rows sorted into groups of equal keys.
struct Grouping {
    Scratch::Array<int64_t> keys;  // [groups], ascending
    int64_t groups;
    Scratch::Array<int32_t> order, starts;
    Scratch::Array<int64_t> inverse;  // the group of each row
};

class Geometry {
   public:
    // Sorts points [rows, columns], x y z in m first, into cubic voxels of this edge in m. Writes
    // [rows, 3] from the centre of its voxel to each point, in voxels. Throws Error: a point too far
    // away.
    Geometry(const float* points, int64_t rows, int64_t columns, float voxel_size, float* offset,
             Scratch& scratch, int threads);

    // Of the points by voxels.
    const Grouping& grouping() const { return points; }
    const KernelMap& submanifold(size_t level);
    // From a level to the next one, and back.
    const KernelMap& down(size_t level);
    const KernelMap& up(size_t level);

   private:
    struct Level {
        const int64_t* keys;
        int64_t voxels;
        Scratch::Array<int32_t> sources, targets;
        std::optional<KernelMap> within;
        // To the next level.
        Grouping parents;
        Scratch::Array<int32_t> fine, coarse;
        std::optional<KernelMap> down, up;
    };

    Grouping group(const int64_t* keys, int64_t rows);
    void reach(size_t level);

    Scratch& scratch;
    int threads;
    Grouping points;
    std::vector<Level> levels;
};

}  // namespace haskd
