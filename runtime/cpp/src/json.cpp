// The reader: recursive descent over the grammar of RFC 8259, one function a rule.
#include <trkx/json.hpp>

#include <algorithm>
#include <charconv>
#include <limits>

#include "utf8.hpp"

namespace trkx::json {
namespace {

constexpr std::size_t most_digits = 4300;  // of an integer: Python reads no more

bool is_digit(char c) { return c >= '0' && c <= '9'; }

class Reader {
public:
    explicit Reader(std::string_view text) : text_(text) {}

    Value whole() {
        if (text_.starts_with("\xEF\xBB\xBF")) fail("expected JSON, found a byte order mark");
        Value value = read(0);
        skip_space();
        if (at_ != text_.size()) fail("expected the end, found more");
        return value;
    }

private:
    [[noreturn]] void fail(const std::string& problem) const {
        const std::string_view before = text_.substr(0, at_);
        const auto line = std::count(before.begin(), before.end(), '\n') + 1;
        const std::size_t column = before.size() - (before.rfind('\n') + 1) + 1;  // npos + 1 is 0
        throw JsonError(problem + " (line " + std::to_string(line) + ", column " + std::to_string(column) + ")");
    }

    bool more() const { return at_ < text_.size(); }
    char here() const { return more() ? text_[at_] : '\0'; }

    void skip_space() {
        while (more() && (here() == ' ' || here() == '\n' || here() == '\t' || here() == '\r')) ++at_;
    }

    bool take(char c) {
        const bool there = more() && here() == c;
        at_ += there ? 1 : 0;
        return there;
    }

    Value read(std::size_t depth) {
        skip_space();
        if (!more()) fail("expected a value, found the end: truncated");
        if (depth > max_depth) fail("expected at most " + std::to_string(max_depth) + " levels, found more");
        switch (here()) {
            case '{': return object(depth);
            case '[': return array(depth);
            case '"': return Value(string());
            case 't': return word("true", Value(true));
            case 'f': return word("false", Value(false));
            case 'n': return word("null", Value());
            default: return Value(number());
        }
    }

    Value word(std::string_view name, Value value) {
        if (text_.substr(at_, name.size()) != name) fail("expected a value, found something else");
        at_ += name.size();
        return value;
    }

    Value object(std::size_t depth) {
        Object members;
        ++at_;
        skip_space();
        if (take('}')) return Value(std::move(members));
        do {
            skip_space();
            if (here() != '"') fail("expected a key in quotes, found something else");
            std::string key = string();
            skip_space();
            if (!take(':')) fail("expected ':' after a key, found something else");
            members.emplace_back(std::move(key), read(depth + 1));
            skip_space();
        } while (take(','));
        if (!take('}')) fail("expected ',' or '}', found something else");
        std::vector<std::string_view> keys;
        for (const Member& member : members) keys.push_back(member.first);
        std::sort(keys.begin(), keys.end());
        const auto twice = std::adjacent_find(keys.begin(), keys.end());
        if (twice != keys.end())
            fail("expected each key once, found '" + std::string(*twice) + "' twice in the object that ends here");
        return Value(std::move(members));
    }

    Value array(std::size_t depth) {
        Array items;
        ++at_;
        skip_space();
        if (take(']')) return Value(std::move(items));
        do {
            items.push_back(read(depth + 1));
            skip_space();
        } while (take(','));
        if (!take(']')) fail("expected ',' or ']', found something else");
        return Value(std::move(items));
    }

    std::string string() {
        std::string value;
        ++at_;
        while (true) {
            if (!more()) fail("expected '\"', found the end: truncated");
            const unsigned char c = static_cast<unsigned char>(here());
            if (c == '"') {
                ++at_;
                return value;
            }
            if (c < 0x20) fail("expected text, found a control character");
            if (c == '\\') {
                escape(value);
            } else if (c < 0x80) {
                value += here();
                ++at_;
            } else {
                const std::size_t length = utf8::length_at(text_, at_);
                if (length == 0) fail("expected UTF-8, found other bytes");
                value += text_.substr(at_, length);
                at_ += length;
            }
        }
    }

