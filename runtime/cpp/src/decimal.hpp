// The shortest decimal digits that read back as the same float, before they are put in anyone's form. Private to the library.
#pragma once

#include <array>
#include <charconv>
#include <optional>
#include <string>
#include <string_view>

namespace trkx {

/// digits[0].digits[1]… times 10 to the exponent.
struct Decimal {
    bool negative = false;
    std::string digits;
    int exponent = 0;

    /// Returns the number without an exponent, and without ".0" behind whole ones.
    std::string fixed() const {
        const auto zeros = [](int count) { return std::string(static_cast<std::size_t>(count), '0'); };
        const int count = static_cast<int>(digits.size());
        if (exponent < 0) return "0." + zeros(-exponent - 1) + digits;
        if (count <= exponent + 1) return digits + zeros(exponent + 1 - count);
        return digits.substr(0, static_cast<std::size_t>(exponent) + 1) + "." +
               digits.substr(static_cast<std::size_t>(exponent) + 1);
    }

    /// Returns the number as d.ddde±x, the exponent padded to `width` digits.
    std::string scientific(std::size_t width) const {
        std::string size = std::to_string(exponent < 0 ? -exponent : exponent);
        if (size.size() < width) size.insert(0, width - size.size(), '0');
        return digits.substr(0, 1) + (digits.size() > 1 ? "." + digits.substr(1) : "") + (exponent < 0 ? "e-" : "e+") + size;
    }

    std::string sign() const { return negative ? "-" : ""; }
};

/// Returns the digits of a float or double, nothing for NaN and infinities.
template <typename T>
std::optional<Decimal> decimal_of(T value) {
    std::array<char, 40> buffer{};
    const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value, std::chars_format::scientific).ptr;
    std::string_view text(buffer.data(), static_cast<std::size_t>(end - buffer.data()));
    Decimal found;
    found.negative = text.starts_with('-');
    if (found.negative) text.remove_prefix(1);
    const std::size_t at = text.find('e');
    if (at == std::string_view::npos) return std::nullopt;
    found.digits = text.substr(0, 1);
    if (at > 2) found.digits += text.substr(2, at - 2);
    const bool plus = text[at + 1] == '+';  // from_chars knows no plus
    std::from_chars(text.data() + at + (plus ? 2 : 1), text.data() + text.size(), found.exponent);
    return found;
}

}  // namespace trkx
