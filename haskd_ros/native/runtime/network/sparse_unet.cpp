#include "sparse_unet.h"

#include <algorithm>
#include <numeric>
#include <string>
#include <utility>

#include "../../kernels.h"
#include "../../threads.h"

namespace haskd {

namespace {

constexpr int64_t POINT_FEATURES = 5;  // offset in the voxel (3), height and intensity

// The epilogue of a layer that gives scores or is added to something.
constexpr Epilogue PLAIN{nullptr, nullptr, false};

// Voxels whose points go through all point-wise layers before the next ones do: what lies between
// the layers then stays in the innermost caches.
constexpr int64_t BLOCK_VOXELS = 64;
struct VoxelBlock {
    int64_t voxel, voxels, point, points;  // the first ones, in the order of voxels, and how many
    std::vector<int32_t> starts;           // [voxels + 1] each one's first point, from the block's on
    std::vector<int32_t> order;            // [points] 0, 1, 2 ..
};

// f(block) for all voxels of points [rows].
template <typename Function>
void parallel_for_voxels(const Grouping& grouping, int64_t rows, int threads, const Function& f) {
    const int32_t* starts = grouping.starts.data();
    parallel_for_rows(grouping.groups, BLOCK_VOXELS, threads,
                      [&](int64_t, int64_t first, int64_t last) {
        const int64_t end = last < grouping.groups ? starts[last] : rows;
        VoxelBlock block{first, last - first, starts[first], end - starts[first], {}, {}};
        for (int64_t i = first; i < last; ++i) block.starts.push_back(starts[i] - starts[first]);
        block.starts.push_back(static_cast<int32_t>(block.points));
        block.order.resize(block.points);
        std::iota(block.order.begin(), block.order.end(), 0);
        f(block);
    });
}

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

void SparseUNet::operator()(const float* points, int64_t rows, const Work& work,
                            const TakeScores& take_scores) const {
    const auto offset = work.scratch.take<float>(rows * 3);
    Geometry geometry(points, rows, columns(), voxel_size, offset.data(), work.scratch,
                      work.threads);
    const Grouping& grouping = geometry.grouping();
    const int32_t* order = grouping.order.data();
    const int64_t width = point_encoder[1].outputs;
    // Points lie voxel after voxel from here on: so all that is read of a voxel lies side by side.
    const auto encoded = work.scratch.take<float>(rows * width);
    Rows x{work.scratch.take<float>(grouping.groups * width), grouping.groups, width};
    parallel_for_voxels(grouping, rows, work.threads, [&](const VoxelBlock& block) {
        float* to = encoded.data() + block.point * width;
        encode(points, offset.data(), order + block.point, block.points, to);
        haskd_pool(to, block.points, width, block.order.data(), block.starts.data(), block.voxels,
                   x.values.data() + block.voxel * width, 1);
    });
    x = unet(std::move(x), geometry, work);
    // The sum of two linear maps is the linear map of both together; the voxels' half is computed
    // once a voxel instead of once a point.
    const Rows of_voxels = voxel_head(x, PLAIN, work);
    parallel_for_voxels(grouping, rows, work.threads, [&](const VoxelBlock& block) {
        std::vector<int64_t> voxels(block.points);
        for (int64_t i = 0; i < block.voxels; ++i)
            std::fill(voxels.begin() + block.starts[i], voxels.begin() + block.starts[i + 1],
                      block.voxel + i);
        std::vector<float> scores(block.points * classifier.outputs);
        score(encoded.data() + block.point * width, of_voxels.values.data(), voxels.data(),
              block.points, scores.data());
        take_scores(scores.data(), order + block.point, block.points);
    });
}

void SparseUNet::encode(const float* points, const float* offset, const int32_t* rows,
                        int64_t count, float* encoded) const {
    const auto own = static_cast<int64_t>(lowest.size()), inputs = 3 + own;
    std::vector<float> values(count * inputs), hidden(count * point_encoder[0].outputs);
    float* to = values.data();
    for (int64_t i = 0; i < count; ++i, to += inputs) {
        std::copy_n(offset + int64_t{3} * rows[i], 3, to);
        const float* from = points + rows[i] * columns() + 2;
        for (int64_t c = 0; c < own; ++c)
            to[3 + c] = std::min(std::max(from[c], lowest[c]), highest[c]);
    }
    point_encoder[0].write({values.data(), count, inputs}, {}, hidden.data());
    point_encoder[1].write({hidden.data(), count, point_encoder[0].outputs}, {}, encoded);
}

void SparseUNet::score(const float* encoded, const float* of_voxels, const int64_t* voxels,
                       int64_t count, float* scores) const {
    std::vector<float> hidden(count * point_head.outputs);
    point_head.write({encoded, count, point_encoder[1].outputs}, {of_voxels, voxels, true},
                     hidden.data());
    classifier.write({hidden.data(), count, point_head.outputs}, PLAIN, scores);
}

Rows SparseUNet::ResidualBlock::operator()(const Rows& x, const KernelMap& map,
                                           const Work& work) const {
    const Rows y = first(x, map, {}, work);
    return second(y, map, {x.values.data(), nullptr, true}, work);
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
