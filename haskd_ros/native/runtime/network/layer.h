// Layers with their batch norm folded in (models/blocks.py), and their products.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "geometry.h"
#include "scratch.h"
#include "weights.h"

namespace haskd {

// Rows of features, contiguous.
struct Rows {
    Scratch::Array<float> values;
    int64_t rows = 0, columns = 0;
};

// Features whose columns lie in one or two matrices, the second behind the first.
struct Features {
    Features(const Rows& rows) : Features(rows.values.data(), rows.rows, rows.columns) {}
    Features(const float* x, int64_t rows, int64_t columns)
        : x(x), rows(rows), columns(columns), stride(columns) {}
    Features with(const Features& tail) const;

    const float* x;
    int64_t rows, columns, stride;
    const float* tail = nullptr;
    int64_t tail_columns = 0;
};

// What is added to a layer's result, and whether the ReLU is taken.
struct Epilogue {
    const float* addend = nullptr;         // rows of as many columns as the result has
    const int64_t* addend_rows = nullptr;  // null: row i gets row i
    bool relu = true;
};

// How a network computes.
struct Work {
    Scratch& scratch;
    int threads;  // as the kernels take it
};

// A matrix or a kernel of several taps, with an optional bias.
class Layer {
   public:
    Layer() = default;
    // `weight` [outputs, taps, inputs], `bias` [outputs] or empty. Products are of bfloat16 where
    // `bf16` says so.
    Layer(const std::vector<float>& weight, std::vector<float> bias, int64_t taps, int64_t inputs,
          bool bf16);

    // [map.output_rows, outputs]
    Rows operator()(const Features& x, const KernelMap& map, const Epilogue& epilogue,
                    const Work& work) const;
    // The same where row i meets row i alone.
    Rows operator()(const Features& x, const Epilogue& epilogue, const Work& work) const;
    // The same on one thread, into memory that is there, y [x.rows, outputs].
    void write(const Features& x, const Epilogue& epilogue, float* y) const;

    int64_t outputs = 0;

   private:
    struct Free {
        void operator()(void* memory) const { std::free(memory); }
    };

    void convolve(const Features& x, const KernelMap& map, const Epilogue& epilogue, float* y,
                  int threads) const;

    int64_t inputs = 0;
    int taps = 0;
    bool bf16 = false;
    std::vector<float> bias;
    std::unique_ptr<void, Free> packed;
};

// Weights of a layer whose batch norm is folded in: relu(norm(layer(x))) is relu(Layer(x)).
struct Folded {
    std::vector<float> weight, bias;
};

// Of the layer `name` with a kernel of `edge`^3 taps, or of a matrix where that is 0.
Folded folded(Weights& weights, const std::string& name, int64_t edge, int64_t inputs,
              int64_t outputs);

// Folds a norm without weights into the matrix [.., channels] that reads it.
void fold_scale(Weights& weights, const std::string& name, int64_t channels, Folded& reader);

}  // namespace haskd
