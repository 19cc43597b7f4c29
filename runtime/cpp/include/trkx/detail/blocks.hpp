// Points in blocks of sixteen, the leaves of a k-d tree, and the boxes around them: what the neighbour search walks over.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include <trkx/detail/buffer.hpp>
#include <trkx/detail/tree_order.hpp>

namespace trkx::detail {

inline constexpr std::size_t unroll = 4;  // the number of axes is rounded up to a multiple of it, and filled with zeros

/// Points in the order of a k-d tree, sixteen to a block.
/// ids: [blocks * 16], the original index of each point, 0 where there is none. points: [N, D], in that order.
/// lanes: [blocks, axes, 16]; lanes without a point are infinite. boxes: [blocks, 2, axes], lower and upper bounds of each block.
/// bounds: [groups, 2, axes, 16], the bounds of sixteen boxes at a time, first those of the blocks, then those of 16 blocks each,
/// of 256, … levels: at which group each of these begins; the last has one.
struct Blocks {
    std::size_t count = 0, dim = 0, axes = 0, size = 0;
    Buffer<std::int32_t> ids;
    Buffer<float> points, lanes, boxes, bounds;
    std::vector<std::size_t> levels;

    /// Puts points, [N, D] row-major, finite, N at least 1, in blocks.
    static Blocks of(std::span<const float> points, std::size_t dim) {
        Blocks blocks;
        blocks.dim = dim;
        blocks.count = points.size() / dim;
        blocks.axes = (dim + unroll - 1) / unroll * unroll;
        blocks.size = (blocks.count + detail::lanes - 1) / detail::lanes;
        blocks.fill(points, TreeOrder(dim).order(points));
        blocks.bound();
        return blocks;
    }

private:
    void fill(std::span<const float> given, const std::vector<std::int32_t>& order) {
        constexpr float infinity = std::numeric_limits<float>::infinity();
        constexpr std::size_t width = detail::lanes;
        ids = Buffer<std::int32_t>(size * width);
        points = Buffer<float>(count * dim);
        lanes = Buffer<float>(size * axes * width);
        boxes = Buffer<float>(size * 2 * axes);
        std::fill_n(boxes.data(), boxes.size(), 0.0F);
        for (std::size_t block = 0; block < size; ++block) {
            const std::size_t first = block * width, filled = std::min(width, count - first);
            float* const lane = lanes.data() + block * axes * width;
            float* const low = boxes.data() + block * 2 * axes;
            float* const high = low + axes;
            if (axes > dim) std::fill_n(lane + dim * width, (axes - dim) * width, 0.0F);
            if (filled < width) std::fill_n(lane, axes * width, infinity);
            for (std::size_t n = 0; n < filled; ++n) {
                const float* const point = given.data() + static_cast<std::size_t>(order[first + n]) * dim;
                std::copy_n(point, dim, points.data() + (first + n) * dim);
                for (std::size_t d = 0; d < dim; ++d) {
                    lane[d * width + n] = point[d];
                    low[d] = n ? std::min(low[d], point[d]) : point[d];
                    high[d] = n ? std::max(high[d], point[d]) : point[d];
                }
                for (std::size_t d = dim; d < axes; ++d) lane[d * width + n] = 0.0F;
                ids[first + n] = order[first + n];
            }
            for (std::size_t n = filled; n < width; ++n) ids[first + n] = 0;
        }
    }

    void bound() {
        constexpr float infinity = std::numeric_limits<float>::infinity();
        constexpr std::size_t width = detail::lanes;
        std::size_t groups = 0;
        for (std::size_t boxed = size;;) {
            levels.push_back(groups);
            boxed = (boxed + width - 1) / width;
            groups += boxed;
            if (boxed == 1) break;
        }
        bounds = Buffer<float>(groups * 2 * axes * width);
        for (std::size_t level = 0; level < levels.size(); ++level) {
            const std::size_t end = level + 1 < levels.size() ? levels[level + 1] : groups;
            const std::size_t boxed = level ? levels[level] - levels[level - 1] : size;
            for (std::size_t group = levels[level]; group < end; ++group) {
                float* const out = bounds.data() + group * 2 * axes * width;
                for (std::size_t side = 0; side < 2 * axes; ++side) {
                    for (std::size_t n = 0; n < width; ++n) {
                        const std::size_t box = (group - levels[level]) * width + n;
                        out[side * width + n] = box >= boxed ? (side < axes ? infinity : -infinity)
                                                : level      ? outermost(levels[level - 1] + box, side)
                                                             : boxes[box * 2 * axes + side];
                    }
                }
            }
        }
    }

    /// Returns the lowest of 16 lower bounds, or the highest of 16 upper ones.
    float outermost(std::size_t group, std::size_t side) const {
        const float* const values = bounds.data() + (group * 2 * axes + side) * detail::lanes;
        return side < axes ? *std::min_element(values, values + detail::lanes)
                           : *std::max_element(values, values + detail::lanes);
    }
};

}  // namespace trkx::detail
