// The unit of a topic's intensity: which raw value stands for a full return. No ROS in it.
#pragma once

#include <haskd.h>

#include <array>
#include <cstddef>
#include <cstdint>

namespace haskd_cpp_node {

// Found from the clouds seen so far, as haskd_ros finds it: a field of 8 bits has its type for a
// unit, any other the least of 1, 255 and 65535 (32767 of INT16) that its values keep to, but for a
// thousandth of them.
class IntensityUnit {
   public:
    // A unit that is known beforehand; 0: found from the clouds.
    explicit IntensityUnit(double fixed) : fixed(fixed) {}

    // Looks at a cloud's intensities, whose bounds have been checked. False where a sensor measured
    // none: all are 0 or no number.
    bool add(const haskd_cloud& cloud);

    double full_scale() const;

   private:
    static constexpr std::array<double, 5> BOUNDS{1, 127, 255, 32767, 65535};

    double fixed;
    std::array<bool, HASKD_FLOAT64 + 1> types{};
    std::array<size_t, BOUNDS.size()> above{};
    size_t positive = 0;
};

}  // namespace haskd_cpp_node
