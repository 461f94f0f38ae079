// Errors, and foreign text fit to be shown in one.
#pragma once

#include <cstddef>
#include <stdexcept>
#include <string>
#include <string_view>

namespace haskd {

// What is wrong, found and allowed, in one line of UTF-8.
struct Error : std::runtime_error {
    using std::runtime_error::runtime_error;
};

// The character of UTF-8 that begins at `at`, which moves behind it; false where there is none.
bool next_character(std::string_view text, size_t& at, char32_t& character);

// The character in UTF-8, at the end of a text.
void append_character(std::string& text, char32_t character);

// Whether a character steers a terminal or the direction of a line, or ends it: of the categories
// Cc, Cf, Cs, Zl and Zp of Unicode 15.
bool is_steering(char32_t character);

// Whether a character is white space.
bool is_space(char32_t character);

// A text as a message quotes it: in one line without characters that steer, cut off where it is
// longer than `characters`.
std::string quoted(std::string_view text, size_t characters = 200);

// A number as a message shows it: 0.1, 1e+12.
std::string shown(double number);

}  // namespace haskd
