// A small strict JSON reader (RFC 8259), and JSON in the one canonical form that a bundle's SHA-256 is made of.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include <trkx/error.hpp>

namespace trkx::json {

/// Text that is not JSON; the message holds line and column.
class JsonError : public Error {
public:
    using Error::Error;
};

/// Deepest nesting of arrays and objects that is read.
inline constexpr std::size_t max_depth = 256;

class Value;
using Array = std::vector<Value>;
using Member = std::pair<std::string, Value>;
using Object = std::vector<Member>;  ///< In the order of the text; no key stands twice.

/// A number. Integers (no fraction, no exponent in the text) keep their digits, however many.
struct Number {
    double value = 0.0;                 ///< Nearest double; ±inf for integers beyond it.
    std::optional<std::int64_t> whole;  ///< Of integers that fit.
    std::string digits;                 ///< Of integers, as they stand ("-0" is "0"); "" for others.
    bool is_integer() const { return !digits.empty(); }
};

/// A JSON value: null, bool, number, string, array or object.
/// Strings are UTF-8; a lone surrogate (only "\udce9" and the like can give one) is kept in three bytes.
class Value {
public:
    Value() = default;
    explicit Value(bool value) : held_(value) {}
    explicit Value(Number value) : held_(std::move(value)) {}
    explicit Value(std::string value) : held_(std::move(value)) {}
    explicit Value(Array value) : held_(std::move(value)) {}
    explicit Value(Object value) : held_(std::move(value)) {}

    bool is_null() const { return std::holds_alternative<std::monostate>(held_); }
    const bool* boolean() const { return std::get_if<bool>(&held_); }               ///< nullptr if it is something else.
    const Number* number() const { return std::get_if<Number>(&held_); }            ///< nullptr if it is something else.
    const std::string* string() const { return std::get_if<std::string>(&held_); }  ///< nullptr if it is something else.
    const Array* array() const { return std::get_if<Array>(&held_); }               ///< nullptr if it is something else.
    const Object* object() const { return std::get_if<Object>(&held_); }            ///< nullptr if it is something else.

    /// Returns the value of a key, nullptr where this is no object or has no such key.
    const Value* find(std::string_view key) const;

private:
    std::variant<std::monostate, bool, Number, std::string, Array, Object> held_;
};

/// Returns the value that a text holds.
/// Throws JsonError: not JSON, not UTF-8, a byte order mark, a key that stands twice, NaN or a float beyond double, integers of
/// more than 4300 digits, nesting beyond max_depth, anything after the value.
Value parse(std::string_view text);

/// Returns a value as Python's json.dumps(value, sort_keys=True, separators=(",", ":")) writes it, ASCII.
/// without: a key of the outermost object to leave out, "" for none.
std::string canonical(const Value& value, std::string_view without = "");

/// Returns a finite double as Python's repr: shortest digits that read back, exponent form below 1e-4 and from 1e16 on.
std::string repr(double value);

/// Returns a value in a few words for messages, at most about 60 characters.
std::string shown(const Value& value);

}  // namespace trkx::json
