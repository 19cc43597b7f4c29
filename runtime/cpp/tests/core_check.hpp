// Checks of the core's tests: they count what failed and say it in words.
#pragma once

#include <cstdint>
#include <iostream>
#include <random>
#include <string>
#include <string_view>

namespace check {

inline int failures = 0;

inline void that(bool condition, const std::string& what) {
    if (condition) return;
    ++failures;
    std::cerr << "failed: " << what << "\n";
}

template <typename A, typename B>
void equal(const A& found, const B& expected, const std::string& what) {
    if (found == expected) return;
    ++failures;
    std::cerr << "failed: " << what << ": expected " << expected << ", found " << found << "\n";
}

/// Checks that work throws E and that the message holds a text.
template <typename E, typename F>
void refuses(F&& work, std::string_view text, const std::string& what) {
    try {
        work();
        that(false, what + ": was not refused");
    } catch (const E& error) {
        that(std::string_view(error.what()).find(text) != std::string_view::npos,
             what + ": expected '" + std::string(text) + "' in '" + error.what() + "'");
    }
}

/// Returns a text with a few bytes changed, taken out, put in, or with its end cut off.
inline std::string damaged(std::string text, std::mt19937_64& random, std::string_view favourites) {
    const auto below = [&](std::size_t size) { return static_cast<std::size_t>(random() % (size > 0 ? size : 1)); };
    for (std::size_t left = 1 + below(4); left > 0; --left) {
        const std::size_t at = below(text.size());
        const bool any = below(3) == 0;
        const char byte =
            any ? static_cast<char>(static_cast<unsigned char>(random() & 0xFFU)) : favourites[below(favourites.size())];
        switch (below(5)) {
            case 0: text.insert(at, 1, byte); break;
            case 1: text.erase(at, 1 + below(8)); break;
            case 2: text.insert(at, text.substr(below(text.size()), below(24))); break;
            case 3: text.resize(below(8) == 0 ? at : text.size()); break;
            default:
                if (!text.empty()) text[at] = byte;
        }
    }
    return text;
}

inline int result() {
    if (failures > 0) std::cerr << failures << " checks failed\n";
    return failures > 0 ? 1 : 0;
}

}  // namespace check
