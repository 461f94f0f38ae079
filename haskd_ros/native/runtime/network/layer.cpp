#include "layer.h"

#include <cmath>
#include <new>
#include <utility>

#include "../../kernels.h"

namespace haskd {

namespace {

constexpr float EPS = 1e-5f;  // of torch's batch norm

std::vector<float> inverse_deviations(const std::vector<float>& variance) {
    std::vector<float> result;
    for (const float value : variance) result.push_back(1.0f / std::sqrt(value + EPS));
    return result;
}

}  // namespace

Features Features::with(const Features& second) const {
    Features result = *this;
    result.tail = second.x;
    result.tail_columns = second.columns;
    return result;
}

Layer::Layer(const std::vector<float>& weight, std::vector<float> bias, int64_t taps,
             int64_t inputs, bool bf16)
    : outputs(static_cast<int64_t>(weight.size()) / (taps * inputs)),
      inputs(inputs),
      taps(static_cast<int>(taps)),
      bf16(bf16),
      bias(std::move(bias)) {
    const auto pack = [&](void* to) {
        return haskd_pack_weight(weight.data(), outputs, this->taps, inputs, bf16, to, 1);
    };
    const size_t bytes = static_cast<size_t>(pack(nullptr)) * 4;
    packed.reset(std::aligned_alloc(64, (bytes + 63) / 64 * 64));
    if (!packed) throw std::bad_alloc();
    pack(packed.get());
}

Rows Layer::operator()(const Features& x, const KernelMap& map, const Epilogue& epilogue,
                       const Work& work) const {
    Rows y{work.scratch.take<float>(map.output_rows * outputs), map.output_rows, outputs};
    convolve(x, map, epilogue, y.values.data(), work.threads);
    return y;
}

Rows Layer::operator()(const Features& x, const Epilogue& epilogue, const Work& work) const {
    return (*this)(x, KernelMap::identity(x.rows), epilogue, work);
}

void Layer::write(const Features& x, const Epilogue& epilogue, float* y) const {
    convolve(x, KernelMap::identity(x.rows), epilogue, y, 1);
}

void Layer::convolve(const Features& x, const KernelMap& map, const Epilogue& epilogue, float* y,
                     int threads) const {
    ConvolveArguments arguments{};
    arguments.x = x.x;
    arguments.x_rows = x.rows;
    arguments.x_stride = x.stride;
    arguments.x_tail = x.tail;
    arguments.tail_inputs = x.tail_columns;
    arguments.tail_stride = x.tail_columns;
    arguments.packed = packed.get();
    arguments.outputs = outputs;
    arguments.inputs = inputs;
    arguments.sources = map.sources;
    arguments.targets = map.targets;
    arguments.tap_offsets = map.tap_offsets.data();
    arguments.taps = taps;
    arguments.identity_tap = map.identity_tap;
    arguments.y = y;
    arguments.y_rows = map.output_rows;
    arguments.bias = bias.empty() ? nullptr : bias.data();
    arguments.addend = epilogue.addend;
    arguments.addend_rows = epilogue.addend_rows;
    arguments.relu = epilogue.relu;
    arguments.bf16 = bf16;
    arguments.threads = threads;
    haskd_convolve(&arguments);
}

Folded folded(Weights& weights, const std::string& name, int64_t edge, int64_t inputs,
              int64_t outputs) {
    Folded result;
    const std::string layer = name + ".layer.weight", norm = name + ".norm.";
    result.weight = edge ? weights.take(layer, {outputs, edge, edge, edge, inputs})
                         : weights.take(layer, {outputs, inputs});
    const std::vector<float> gamma = weights.take(norm + "weight", {outputs});
    const std::vector<float> beta = weights.take(norm + "bias", {outputs});
    const std::vector<float> mean = weights.take(norm + "running_mean", {outputs});
    const auto inverse = inverse_deviations(weights.take_variance(norm + "running_var", outputs));
    weights.take_count(norm + "num_batches_tracked");
    const size_t row = result.weight.size() / outputs;
    for (size_t o = 0; o < static_cast<size_t>(outputs); ++o) {
        const float scale = gamma[o] * inverse[o];
        for (size_t i = 0; i < row; ++i) result.weight[o * row + i] *= scale;
        result.bias.push_back(beta[o] - mean[o] * scale);
    }
    return result;
}

void fold_scale(Weights& weights, const std::string& name, int64_t channels, Folded& reader) {
    const std::vector<float> mean = weights.take(name + ".running_mean", {channels});
    const auto inverse =
        inverse_deviations(weights.take_variance(name + ".running_var", channels));
    weights.take_count(name + ".num_batches_tracked");
    for (size_t o = 0; o < reader.bias.size(); ++o) {
        float* row = reader.weight.data() + o * channels;
        float shift = 0;
        for (int64_t i = 0; i < channels; ++i) {
            row[i] *= inverse[i];
            shift += row[i] * mean[i];
        }
        reader.bias[o] -= shift;
    }
}

}  // namespace haskd
