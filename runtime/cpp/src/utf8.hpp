// UTF-8, as far as JSON and CSV headers need it. Private to the library.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace trkx::utf8 {

inline bool is_high(std::uint32_t code) { return code >= 0xD800U && code <= 0xDBFFU; }
inline bool is_low(std::uint32_t code) { return code >= 0xDC00U && code <= 0xDFFFU; }

/// Returns how many bytes the character at a place has, 0 if there is no valid one (overlong, surrogate, beyond 10FFFF, cut).
inline std::size_t length_at(std::string_view text, std::size_t at) {
    const auto byte = [&](std::size_t place) {
        return at + place < text.size() ? static_cast<unsigned char>(text[at + place]) : static_cast<unsigned char>(0);
    };
    const unsigned first = byte(0), second = byte(1);
    const auto follows = [&](std::size_t place) { return (byte(place) & 0xC0U) == 0x80U; };
    if (first < 0x80U) return at < text.size() ? 1 : 0;
    if (first >= 0xC2U && first <= 0xDFU) return follows(1) ? 2 : 0;
    if (first >= 0xE0U && first <= 0xEFU) {
        const bool wrong = (first == 0xE0U && second < 0xA0U) || (first == 0xEDU && second > 0x9FU);
        return follows(1) && follows(2) && !wrong ? 3 : 0;
    }
    if (first >= 0xF0U && first <= 0xF4U) {
        const bool wrong = (first == 0xF0U && second < 0x90U) || (first == 0xF4U && second > 0x8FU);
        return follows(1) && follows(2) && follows(3) && !wrong ? 4 : 0;
    }
    return 0;
}

/// Whether a text is UTF-8.
inline bool is_valid(std::string_view text) {
    for (std::size_t at = 0; at < text.size();) {
        const std::size_t length = length_at(text, at);
        if (length == 0) return false;
        at += length;
    }
    return true;
}

/// Appends a code point; a lone surrogate as three bytes, so that the order of bytes is that of code points.
inline void append(std::string& text, std::uint32_t code) {
    const auto put = [&](std::uint32_t byte) { text += static_cast<char>(static_cast<unsigned char>(byte)); };
    if (code < 0x80U) {
        put(code);
    } else if (code < 0x800U) {
        put(0xC0U | (code >> 6U));
        put(0x80U | (code & 0x3FU));
    } else if (code < 0x10000U) {
        put(0xE0U | (code >> 12U));
        put(0x80U | ((code >> 6U) & 0x3FU));
        put(0x80U | (code & 0x3FU));
    } else {
        put(0xF0U | (code >> 18U));
        put(0x80U | ((code >> 12U) & 0x3FU));
        put(0x80U | ((code >> 6U) & 0x3FU));
        put(0x80U | (code & 0x3FU));
    }
}

/// Returns the code point at a place of text that `append` and checked input made, and moves the place behind it.
inline std::uint32_t next(std::string_view text, std::size_t& at) {
    const auto byte = [&](std::size_t place) { return static_cast<std::uint32_t>(static_cast<unsigned char>(text[place])); };
    const std::uint32_t first = byte(at++);
    if (first < 0x80U) return first;
    const int rest = first < 0xE0U ? 1 : first < 0xF0U ? 2 : 3;
    std::uint32_t code = first & (0x3FU >> rest);
    for (int i = 0; i < rest && at < text.size(); ++i) code = (code << 6U) | (byte(at++) & 0x3FU);
    return code;
}

}  // namespace trkx::utf8
