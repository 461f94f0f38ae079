// How the arguments lie in memory, as text: the loader compares it with what it would pass.

#include <cstddef>
#include <initializer_list>
#include <string>

#include "arguments.h"

namespace {

struct Field {
    const char* name;
    size_t offset, size;
};

#define FIELD(STRUCT, NAME) Field{#NAME, offsetof(STRUCT, NAME), sizeof(STRUCT::NAME)}

// "name size: field offset size, .."
std::string layout(const char* name, size_t size, std::initializer_list<Field> fields) {
    std::string text = std::string(name) + " " + std::to_string(size) + ":";
    const char* separator = " ";
    for (const Field& field : fields) {
        text += separator + std::string(field.name) + " " + std::to_string(field.offset) + " " +
                std::to_string(field.size);
        separator = ", ";
    }
    return text + "\n";
}

std::string convolve() {
    using S = ConvolveArguments;
    return layout("ConvolveArguments", sizeof(S),
                  {FIELD(S, x), FIELD(S, x_rows), FIELD(S, x_stride), FIELD(S, x_tail),
                   FIELD(S, tail_inputs), FIELD(S, tail_stride), FIELD(S, weight),
                   FIELD(S, packed), FIELD(S, outputs), FIELD(S, inputs), FIELD(S, sources),
                   FIELD(S, targets), FIELD(S, tap_offsets), FIELD(S, taps),
                   FIELD(S, identity_tap), FIELD(S, y), FIELD(S, y_rows), FIELD(S, bias),
                   FIELD(S, addend), FIELD(S, addend_rows), FIELD(S, relu), FIELD(S, backward),
                   FIELD(S, mirrored), FIELD(S, bf16), FIELD(S, threads)});
}

std::string weight_gradient() {
    using S = WeightGradientArguments;
    return layout("WeightGradientArguments", sizeof(S),
                  {FIELD(S, x), FIELD(S, inputs), FIELD(S, y_gradient), FIELD(S, y_rows),
                   FIELD(S, outputs), FIELD(S, sources), FIELD(S, targets),
                   FIELD(S, tap_offsets), FIELD(S, taps), FIELD(S, identity_tap),
                   FIELD(S, gradient), FIELD(S, threads)});
}

std::string norm_backward() {
    using S = NormBackwardArguments;
    return layout("NormBackwardArguments", sizeof(S),
                  {FIELD(S, y_gradient), FIELD(S, x), FIELD(S, y), FIELD(S, rows),
                   FIELD(S, columns), FIELD(S, mean), FIELD(S, inverse_std), FIELD(S, weight),
                   FIELD(S, x_gradient), FIELD(S, weight_gradient), FIELD(S, bias_gradient),
                   FIELD(S, addend_gradient), FIELD(S, threads)});
}

}  // namespace

// A line a structure; valid as long as the library is loaded.
extern "C" const char* haskd_layouts() {
    static const std::string text = convolve() + weight_gradient() + norm_backward();
    return text.c_str();
}
