// Kernels of the block search: which points are near which, sixteen at a time, each decided exactly where it is close.
// Included once for each kind of processor, inside its namespace, after its lane functions; TRKX_KERNEL marks functions for it.

/// Writes to `near` those blocks from `start` on whose box is near that of `block`, in ascending order; returns how many.
TRKX_KERNEL inline std::size_t near_blocks(std::size_t block, std::size_t start, const Blocks& blocks, float outer,
                                           std::int32_t* near) {
    constexpr std::size_t deepest = 16;  // levels of groups of 16: more than any memory holds
    const std::size_t side = blocks.axes * lanes, top = blocks.levels.size() - 1;
    const float* const box = blocks.boxes.data() + block * 2 * blocks.axes;
    std::size_t nodes[deepest];
    std::uint32_t masks[deepest];
    std::size_t size = 0, level = top, node = 0;
    bool entered = true;
    while (true) {
        if (entered) {  // which of the node's 16 children are near?
            const float* const bounds = blocks.bounds.data() + (blocks.levels[level] + node) * 2 * side;
            std::uint32_t mask = boxes_near_box(bounds, bounds + side, box, box + blocks.axes, blocks.axes, outer);
            const std::size_t before = start >> (4 * level), first = node * lanes;
            if (before > first) mask &= before - first < lanes ? full << (before - first) : 0U;
            nodes[level] = node;
            masks[level] = mask & full;
            entered = false;
        }
        if (masks[level] == 0) {
            if (level == top) return size;
            ++level;
            continue;
        }
        const std::size_t child = nodes[level] * lanes + static_cast<std::size_t>(std::countr_zero(masks[level]));
        masks[level] &= masks[level] - 1;
        if (level == 0) {
            near[size++] = static_cast<std::int32_t>(child);
        } else {
            --level;
            node = child;
            entered = true;
        }
    }
}

/// Writes to masks [size] which of the block's points are near the box of each of the blocks near[0, size).
TRKX_KERNEL inline void near_lanes(std::size_t block, const Blocks& blocks, float outer, const std::int32_t* near,
                                   std::size_t size, std::uint16_t* masks) {
    const float* const own = blocks.lanes.data() + block * blocks.axes * lanes;
    for (std::size_t n = 0; n < size; ++n) {
        const float* const box = blocks.boxes.data() + static_cast<std::size_t>(near[n]) * 2 * blocks.axes;
        masks[n] = static_cast<std::uint16_t>(points_near_box(own, box, box + blocks.axes, blocks.axes, outer));
    }
}

/// As near_one, for a number of axes that the compiler knows, or 0.
template <std::size_t Axes>
TRKX_KERNEL std::size_t near_one_of(const Blocks& blocks, const Search& search, std::size_t i, std::uint32_t allowed,
                                    const std::int32_t* listed, std::size_t width, const std::int32_t* ids, std::int32_t* out) {
    const std::size_t axes = Axes ? Axes : blocks.axes, block = i / lanes, stride = axes * lanes;
    const float* const query = blocks.lanes.data() + block * stride + i % lanes;
    const float* const all = blocks.lanes.data();
    std::size_t found = 0;
    for (std::size_t n = 0; n < width; ++n) {
        const std::size_t other = static_cast<std::size_t>(listed[n]);
        std::uint32_t sure = 0, bits = points_near_point<Axes>(all + other * stride, query, axes, search.reach, sure);
        bits &= other == block ? allowed : full;
        for (std::uint32_t close = bits & ~sure; close; close &= close - 1) {
            const std::size_t lane = static_cast<std::size_t>(std::countr_zero(close));
            const float* const points = blocks.points.data();
            if (squared_distance(points + i * blocks.dim, points + (other * lanes + lane) * blocks.dim, blocks.dim)
                > search.reach.radius)
                bits &= ~(1U << lane);
        }
        found += keep_lanes(ids + other * lanes, bits, out + found);
    }
    return found;
}

/// Writes to `out` the ids of the points of blocks near[0, size) that are neighbours of point i, in their order; returns how
/// many. masks: for each block, which points of i's block are near its box. allowed: which lanes of its own block may count. ids:
/// what to write of each point. listed: scratch, as long as near. out: room for all points of these blocks, and 16 more.
TRKX_KERNEL inline std::size_t near_one(const Blocks& blocks, const Search& search, std::size_t i, std::uint32_t allowed,
                                        const std::int32_t* ids, std::int32_t* out) {
    const std::size_t lane = i % lanes;
    std::size_t width = 0;
    for (std::size_t n = 0; n < search.size; ++n) {  // no branch, which no processor could foresee
        search.listed[width] = search.near[n];
        width += (static_cast<std::size_t>(search.masks[n]) >> lane) & 1U;
    }
    switch (blocks.axes) {
        case 4: return near_one_of<4>(blocks, search, i, allowed, search.listed, width, ids, out);
        case 8: return near_one_of<8>(blocks, search, i, allowed, search.listed, width, ids, out);
        case 12: return near_one_of<12>(blocks, search, i, allowed, search.listed, width, ids, out);
        default: return near_one_of<0>(blocks, search, i, allowed, search.listed, width, ids, out);
    }
}

inline constexpr Kernels kernels{near_blocks, near_lanes, near_one, write_keys};
