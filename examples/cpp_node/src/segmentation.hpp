// From a cloud to its labelled cloud, in bytes. No ROS in it.
#pragma once

#include <haskd.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "cloud_fields.hpp"
#include "intensity_unit.hpp"

namespace haskd_cpp_node {

// As sensor_msgs/PointCloud2 has it.
struct Cloud {
    uint32_t height, width, point_step, row_step;
    bool is_bigendian;
    std::vector<Field> fields;
    const uint8_t* data;
    size_t bytes;
};

// The points of a labelled cloud: x y z, class_id, probability, entropy, in the input's order,
// without padding of rows. As haskd_ros publishes them on output/segmentation.
struct LabelledPoints {
    std::vector<Field> fields;
    uint32_t point_step;
    std::vector<uint8_t> data;
    std::vector<std::string> missing_channels;  // the training's means stand in for these
    bool has_intensity;                         // else the training's mean stands in
};

class Segmentation {
   public:
    // Reads a model's file. `threads` 0: as many as there are processors; `intensity_scale` 0: found
    // from the clouds. Throws std::runtime_error: it can't be read.
    Segmentation(const std::string& model, int threads, double intensity_scale);

    // Throws CloudError: the cloud can't be read or labelled.
    LabelledPoints label(const Cloud& cloud);

    // "road, car": the names of the classes by id.
    std::string classes() const;

   private:
    struct Close {
        void operator()(haskd_model* model) const { haskd_close(model); }
    };

    std::unique_ptr<haskd_model, Close> model;
    std::vector<std::string> channels;
    int threads;
    IntensityUnit unit;
    std::vector<uint8_t> class_id;
    std::vector<float> probability, entropy;
};

}  // namespace haskd_cpp_node
