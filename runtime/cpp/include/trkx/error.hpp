// Errors of trkx: one base class, and one subclass for each kind of thing that can be wrong.
#pragma once

#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace trkx {

/// Base of every error that trkx throws on purpose. The message says what was expected, what was found, in which file
/// or tensor, and what to do next.
class Error : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

/// Event data that can't be read or makes no sense (missing column, NaN, duplicate hit id, truncated file).
class InputError : public Error {
public:
    using Error::Error;
};

/// A bundle that is incomplete, edited, corrupted, or of a newer schema.
class BundleError : public Error {
public:
    using Error::Error;
};

/// A specification with an unknown key, a missing key or a value out of range.
class SpecError : public Error {
public:
    using Error::Error;
};

/// Returns the message for an unknown name: "unknown KIND 'NAME'. Known: …, …." with the known ones sorted.
std::string unknown_name(std::string_view kind, std::string_view name, std::vector<std::string> known);

/// Returns items with a separator between them.
std::string joined(const std::vector<std::string>& items, std::string_view separator = ", ");

}  // namespace trkx
