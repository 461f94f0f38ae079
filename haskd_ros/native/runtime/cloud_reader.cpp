#include "cloud_reader.h"

#include <cstring>
#include <limits>
#include <string>

#include "model/text.h"

namespace haskd {

namespace {

constexpr size_t MOST_POINTS = std::numeric_limits<int32_t>::max();
constexpr size_t MAX_POINT_STEP = 65536;  // bytes, of point_layout.py
constexpr size_t SIZES[] = {0, 1, 1, 2, 2, 4, 4, 4, 8};

}  // namespace

CloudReader::CloudReader(const haskd_cloud& cloud, uint32_t channel_values) : cloud(cloud) {
    if (cloud.width && cloud.height > MOST_POINTS / cloud.width)
        throw Error("cloud: more than " + std::to_string(MOST_POINTS) + " points");
    count = static_cast<int64_t>(cloud.height * cloud.width);
    if (!count) return;
    if (!cloud.data) throw Error("cloud: no data");
    if (!cloud.point_step || cloud.point_step > MAX_POINT_STEP)
        throw Error("cloud: point_step is " + std::to_string(cloud.point_step) + ", must be 1 to " +
                    std::to_string(MAX_POINT_STEP));
    const size_t row = cloud.width * cloud.point_step, more_rows = cloud.height - 1;
    if (more_rows && cloud.row_step < row)
        throw Error("cloud: row_step is " + std::to_string(cloud.row_step) + ", but a row needs " +
                    std::to_string(row));
    if (cloud.bytes < row || (more_rows && cloud.row_step > (cloud.bytes - row) / more_rows))
        throw Error("cloud: its data of " + std::to_string(cloud.bytes) +
                    " bytes is too short for its points");
    const char* names[] = {"x", "y", "z"};
    const haskd_field* fields[] = {&cloud.x, &cloud.y, &cloud.z};
    for (int i = 0; i < 3; ++i) {
        if (fields[i]->type == HASKD_ABSENT)
            throw Error(std::string("cloud: no field ") + names[i]);
        check(*fields[i], names[i]);
    }
    check(cloud.intensity, "intensity");
    for (uint32_t i = 0; cloud.channels && i < channel_values; ++i)
        check(cloud.channels[i], "of a channel");
}

void CloudReader::check(const haskd_field& field, const char* name) const {
    if (field.type > HASKD_FLOAT64)
        throw Error(std::string("cloud: field ") + name + " is of type " +
                    std::to_string(field.type) + ", must be 1 (INT8) to 8 (FLOAT64)");
    const size_t end = size_t{field.offset} + SIZES[field.type];
    if (field.type != HASKD_ABSENT && end > cloud.point_step)
        throw Error(std::string("cloud: field ") + name + " ends at byte " + std::to_string(end) +
                    ", point_step is only " + std::to_string(cloud.point_step));
}

int64_t CloudReader::side_by_side() const {
    const haskd_field* fields[] = {&cloud.x, &cloud.y, &cloud.z, &cloud.intensity};
    for (uint32_t i = 0; i < (has_intensity() ? 4u : 3u); ++i)
        if (fields[i]->type != HASKD_FLOAT32 || fields[i]->offset != cloud.x.offset + 4 * i)
            return 0;
    const bool is_padded = cloud.height > 1 && cloud.row_step != cloud.width * cloud.point_step;
    return is_padded ? 0 : static_cast<int64_t>(cloud.point_step);
}

void CloudReader::read_place_and_intensity(float* to, int64_t columns) const {
    const haskd_field* fields[] = {&cloud.x, &cloud.y, &cloud.z, &cloud.intensity};
    for (int64_t column = 0; column < columns; ++column)
        read(*fields[column], to + column, columns);
}

template <typename T>
void CloudReader::read_as(const haskd_field& field, float* to, int64_t stride) const {
    const char* row = data() + field.offset;
    for (size_t i = 0; i < cloud.height; ++i, row += cloud.row_step) {
        const char* from = row;
        for (size_t j = 0; j < cloud.width; ++j, from += cloud.point_step, to += stride) {
            T value;
            std::memcpy(&value, from, sizeof value);
            *to = static_cast<float>(value);
        }
    }
}

void CloudReader::read(const haskd_field& field, float* to, int64_t stride) const {
    switch (field.type) {
        case HASKD_INT8: return read_as<int8_t>(field, to, stride);
        case HASKD_UINT8: return read_as<uint8_t>(field, to, stride);
        case HASKD_INT16: return read_as<int16_t>(field, to, stride);
        case HASKD_UINT16: return read_as<uint16_t>(field, to, stride);
        case HASKD_INT32: return read_as<int32_t>(field, to, stride);
        case HASKD_UINT32: return read_as<uint32_t>(field, to, stride);
        case HASKD_FLOAT32: return read_as<float>(field, to, stride);
        default: return read_as<double>(field, to, stride);
    }
}

}  // namespace haskd
