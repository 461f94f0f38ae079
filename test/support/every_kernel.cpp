// Calls every kernel once, as the Python modules do, for a processor that has no Python here: arrays
// are read from files of a folder, what the kernels make of them is written beside them.
//
//     every_kernel FOLDER THREADS

#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "arguments.h"

extern "C" {
int64_t haskd_valid_points(const char*, int64_t, int64_t, int, float, float, double, double,
                           const float*, float*, uint8_t*, int64_t*);
float haskd_voxel_keys(const float*, int64_t, const int64_t*, int64_t, float, int, int64_t*, float*, int);
int64_t haskd_group_by_key(const int64_t*, int64_t, int, int64_t*, int32_t*, int32_t*, int64_t*);
int64_t haskd_submanifold_pairs(const int64_t*, int64_t, const int64_t*, int32_t*, int32_t*,
                                int64_t*, int);
void haskd_sort_by_octant(const int64_t*, const int64_t*, int64_t, int, int32_t*, int32_t*,
                          int64_t*);
void haskd_pool(const float*, int64_t, int64_t, const int32_t*, const int32_t*, int64_t, float*,
                int);
int haskd_bf16_is_faster();
int64_t haskd_pack_weight(const float*, int64_t, int, int64_t, int, void*, int);
void haskd_convolve(const ConvolveArguments*);
void haskd_weight_gradient(const WeightGradientArguments*);
void haskd_moments(const float*, int64_t, int64_t, float*, float*, int);
void haskd_affine(const float*, int64_t, int64_t, const float*, const float*, const float*, int,
                  float*, int);
void haskd_norm_backward(const NormBackwardArguments*);
void haskd_softmax_statistics(const float*, int64_t, int64_t, float, uint8_t*, float*, float*, int);
int64_t haskd_slot_bytes(int64_t);
void haskd_free_places(char*, int64_t, int64_t);
int64_t haskd_remember(const int64_t*, const float*, int64_t, int64_t, const uint8_t*, double,
                       double, float, char*, int64_t, int32_t, int32_t*, float*, float*, float*,
                       float*, int);
int64_t haskd_forget_places(char*, int64_t, int64_t, double, int64_t, int64_t);
void haskd_move_places(char*, int64_t, int64_t, int64_t, char*, int64_t);
const char* haskd_layouts();
}

static std::string folder;

static FILE* open_file(const std::string& name, const char* mode) {
    FILE* file = fopen((folder + "/" + name).c_str(), mode);
    if (!file) {
        perror(name.c_str());
        exit(1);
    }
    return file;
}

template <typename T>
std::vector<T> load(const std::string& name) {
    FILE* file = open_file(name, "rb");
    fseek(file, 0, SEEK_END);
    std::vector<T> values(ftell(file) / sizeof(T));
    rewind(file);
    if (fread(values.data(), sizeof(T), values.size(), file) != values.size()) exit(1);
    fclose(file);
    return values;
}

template <typename T>
void store(const std::string& name, const std::vector<T>& values, size_t count) {
    FILE* file = open_file(name + ".out", "wb");
    if (fwrite(values.data(), sizeof(T), count, file) != count || fclose(file)) exit(1);
}
template <typename T>
void store(const std::string& name, const std::vector<T>& values) {
    store(name, values, values.size());
}

