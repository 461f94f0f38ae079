// The kernels that infer, as the runtime calls them; each is explained where it is defined.
#pragma once

#include <cstdint>

#include "arguments.h"

extern "C" {

int haskd_bf16_is_faster();
int64_t haskd_pack_weight(const float* weight, int64_t outputs, int taps, int64_t inputs, int bf16,
                          void* packed, int threads);
void haskd_convolve(const ConvolveArguments* arguments);

int64_t haskd_valid_points(const char* points, int64_t rows, int64_t stride, int has_intensity,
                           float factor, float default_intensity, double lowest, double highest,
                           const float* limits, float* valid, uint8_t* mask, int64_t* beyond);
float haskd_voxel_keys(const float* points, int64_t columns, const int64_t* batch, int64_t rows,
                       float voxel_size, int field_bits, int64_t* keys, float* offset,
                       int threads);
void haskd_pool(const float* x, int64_t rows, int64_t columns, const int32_t* order,
                const int32_t* starts, int64_t groups, float* mean, int threads);

int64_t haskd_group_by_key(const int64_t* keys, int64_t rows, int field_bits, int64_t* unique,
                           int32_t* order, int32_t* starts, int64_t* inverse);
void haskd_sort_by_octant(const int64_t* keys, const int64_t* parent, int64_t rows, int field_bits,
                          int32_t* fine, int32_t* coarse, int64_t* sizes);
int64_t haskd_submanifold_pairs(const int64_t* keys, int64_t rows, const int64_t* columns,
                                int32_t* sources, int32_t* targets, int64_t* sizes, int threads);

void haskd_softmax_statistics(const float* scores, int64_t rows, int64_t classes,
                              float inverse_temperature, uint8_t* class_id, float* probability,
                              float* entropy, int threads);

}  // extern "C"
