// What a model's file says of it beside the weights (model_header.py, models/arguments.py).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "json.h"

namespace haskd {

struct ClassInfo {
    std::string name;
    uint8_t color[3];
    bool movable;
};

// A value that the network reads of a point beside place and intensity, and how it becomes an
// input.
struct Channel {
    std::string name;
    double scale;  // raw value that stands for 1
    bool required;
    std::vector<float> mean;  // stands in where a cloud does not have it
};

// Arguments of the one architecture that this library has.
struct SparseUNetArguments {
    double voxel_size;  // m
    std::vector<int64_t> channels, blocks, decoder_blocks;
    int64_t extra_inputs;
};

struct ModelHeader {
    SparseUNetArguments network;
    std::vector<ClassInfo> classes;
    double intensity_scale, intensity_mean;
    bool intensity_required;
    std::vector<Channel> channels;
    double max_range;  // m
    double temperature;
    // To which height, intensity and the channels' inputs are cut off.
    std::vector<float> lowest, highest;
};

// Throws Error: another architecture, or values that make no sense; where, and what is allowed.
ModelHeader read_header(const Json& document);

}  // namespace haskd
