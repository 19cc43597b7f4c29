// JSON as Python's json.dumps writes it: what the SHA-256 in bundle.json is made of (src/trkx/identity.py).
#include <algorithm>
#include <cmath>

#include <trkx/json.hpp>

#include "decimal.hpp"
#include "utf8.hpp"

namespace trkx::json {
namespace {

void append_unit(std::string& out, std::uint32_t unit) {
    static constexpr std::string_view digits = "0123456789abcdef";
    out += "\\u";
    for (unsigned shift = 12;; shift -= 4) {
        out += digits[(unit >> shift) & 0xFU];
        if (shift == 0) return;
    }
}

void append_text(std::string& out, std::string_view text) {
    static constexpr std::string_view means = "\"\\\b\f\n\r\t", names = "\"\\bfnrt";
    out += '"';
    for (std::size_t at = 0; at < text.size();) {
        const std::uint32_t code = utf8::next(text, at);
        const std::size_t named = code < 0x80U ? means.find(static_cast<char>(code)) : std::string_view::npos;
        if (named != std::string_view::npos) {
            out += '\\';
            out += names[named];
        } else if (code >= 0x20U && code < 0x7FU) {
            out += static_cast<char>(code);
        } else if (code < 0x10000U) {
            append_unit(out, code);
        } else {
            append_unit(out, 0xD800U + ((code - 0x10000U) >> 10U));
            append_unit(out, 0xDC00U + ((code - 0x10000U) & 0x3FFU));
        }
    }
    out += '"';
}

void append_value(std::string& out, const Value& value, std::string_view without) {
    if (value.is_null()) {
        out += "null";
    } else if (const bool* truth = value.boolean()) {
        out += *truth ? "true" : "false";
    } else if (const Number* number = value.number()) {
        out += number->is_integer() ? number->digits : repr(number->value);
    } else if (const std::string* text = value.string()) {
        append_text(out, *text);
    } else if (const Array* items = value.array()) {
        out += '[';
        for (const Value& item : *items) {
            if (&item != items->data()) out += ',';
            append_value(out, item, "");
        }
        out += ']';
    } else if (const Object* members = value.object()) {
        std::vector<const Member*> sorted;
        for (const Member& member : *members) {
            if (without.empty() || member.first != without) sorted.push_back(&member);
        }
        // Bytes of UTF-8 sort as code points do, which is how Python sorts.
        std::sort(sorted.begin(), sorted.end(), [](const Member* a, const Member* b) { return a->first < b->first; });
        out += '{';
        for (std::size_t i = 0; i < sorted.size(); ++i) {
            if (i > 0) out += ',';
            append_text(out, sorted[i]->first);
            out += ':';
            append_value(out, sorted[i]->second, "");
        }
        out += '}';
    }
}

}  // namespace

std::string repr(double value) {
    const std::optional<Decimal> decimal = decimal_of(value);
    if (!decimal) return std::isnan(value) ? "nan" : value < 0.0 ? "-inf" : "inf";
    if (decimal->exponent < -4 || decimal->exponent >= 16) return decimal->sign() + decimal->scientific(2);
    const std::string fixed = decimal->fixed();
    return decimal->sign() + fixed + (fixed.find('.') == std::string::npos ? ".0" : "");
}

std::string canonical(const Value& value, std::string_view without) {
    std::string out;
    append_value(out, value, without);
    return out;
}

std::string shown(const Value& value) {
    if (value.object()) return "a table of " + std::to_string(value.object()->size()) + " keys";
    if (value.array()) return "a list of " + std::to_string(value.array()->size()) + " values";
    const std::string text = canonical(value);
    return text.size() > 60 ? text.substr(0, 57) + "…" : text;
}

}  // namespace trkx::json
