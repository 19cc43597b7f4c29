// A JSON object read key by key: unknown and missing keys are refused by name. Private to the library.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <trkx/json.hpp>

namespace trkx {

using Names = std::vector<std::string>;

/// Throws SpecError if a value is out of range.
inline void require_that(bool condition, const std::string& message) {
    if (!condition) throw SpecError(message);
}

/// Throws SpecError: what was expected at a place, and what is there.
[[noreturn]] inline void refuse(const std::string& where, const std::string& expected, const json::Value& found) {
    throw SpecError(where + ": expected " + expected + ", found " + json::shown(found) + ".");
}

inline std::int64_t integer_of(const json::Value& value, const std::string& where) {
    const json::Number* number = value.number();
    if (number == nullptr || !number->whole) refuse(where, "an integer", value);
    return *number->whole;
}

inline double real_of(const json::Value& value, const std::string& where) {
    const json::Number* number = value.number();
    if (number == nullptr || !std::isfinite(number->value)) refuse(where, "a finite number", value);
    return number->value;
}

inline const std::string& text_of(const json::Value& value, const std::string& where) {
    if (value.string() == nullptr) refuse(where, "text", value);
    return *value.string();
}

inline const std::string& choice_of(const json::Value& value, const std::string& where, const Names& known) {
    const std::string* text = value.string();
    const bool there = text != nullptr && std::find(known.begin(), known.end(), *text) != known.end();
    if (!there) throw SpecError(where + ": " + unknown_name("value", text ? *text : json::shown(value), known));
    return *text;
}

/// An object with known keys.
class Table {
public:
    /// Throws SpecError: no object, an unknown key, or a required key that is missing.
    Table(const json::Value& value, std::string where, const Names& required, const Names& optional)
        : value_(value), where_(std::move(where)) {
        Names known = required;
        known.insert(known.end(), optional.begin(), optional.end());
        if (value.object() == nullptr) refuse(where_, "a table of " + joined(known), value);
        for (const auto& [key, unused] : *value.object()) {
            if (std::find(known.begin(), known.end(), key) == known.end()) {
                throw SpecError(where_ + ": " + unknown_name("key", key, known));
            }
        }
        Names missing;
        for (const std::string& key : required) {
            if (value.find(key) == nullptr) missing.push_back(key);
        }
        const std::string keys = missing.size() > 1 ? "keys " : "key ";
        require_that(missing.empty(), where_ + ": missing " + keys + joined(missing) + "; add what is missing.");
    }

    const std::string& where() const { return where_; }
    std::string where(const std::string& key) const { return where_ + "." + key; }

    /// The value of a key, nullptr if it is absent.
    const json::Value* find(const std::string& key) const { return value_.find(key); }
    /// The value of a key that is required.
    const json::Value& at(const std::string& key) const { return *value_.find(key); }
    /// The value of a key, nullptr if it is absent or null.
    const json::Value* given(const std::string& key) const {
        const json::Value* value = find(key);
        return value != nullptr && !value->is_null() ? value : nullptr;
    }

    std::int64_t integer(const std::string& key, std::int64_t otherwise = 0) const {
        const json::Value* value = find(key);
        return value ? integer_of(*value, where(key)) : otherwise;
    }
    double real(const std::string& key, double otherwise = 0.0) const {
        const json::Value* value = find(key);
        return value ? real_of(*value, where(key)) : otherwise;
    }
    std::optional<double> optional_real(const std::string& key) const {
        const json::Value* value = given(key);
        return value ? std::optional(real_of(*value, where(key))) : std::nullopt;
    }
    bool truth(const std::string& key, bool otherwise) const {
        const json::Value* value = find(key);
        if (value && !value->boolean()) refuse(where(key), "true or false", *value);
        return value ? *value->boolean() : otherwise;
    }
    std::string text(const std::string& key, const std::string& otherwise = "") const {
        const json::Value* value = find(key);
        return value ? text_of(*value, where(key)) : otherwise;
    }
    std::string choice(const std::string& key, const Names& known, const std::string& otherwise) const {
        const json::Value* value = find(key);
        return value ? choice_of(*value, where(key), known) : otherwise;
    }
    const json::Array& list(const json::Value& value, const std::string& key) const {
        if (value.array() == nullptr) refuse(where(key), "a list", value);
        return *value.array();
    }
    /// A list of known words.
    Names choices(const std::string& key, const Names& known, const Names& otherwise) const {
        const json::Value* value = find(key);
        if (value == nullptr) return otherwise;
        Names found;
        for (const json::Value& item : list(*value, key)) {
            found.push_back(choice_of(item, where(key) + "[" + std::to_string(found.size()) + "]", known));
        }
        return found;
    }

private:
    const json::Value& value_;
    std::string where_;
};

}  // namespace trkx
