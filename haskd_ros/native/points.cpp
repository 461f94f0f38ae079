// What is done to the points of a cloud before they are voxels.

#include <algorithm>
#include <cmath>
#include <vector>

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
typedef float Four __attribute__((vector_size(16), aligned(4), may_alias));
typedef int32_t FourInts __attribute__((vector_size(16)));

inline Four smaller(Four a, Four b) { return a < b ? a : b; }
inline Four larger(Four a, Four b) { return a > b ? a : b; }

}  // namespace

extern "C" {

// Chooses the points that can be labelled: finite ones at a distance from the sensor that is not 0
// and whose square is within the limits. points: rows of 4 floats (3 where has_intensity is 0), one
// every `step` bytes. Gives the chosen ones as x y z and intensity times factor (default_intensity
// where they have none), and whether a point was chosen; returns how many.
int64_t haskd_choose(const char* points, int64_t rows, int64_t step, int has_intensity,
                     float factor, float default_intensity, float lowest, float highest,
                     float* chosen, uint8_t* usable) {
    float* to = chosen;
    for (int64_t row = 0; row < rows; ++row) {
        const char* from = points + row * step;
        const float x = read_at(from, 0), y = read_at(from, 1), z = read_at(from, 2);
        const float intensity = has_intensity ? read_at(from, 3) * factor : default_intensity;
        const float squared = x * x + y * y + z * z;
        // What is not a number compares as false; an infinite square is above any limit.
        const bool good = squared > 0 && squared >= lowest && squared <= highest &&
                          std::isfinite(intensity);
        to[0] = x, to[1] = y, to[2] = z, to[3] = intensity;
        usable[row] = good;
        to += good ? 4 : 0;
    }
    return (to - chosen) / 4;
}

// keys [rows] of the voxels that hold the points [rows, 4] (see voxels.py), batch null for one
// cloud; offset [rows, 3] of each from the centre of its voxel, in voxels. Returns the largest
// coordinate without its sign; beyond `bias` - 2 the keys are worth nothing.
float haskd_voxel_keys(const float* points, const int64_t* batch, int64_t rows, float voxel_size,
                       int field_bits, int64_t* keys, float* offset, int threads) {
    const int64_t bias = int64_t{1} << (field_bits - 1);
    const Four most = Four{} + static_cast<float>(bias);
    std::vector<float> reach(ceil_div(rows, BLOCK_ROWS) + 1);
    share_rows(rows, BLOCK_ROWS, threads, [&](int64_t block, int64_t first, int64_t last) {
        Four farthest{};
        for (int64_t row = first; row < last; ++row) {
            const Four scaled = *reinterpret_cast<const Four*>(points + row * 4) / voxel_size;
            const Four held = smaller(larger(scaled, -most), most);
            const FourInts towards_0 = __builtin_convertvector(held, FourInts);
            // What a comparison gives is -1 where it holds.
            const FourInts coordinate =
                towards_0 + (__builtin_convertvector(towards_0, Four) > held);
            const Four lowest = __builtin_convertvector(coordinate, Four);
            const Four in_voxel = scaled - lowest - 0.5f;
            farthest = larger(farthest, larger(larger(scaled, -scaled), larger(lowest, -lowest)));
            int64_t key = batch ? batch[row] : 0;
            for (int axis = 0; axis < 3; ++axis) {
                key = (key << field_bits) + (coordinate[axis] + bias);
                offset[row * 3 + axis] = in_voxel[axis];
            }
            keys[row] = key;
        }
        reach[block] = std::max({farthest[0], farthest[1], farthest[2]});
    });
    return *std::max_element(reach.begin(), reach.end());
}

// mean [groups, columns] of the rows of each group, which stand in order[starts[g]..].
void haskd_pool(const float* x, int64_t rows, int64_t columns, const int32_t* order,
                const int32_t* starts, int64_t groups, float* mean, int threads) {
    const auto average = [&](int64_t group) {
        const int64_t first = starts[group], last = group + 1 < groups ? starts[group + 1] : rows;
        const float count = static_cast<float>(last - first);
        // Neighbours in space are strangers in the cloud.
        for (int64_t i = first; i < last; ++i)
            __builtin_prefetch(x + order[std::min(i + 16, rows - 1)] * columns);
        by_columns(columns, [&](int64_t c, auto zero) {
            auto sum = zero;
            for (int64_t i = first; i < last; ++i)
                sum += read<decltype(zero)>(x + order[i] * columns + c);
            write(mean + group * columns + c, sum / count);
        });
    };
    share_rows(groups, BLOCK_ROWS, threads, [&](int64_t, int64_t first, int64_t last) {
        for (int64_t group = first; group < last; ++group) average(group);
    });
}

}  // extern "C"
