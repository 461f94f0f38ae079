// Where in a PointCloud2's points lies what libhaskd reads. No ROS in it.
#pragma once

#include <haskd.h>

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

namespace haskd_cpp_node {

// A cloud that can't be read: what is wrong with it, in one line.
struct CloudError : std::runtime_error {
    using std::runtime_error::runtime_error;
};

// As sensor_msgs/PointField has it.
struct Field {
    std::string name;
    uint32_t offset;
    uint8_t datatype;
    uint32_t count;
};

// What is read of a cloud.
struct CloudFields {
    haskd_field x{}, y{}, z{};
    haskd_field intensity{};            // HASKD_ABSENT: there is none
    std::string intensity_name;
    std::vector<haskd_field> channels;  // as haskd_cloud has them
    std::vector<std::string> missing;   // channels of the model that the cloud does not have
    // Whether x, y or z has more digits than float32: labelled clouds then have them as float64.
    bool is_precise = false;
};

// Finds the fields by name: x y z, `intensity`, `reflectivity`, `i` or `intensities`, and those of
// the channels that the model reads. Throws CloudError: one of x y z is not there, a field stands
// twice, is of a type that can't be read, or ends behind the point.
CloudFields find_fields(const std::vector<Field>& fields, bool is_bigendian, uint32_t point_step,
                        const std::vector<std::string>& channels);

// Bytes that the header promises. Throws CloudError: the data is shorter, or rows overlap.
size_t checked_bytes(uint32_t height, uint32_t width, uint32_t point_step, uint32_t row_step,
                     size_t data_bytes);

}  // namespace haskd_cpp_node
