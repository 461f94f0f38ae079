#include "sparse_unet.h"

#include <algorithm>
#include <string>
#include <utility>

#include "../../kernels.h"

namespace haskd {

namespace {

constexpr int64_t POINT_FEATURES = 5;  // offset in the voxel (3), height and intensity

// The epilogue of a layer that gives scores or is added to something.
constexpr Epilogue PLAIN{nullptr, nullptr, false};

}  // namespace

SparseUNet::SparseUNet(const ModelHeader& header, Weights& weights, bool bf16)
    : voxel_size(static_cast<float>(header.network.voxel_size)),
      lowest(header.lowest),
      highest(header.highest) {
    const SparseUNetArguments& arguments = header.network;
    const std::vector<int64_t>& channels = arguments.channels;
    const int64_t width = channels[0], inputs = POINT_FEATURES + arguments.extra_inputs;
    const auto classes = static_cast<int64_t>(header.classes.size());

    // Linear layers, which see a point's own coordinates and give its scores, stay float32.
    Folded first = folded(weights, "point_encoder.0", 0, inputs, 2 * width);
    fold_scale(weights, "scale", inputs, first);
    point_encoder[0] = Layer(first.weight, first.bias, 1, inputs, false);
    Folded second = folded(weights, "point_encoder.1", 0, 2 * width, width);
    point_encoder[1] = Layer(second.weight, second.bias, 1, 2 * width, false);

    const auto convolution = [&](const std::string& name, int64_t edge, int64_t from, int64_t to) {
        Folded both = folded(weights, name, edge, from, to);
        return Layer(both.weight, std::move(both.bias), edge * edge * edge, from, bf16);
    };
    const auto residual_block = [&](const std::string& name, int64_t channel) {
        return ResidualBlock{convolution(name + ".first", 3, channel, channel),
                             convolution(name + ".second", 3, channel, channel)};
    };
    const auto residual_blocks = [&](const std::string& name, int64_t channel, int64_t count) {
        ResidualBlocks result;
        for (int64_t i = 0; i < count; ++i)
            result.push_back(residual_block(name + "." + std::to_string(i), channel));
        return result;
    };
    stem = convolution("stem", 3, width, width);
    for (size_t level = 0; level < channels.size(); ++level) {
        const std::string name = "encoder." + std::to_string(level);
        // A single block has no number in the names of its weights.
        encoder.emplace_back();
        if (arguments.blocks[level] == 1)
            encoder.back().push_back(residual_block(name, channels[level]));
        else
            encoder.back() = residual_blocks(name, channels[level], arguments.blocks[level]);
    }
    for (size_t step = 0; step + 1 < channels.size(); ++step) {
        const std::string number = std::to_string(step);
        const int64_t fine = channels[step], coarse = channels[step + 1];
        down.push_back(convolution("down." + number, 2, fine, coarse));
        up.push_back(convolution("up." + number, 2, coarse, fine));
        decoder.push_back(convolution("decoder." + number, 3, 2 * fine, fine));
        refine.push_back(
            residual_blocks("refine." + number, fine, arguments.decoder_blocks[step]));
    }
    voxel_head = Layer(weights.take("voxel_head.weight", {2 * width, width}),
                       weights.take("voxel_head.bias", {2 * width}), 1, width, false);
    point_head =
        Layer(weights.take("point_head.weight", {2 * width, width}), {}, 1, width, false);
    classifier = Layer(weights.take("classifier.weight", {classes, 2 * width}),
                       weights.take("classifier.bias", {classes}), 1, 2 * width, false);
    weights.expect_none_left();
}

Rows SparseUNet::operator()(const float* points, int64_t rows, const Work& work) const {
    const Rows offset{work.scratch.take<float>(rows * 3), rows, 3};
    Geometry geometry(points, rows, columns(), voxel_size, offset.values.data(), work.scratch,
                      work.threads);
    const Grouping& grouping = geometry.grouping();
    Rows encoded;
    {
        const Rows own = within_limits(points, rows, work);
        encoded = point_encoder[0](Features(offset).with(own), {}, work);
    }
    encoded = point_encoder[1](encoded, {}, work);
    Rows x{work.scratch.take<float>(grouping.groups * encoded.columns), grouping.groups,
           encoded.columns};
    haskd_pool(encoded.values.data(), rows, encoded.columns, grouping.order.data(),
               grouping.starts.data(), grouping.groups, x.values.data(), work.threads);
    x = unet(std::move(x), geometry, work);
    // The sum of two linear maps is the linear map of both together; the voxels' half is computed
    // once a voxel instead of once a point.
    const Rows of_voxels = voxel_head(x, PLAIN, work);
    encoded = point_head(encoded, {&of_voxels, grouping.inverse.data(), true}, work);
    return classifier(encoded, PLAIN, work);
}

Rows SparseUNet::within_limits(const float* points, int64_t rows, const Work& work) const {
    const auto own = static_cast<int64_t>(lowest.size());
    Rows result{work.scratch.take<float>(rows * own), rows, own};
    float* to = result.values.data();
    for (int64_t row = 0; row < rows; ++row)
        for (int64_t i = 0; i < own; ++i)
            *to++ = std::min(std::max(points[row * columns() + 2 + i], lowest[i]), highest[i]);
    return result;
}

Rows SparseUNet::ResidualBlock::operator()(const Rows& x, const KernelMap& map,
                                           const Work& work) const {
    const Rows y = first(x, map, {}, work);
    return second(y, map, {&x, nullptr, true}, work);
}

Rows SparseUNet::unet(Rows x, Geometry& geometry, const Work& work) const {
    const auto run = [&](const ResidualBlocks& blocks, size_t level) {
        for (const ResidualBlock& block : blocks) x = block(x, geometry.submanifold(level), work);
    };
    x = stem(x, geometry.submanifold(0), {}, work);
    run(encoder[0], 0);
    std::vector<Rows> skips;
    for (size_t step = 0; step < down.size(); ++step) {
        skips.push_back(std::move(x));
        x = down[step](skips.back(), geometry.down(step), {}, work);
        run(encoder[step + 1], step + 1);
    }
    for (size_t step = up.size(); step-- > 0;) {
        x = up[step](x, geometry.up(step), {}, work);
        x = decoder[step](Features(x).with(skips[step]), geometry.submanifold(step), {}, work);
        skips.pop_back();
        run(refine[step], step);
    }
    return x;
}

}  // namespace haskd
