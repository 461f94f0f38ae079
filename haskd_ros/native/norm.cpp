// Batch norm over rows with an optional addend and ReLU, forward and backward.
//
// Sums run over blocks of rows in float and over the blocks in double, in an order that depends on
// the shape alone.

#include <algorithm>
#include <vector>

#include "arguments.h"
#include "lanes.h"
#include "threads.h"

namespace {

constexpr int64_t BLOCK_ROWS = 256;

// Sum over rows of f(row), four sums at a time so that none waits for the one before.
template <typename T, typename Function>
T sum_rows(int64_t rows, Function f) {
    T sums[4] = {};
    int64_t r = 0;
    for (; r + 4 <= rows; r += 4)
        for (int i = 0; i < 4; ++i) sums[i] += f(r + i);
    for (; r < rows; ++r) sums[0] += f(r);
    return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

}  // namespace

extern "C" {

// mean and (biased) variance [columns] of x [rows, columns]; rows > 0.
void haskd_moments(const float* x, int64_t rows, int64_t columns, float* mean, float* variance,
                   int threads) {
    const int64_t blocks = ceil_div(rows, BLOCK_ROWS);
    std::vector<float> partial(blocks * columns * 2);  // mean and sum of squares about it
    parallel_for_rows(rows, BLOCK_ROWS, threads, [&](int64_t block, int64_t first, int64_t last) {
        const float* from = x + first * columns;
        float* to = partial.data() + block * columns * 2;
        const int64_t count = last - first;
        by_columns(columns, [&](int64_t c, auto zero) {
            using T = decltype(zero);
            const T block_mean = sum_rows<T>(count, [&](int64_t r) {
                return read<T>(from + r * columns + c);
            }) / static_cast<float>(count);
            write(to + c, block_mean);
            write(to + columns + c, sum_rows<T>(count, [&](int64_t r) {
                const T deviation = read<T>(from + r * columns + c) - block_mean;
                return deviation * deviation;
            }));
        });
    });
    // Moments of all blocks merged (Chan, Golub and LeVeque 1983).
    std::vector<double> means(columns), squares(columns);
    for (int64_t block = 0; block < blocks; ++block) {
        const float* from = partial.data() + block * columns * 2;
        const double count = static_cast<double>(block * BLOCK_ROWS);
        const double more = static_cast<double>(std::min(BLOCK_ROWS, rows - block * BLOCK_ROWS));
        const double fraction = more / (count + more);
        for (int64_t c = 0; c < columns; ++c) {
            const double delta = from[c] - means[c];
            means[c] += delta * fraction;
            squares[c] += from[columns + c] + delta * delta * count * fraction;
        }
    }
    for (int64_t c = 0; c < columns; ++c) {
        mean[c] = static_cast<float>(means[c]);
        variance[c] = static_cast<float>(squares[c] / static_cast<double>(rows));
    }
}

// y = x * scale + shift (+ addend) (ReLU); addend may be null. y may be x.
void haskd_affine(const float* x, int64_t rows, int64_t columns, const float* scale,
                  const float* shift, const float* addend, int relu, float* y, int threads) {
    parallel_for_rows(rows, BLOCK_ROWS, threads, [&](int64_t, int64_t first, int64_t last) {
        by_columns(columns, [&](int64_t c, auto zero) {
            using T = decltype(zero);
            const T factor = read<T>(scale + c), offset = read<T>(shift + c);
            for (int64_t at = first * columns + c; at < last * columns; at += columns) {
                T value = read<T>(x + at) * factor + offset;
                if (addend) value += read<T>(addend + at);
                write(y + at, relu ? where_positive(value, value) : value);
            }
        });
    });
}

// From the gradient of y = norm(x) (+ addend) (ReLU): those of x, of the norm's weight and bias,
// and of the addend, which is that of y where y > 0.
void haskd_norm_backward(const NormBackwardArguments* arguments) {
    const NormBackwardArguments& a = *arguments;
    const int64_t rows = a.rows, columns = a.columns;
    const int64_t blocks = ceil_div(rows, BLOCK_ROWS);
    std::vector<float> partial(blocks * columns * 2);  // sums of g and of g (x - mean)
    parallel_for_rows(rows, BLOCK_ROWS, a.threads, [&](int64_t block, int64_t first, int64_t last) {
        float* to = partial.data() + block * columns * 2;
        by_columns(columns, [&](int64_t c, auto zero) {
            using T = decltype(zero);
            const T mean = read<T>(a.mean + c);
            const int64_t start = first * columns + c;
            const auto gradient = [&](int64_t at) {
                const T value = read<T>(a.y_gradient + at);
                return a.y ? where_positive(value, read<T>(a.y + at)) : value;
            };
            write(to + c, sum_rows<T>(last - first, [&](int64_t r) {
                return gradient(start + r * columns);
            }));
            write(to + columns + c, sum_rows<T>(last - first, [&](int64_t r) {
                const int64_t at = start + r * columns;
                return gradient(at) * (read<T>(a.x + at) - mean);
            }));
        });
    });
    std::vector<double> sums(columns * 2);
    for (int64_t block = 0; block < blocks; ++block)
        for (int64_t i = 0; i < columns * 2; ++i) sums[i] += partial[block * columns * 2 + i];
    std::vector<float> factor(columns), slope(columns), offset(columns);
    for (int64_t c = 0; c < columns; ++c) {
        const double bias = sums[c], scaled = sums[columns + c] * a.inverse_std[c];
        a.bias_gradient[c] = static_cast<float>(bias);
        a.weight_gradient[c] = static_cast<float>(scaled);
        factor[c] = a.inverse_std[c] * a.weight[c];
        offset[c] = static_cast<float>(bias / rows);
        slope[c] = static_cast<float>(scaled * a.inverse_std[c] / rows);
    }
    parallel_for_rows(rows, BLOCK_ROWS, a.threads, [&](int64_t, int64_t first, int64_t last) {
        by_columns(columns, [&](int64_t c, auto zero) {
            using T = decltype(zero);
            const T mean = read<T>(a.mean + c), scale = read<T>(factor.data() + c);
            const T shift = read<T>(offset.data() + c), tilt = read<T>(slope.data() + c);
            for (int64_t at = first * columns + c; at < last * columns; at += columns) {
                T value = read<T>(a.y_gradient + at);
                if (a.y) value = where_positive(value, read<T>(a.y + at));
                if (a.addend_gradient) write(a.addend_gradient + at, value);
                const T deviation = read<T>(a.x + at) - mean;
                write(a.x_gradient + at, scale * (value - shift - deviation * tilt));
            }
        });
    });
}

}  // extern "C"
