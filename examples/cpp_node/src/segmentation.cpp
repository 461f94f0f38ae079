#include "segmentation.hpp"

#include <cstring>

namespace haskd_cpp_node {

namespace {

// Layout of a labelled point: Autoware's PointXYZCPE, or the same with x y z in float64.
struct Layout {
    uint8_t type;
    uint32_t size, class_id, probability, entropy, point_step;
};
constexpr Layout PLAIN{HASKD_FLOAT32, 4, 12, 16, 20, 24};
constexpr Layout PRECISE{HASKD_FLOAT64, 8, 24, 28, 32, 40};

std::vector<Field> fields_of(const Layout& layout) {
    return {{"x", 0, layout.type, 1},
            {"y", layout.size, layout.type, 1},
            {"z", 2 * layout.size, layout.type, 1},
            {"class_id", layout.class_id, HASKD_UINT8, 1},
            {"probability", layout.probability, HASKD_FLOAT32, 1},
            {"entropy", layout.entropy, HASKD_FLOAT32, 1}};
}

template <typename From, typename To>
void convert(const char* from, uint8_t* to) {
    From value;
    std::memcpy(&value, from, sizeof value);
    const auto converted = static_cast<To>(value);
    std::memcpy(to, &converted, sizeof converted);
}

template <typename To>
void convert(const char* from, uint32_t type, uint8_t* to) {
    switch (type) {
        case HASKD_INT8: return convert<int8_t, To>(from, to);
        case HASKD_UINT8: return convert<uint8_t, To>(from, to);
        case HASKD_INT16: return convert<int16_t, To>(from, to);
        case HASKD_UINT16: return convert<uint16_t, To>(from, to);
        case HASKD_INT32: return convert<int32_t, To>(from, to);
        case HASKD_UINT32: return convert<uint32_t, To>(from, to);
        case HASKD_FLOAT32: return convert<float, To>(from, to);
        default: return convert<double, To>(from, to);
    }
}

}  // namespace

Segmentation::Segmentation(const std::string& path, int threads, double intensity_scale)
    : threads(threads), unit(intensity_scale) {
    char error[HASKD_ERROR_SIZE];
    model.reset(haskd_open(path.c_str(), HASKD_AUTO, nullptr, error, sizeof error));
    if (!model) throw std::runtime_error(error);
    haskd_channel_info channel;
    for (uint32_t i = 0; haskd_channel(model.get(), i, &channel) == HASKD_OK; ++i)
        channels.emplace_back(channel.name);
}

std::string Segmentation::classes() const {
    std::string names;
    haskd_class_info info;
    for (uint32_t i = 0; haskd_class(model.get(), i, &info) == HASKD_OK; ++i)
        names += (i ? ", " : "") + std::string(info.name);
    return names;
}

LabelledPoints Segmentation::label(const Cloud& input) {
    const size_t points = size_t{input.height} * input.width;
    // A cloud without points need not have fields.
    if (!points) return {fields_of(PLAIN), PLAIN.point_step, {}, {}, true};
    const CloudFields found =
        find_fields(input.fields, input.is_bigendian, input.point_step, channels);
    const size_t bytes = checked_bytes(input.height, input.width, input.point_step, input.row_step,
                                       input.bytes);
    haskd_cloud cloud{};
    cloud.data = input.data;
    cloud.bytes = bytes;
    cloud.height = input.height, cloud.width = input.width;
    cloud.point_step = input.point_step, cloud.row_step = input.row_step;
    cloud.x = found.x, cloud.y = found.y, cloud.z = found.z;
    cloud.intensity = found.intensity;
    cloud.channels = found.channels.empty() ? nullptr : found.channels.data();
    const bool has_intensity = unit.add(cloud);
    if (!has_intensity) cloud.intensity = {};

    class_id.resize(points), probability.resize(points), entropy.resize(points);
    haskd_options options{};
    options.threads = threads;
    options.intensity_scale = unit.full_scale();
    const haskd_labels labels{class_id.data(), probability.data(), entropy.data()};
    char error[HASKD_ERROR_SIZE];
    if (haskd_label(model.get(), &cloud, &options, &labels, nullptr, error, sizeof error))
        throw CloudError(error);

    const Layout& layout = found.is_precise ? PRECISE : PLAIN;
    LabelledPoints result{fields_of(layout), layout.point_step,
                          std::vector<uint8_t>(points * layout.point_step), found.missing,
                          has_intensity};
    uint8_t* to = result.data.data();
    const haskd_field place[] = {found.x, found.y, found.z};
    for (size_t i = 0; i < points; ++i, to += layout.point_step) {
        const char* from = reinterpret_cast<const char*>(input.data) +
                           i / input.width * input.row_step + i % input.width * input.point_step;
        for (int axis = 0; axis < 3; ++axis) {
            const char* value = from + place[axis].offset;
            if (found.is_precise)
                convert<double>(value, place[axis].type, to + axis * layout.size);
            else
                convert<float>(value, place[axis].type, to + axis * layout.size);
        }
        to[layout.class_id] = class_id[i];
        std::memcpy(to + layout.probability, &probability[i], sizeof(float));
        std::memcpy(to + layout.entropy, &entropy[i], sizeof(float));
    }
    return result;
}

}  // namespace haskd_cpp_node
