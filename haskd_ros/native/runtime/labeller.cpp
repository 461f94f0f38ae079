#include "labeller.h"

#include <sched.h>

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <utility>

#include "../kernels.h"
#include "model/sha256.h"

namespace haskd {

namespace {

constexpr int MOST_THREADS = 1024;

std::string digest_of(std::string_view content) {
    Sha256 digest;
    digest.update(content.data(), content.size());
    return digest.hexadecimal();
}

SparseUNet build(const SealedFile& file, const ModelHeader& header, bool bf16) {
    Weights weights(file.tensors);
    return SparseUNet(header, weights, bf16);
}

int thread_count(int wanted) {
    if (wanted < 0 || wanted > MOST_THREADS)
        throw Error(std::to_string(wanted) + " threads; wanted 0 to " +
                    std::to_string(MOST_THREADS));
    cpu_set_t processors;
    if (!wanted && !sched_getaffinity(0, sizeof processors, &processors))
        wanted = CPU_COUNT(&processors);
    return std::max(1, wanted);
}

void check(const haskd_options& options) {
    // Not of a NaN.
    if (!(options.min_range >= 0) || !(options.max_range >= 0))
        throw Error("a range from " + shown(options.min_range) + " to " +
                    shown(options.max_range) + " m; wanted are numbers from 0 up");
    if (!(options.intensity_scale >= 0 && options.intensity_scale <= DBL_MAX))
        throw Error("intensity_scale is " + shown(options.intensity_scale) +
                    ", must be a number from 0 up");
}

// Number of points [count, 3 or 4] that are finite and not in the sensor's origin.
size_t returns_of(const char* points, int64_t count, int64_t stride) {
    size_t result = 0;
    for (int64_t i = 0; i < count; ++i, points += stride) {
        float p[3];
        std::copy_n(points, sizeof p, reinterpret_cast<char*>(p));
        result += std::isfinite(p[0]) && std::isfinite(p[1]) && std::isfinite(p[2]) &&
                  (p[0] != 0 || p[1] != 0 || p[2] != 0);
    }
    return result;
}

}  // namespace

Labeller::Labeller(std::string_view content, haskd_precision precision)
    : Labeller(content, SealedFile(content), precision) {}

Labeller::Labeller(std::string_view content, const SealedFile& file, haskd_precision precision)
    : bf16(precision == HASKD_BF16 || (precision == HASKD_AUTO && haskd_bf16_is_faster())),
      digest(digest_of(content)),
      model(read_header(file.document)),
      network(build(file, model, bf16)) {}

haskd_counts Labeller::label(const haskd_cloud& cloud, const haskd_options& options,
                             const haskd_labels& labels) {
    const std::lock_guard<std::mutex> lock(one_caller);
    check(options);
    const int threads = thread_count(options.threads);
    const CloudReader reader(cloud, static_cast<uint32_t>(model.network.extra_inputs));
    if (reader.points() && !labels.class_id) throw Error("no memory for the classes of points");
    Valid valid = valid_points(reader, options);
    if (!reader.points()) return {0, 0};
    if (!model.channels.empty()) add_channels(reader, cloud.channels, valid);
    const int64_t labelled = infer(valid, reader.points(), threads, labels);
    return {static_cast<size_t>(labelled), static_cast<size_t>(valid.beyond)};
}

Labeller::Valid Labeller::valid_points(const CloudReader& reader, const haskd_options& options) {
    const int64_t points = reader.points();
    const bool has_intensity = reader.has_intensity();
    if (points && !has_intensity && model.intensity_required)
        throw Error("this model requires intensity and the cloud has none");
    const char* first = points ? reader.first() : nullptr;
    int64_t stride = reader.side_by_side();
    Scratch::Array<float> flat;
    if (points && !stride) {
        const int64_t columns = has_intensity ? 4 : 3;
        flat = scratch.take<float>(points * columns);
        reader.read_place_and_intensity(flat.data(), columns);
        first = reinterpret_cast<const char*>(flat.data());
        stride = columns * static_cast<int64_t>(sizeof(float));
    }
    if (options.min_points) {
        const size_t found = returns_of(first, points, stride);
        if (found < options.min_points)
            throw TooFewPoints("cloud: " + std::to_string(found) + " valid points of " +
                               std::to_string(points) + ", min_points is " +
                               std::to_string(options.min_points));
    }
    Valid valid{scratch.take<float>(points * 4), scratch.take<uint8_t>(points), 0, 0};
    const double farthest =
        options.max_range > 0 ? std::min(options.max_range, model.max_range) : model.max_range;
    const double scale =
        options.intensity_scale > 0 ? options.intensity_scale : model.intensity_scale;
    const float limits[] = {model.lowest[0], model.highest[0], model.lowest[1], model.highest[1]};
    valid.count = haskd_valid_points(
        first, points, stride, has_intensity, static_cast<float>(1 / scale),
        static_cast<float>(model.intensity_mean), options.min_range * options.min_range,
        std::min(farthest * farthest, DBL_MAX), limits, valid.points.data(), valid.mask.data(),
        &valid.beyond);
    return valid;
}

void Labeller::add_channels(const CloudReader& reader, const haskd_field* fields, Valid& valid) {
    const int64_t points = reader.points(), extra = model.network.extra_inputs;
    const int64_t columns = 4 + extra;
    auto wider = scratch.take<float>(valid.count * columns);
    for (int64_t i = 0; i < valid.count; ++i)
        std::copy_n(valid.points.data() + 4 * i, 4, wider.data() + columns * i);
    const auto values = scratch.take<float>(points);
    const auto is_within = scratch.take<uint8_t>(valid.count);
    std::fill_n(is_within.data(), valid.count, 1);
    int64_t column = 0;
    for (const Channel& channel : model.channels) {
        const auto width = static_cast<int64_t>(channel.mean.size());
        const auto is_there = [&](int64_t i) {
            return fields && fields[column + i].type != HASKD_ABSENT;
        };
        const bool has_first = is_there(0);
        for (int64_t i = 1; i < width; ++i)
            if (is_there(i) != has_first)
                throw Error("the cloud has only some of the values of channel " + channel.name);
        if (!has_first && channel.required)
            throw Error("this model requires " + channel.name + ", and the cloud has none");
        const auto scale = static_cast<float>(channel.scale);
        for (int64_t i = 0; i < width; ++i, ++column) {
            if (has_first) reader.read(fields[column], values.data(), 1);
            const float mean = channel.mean[i];
            const float lowest = model.lowest[2 + column], highest = model.highest[2 + column];
            float* to = wider.data() + 4 + column;
            for (int64_t row = 0, at = 0; row < points; ++row) {
                if (!valid.mask.data()[row]) continue;
                const float input = has_first ? values.data()[row] / scale : mean;
                is_within.data()[at++] &= input >= lowest && input <= highest;
                *to = std::isfinite(input) ? input : mean;
                to += columns;
            }
        }
    }
    valid.beyond += std::count(is_within.data(), is_within.data() + valid.count, 0);
    valid.points = std::move(wider);
}

int64_t Labeller::infer(const Valid& valid, int64_t points, int threads,
                        const haskd_labels& labels) {
    const int64_t count = valid.count, classes = static_cast<int64_t>(model.classes.size());
    const auto class_id = scratch.take<uint8_t>(count);
    const auto probability = scratch.take<float>(count), entropy = scratch.take<float>(count);
    if (count) {
        // Below 0: the threads of the kernels' own pool.
        const Work work{scratch, threads > 1 ? -threads : 1};
        const auto inverse_temperature = static_cast<float>(1 / model.temperature);
        network(valid.points.data(), count, work,
                [&](const float* scores, const int32_t* rows, int64_t of_rows) {
                    std::vector<uint8_t> block_class(of_rows);
                    std::vector<float> block_probability(of_rows), block_entropy(of_rows);
                    haskd_softmax_statistics(scores, of_rows, classes, inverse_temperature,
                                             block_class.data(), block_probability.data(),
                                             block_entropy.data(), 1);
                    for (int64_t i = 0; i < of_rows; ++i) {
                        class_id.data()[rows[i]] = block_class[i];
                        probability.data()[rows[i]] = block_probability[i];
                        entropy.data()[rows[i]] = block_entropy[i];
                    }
                });
    }
    const auto none = static_cast<float>(std::log(static_cast<double>(classes)));
    int64_t labelled = 0;
    for (int64_t row = 0, at = 0; row < points; ++row) {
        const bool is_valid = valid.mask.data()[row];
        const bool has_label = is_valid && !std::isnan(probability.data()[at]);
        labels.class_id[row] = has_label ? class_id.data()[at] : uint8_t{HASKD_UNLABELLED};
        if (labels.probability) labels.probability[row] = has_label ? probability.data()[at] : 0;
        if (labels.entropy) labels.entropy[row] = has_label ? entropy.data()[at] : none;
        at += is_valid;
        labelled += has_label;
    }
    return labelled;
}

}  // namespace haskd
