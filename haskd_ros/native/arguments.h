// Arguments of the kernels that take many, field by field as in arguments.py; the loader compares
// the two (layouts.cpp).
#pragma once

#include <cstdint>

// Of haskd_convolve. A null pointer stands for what is left out.
struct ConvolveArguments {
    const float* x;  // [x_rows, ..], one row every x_stride floats
    int64_t x_rows;
    int64_t x_stride;
    const float* x_tail;  // the last tail_inputs channels of x, one row every tail_stride floats
    int64_t tail_inputs;
    int64_t tail_stride;
    const float* weight;         // [outputs, taps, inputs]
    const void* packed;          // the weight by haskd_pack_weight; null: packed for this call
    int64_t outputs;             // channels
    int64_t inputs;              // channels, those of the tail among them
    const int32_t* sources;      // rows of x, tap after tap
    const int32_t* targets;      // rows of y, ascending within a tap
    const int64_t* tap_offsets;  // [taps + 1] where a tap's pairs begin
    int32_t taps;
    int32_t identity_tap;  // under which each row meets itself; below 0: none
    float* y;              // [y_rows, outputs]
    int64_t y_rows;
    const float* bias;           // [outputs]
    const float* addend;         // [y_rows, outputs], or rows that addend_rows names
    const int64_t* addend_rows;  // [y_rows]
    int32_t relu;
    int32_t backward;  // x is the gradient of an output, y that of an input
    int32_t mirrored;  // taps from the last to the first
    int32_t bf16;      // products of numbers rounded to bfloat16
    int32_t threads;
};

// Of haskd_weight_gradient.
struct WeightGradientArguments {
    const float* x;  // [.., inputs]
    int64_t inputs;
    const float* y_gradient;  // [y_rows, outputs]
    int64_t y_rows;
    int64_t outputs;
    const int32_t* sources;
    const int32_t* targets;
    const int64_t* tap_offsets;
    int32_t taps;
    int32_t identity_tap;
    float* gradient;  // [outputs, taps, inputs]
    int32_t threads;
};

// Of haskd_norm_backward.
struct NormBackwardArguments {
    const float* y_gradient;  // [rows, columns]
    const float* x;           // [rows, columns]
    const float* y;           // [rows, columns]; null: no ReLU was taken
    int64_t rows;
    int64_t columns;
    const float* mean;         // [columns]
    const float* inverse_std;  // [columns]
    const float* weight;       // [columns]
    float* x_gradient;         // [rows, columns]
    float* weight_gradient;    // [columns]
    float* bias_gradient;      // [columns]
    float* addend_gradient;    // [rows, columns]; null: nothing was added
    int32_t threads;
};
