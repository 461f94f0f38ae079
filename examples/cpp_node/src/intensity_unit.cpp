#include "intensity_unit.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <set>

namespace haskd_cpp_node {

namespace {

constexpr size_t SAMPLE = 20'000;  // values of a cloud that are looked at
constexpr double OUTLIERS = 1e-3;

template <typename T>
double value_at(const char* from) {
    T value;
    std::memcpy(&value, from, sizeof value);
    return static_cast<double>(value);
}

double value_at(const char* from, uint32_t type) {
    switch (type) {
        case HASKD_INT8: return value_at<int8_t>(from);
        case HASKD_UINT8: return value_at<uint8_t>(from);
        case HASKD_INT16: return value_at<int16_t>(from);
        case HASKD_UINT16: return value_at<uint16_t>(from);
        case HASKD_INT32: return value_at<int32_t>(from);
        case HASKD_UINT32: return value_at<uint32_t>(from);
        case HASKD_FLOAT32: return value_at<float>(from);
        default: return value_at<double>(from);
    }
}

std::set<double> units_of(uint32_t type) {
    switch (type) {
        case HASKD_INT8: return {127};
        case HASKD_UINT8: return {255};
        case HASKD_INT16: return {255, 32767};
        case HASKD_FLOAT32:
        case HASKD_FLOAT64: return {1, 255, 65535};
        default: return {255, 65535};
    }
}

}  // namespace

bool IntensityUnit::add(const haskd_cloud& cloud) {
    const size_t points = cloud.height * cloud.width;
    if (cloud.intensity.type == HASKD_ABSENT || !points) return false;
    types[cloud.intensity.type] = true;
    const auto value = [&](size_t i) {
        const char* row = static_cast<const char*>(cloud.data) + i / cloud.width * cloud.row_step;
        return value_at(row + i % cloud.width * cloud.point_step + cloud.intensity.offset,
                        cloud.intensity.type);
    };
    bool is_measured = false;
    for (size_t i = 0, step = std::max<size_t>(1, (points + SAMPLE - 1) / SAMPLE); i < points;
         i += step) {
        const double found = value(i);
        if (!std::isfinite(found)) continue;
        is_measured |= found != 0;
        positive += found > 0;
        for (size_t b = 0; b < BOUNDS.size(); ++b) above[b] += found > BOUNDS[b];
    }
    for (size_t i = 0; i < points && !is_measured; ++i)
        is_measured = std::isfinite(value(i)) && value(i) != 0;
    return is_measured;
}

double IntensityUnit::full_scale() const {
    if (fixed > 0) return fixed;
    std::set<double> units;
    for (uint32_t type = HASKD_INT8; type < types.size(); ++type)
        if (types[type]) units.merge(units_of(type));
    if (units.empty()) return 1;
    // Few may exceed a unit, but one of hundreds: a retroreflector.
    const double allowed =
        std::max(OUTLIERS * static_cast<double>(positive), positive >= 100 ? 1.0 : 0.0);
    for (const double unit : units) {
        const auto bound = std::find(BOUNDS.begin(), BOUNDS.end(), unit) - BOUNDS.begin();
        if (static_cast<double>(above[static_cast<size_t>(bound)]) <= allowed) return unit;
    }
    return *units.rbegin();
}

}  // namespace haskd_cpp_node
