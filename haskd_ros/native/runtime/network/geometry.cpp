#include "geometry.h"

#include <numeric>
#include <string>

#include "../../kernels.h"
#include "../model/text.h"

namespace haskd {

namespace {

// Of keys.py: (x, y, z) of a voxel in one number, z in the lowest bits.
constexpr int FIELD_BITS = 18;
constexpr int64_t FIELD = (int64_t{1} << FIELD_BITS) - 1, BIAS = int64_t{1} << (FIELD_BITS - 1);
constexpr int64_t X_STEP = int64_t{1} << 2 * FIELD_BITS, Y_STEP = int64_t{1} << FIELD_BITS;
// A shift by one bit moves the lowest bit of a field to the top of the next one: it is cleared.
constexpr int64_t HALVED = FIELD >> 1 | (FIELD >> 1) << FIELD_BITS | (FIELD >> 1) << 2 * FIELD_BITS;

constexpr int TAPS = 27, CENTRE = 13, OCTANTS = 8;
// Half of the columns around a voxel, in the order of their taps.
constexpr int64_t COLUMNS[] = {Y_STEP, X_STEP - Y_STEP, X_STEP, X_STEP + Y_STEP};

std::vector<int64_t> offsets_of(const int64_t* sizes, int count) {
    std::vector<int64_t> result(count + 1);
    std::partial_sum(sizes, sizes + count, result.begin() + 1);
    return result;
}

}  // namespace

Geometry::Geometry(const float* xyz, int64_t rows, int64_t columns, float voxel_size, float* offset,
                   Scratch& scratch, int threads)
    : scratch(scratch), threads(threads) {
    const auto keys = scratch.take<int64_t>(rows);
    const float largest = haskd_voxel_keys(xyz, columns, nullptr, rows, voxel_size, FIELD_BITS,
                                           keys.data(), offset, threads);
    if (!(largest < static_cast<float>(BIAS - 1)))
        throw Error("voxel coordinate " + shown(largest) + " is beyond +-" +
                    std::to_string(BIAS - 2));
    points = group(keys.data(), rows);
    Level finest{};
    finest.keys = points.keys.data();
    finest.voxels = points.groups;
    levels.push_back(std::move(finest));
}

Grouping Geometry::group(const int64_t* keys, int64_t rows) {
    Grouping result{scratch.take<int64_t>(rows), 0, scratch.take<int32_t>(rows),
                    scratch.take<int32_t>(rows), scratch.take<int64_t>(rows)};
    result.groups = haskd_group_by_key(keys, rows, FIELD_BITS, result.keys.data(),
                                       result.order.data(), result.starts.data(),
                                       result.inverse.data());
    return result;
}

const KernelMap& Geometry::submanifold(size_t level) {
    reach(level);
    Level& at = levels[level];
    if (!at.within) {
        at.sources = scratch.take<int32_t>(26 * at.voxels);
        at.targets = scratch.take<int32_t>(26 * at.voxels);
        int64_t sizes[TAPS];
        haskd_submanifold_pairs(at.keys, at.voxels, COLUMNS, at.sources.data(), at.targets.data(),
                                sizes, threads);
        at.within = KernelMap{at.sources.data(), at.targets.data(), offsets_of(sizes, TAPS), CENTRE,
                              at.voxels};
    }
    return *at.within;
}

const KernelMap& Geometry::down(size_t level) {
    reach(level + 1);
    return *levels[level].down;
}

const KernelMap& Geometry::up(size_t level) {
    reach(level + 1);
    return *levels[level].up;
}

void Geometry::reach(size_t level) {
    while (levels.size() <= level) {
        Level& fine = levels.back();
        const auto parents = scratch.take<int64_t>(fine.voxels);
        for (int64_t i = 0; i < fine.voxels; ++i) parents.data()[i] = fine.keys[i] >> 1 & HALVED;
        fine.parents = group(parents.data(), fine.voxels);
        fine.fine = scratch.take<int32_t>(fine.voxels);
        fine.coarse = scratch.take<int32_t>(fine.voxels);
        int64_t sizes[OCTANTS];
        haskd_sort_by_octant(fine.keys, fine.parents.inverse.data(), fine.voxels, FIELD_BITS,
                             fine.fine.data(), fine.coarse.data(), sizes);
        const std::vector<int64_t> offsets = offsets_of(sizes, OCTANTS);
        fine.down = KernelMap{fine.fine.data(), fine.coarse.data(), offsets, -1,
                              fine.parents.groups};
        fine.up = KernelMap{fine.coarse.data(), fine.fine.data(), offsets, -1, fine.voxels};
        Level coarse{};
        coarse.keys = fine.parents.keys.data();
        coarse.voxels = fine.parents.groups;
        levels.push_back(std::move(coarse));
    }
}

}  // namespace haskd
