// Class, probability and entropy of a softmax.

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels.h"
#include "lanes.h"
#include "threads.h"

namespace {

constexpr int ROWS = 64;  // in one tile, class after class

// e^x of x <= 0, to a unit or two in the last place; below -87 as at -87; NaN stays NaN. Plain
// arithmetic, which the compiler vectorises (after Cephes' expf by Moshier).
inline float exp_below_0(float x) {
    x = x < -87.0f ? -87.0f : x;
    // Adding 1.5 * 2^23 rounds to the nearest integer and leaves it in the lowest bits.
    const float magic = 12582912.0f, shifted = x * 1.44269504f + magic, n = shifted - magic;
    const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    uint32_t bits;
    std::memcpy(&bits, &shifted, 4);
    bits = (bits + 127) << 23;
    float power;
    std::memcpy(&power, &bits, 4);
    return p * power;
}

}  // namespace

extern "C" {

// Of the softmax of scores [rows, classes] times inverse_temperature: the most probable class, its
// probability, and the entropy in nats. A score that is NaN or infinitely high makes probability
// and entropy NaN.
void haskd_softmax_statistics(const float* scores, int64_t rows, int64_t classes,
                              float inverse_temperature, uint8_t* class_id,
                              float* probability, float* entropy, int threads) {
    parallel_for_rows(rows, ROWS, threads, [&](int64_t, int64_t first, int64_t last) {
        const int count = static_cast<int>(last - first);
        float tile[256][ROWS];
        for (int r = 0; r < ROWS; ++r) {
            const float* from = scores + (first + std::min(r, count - 1)) * classes;
            for (int64_t c = 0; c < classes; ++c) tile[c][r] = from[c];
        }
        float highest[ROWS], sum[ROWS] = {}, weighted[ROWS] = {};
        int32_t best[ROWS] = {};
        std::copy_n(tile[0], ROWS, highest);
        for (int64_t c = 1; c < classes; ++c)
            for (int r = 0; r < ROWS; ++r) {
                best[r] = tile[c][r] > highest[r] ? static_cast<int32_t>(c) : best[r];
                highest[r] = tile[c][r] > highest[r] ? tile[c][r] : highest[r];
            }
        for (int64_t c = 0; c < classes; ++c)
            for (int r = 0; r < ROWS; ++r) {
                const float below = (tile[c][r] - highest[r]) * inverse_temperature;
                const float e = exp_below_0(below);
                sum[r] += e;
                // Far below 0 e is as good as 0, and 0 times minus infinity would be NaN.
                weighted[r] += e * (below < -87.0f ? -87.0f : below);
            }
        for (int r = 0; r < count; ++r) {
            class_id[first + r] = static_cast<uint8_t>(best[r]);
            probability[first + r] = 1.0f / sum[r];
            const float value = std::log(sum[r]) - weighted[r] / sum[r];
            entropy[first + r] = value < 0.0f ? 0.0f : value;
        }
    });
}

}  // extern "C"
