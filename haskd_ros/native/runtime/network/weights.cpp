#include "weights.h"

#include <cmath>
#include <cstring>

#include "../model/text.h"

namespace haskd {

namespace {

constexpr double LARGEST_WEIGHT = 1e12;

std::string text_of(const std::vector<int64_t>& shape) {
    std::string text;
    for (const int64_t size : shape) {
        if (text.size() > 100) return "[" + text + ", ...]";
        text += (text.empty() ? "" : ", ") + std::to_string(size);
    }
    return "[" + text + "]";
}

void check(const std::string& name, double value, bool can_be_negative) {
    if (!std::isfinite(value)) throw Error("weight " + name + " is not finite");
    if (std::abs(value) > LARGEST_WEIGHT)
        throw Error("weight " + name + " is as large as " + shown(std::abs(value)) +
                    ", allowed is up to " + shown(LARGEST_WEIGHT));
    if (value < 0 && !can_be_negative)
        throw Error("weight " + name + " is negative (" + shown(value) + ")");
}

}  // namespace

const Tensor& Weights::find(const std::string& name, const std::vector<int64_t>& shape,
                            bool is_float) {
    const auto found = tensors.find(name);
    if (found == tensors.end())
        throw Error("weights don't fit the architecture: there is no " + name);
    const Tensor& tensor = found->second;
    if (tensor.shape != shape)
        throw Error("weight " + name + " has shape " + text_of(tensor.shape) +
                    ", the architecture wants " + text_of(shape));
    if (tensor.is_float != is_float)
        throw Error("weight " + name + " is of type " + (tensor.is_float ? "F32" : "I64") +
                    ", wanted " + (is_float ? "F32" : "I64"));
    taken.insert(name);
    return tensor;
}

std::vector<float> Weights::take(const std::string& name, std::initializer_list<int64_t> shape) {
    const Tensor& tensor = find(name, shape, true);
    std::vector<float> values(static_cast<size_t>(tensor.count));
    std::memcpy(values.data(), tensor.octets.data(), tensor.octets.size());
    for (const float value : values) check(name, value, true);
    return values;
}

std::vector<float> Weights::take_variance(const std::string& name, int64_t channels) {
    std::vector<float> values = take(name, {channels});
    for (const float value : values) check(name, value, false);
    return values;
}

void Weights::take_count(const std::string& name) {
    int64_t value;
    std::memcpy(&value, find(name, {}, false).octets.data(), sizeof value);
    check(name, static_cast<double>(value), false);
}

void Weights::expect_none_left() const {
    for (const auto& [name, tensor] : tensors)
        if (!taken.count(name))
            throw Error("weights don't fit the architecture: it has no " + quoted(name));
}

}  // namespace haskd
