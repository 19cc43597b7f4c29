// Points in the order of a k-d tree whose leaves are full blocks of 16 points.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include <trkx/detail/buffer.hpp>

namespace trkx::detail {

inline constexpr std::size_t lanes = 16;         // points in a block
inline constexpr std::size_t sample_size = 64;   // points that decide where a node is cut first
inline constexpr std::size_t subtree = 1 << 14;  // points that are copied next to each other first

/// Finds the order. point: coordinates of a point by its number, [N, D] row-major.
class TreeOrder {
public:
    explicit TreeOrder(std::size_t dim) : dim_(dim) {}

    /// Returns the order of points, [N]: original indices.
    std::vector<std::int32_t> order(std::span<const float> points) {
        const std::size_t count = points.size() / dim_;
        std::vector<std::int32_t> order(count);
        std::iota(order.begin(), order.end(), 0);
        values_ = Buffer<float>(count);
        std::vector<std::pair<std::size_t, std::size_t>> nodes{{0, count}};
        while (!nodes.empty()) {
            const auto [first, last] = nodes.back();
            nodes.pop_back();
            if (last - first <= subtree) {
                sort_subtree(points.data(), order.data() + first, last - first);
                continue;
            }
            const std::size_t middle = first + half_of(last - first);
            if (cut(points.data(), order.data(), first, last, middle)) {
                nodes.emplace_back(first, middle);
                nodes.emplace_back(middle, last);
            }
        }
        return order;
    }

    /// Reorders order[first, last) so that along its widest axis nothing before `place` is above anything from it on.
    /// Returns false, and does nothing, where all points are equal.
    bool cut(const float* points, std::int32_t* order, std::size_t first, std::size_t last, std::size_t place) {
        const auto axis = widest(points, order, first, last);
        if (!axis) return false;
        for (std::size_t n = first; n < last; ++n) values_[n] = points[static_cast<std::size_t>(order[n]) * dim_ + *axis];
        while (last - first > 1) {
            const float trial = pivot(first, last, place);
            std::size_t middle = part<false>(order, first, last, trial);
            if (place < middle) {
                last = middle;
                continue;
            }
            if (place == middle) break;
            first = middle;
            middle = part<true>(order, first, last, trial);
            if (place <= middle) break;
            first = middle;
        }
        return true;
    }

private:
    /// Returns how many of `count` points go before the cut: such that the tree has complete subtrees of 16, 256, … leaves.
    static std::size_t half_of(std::size_t count) {
        const std::size_t leaves = (count + lanes - 1) / lanes;
        std::size_t half = 1;
        while (2 * half < leaves) half *= 2;
        return half * lanes;
    }

    /// Cuts points order[0, count) until each 16 of them are a leaf.
    void sort_subtree(const float* points, std::int32_t* order, std::size_t count) {
        local_.make_room(count * dim_);
        for (std::size_t n = 0; n < count; ++n)
            std::copy_n(points + static_cast<std::size_t>(order[n]) * dim_, dim_, local_.data() + n * dim_);
        place_.resize(count);
        std::iota(place_.begin(), place_.end(), 0);
        std::array<std::pair<std::size_t, std::size_t>, 64> nodes;
        nodes[0] = {0, count};
        for (std::size_t depth = 1; depth > 0;) {
            const auto [first, last] = nodes[--depth];
            if (last - first <= lanes) continue;
            const std::size_t middle = first + half_of(last - first);
            if (!cut(local_.data(), place_.data(), first, last, middle)) continue;
            nodes[depth++] = {first, middle};
            nodes[depth++] = {middle, last};
        }
        for (std::int32_t& place : place_) place = order[place];
        std::copy(place_.begin(), place_.end(), order);
    }

    /// Returns the axis along which points are widest, by a sample if it has any extent; nothing where all are equal.
    std::optional<std::size_t> widest(const float* points, const std::int32_t* order, std::size_t first, std::size_t last) const {
        std::array<float, 32> low, high;
        for (std::size_t step = std::max<std::size_t>(1, (last - first) / sample_size);; step = 1) {
            const float* point = points + static_cast<std::size_t>(order[first]) * dim_;
            std::copy_n(point, dim_, low.begin());
            std::copy_n(point, dim_, high.begin());
            for (std::size_t n = first + step; n < last; n += step) {
                point = points + static_cast<std::size_t>(order[n]) * dim_;
                for (std::size_t d = 0; d < dim_; ++d) {
                    low[d] = std::min(low[d], point[d]);
                    high[d] = std::max(high[d], point[d]);
                }
            }
            std::size_t axis = 0;
            for (std::size_t d = 1; d < dim_; ++d)
                if (high[d] - low[d] > high[axis] - low[axis]) axis = d;
            if (high[axis] > low[axis]) return axis;
            if (step == 1) return std::nullopt;
        }
    }

    /// Returns a value that is near the (place - first)-th smallest of values[first, last): from a sample.
    float pivot(std::size_t first, std::size_t last, std::size_t place) const {
        std::array<float, 2 * sample_size> sample{};
        const std::size_t step = std::max<std::size_t>(1, (last - first) / sample_size);
        std::size_t size = 0;
        for (std::size_t n = first; n < last; n += step) sample[size++] = values_[n];
        const auto chosen = sample.begin() + static_cast<std::ptrdiff_t>(std::min(size - 1, (place - first) / step));
        std::nth_element(sample.begin(), chosen, sample.begin() + static_cast<std::ptrdiff_t>(size));
        return *chosen;
    }

    /// Moves what is below the pivot, or equal to it if so asked, to the front of [first, last) and returns where it ends.
    template <bool Equal>
    std::size_t part(std::int32_t* order, std::size_t first, std::size_t last, float pivot) {
        std::size_t end = first;
        float* const values = values_.data();
        for (std::size_t n = first; n < last; ++n) {  // no branch, which no processor could foresee
            const float value = values[n];
            const std::int32_t index = order[n];
            values[n] = values[end];
            order[n] = order[end];
            values[end] = value;
            order[end] = index;
            end += static_cast<std::size_t>(Equal ? value <= pivot : value < pivot);
        }
        return end;
    }

    std::size_t dim_;
    Buffer<float> values_, local_;
    std::vector<std::int32_t> place_;
};

}  // namespace trkx::detail
