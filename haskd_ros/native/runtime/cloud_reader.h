// The values of a cloud's points, whatever their types and wherever they lie.
#pragma once

#include <cstdint>

#include "haskd.h"

namespace haskd {

class CloudReader {
   public:
    // Checks that every value lies within the data. Throws Error: it does not.
    CloudReader(const haskd_cloud& cloud, uint32_t channel_values);

    int64_t points() const { return count; }
    bool has_intensity() const { return cloud.intensity.type != HASKD_ABSENT; }

    // Bytes from a point to the next one where x y z, and intensity where there is one, lie side by
    // side as float32 and all rows do as well; else 0.
    int64_t side_by_side() const;
    const char* first() const { return data() + cloud.x.offset; }

    // Writes x y z, and as a fourth column the intensity, of each point as float32.
    void read_place_and_intensity(float* to, int64_t columns) const;
    // Writes a value of each point as float32, one every `stride` floats.
    void read(const haskd_field& field, float* to, int64_t stride) const;

   private:
    const char* data() const { return static_cast<const char*>(cloud.data); }
    void check(const haskd_field& field, const char* name) const;
    template <typename T>
    void read_as(const haskd_field& field, float* to, int64_t stride) const;

    const haskd_cloud& cloud;
    int64_t count;
};

}  // namespace haskd
