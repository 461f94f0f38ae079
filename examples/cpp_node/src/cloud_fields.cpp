#include "cloud_fields.hpp"

#include <algorithm>
#include <optional>

namespace haskd_cpp_node {

namespace {

constexpr uint32_t MAX_POINT_STEP = 65536;
constexpr size_t MAX_FIELDS = 256;
constexpr uint32_t SIZES[] = {0, 1, 1, 2, 2, 4, 4, 4, 8, 8, 8, 1};  // by datatype
constexpr const char* INTENSITIES[] = {"intensity", "reflectivity", "i", "intensities"};

class Finder {
   public:
    Finder(const std::vector<Field>& fields, uint32_t point_step)
        : fields(fields), point_step(point_step) {}

    // The field of this name; a field of several values is none of these, whatever its name.
    std::optional<haskd_field> find(const std::string& name) const {
        const auto is_it = [&](const Field& field) {
            return field.name == name && field.count == 1;
        };
        const auto count = std::count_if(fields.begin(), fields.end(), is_it);
        if (count > 1) throw CloudError("field " + name + " stands twice");
        if (!count) return std::nullopt;
        const Field& field = *std::find_if(fields.begin(), fields.end(), is_it);
        if (field.datatype < HASKD_INT8 || field.datatype > HASKD_FLOAT64)
            throw CloudError("field " + name + " has datatype " + std::to_string(field.datatype) +
                             "; read are 1 (INT8) to 8 (FLOAT64)");
        if (size_t{field.offset} + SIZES[field.datatype] > point_step)
            throw CloudError("field " + name + " ends behind the point of " +
                             std::to_string(point_step) + " bytes");
        return haskd_field{field.offset, field.datatype};
    }

    std::vector<haskd_field> find_all(const std::vector<std::string>& names) const {
        std::vector<haskd_field> found;
        for (const std::string& name : names)
            if (const auto field = find(name)) found.push_back(*field);
        return found.size() == names.size() ? found : std::vector<haskd_field>{};
    }

    std::string names() const {
        std::string result;
        for (const Field& field : fields)
            if (result.size() < 200) result += (result.empty() ? "" : ", ") + field.name;
        return result.empty() ? "(none)" : result;
    }

   private:
    const std::vector<Field>& fields;
    uint32_t point_step;
};

// Red, green and blue of 8 bits each; nothing where a cloud has none that are read.
std::vector<haskd_field> colours(const Finder& finder) {
    for (const char* name : {"rgb", "rgba"})
        if (const auto packed = finder.find(name)) {
            if (SIZES[packed->type] != 4) return {};
            // The bytes of 0x00RRGGBB, little-endian.
            std::vector<haskd_field> result;
            for (const uint32_t place : {2, 1, 0})
                result.push_back({packed->offset + place, HASKD_UINT8});
            return result;
        }
    for (const auto& names : {std::vector<std::string>{"r", "g", "b"}, {"red", "green", "blue"}}) {
        const std::vector<haskd_field> found = finder.find_all(names);
        const auto is_byte = [](const haskd_field& field) { return field.type == HASKD_UINT8; };
        if (!found.empty() && std::all_of(found.begin(), found.end(), is_byte)) return found;
    }
    return {};
}

std::vector<haskd_field> channel(const Finder& finder, const std::string& name) {
    if (name == "rgb") return colours(finder);
    std::vector<std::vector<std::string>> choices;
    if (name == "normal") choices = {{"normal_x", "normal_y", "normal_z"}, {"nx", "ny", "nz"}};
    if (name == "reflectivity") choices = {{"reflectivity"}};
    if (name == "echo") choices = {{"echo"}, {"return_number"}};
    for (const auto& names : choices) {
        std::vector<haskd_field> found = finder.find_all(names);
        if (!found.empty()) return found;
    }
    return {};
}

}  // namespace

CloudFields find_fields(const std::vector<Field>& fields, bool is_bigendian, uint32_t point_step,
                        const std::vector<std::string>& channels) {
    if (is_bigendian) throw CloudError("it is big-endian; this node reads little-endian clouds");
    if (fields.size() > MAX_FIELDS)
        throw CloudError("it has " + std::to_string(fields.size()) + " fields, must be " +
                         std::to_string(MAX_FIELDS) + " at most");
    if (!point_step || point_step > MAX_POINT_STEP)
        throw CloudError("point_step is " + std::to_string(point_step) + ", must be 1 to " +
                         std::to_string(MAX_POINT_STEP));
    const Finder finder(fields, point_step);
    const auto place = [&](const char* name) {
        const auto found = finder.find(name);
        if (!found)
            throw CloudError(std::string("no field ") + name + "; its fields are " +
                             finder.names());
        return *found;
    };
    CloudFields result;
    result.x = place("x"), result.y = place("y"), result.z = place("z");
    for (const haskd_field& field : {result.x, result.y, result.z})
        result.is_precise |= field.type == HASKD_FLOAT64 || field.type == HASKD_INT32 ||
                             field.type == HASKD_UINT32;
    for (const char* name : INTENSITIES)
        if (const auto found = finder.find(name)) {
            result.intensity = *found, result.intensity_name = name;
            break;
        }
    for (const std::string& name : channels) {
        std::vector<haskd_field> found = channel(finder, name);
        if (found.empty()) {
            result.missing.push_back(name);
            found.resize(name == "rgb" || name == "normal" ? 3 : 1);
        }
        result.channels.insert(result.channels.end(), found.begin(), found.end());
    }
    return result;
}

size_t checked_bytes(uint32_t height, uint32_t width, uint32_t point_step, uint32_t row_step,
                     size_t data_bytes) {
    if (!height || !width) return 0;
    const size_t row = size_t{width} * point_step;
    if (height > 1 && row_step < row)
        throw CloudError("row_step is " + std::to_string(row_step) + ", but a row needs " +
                         std::to_string(row) + " bytes");
    const size_t bytes = (size_t{height} - 1) * row_step + row;
    if (bytes > data_bytes)
        throw CloudError("its points need " + std::to_string(bytes) + " bytes, the data has " +
                         std::to_string(data_bytes));
    return bytes;
}

}  // namespace haskd_cpp_node
