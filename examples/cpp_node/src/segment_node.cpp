// A node that labels the points of clouds: PointCloud2 in, labelled PointCloud2 out.

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <rclcpp/rclcpp.hpp>
#include <rclcpp_components/register_node_macro.hpp>
#include <sensor_msgs/msg/point_cloud2.hpp>

#include "segmentation.hpp"

namespace haskd_cpp_node {

namespace {

constexpr int WARNING_MS = 5000;  // between two of the same kind

using sensor_msgs::msg::PointCloud2;

Cloud view_of(const PointCloud2& message) {
    std::vector<Field> fields;
    for (const auto& field : message.fields)
        fields.push_back({field.name, field.offset, field.datatype, field.count});
    return {message.height,       message.width,     message.point_step,
            message.row_step,     static_cast<bool>(message.is_bigendian),
            std::move(fields),    message.data.data(), message.data.size()};
}

std::unique_ptr<PointCloud2> message_of(const PointCloud2& input, LabelledPoints labelled) {
    auto message = std::make_unique<PointCloud2>();
    message->header = input.header;
    message->height = input.height;
    message->width = input.width;
    for (const Field& field : labelled.fields) {
        sensor_msgs::msg::PointField own;
        own.name = field.name;
        own.offset = field.offset;
        own.datatype = field.datatype;
        own.count = field.count;
        message->fields.push_back(std::move(own));
    }
    message->is_bigendian = false;
    message->point_step = labelled.point_step;
    message->row_step = input.height ? labelled.point_step * input.width : 0;
    message->data = std::move(labelled.data);
    message->is_dense = false;
    return message;
}

}  // namespace

class SegmentNode : public rclcpp::Node {
   public:
    // Throws std::runtime_error: the model can't be read.
    explicit SegmentNode(const rclcpp::NodeOptions& options)
        : Node("segment_cpp", options),
          segmentation(declare_parameter<std::string>("model"),
                       static_cast<int>(declare_parameter<int64_t>("threads", 0)),
                       declare_parameter<double>("intensity_scale", 0.0)) {
        const auto input = declare_parameter<std::string>("input_topic", "~/input/points");
        const auto output =
            declare_parameter<std::string>("output_topic", "~/output/segmentation");
        publisher = create_publisher<PointCloud2>(output, rclcpp::QoS(1).reliable());
        // The newest cloud is labelled first: one that had to wait is replaced, never queued.
        subscription = create_subscription<PointCloud2>(
            input, rclcpp::QoS(1).best_effort(),
            [this](const PointCloud2::ConstSharedPtr& message) { label(*message); });
        RCLCPP_INFO(get_logger(), "libhaskd %s, classes: %s", haskd_version(),
                    segmentation.classes().c_str());
    }

   private:
    void label(const PointCloud2& message) {
        if (!publisher->get_subscription_count() &&
            !publisher->get_intra_process_subscription_count())
            return;
        try {
            LabelledPoints labelled = segmentation.label(view_of(message));
            if (!labelled.has_intensity)
                RCLCPP_WARN_ONCE(get_logger(),
                                 "the clouds have no intensity: the training's mean stands in");
            if (!labelled.missing_channels.empty())
                RCLCPP_WARN_ONCE(get_logger(),
                                 "no %s, and %zu channels in all, are missing in the clouds: the "
                                 "training's means stand in",
                                 labelled.missing_channels.front().c_str(),
                                 labelled.missing_channels.size());
            publisher->publish(message_of(message, std::move(labelled)));
        } catch (const std::exception& problem) {
            RCLCPP_WARN_THROTTLE(get_logger(), *get_clock(), WARNING_MS,
                                 "a cloud is not labelled: %s", problem.what());
        }
    }

    Segmentation segmentation;
    rclcpp::Publisher<PointCloud2>::SharedPtr publisher;
    rclcpp::Subscription<PointCloud2>::SharedPtr subscription;
};

}  // namespace haskd_cpp_node

RCLCPP_COMPONENTS_REGISTER_NODE(haskd_cpp_node::SegmentNode)
