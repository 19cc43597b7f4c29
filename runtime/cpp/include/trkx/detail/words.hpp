// Numbers as the messages of trkx write them.
#pragma once

#include <array>
#include <charconv>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <string>

namespace trkx::detail {

/// Returns a whole number with a comma before every three digits: 1,234,567.
template <std::integral Number>
std::string with_commas(Number value) {
    const std::string digits = std::to_string(value);
    std::string text;
    for (std::size_t place = 0; place < digits.size(); ++place) {
        if (place > (value < 0 ? 1U : 0U) && (digits.size() - place) % 3 == 0) text.push_back(',');
        text.push_back(digits[place]);
    }
    return text;
}

/// Returns a number with six significant digits at most, as printf's %g.
inline std::string short_number(double value) {
    std::array<char, 32> text{};
    std::snprintf(text.data(), text.size(), "%g", value);
    return text.data();
}

/// Returns a number with one digit after the point.
inline std::string one_decimal(double value) {
    std::array<char, 400> text{};
    std::snprintf(text.data(), text.size(), "%.1f", value);
    return text.data();
}

/// Returns the shortest decimal number that reads back as `value`, with a point or an exponent unless it is not finite.
inline std::string exact_number(double value) {
    std::array<char, 64> text{};
    const auto end = std::to_chars(text.data(), text.data() + text.size(), value).ptr;
    std::string out(text.data(), end);
    if (out.find_first_of(".en") == std::string::npos) out += ".0";
    return out;
}

}  // namespace trkx::detail
