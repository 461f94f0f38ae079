#include "model_header.h"

#include <algorithm>
#include <limits>
#include <set>

#include "text.h"
#include "value.h"

namespace haskd {

namespace {

constexpr double MAX_RANGE_M = 1000.0;
constexpr double BOUND = 1e9;
constexpr double FULL_RETURN[] = {1e-3, 1e10};
constexpr int64_t ANY_COUNT = std::numeric_limits<int64_t>::max();

// Of input_limits.py.
constexpr double INTENSITY_MARGIN = 0.25, BRIGHTEST = 1.0, HEIGHT_MARGIN = 1.0;

struct Kind {
    const char* name;
    size_t width;
};
constexpr Kind CHANNELS[] = {
    {"rgb", 3}, {"normal", 3}, {"reflectivity", 1}, {"echo", 1}, {"sweep_age", 1}};
constexpr int64_t MOST_SWEEPS = 16;

struct Extent {
    double min, max;
};

Extent extent(const Value& value) {
    value.expect_names({"min", "max"});
    const Extent result{value.member("min").number(-BOUND, BOUND),
                        value.member("max").number(-BOUND, BOUND)};
    if (result.min > result.max) value.refuse("min is above max");
    return result;
}

std::string class_name(const Value& value) {
    const std::string& name = value.text();
    size_t characters = 0;
    bool is_blank = true, is_plain = true;
    char32_t character;
    for (size_t at = 0; next_character(name, at, character); ++characters) {
        is_blank &= is_space(character);
        is_plain &= !is_steering(character);
    }
    if (!is_plain || is_blank || characters > 100)
        value.refuse("class name " + quoted(name) +
                     ": wanted are 1 to 100 characters that can be seen");
    return name;
}

std::vector<ClassInfo> read_classes(const Value& taxonomy) {
    taxonomy.expect_names({"classes"});
    std::vector<ClassInfo> result;
    std::set<std::string> names;
    for (const Value& one : taxonomy.member("classes").list(2, 255)) {
        one.expect_names({"name", "color"}, {"movable"});
        ClassInfo info{class_name(one.member("name")), {}, false};
        size_t i = 0;
        for (const Value& part : one.member("color").list(3, 3))
            info.color[i++] = static_cast<uint8_t>(part.whole(0, 255));
        if (const auto movable = one.optional_member("movable")) info.movable = movable->boolean();
        if (!names.insert(info.name).second)
            taxonomy.refuse("a class name stands more than once: " + quoted(info.name));
        result.push_back(std::move(info));
    }
    return result;
}

std::vector<int64_t> whole_numbers(const Value& value, int64_t lowest, int64_t highest,
                                   size_t least, size_t most) {
    std::vector<int64_t> result;
    for (const Value& one : value.list(least, most)) result.push_back(one.whole(lowest, highest));
    return result;
}

SparseUNetArguments read_arguments(const Value& value) {
    value.expect_names({"voxel_size", "channels"}, {"blocks", "decoder_blocks", "extra_inputs"});
    SparseUNetArguments result;
    result.voxel_size = value.member("voxel_size").number(0.01, 10.0);
    result.channels = whole_numbers(value.member("channels"), 1, 4096, 1, 8);
    const size_t levels = result.channels.size();
    const auto blocks = value.optional_member("blocks", true);
    result.blocks = blocks ? whole_numbers(*blocks, 1, 32, levels, levels)
                           : std::vector<int64_t>(levels, 1);
    const auto decoder = value.optional_member("decoder_blocks", true);
    result.decoder_blocks = decoder ? whole_numbers(*decoder, 0, 32, levels - 1, levels - 1)
                                    : std::vector<int64_t>(levels - 1, 0);
    const auto extra = value.optional_member("extra_inputs");
    result.extra_inputs = extra ? extra->whole(0, 64) : 0;
    return result;
}

// A channel, whose limits are added to those of the header.
Channel read_channel(const Value& value, ModelHeader& header) {
    value.expect_names({"name", "scale", "mean", "range"}, {"required"});
    Channel result{value.member("name").text(), 0, false, {}};
    const auto kind = std::find_if(std::begin(CHANNELS), std::end(CHANNELS),
                                   [&](const Kind& one) { return result.name == one.name; });
    if (kind == std::end(CHANNELS))
        value.refuse("unknown channel " + quoted(result.name) +
                     "; there are rgb, normal, reflectivity, echo, sweep_age");
    result.scale = value.member("scale").number(FULL_RETURN[0], FULL_RETURN[1]);
    for (const Value& one : value.member("mean").list(kind->width, kind->width))
        result.mean.push_back(static_cast<float>(one.number(-BOUND, BOUND)));
    for (const Value& one : value.member("range").list(kind->width, kind->width)) {
        const Extent seen = extent(one);
        const double scaled = 1 + INTENSITY_MARGIN;
        header.lowest.push_back(static_cast<float>(std::min(0.0, scaled * seen.min)));
        header.highest.push_back(static_cast<float>(scaled * std::max(BRIGHTEST, seen.max)));
    }
    if (const auto required = value.optional_member("required"))
        result.required = required->boolean();
    return result;
}

void read_inputs(const Value& value, ModelHeader& header) {
    const Value intensity = value.member("intensity");
    intensity.expect_names({"scale", "mean"}, {"required"});
    header.intensity_scale = intensity.member("scale").number(FULL_RETURN[0], FULL_RETURN[1]);
    header.intensity_mean = intensity.member("mean").number(-1e3, 1e3);
    const auto required = intensity.optional_member("required");
    header.intensity_required = required && required->boolean();

    const Value seen = value.member("input_range");
    seen.expect_names({"height", "intensity"});
    const Extent height = extent(seen.member("height"));
    const Extent brightness = extent(seen.member("intensity"));
    const double margin = HEIGHT_MARGIN * (height.max - height.min), scaled = 1 + INTENSITY_MARGIN;
    header.lowest = {static_cast<float>(height.min - margin),
                     static_cast<float>(std::min(0.0, scaled * brightness.min))};
    header.highest = {static_cast<float>(height.max + margin),
                      static_cast<float>(scaled * std::max(BRIGHTEST, brightness.max))};

    if (const auto channels = value.optional_member("channels"))
        for (const Value& one : channels->list()) {
            header.channels.push_back(read_channel(one, header));
            for (size_t i = 0; i + 1 < header.channels.size(); ++i)
                if (header.channels[i].name == header.channels.back().name)
                    one.refuse("a channel that stands twice");
        }
    const int64_t inputs = static_cast<int64_t>(header.lowest.size()) - 2;
    if (inputs != header.network.extra_inputs)
        value.refuse("channels give " + std::to_string(inputs) + " inputs, the network takes " +
                     std::to_string(header.network.extra_inputs));
}

// What takes several clouds requires the ages of their points: a cloud by itself is refused.
void check_sweeps(const Value& value, const ModelHeader& header) {
    const auto found = value.optional_member("sweeps");
    const int64_t sweeps = found ? found->whole(1, MOST_SWEEPS) : 1;
    const bool has_age =
        std::any_of(header.channels.begin(), header.channels.end(), [](const Channel& one) {
            return one.name == "sweep_age" && one.required;
        });
    if ((sweeps > 1) != has_age)
        value.refuse("sweeps is " + std::to_string(sweeps) +
                     "; a channel sweep_age, required, belongs to 2 or more");
}

// ---- what a reader of the file may want to know, and inference does not need

void check_percentiles(const Value& value) {
    value.expect_names({"p5", "median", "p95"}, {"mean"});
    const double p5 = value.member("p5").number(), median = value.member("median").number();
    if (p5 > median || median > value.member("p95").number()) value.refuse("they don't ascend");
    if (const auto mean = value.optional_member("mean", true)) mean->number();
}

void check_sensor(const Value& value) {
    value.expect_names({}, {"points_per_sweep", "range_m", "height_m", "intensity", "elevation_deg",
                            "class_counts", "class_scans", "entropy"});
    for (const char* name : {"points_per_sweep", "range_m", "height_m", "intensity"})
        if (const auto found = value.optional_member(name, true)) check_percentiles(*found);
    if (const auto found = value.optional_member("elevation_deg", true)) extent(*found);
    for (const char* name : {"class_counts", "class_scans"})
        if (const auto found = value.optional_member(name))
            whole_numbers(*found, 0, ANY_COUNT, 0, SIZE_MAX);
    if (const auto found = value.optional_member("entropy", true))
        found->number(0, std::numeric_limits<double>::max());
}

void check_provenance(const Value& value) {
    value.expect_names({}, {"trained", "haskd_ros", "torch", "machine", "recordings", "sweeps",
                            "config", "attribution", "image_labels", "initial", "distillation",
                            "shipped"});
    for (const char* name : {"trained", "haskd_ros", "torch", "machine", "attribution"})
        if (const auto found = value.optional_member(name, true)) found->text();
    if (const auto found = value.optional_member("recordings"))
        for (const Value& one : found->list()) one.text();
    if (const auto found = value.optional_member("sweeps", true)) found->whole(0, ANY_COUNT);
    if (const auto found = value.optional_member("config")) found->expect_object();
    for (const char* name : {"image_labels", "initial", "distillation"})
        if (const auto found = value.optional_member(name, true)) found->expect_object();
    if (const auto shipped = value.optional_member("shipped", true)) {
        shipped->expect_names({"student", "validation_miou", "validation_sweeps"});
        shipped->member("student").text();
        for (const Value& one : shipped->member("validation_miou").members()) one.number();
        shipped->member("validation_sweeps").whole(0, ANY_COUNT);
    }
}

}  // namespace

ModelHeader read_header(const Json& document) {
    const Value value(document, "");
    value.expect_names({"format", "architecture", "arguments", "taxonomy", "intensity", "max_range",
                        "input_range"},
                       {"channels", "sweeps", "temperature", "sensor", "provenance"});
    const std::string& architecture = value.member("architecture").text();
    if (architecture != "sparse_unet")
        throw Error("its architecture is " + quoted(architecture) +
                    "; this library has sparse_unet alone (sizes S, M and L), others run in Python");
    ModelHeader header;
    header.network = read_arguments(value.member("arguments"));
    header.classes = read_classes(value.member("taxonomy"));
    read_inputs(value, header);
    check_sweeps(value, header);
    header.max_range = value.member("max_range").number(0, MAX_RANGE_M);
    if (header.max_range == 0) value.refuse("max_range is 0, must be above");
    const auto temperature = value.optional_member("temperature");
    header.temperature = temperature ? temperature->number(1e-3, 1e3) : 1.0;
    if (const auto sensor = value.optional_member("sensor")) check_sensor(*sensor);
    if (const auto provenance = value.optional_member("provenance")) check_provenance(*provenance);
    return header;
}

}  // namespace haskd
