// JSON from files that anybody may have written, read within the limits of json_text.py.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace haskd {

constexpr size_t MAX_JSON_CHARACTERS = 1 << 20;
constexpr int MAX_JSON_DEPTH = 16;

struct Json {
    enum class Kind { Null, Boolean, Number, Text, List, Object };

    Kind kind = Kind::Null;
    bool boolean = false;
    double number = 0;
    // Of a number without point and exponent that 64 bits hold.
    std::optional<int64_t> whole;
    std::string text;
    // Of a list, or of an object, whose names these then are.
    std::vector<Json> items;
    std::vector<std::string> names;

    // The value of this name in an object; null where there is none.
    const Json* find(std::string_view name) const;
};

// The value of a document. Throws Error: no JSON (NaN and Infinity are none), longer or deeper than
// allowed, a name that stands twice, a number too long or too large, or text that is not Unicode.
Json parse_json(std::string_view text);

}  // namespace haskd