    void escape(std::string& value) {
        static constexpr std::string_view names = "\"\\/bfnrt", means = "\"\\/\b\f\n\r\t";
        ++at_;
        const char name = here();
        if (more() && names.find(name) != std::string_view::npos) {
            value += means[names.find(name)];
            ++at_;
        } else if (name == 'u') {
            std::uint32_t code = unit();
            const std::size_t after = at_;
            if (utf8::is_high(code) && text_.substr(at_, 2) == "\\u") {
                ++at_;
                const std::uint32_t second = unit();
                if (utf8::is_low(second)) {
                    code = 0x10000U + ((code - 0xD800U) << 10U) + (second - 0xDC00U);
                } else {
                    at_ = after;  // a lone surrogate, and another character
                }
            }
            utf8::append(value, code);
        } else {
            fail("expected an escape such as \\n or \\u00e9, found another");
        }
    }

    std::uint32_t unit() {  // at 'u'
        ++at_;
        std::uint32_t code = 0;
        const char* first = text_.data() + std::min(at_, text_.size());
        const char* last = text_.data() + std::min(at_ + 4, text_.size());
        const auto [end, error] = std::from_chars(first, last, code, 16);
        if (error != std::errc() || end != first + 4) fail("expected four hexadecimal digits, found something else");
        at_ += 4;
        return code;
    }

    std::size_t digits() {
        const std::size_t first = at_;
        while (more() && is_digit(here())) ++at_;
        return at_ - first;
    }

    Number number() {
        const std::size_t first = at_;
        take('-');
        const std::size_t start = at_, before = digits();
        if (before == 0) fail("expected a value, found something else");
        if (before > 1 && text_[start] == '0') fail("expected a number, found one with leading zeros");
        bool integer = true;
        if (take('.')) {
            integer = false;
            if (digits() == 0) fail("expected digits after '.', found something else");
        }
        if (here() == 'e' || here() == 'E') {
            integer = false;
            ++at_;
            if (here() == '+' || here() == '-') ++at_;
            if (digits() == 0) fail("expected digits of an exponent, found something else");
        }
        if (integer && before > most_digits) fail("expected an integer of at most 4300 digits, found more");
        return value_of(text_.substr(first, at_ - first), integer);
    }

    Number value_of(std::string_view text, bool integer) const {
        Number number;
        const char* last = text.data() + text.size();
        const auto error = std::from_chars(text.data(), last, number.value).ec;
        if (error == std::errc::result_out_of_range) number.value = beyond(text);
        if (integer) {
            number.digits = text == "-0" ? "0" : std::string(text);
            std::int64_t whole = 0;
            if (std::from_chars(text.data(), last, whole).ec == std::errc()) number.whole = whole;
        } else if (number.value > std::numeric_limits<double>::max() || number.value < std::numeric_limits<double>::lowest()) {
            fail("expected a finite number, found " + std::string(text.substr(0, 40)));
        }
        return number;
    }

    /// Returns ±inf or ±0: what a number that no double holds is near to.
    static double beyond(std::string_view text) {
        const bool negative = text.starts_with('-');
        const std::size_t exponent_at = std::min(text.find_first_of("eE"), text.size());
        const std::string_view mantissa = text.substr(negative ? 1 : 0, exponent_at - (negative ? 1 : 0));
        const auto point = static_cast<std::int64_t>(std::min(mantissa.find('.'), mantissa.size()));
        const auto digit = static_cast<std::int64_t>(std::min(mantissa.find_first_of("123456789"), mantissa.size()));
        std::int64_t exponent = 0;
        if (exponent_at < text.size()) {
            std::string_view written = text.substr(exponent_at + 1);
            if (written.starts_with('+')) written.remove_prefix(1);
            const auto read = std::from_chars(written.data(), written.data() + written.size(), exponent).ec;
            if (read != std::errc()) exponent = (written.starts_with('-') ? -1 : 1) * (std::int64_t{1} << 62);
        }
        const bool large = exponent + (point - digit) > 0;
        const double size = large ? std::numeric_limits<double>::infinity() : 0.0;
        return negative ? -size : size;
    }

    std::string_view text_;
    std::size_t at_ = 0;
};

}  // namespace

const Value* Value::find(std::string_view key) const {
    if (const Object* members = object()) {
        for (const Member& member : *members) {
            if (member.first == key) return &member.second;
        }
    }
    return nullptr;
}

Value parse(std::string_view text) { return Reader(text).whole(); }

}  // namespace trkx::json
