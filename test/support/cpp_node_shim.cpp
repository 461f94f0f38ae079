// The part of examples/cpp_node that is free of ROS, as Python calls it.

#include <cstdio>
#include <cstring>
#include <sstream>
#include <string>
#include <vector>

#include "segmentation.hpp"

using haskd_cpp_node::Cloud;
using haskd_cpp_node::Field;
using haskd_cpp_node::LabelledPoints;
using haskd_cpp_node::Segmentation;

extern "C" {

// Texts are of 4096 bytes.
void* shim_open(const char* model, double intensity_scale, char* text) try {
    auto* opened = new Segmentation(model, 1, intensity_scale);
    std::snprintf(text, 4096, "%s", opened->classes().c_str());
    return opened;
} catch (const std::exception& problem) {
    std::snprintf(text, 4096, "%s", problem.what());
    return nullptr;
}

void shim_close(void* opened) { delete static_cast<Segmentation*>(opened); }

// Fields are lines of name, offset, datatype and count; those of the result go to `text`. Returns
// the result's bytes; below 0: refused, `text` says why.
int64_t shim_label(void* opened, const char* fields, uint32_t height, uint32_t width,
                   uint32_t point_step, uint32_t row_step, int is_bigendian, const uint8_t* data,
                   size_t bytes, uint8_t* result, char* text) try {
    Cloud cloud{height, width, point_step, row_step, is_bigendian != 0, {}, data, bytes};
    std::istringstream lines(fields);
    std::string name;
    for (uint32_t offset, datatype, count; lines >> name >> offset >> datatype >> count;)
        cloud.fields.push_back({name, offset, static_cast<uint8_t>(datatype), count});
    const LabelledPoints labelled = static_cast<Segmentation*>(opened)->label(cloud);
    std::ostringstream told;
    told << labelled.point_step << ' ' << labelled.has_intensity << '\n';
    for (const Field& field : labelled.fields)
        told << field.name << ' ' << field.offset << ' ' << int{field.datatype} << ' '
             << field.count << '\n';
    for (const std::string& channel : labelled.missing_channels) told << "no " << channel << '\n';
    std::snprintf(text, 4096, "%s", told.str().c_str());
    if (!labelled.data.empty()) std::memcpy(result, labelled.data.data(), labelled.data.size());
    return static_cast<int64_t>(labelled.data.size());
} catch (const std::exception& problem) {
    std::snprintf(text, 4096, "%s", problem.what());
    return -1;
}

}  // extern "C"
