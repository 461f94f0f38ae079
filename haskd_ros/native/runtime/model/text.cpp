#include "text.h"

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <iterator>

namespace haskd {

namespace {

struct Range {
    char32_t first, last;
};

template <size_t N>
bool is_in(const Range (&ranges)[N], char32_t character) {
    return std::any_of(std::begin(ranges), std::end(ranges), [&](const Range& range) {
        return character >= range.first && character <= range.last;
    });
}

constexpr Range STEERING[] = {
    {0x0, 0x1f},        {0x7f, 0x9f},       {0xad, 0xad},       {0x600, 0x605},
    {0x61c, 0x61c},     {0x6dd, 0x6dd},     {0x70f, 0x70f},     {0x890, 0x891},
    {0x8e2, 0x8e2},     {0x180e, 0x180e},   {0x200b, 0x200f},   {0x2028, 0x202e},
    {0x2060, 0x2064},   {0x2066, 0x206f},   {0xd800, 0xdfff},   {0xfeff, 0xfeff},
    {0xfff9, 0xfffb},   {0x110bd, 0x110bd}, {0x110cd, 0x110cd}, {0x13430, 0x1343f},
    {0x1bca0, 0x1bca3}, {0x1d173, 0x1d17a}, {0xe0001, 0xe0001}, {0xe0020, 0xe007f},
};

constexpr Range SPACES[] = {
    {0x9, 0xd},       {0x1c, 0x20},     {0x85, 0x85},     {0xa0, 0xa0},     {0x1680, 0x1680},
    {0x2000, 0x200a}, {0x2028, 0x2029}, {0x202f, 0x202f}, {0x205f, 0x205f}, {0x3000, 0x3000},
};

}  // namespace

bool next_character(std::string_view text, size_t& at, char32_t& character) {
    if (at >= text.size()) return false;
    const auto octet = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
    const uint8_t first = octet(at);
    if (first < 0x80) {
        character = first;
        ++at;
        return true;
    }
    const int more = first >= 0xc2 && first <= 0xdf   ? 1
                     : first >= 0xe0 && first <= 0xef ? 2
                     : first >= 0xf0 && first <= 0xf4 ? 3
                                                      : 0;
    if (!more || text.size() - at <= static_cast<size_t>(more)) return false;
    char32_t value = first & (0x3f >> more);
    for (int i = 1; i <= more; ++i) {
        if ((octet(at + i) & 0xc0) != 0x80) return false;
        value = value << 6 | (octet(at + i) & 0x3f);
    }
    constexpr char32_t least[] = {0, 0x80, 0x800, 0x10000};
    if (value < least[more] || value > 0x10ffff || (value >= 0xd800 && value <= 0xdfff))
        return false;
    character = value;
    at += 1 + more;
    return true;
}

void append_character(std::string& text, char32_t c) {
    const auto add = [&](char32_t octet) { text += static_cast<char>(octet); };
    if (c < 0x80) return add(c);
    if (c < 0x800)
        add(0xc0 | c >> 6);
    else if (c < 0x10000)
        add(0xe0 | c >> 12), add(0x80 | (c >> 6 & 0x3f));
    else
        add(0xf0 | c >> 18), add(0x80 | (c >> 12 & 0x3f)), add(0x80 | (c >> 6 & 0x3f));
    add(0x80 | (c & 0x3f));
}

bool is_steering(char32_t character) { return is_in(STEERING, character); }

bool is_space(char32_t character) { return is_in(SPACES, character); }

std::string quoted(std::string_view text, size_t characters) {
    std::string result = "'";
    for (size_t at = 0, count = 0; at < text.size(); ++count) {
        if (count == characters) return result + "...";
        char32_t character;
        char escape[16];
        if (!next_character(text, at, character)) {
            std::snprintf(escape, sizeof escape, "\\x%02x", static_cast<uint8_t>(text[at++]));
            result += escape;
        } else if (is_steering(character)) {
            std::snprintf(escape, sizeof escape, "\\u%04x", static_cast<unsigned>(character));
            result += escape;
        } else {
            append_character(result, character);
        }
    }
    return result + "'";
}

std::string shown(double number) {
    char text[32];
    std::snprintf(text, sizeof text, "%g", number);
    // A program may have chosen a language in which numbers have a comma.
    std::replace(text, text + sizeof text, ',', '.');
    return text;
}

}  // namespace haskd
