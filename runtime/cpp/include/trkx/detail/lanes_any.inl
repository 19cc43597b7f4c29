// Sixteen points at once on any processor, four registers of four (the vectors of GCC and Clang). Included by kernels.hpp.

using Four = float __attribute__((vector_size(16), may_alias));
using FourBits = std::int32_t __attribute__((vector_size(16)));

TRKX_KERNEL inline Four four(const float* values) { return *reinterpret_cast<const Four*>(values); }
TRKX_KERNEL inline Four larger(Four first, Four second) { return first > second ? first : second; }

/// Returns a bit for each of 16 sums: whether it is at most `limit`, or with Strictly below it.
template <bool Strictly>
TRKX_KERNEL inline std::uint32_t under(const Four (&sums)[4], float limit) {
    FourBits bits{};
    FourBits weights{1, 2, 4, 8};
#pragma GCC unroll 4
    for (std::size_t part = 0; part < 4; ++part) {
        const FourBits found = Strictly ? sums[part] < limit : sums[part] <= limit;
        bits |= found & weights;
        weights <<= 4;
    }
    return static_cast<std::uint32_t>(bits[0] | bits[1] | bits[2] | bits[3]);
}

/// Returns which of 16 boxes, low and high [axes, 16], are near a box, bottom and top [axes]: gap * gap <= reach2.
TRKX_KERNEL inline std::uint32_t boxes_near_box(const float* low, const float* high, const float* bottom, const float* top,
                                                std::size_t axes, float reach2) {
    Four sums[4] = {};
    for (std::size_t axis = 0; axis < axes; ++axis) {
#pragma GCC unroll 4
        for (std::size_t part = 0; part < 4; ++part) {
            const std::size_t place = axis * lanes + 4 * part;
            const Four gap = larger(larger(four(low + place) - top[axis], bottom[axis] - four(high + place)), Four{});
            sums[part] += gap * gap;
        }
    }
    return under<false>(sums, reach2);
}

/// Returns which of 16 points [axes, 16] are near a box.
TRKX_KERNEL inline std::uint32_t points_near_box(const float* points, const float* bottom, const float* top, std::size_t axes,
                                                 float reach2) {
    return boxes_near_box(points, points, bottom, top, axes, reach2);
}

/// Returns which of 16 points, block [axes, 16], are within the outer reach of a point, whose coordinates stand 16 apart.
/// Axes: their number, where the compiler knows it, or 0. sure: receives those that are within the inner reach.
template <std::size_t Axes>
TRKX_KERNEL inline std::uint32_t points_near_point(const float* block, const float* query, std::size_t axes, const Reach& reach,
                                                   std::uint32_t& sure) {
    Four sums[4] = {};
    const std::size_t end = Axes ? Axes : axes;
    for (std::size_t axis = 0; axis < end; ++axis) {
#pragma GCC unroll 4
        for (std::size_t part = 0; part < 4; ++part) {
            const Four gap = four(block + axis * lanes + 4 * part) - query[axis * lanes];
            sums[part] += gap * gap;
        }
    }
    const std::uint32_t bits = under<false>(sums, reach.outer);
    sure = bits ? under<true>(sums, reach.inner) : 0U;
    return bits;
}

/// Writes those of values[0, 16) whose bit is set to out[0], out[1] …; returns how many. Up to out[15] anything may be written.
TRKX_KERNEL inline std::size_t keep_lanes(const std::int32_t* values, std::uint32_t bits, std::int32_t* out) {
    std::size_t size = 0;
    for (; bits; bits &= bits - 1) out[size++] = values[std::countr_zero(bits)];
    return size;
}

/// Writes the keys (low << half | high) of the pairs of one id with others [size]. Up to keys[size + 15] anything may be written,
/// and as many of the others be read.
TRKX_KERNEL inline void write_keys(std::int32_t own, const std::int32_t* others, std::size_t size, int half, std::int64_t* keys) {
    for (std::size_t n = 0; n < size; ++n) {
        const std::int64_t low = std::min(own, others[n]), high = std::max(own, others[n]);
        keys[n] = (low << half) | high;
    }
}
