// The sparse U-Net between two point-wise networks (models/sparse_unet.py), to infer with.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "../model/model_header.h"
#include "layer.h"

namespace haskd {

class SparseUNet {
   public:
    // Takes all weights of the file. Throws Error: they don't fit the header.
    SparseUNet(const ModelHeader& header, Weights& weights, bool bf16);

    // What takes the class scores [count, classes] of these rows of points; called by several
    // threads at a time.
    using TakeScores =
        std::function<void(const float* scores, const int32_t* rows, int64_t count)>;

    // Class scores of points [rows, 4 + extra inputs], rows > 0: x y z in m, intensity 0..1, values
    // of channels. Throws Error: a point too far away.
    void operator()(const float* points, int64_t rows, const Work& work,
                    const TakeScores& take_scores) const;

    // Columns of the points.
    int64_t columns() const { return static_cast<int64_t>(2 + lowest.size()); }

   private:
    struct ResidualBlock {
        Layer first, second;
        Rows operator()(const Rows& x, const KernelMap& map, const Work& work) const;
    };
    using ResidualBlocks = std::vector<ResidualBlock>;

    void encode(const float* points, const float* offset, const int32_t* rows, int64_t count,
                float* encoded) const;
    void score(const float* encoded, const float* of_voxels, const int64_t* voxels, int64_t count,
               float* scores) const;
    Rows unet(Rows x, Geometry& geometry, const Work& work) const;

    float voxel_size;
    std::vector<float> lowest, highest;
    Layer point_encoder[2];
    Layer stem;
    std::vector<ResidualBlocks> encoder, refine;
    std::vector<Layer> down, up, decoder;
    Layer voxel_head, point_head, classifier;
};

}  // namespace haskd
