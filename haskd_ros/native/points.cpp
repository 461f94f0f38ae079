// From the points of a cloud to voxels: which are valid, their voxels' keys, means by voxel.

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels.h"
#include "lanes.h"
#include "threads.h"

namespace {

constexpr int64_t BLOCK_ROWS = 2048;

// A point in a message may begin at any byte.
inline float read_at(const char* from, int column) {
    float value;
    std::memcpy(&value, from + 4 * column, 4);
    return value;
}

// A point, x y z first.
typedef float Float4 __attribute__((vector_size(16), aligned(4), may_alias));
typedef int32_t Int4 __attribute__((vector_size(16)));

inline Float4 minimum(Float4 a, Float4 b) { return a < b ? a : b; }
inline Float4 maximum(Float4 a, Float4 b) { return a > b ? a : b; }

}  // namespace

extern "C" {

// The points that can be labelled: finite ones at a distance from the sensor that is not 0 and
// whose square is within [lowest, highest]. points: rows of 4 floats (3 where has_intensity is 0),
// one every `stride` bytes. Writes the valid ones as x y z and intensity times factor
// (default_intensity where that is no number), and the mask of valid points; returns their number.
// beyond: how many of them have a height or an intensity that is no number or outside of `limits`,
// lowest and highest height, lowest and highest intensity.
int64_t haskd_valid_points(const char* points, int64_t rows, int64_t stride, int has_intensity,
                           float factor, float default_intensity, double lowest, double highest,
                           const float* limits, float* valid, uint8_t* mask, int64_t* beyond) {
    float* to = valid;
    int64_t outside = 0;
    for (int64_t row = 0; row < rows; ++row) {
        const char* from = points + row * stride;
        const float x = read_at(from, 0), y = read_at(from, 1), z = read_at(from, 2);
        const float intensity = has_intensity ? read_at(from, 3) * factor : default_intensity;
        // In double the squares are exact, so that the sum is the same with fused operations and
        // without.
        const double squared = double(x) * x + double(y) * y + double(z) * z;
        // Comparisons with NaN are false; an infinite square is above any limit.
        const bool is_valid = squared > 0 && squared >= lowest && squared <= highest;
        const bool is_within = z >= limits[0] && z <= limits[1] && intensity >= limits[2] &&
                               intensity <= limits[3];
        to[0] = x, to[1] = y, to[2] = z;
        to[3] = std::isfinite(intensity) ? intensity : default_intensity;
        mask[row] = is_valid;
        outside += is_valid && !is_within;
        to += is_valid ? 4 : 0;
    }
    *beyond = outside;
    return (to - valid) / 4;
}

// keys [rows] of the voxels that hold the points [rows, columns >= 4] (sparse/keys.py), batch null
// for one cloud; offset [rows, 3] of each from the centre of its voxel, in voxels. Returns the largest
// absolute coordinate; beyond `bias` - 2 the keys are invalid.
float haskd_voxel_keys(const float* points, int64_t columns, const int64_t* batch, int64_t rows,
                       float voxel_size, int field_bits, int64_t* keys, float* offset,
                       int threads) {
    const int64_t bias = int64_t{1} << (field_bits - 1);
    const Float4 bound = Float4{} + static_cast<float>(bias);
    std::vector<float> largest(ceil_div(rows, BLOCK_ROWS) + 1);
    parallel_for_rows(rows, BLOCK_ROWS, threads, [&](int64_t block, int64_t first, int64_t last) {
        Float4 block_largest{};
        for (int64_t row = first; row < last; ++row) {
            const Float4 scaled =
                *reinterpret_cast<const Float4*>(points + row * columns) / voxel_size;
            const Float4 clamped = minimum(maximum(scaled, -bound), bound);
            const Int4 truncated = __builtin_convertvector(clamped, Int4);
            // A vector comparison gives -1 where it is true.
            const Int4 coordinate =
                truncated + (__builtin_convertvector(truncated, Float4) > clamped);
            const Float4 lowest = __builtin_convertvector(coordinate, Float4);
            const Float4 in_voxel = scaled - lowest - 0.5f;
            const Float4 absolute = maximum(maximum(scaled, -scaled), maximum(lowest, -lowest));
            block_largest = maximum(block_largest, absolute);
            int64_t key = batch ? batch[row] : 0;
            for (int axis = 0; axis < 3; ++axis) {
                key = (key << field_bits) + (coordinate[axis] + bias);
                offset[row * 3 + axis] = in_voxel[axis];
            }
            keys[row] = key;
        }
        largest[block] = std::max({block_largest[0], block_largest[1], block_largest[2]});
    });
    return *std::max_element(largest.begin(), largest.end());
}

// mean [groups, columns] of the rows of each group g, which are order[starts[g]..].
void haskd_pool(const float* x, int64_t rows, int64_t columns, const int32_t* order,
                const int32_t* starts, int64_t groups, float* mean, int threads) {
    const auto average = [&](int64_t group) {
        const int64_t first = starts[group], last = group + 1 < groups ? starts[group + 1] : rows;
        const float count = static_cast<float>(last - first);
        // Points of one voxel are scattered over the cloud.
        for (int64_t i = first; i < last; ++i)
            __builtin_prefetch(x + order[std::min(i + 16, rows - 1)] * columns);
        by_columns(columns, [&](int64_t c, auto zero) {
            auto sum = zero;
            for (int64_t i = first; i < last; ++i)
                sum += read<decltype(zero)>(x + order[i] * columns + c);
            write(mean + group * columns + c, sum / count);
        });
    };
    parallel_for_rows(groups, BLOCK_ROWS, threads, [&](int64_t, int64_t first, int64_t last) {
        for (int64_t group = first; group < last; ++group) average(group);
    });
}

}  // extern "C"