int main(int, char** words) {
    folder = words[1];
    const int threads = atoi(words[2]);
    // Field bits of a key; channels in and out; classes.
    const auto sizes = load<int64_t>("sizes");
    const int bits = static_cast<int>(sizes[0]);
    const int64_t inputs = sizes[1], outputs = sizes[2], classes = sizes[3];

    const std::string layouts = haskd_layouts();
    store("layouts", std::vector<char>(layouts.begin(), layouts.end()));
    store("bf16_is_faster", std::vector<int32_t>{haskd_bf16_is_faster()});

    // From points to voxels and the pairs of their convolutions
    const auto points = load<float>("points"), limits = load<float>("limits");
    const int64_t rows = points.size() / 4;
    std::vector<float> valid(points.size());
    std::vector<uint8_t> mask(rows);
    std::vector<int64_t> beyond(1);
    const int64_t count = haskd_valid_points(reinterpret_cast<const char*>(points.data()), rows, 16,
                                             1, 0.5f, 0.25f, 1.0, 900.0, limits.data(),
                                             valid.data(), mask.data(), beyond.data());
    store("valid", valid, count * 4);
    store("mask", mask);
    store("beyond", beyond);

    std::vector<int64_t> keys(count), unique(count), inverse(count);
    std::vector<float> offset(count * 3), largest(1);
    largest[0] = haskd_voxel_keys(valid.data(), 4, nullptr, count, 0.5f, bits, keys.data(),
                                  offset.data(), threads);
    store("keys", keys);
    store("offset", offset);
    store("largest", largest);

    std::vector<int32_t> order(count), starts(count);
    const int64_t voxels = haskd_group_by_key(keys.data(), count, bits, unique.data(), order.data(),
                                              starts.data(), inverse.data());
    unique.resize(voxels);
    store("unique", unique);
    store("order", order);
    store("starts", starts, voxels);
    store("inverse", inverse);

    const auto columns = load<int64_t>("columns");
    std::vector<int32_t> sources(26 * voxels), targets(26 * voxels);
    std::vector<int64_t> pair_counts(27);
    const int64_t pairs = haskd_submanifold_pairs(unique.data(), voxels, columns.data(),
                                                  sources.data(), targets.data(),
                                                  pair_counts.data(), threads);
    store("sources", sources, pairs);
    store("targets", targets, pairs);
    store("pair_counts", pair_counts);

    const auto parent = load<int64_t>("parent");
    std::vector<int32_t> fine(voxels), coarse(voxels);
    std::vector<int64_t> octants(8);
    haskd_sort_by_octant(unique.data(), parent.data(), voxels, bits, fine.data(), coarse.data(),
                         octants.data());
    store("fine", fine);
    store("coarse", coarse);
    store("octants", octants);

    std::vector<float> pooled(voxels * 4);
    haskd_pool(valid.data(), count, 4, order.data(), starts.data(), voxels, pooled.data(), threads);
    store("pooled", pooled);

    // A convolution, forward in both precisions, and backward
    const auto x = load<float>("x"), weight = load<float>("weight"), bias = load<float>("bias");
    const auto addend = load<float>("addend"), gradient = load<float>("gradient");
    std::vector<int64_t> tap_offsets(28);
    for (int tap = 0; tap < 27; ++tap) tap_offsets[tap + 1] = tap_offsets[tap] + pair_counts[tap];
    ConvolveArguments a{};
    a.x = x.data(), a.x_rows = voxels, a.x_stride = inputs;
    a.weight = weight.data(), a.outputs = outputs, a.inputs = inputs;
    a.sources = sources.data(), a.targets = targets.data(), a.tap_offsets = tap_offsets.data();
    a.taps = 27, a.identity_tap = 13;
    a.bias = bias.data(), a.addend = addend.data(), a.relu = 1;
    a.threads = threads;
    a.y_rows = voxels;
    std::vector<float> y(voxels * outputs);
    a.y = y.data();
    for (const int bf16 : {0, 1}) {
        const int64_t size =
            haskd_pack_weight(weight.data(), outputs, 27, inputs, bf16, nullptr, threads);
        std::vector<float> packed(size);
        haskd_pack_weight(weight.data(), outputs, 27, inputs, bf16, packed.data(), threads);
        a.packed = packed.data(), a.bf16 = bf16;
        haskd_convolve(&a);
        store(bf16 ? "y_bf16" : "y", y);
    }
    a.packed = nullptr, a.bf16 = 0, a.bias = a.addend = nullptr, a.relu = 0;
    a.x = gradient.data(), a.x_stride = outputs, a.backward = 1, a.mirrored = 1;
    std::vector<float> x_gradient(voxels * inputs), weight_gradient(weight.size());
    a.y = x_gradient.data();
    haskd_convolve(&a);
    store("x_gradient", x_gradient);

    WeightGradientArguments w{x.data(),       inputs,         gradient.data(),    voxels, outputs,
                              sources.data(), targets.data(), tap_offsets.data(), 27,     13,
                              weight_gradient.data(), threads};
    haskd_weight_gradient(&w);
    store("weight_gradient", weight_gradient);

    // A norm, forward and backward
    std::vector<float> mean(inputs), variance(inputs), normed(x.size());
    haskd_moments(x.data(), voxels, inputs, mean.data(), variance.data(), threads);
    store("mean", mean);
    store("variance", variance);
    const auto scale = load<float>("scale"), shift = load<float>("shift");
    const auto norm_addend = load<float>("norm_addend");
    haskd_affine(x.data(), voxels, inputs, scale.data(), shift.data(), norm_addend.data(), 1,
                 normed.data(), threads);
    store("normed", normed);
    const auto norm_gradient = load<float>("norm_gradient");
    std::vector<float> of_x(x.size()), of_weight(inputs), of_bias(inputs), of_addend(x.size());
    NormBackwardArguments n{norm_gradient.data(), x.data(), normed.data(), voxels, inputs,
                            shift.data(), scale.data(), bias.data(), of_x.data(), of_weight.data(),
                            of_bias.data(), of_addend.data(), threads};
    haskd_norm_backward(&n);
    store("of_x", of_x);
    store("of_weight", of_weight);
    store("of_bias", of_bias);
    store("of_addend", of_addend);

    // From scores to labels
    const auto scores = load<float>("scores");
    const int64_t labelled = scores.size() / classes;
    std::vector<uint8_t> class_id(labelled);
    std::vector<float> probability(labelled), entropy(labelled);
    haskd_softmax_statistics(scores.data(), labelled, classes, 0.5f, class_id.data(),
                             probability.data(), entropy.data(), threads);
    store("class_id", class_id);
    store("probability", probability);
    store("entropy", entropy);

    // What was said of places, in a table, then in another with higher keys
    const auto said = load<float>("said");
    const auto moves = load<uint8_t>("moves");
    const int64_t said_rows = keys.size(), slots = int64_t{1} << 13, more_slots = 2 * slots;
    std::vector<char> table(slots * haskd_slot_bytes(classes)), next(2 * table.size());
    haskd_free_places(table.data(), slots, classes);
    haskd_free_places(next.data(), more_slots, classes);
    std::vector<int32_t> places(2 * said_rows);
    std::vector<float> part_sizes(said_rows), sums(said.size()), earlier(said.size());
    std::vector<float> refined(said.size());
    haskd_remember(keys.data(), said.data(), said_rows, classes, moves.data(), 0.0, 2.0, 0.5f,
                   table.data(), slots, 1, places.data(), part_sizes.data(), sums.data(),
                   earlier.data(), refined.data(), threads);
    haskd_forget_places(table.data(), slots, classes, -1.0, 0, slots);
    haskd_move_places(table.data(), slots, classes, 5, next.data(), more_slots);
    auto higher = keys;
    for (auto& key : higher) key += 5;
    haskd_remember(higher.data(), said.data(), said_rows, classes, moves.data(), 1.0, 2.0, 0.5f,
                   next.data(), more_slots, 2, places.data(), part_sizes.data(), sums.data(),
                   earlier.data(), refined.data(), threads);
    store("refined", refined);
    return 0;
}
