// SHA-256 (FIPS 180-4), so that the library needs no other.
#pragma once

#include <cstddef>
#include <span>
#include <string>

namespace trkx {

/// Returns the SHA-256 of bytes as 64 lower-case hexadecimal digits.
std::string sha256_hex(std::span<const std::byte> bytes);

}  // namespace trkx
