// What makes two hits neighbours: the exact test, what may be decided without it, and what every search refuses.
#pragma once

#ifdef __FAST_MATH__
#error "trkx: compile without -ffast-math (-Ofast); neighbours are decided by IEEE sums in a given order."
#endif

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include <trkx/detail/words.hpp>
#include <trkx/error.hpp>

namespace trkx::detail {

inline constexpr std::size_t max_dim = 32;
inline constexpr double max_size = 1e15;  // of coordinates and radius: squared distances in 32 dimensions stay finite in float32
inline constexpr double slack = 1e-5;  // of the radius: float32 squared distances in 32 dimensions are good to 35 roundings, 2e-6
inline constexpr double smallest_reach = 1e-15;  // its square is a normal float32

/// Returns a value that the compiler has to round to float64 here: it can't make a fused multiply-add of a product and a sum.
inline double rounded(double value) {
#if defined(__GNUC__) && defined(__x86_64__)
    asm("" : "+x"(value));
    return value;
#elif defined(__GNUC__) && defined(__aarch64__)
    asm("" : "+w"(value));
    return value;
#else
    volatile double kept = value;
    return kept;
#endif
}

/// Returns the sum that decides, of two points of `dim` coordinates: float64, over axes in turn, each product rounded.
inline double squared_distance(const float* first, const float* second, std::size_t dim) {
    double total = 0.0;
    for (std::size_t axis = 0; axis < dim; ++axis) {
        const double delta = static_cast<double>(first[axis]) - static_cast<double>(second[axis]);
        total += rounded(delta * delta);
    }
    return total;
}

/// Squared distances that decide. outer: nothing beyond is a pair. inner: everything nearer is one; below 0 if that can't be said
/// of any. radius: decides between them, against `squared_distance`.
struct Reach {
    float outer = 0.0F, inner = 0.0F;
    double radius = 0.0;

    static Reach of(double radius) {
        const double outer = std::max(radius * (1.0 + slack), smallest_reach), inner = 2.0 * radius - outer;
        return {static_cast<float>(outer * outer), static_cast<float>(inner * std::abs(inner)), radius * radius};
    }
};

/// Throws SpecError or InputError for settings, or a shape of points, that make no sense. Returns the number of points.
inline std::size_t require_sense(std::span<const float> points, std::size_t dim, double radius,
                                 std::optional<std::int64_t> k_max) {
    if (!(radius > 0.0 && std::isfinite(radius)))
        throw SpecError("neighbour search: radius must be a finite number above 0, found " + exact_number(radius) + ".");
    if (k_max && *k_max < 1) throw SpecError("neighbour search: k_max must be at least 1, found " + std::to_string(*k_max) + ".");
    const std::size_t count = dim ? points.size() / dim : 0;
    if (dim < 1 || dim > max_dim)
        throw InputError("neighbour search: points must be [N, D] with D from 1 to 32, found [" + std::to_string(count) + ", "
                         + std::to_string(dim) + "].");
    if (count * dim != points.size())
        throw InputError("neighbour search: points must be [N, " + std::to_string(dim) + "], found "
                         + std::to_string(points.size()) + " numbers, not a multiple of " + std::to_string(dim) + ".");
    if (count >= std::size_t{1} << 31)
        throw InputError("neighbour search: at most 2,147,483,647 points, found " + with_commas(count)
                         + "; search parts of them.");
    return count;
}

/// Throws InputError for points that are not finite, or a coordinate or radius too large for squared distances in float32.
inline void require_size(std::span<const float> points, std::size_t dim, double radius) {
    std::uint32_t largest = 0;  // magnitudes of floats are ordered as their bits are, NaN above all
    for (const float value : points) largest = std::max(largest, std::bit_cast<std::uint32_t>(value) & 0x7fffffffU);
    constexpr std::uint32_t infinite = 0x7f800000U;
    if (largest >= infinite) {
        std::size_t bad = 0, first = 0, last = 0;
        for (std::size_t place = points.size(); place-- > 0;) {
            if ((std::bit_cast<std::uint32_t>(points[place]) & infinite) != infinite) continue;
            first = place / dim;
            if (bad == 0 || first != last) ++bad;
            last = first;
        }
        throw InputError("neighbour search: " + std::to_string(bad) + " of " + std::to_string(points.size() / dim)
                         + " points are NaN or infinite, the first is point " + std::to_string(first)
                         + "; look at the features of that hit and at the embedding's weights.");
    }
    const double found = std::max(static_cast<double>(std::bit_cast<float>(largest)), radius);
    if (found > max_size)
        throw InputError(
            "neighbour search: coordinates and radius must be at most 1e+15, "
            "beyond which squared distances overflow float32; found "
            + short_number(found) + "; look at the embedding's weights, or scale embedding and radius down.");
}

/// Returns the error for more than `limit` pairs among `count` points.
inline InputError too_many_pairs(std::size_t count, double radius, std::int64_t limit) {
    return InputError("neighbour search: more than " + with_commas(limit) + " pairs within " + short_number(radius) + " among "
                      + with_commas(count) + " hits (the limit, " + one_decimal(static_cast<double>(limit) * 16.0 / 1e9)
                      + " GB of pairs); are the hits nearly identical, or is the radius too large for this embedding? "
                        "Lower spec.graph.radius, or pass a larger max_pairs.");
}

}  // namespace trkx::detail
