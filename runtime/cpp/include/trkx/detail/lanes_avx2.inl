// Sixteen points at once with AVX2, two registers. Included by kernels.hpp; lanes_any.inl says what each function does.

/// Returns a bit for each of 16 sums, two times 8, that compares with a limit.
template <int Relation>
TRKX_KERNEL inline std::uint32_t compared(__m256 first, __m256 second, float limit) {
    const __m256 all = _mm256_set1_ps(limit);
    const auto low = static_cast<std::uint32_t>(_mm256_movemask_ps(_mm256_cmp_ps(first, all, Relation)));
    const auto high = static_cast<std::uint32_t>(_mm256_movemask_ps(_mm256_cmp_ps(second, all, Relation)));
    return low | high << 8;
}

TRKX_KERNEL inline std::uint32_t boxes_near_box(const float* low, const float* high, const float* bottom, const float* top,
                                                std::size_t axes, float reach2) {
    __m256 sums[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()};
    for (std::size_t axis = 0; axis < axes; ++axis) {
        const __m256 over = _mm256_set1_ps(top[axis]), under = _mm256_set1_ps(bottom[axis]);
        for (std::size_t half = 0; half < 2; ++half) {
            const __m256 above = _mm256_sub_ps(_mm256_load_ps(low + axis * lanes + 8 * half), over);
            const __m256 below = _mm256_sub_ps(under, _mm256_load_ps(high + axis * lanes + 8 * half));
            const __m256 gap = _mm256_max_ps(_mm256_max_ps(above, below), _mm256_setzero_ps());
            sums[half] = _mm256_fmadd_ps(gap, gap, sums[half]);
        }
    }
    return compared<_CMP_LE_OQ>(sums[0], sums[1], reach2);
}

TRKX_KERNEL inline std::uint32_t points_near_box(const float* points, const float* bottom, const float* top, std::size_t axes,
                                                 float reach2) {
    __m256 sums[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()};
    for (std::size_t axis = 0; axis < axes; ++axis) {
        const __m256 over = _mm256_set1_ps(top[axis]), under = _mm256_set1_ps(bottom[axis]);
        for (std::size_t half = 0; half < 2; ++half) {
            const __m256 point = _mm256_load_ps(points + axis * lanes + 8 * half);
            const __m256 gap = _mm256_sub_ps(point, _mm256_min_ps(_mm256_max_ps(point, under), over));
            sums[half] = _mm256_fmadd_ps(gap, gap, sums[half]);
        }
    }
    return compared<_CMP_LE_OQ>(sums[0], sums[1], reach2);
}

template <std::size_t Axes>
TRKX_KERNEL inline std::uint32_t points_near_point(const float* block, const float* query, std::size_t axes, const Reach& reach,
                                                   std::uint32_t& sure) {
    __m256 first = _mm256_setzero_ps(), second = _mm256_setzero_ps();
    const std::size_t end = Axes ? Axes : axes;
    for (std::size_t axis = 0; axis < end; ++axis) {
        const __m256 own = _mm256_set1_ps(query[axis * lanes]);
        const __m256 low = _mm256_sub_ps(_mm256_load_ps(block + axis * lanes), own);
        const __m256 high = _mm256_sub_ps(_mm256_load_ps(block + axis * lanes + 8), own);
        first = _mm256_fmadd_ps(low, low, first);
        second = _mm256_fmadd_ps(high, high, second);
    }
    sure = compared<_CMP_LT_OQ>(first, second, reach.inner);
    return compared<_CMP_LE_OQ>(first, second, reach.outer);
}

/// For each mask of 8 lanes, the lanes whose bit is set, in order, a byte each.
inline constexpr std::array<std::uint64_t, 256> packing = [] {
    std::array<std::uint64_t, 256> table{};
    for (std::size_t mask = 0; mask < table.size(); ++mask) {
        std::size_t place = 0;
        for (std::uint64_t lane = 0; lane < 8; ++lane)
            if (mask >> lane & 1U) table[mask] |= lane << (8 * place++);
    }
    return table;
}();

TRKX_KERNEL inline std::size_t keep_lanes(const std::int32_t* values, std::uint32_t bits, std::int32_t* out) {
    const auto low_order = _mm256_cvtepu8_epi32(_mm_cvtsi64_si128(static_cast<long long>(packing[bits & 255U])));
    const auto high_order = _mm256_cvtepu8_epi32(_mm_cvtsi64_si128(static_cast<long long>(packing[bits >> 8])));
    const auto low = _mm256_load_si256(reinterpret_cast<const __m256i*>(values));
    const auto high = _mm256_load_si256(reinterpret_cast<const __m256i*>(values + 8));
    const auto size = static_cast<std::size_t>(std::popcount(bits & 255U));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), _mm256_permutevar8x32_epi32(low, low_order));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + size), _mm256_permutevar8x32_epi32(high, high_order));
    return size + static_cast<std::size_t>(std::popcount(bits >> 8));
}

TRKX_KERNEL inline void write_keys(std::int32_t own, const std::int32_t* others, std::size_t size, int half, std::int64_t* keys) {
    const __m128i all = _mm_set1_epi32(own), bits = _mm_cvtsi32_si128(half);
    for (std::size_t n = 0; n < size; n += 4) {
        const __m128i other = _mm_loadu_si128(reinterpret_cast<const __m128i*>(others + n));
        const __m256i low = _mm256_cvtepi32_epi64(_mm_min_epi32(all, other)),
                      high = _mm256_cvtepi32_epi64(_mm_max_epi32(all, other));
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(keys + n), _mm256_or_si256(_mm256_sll_epi64(low, bits), high));
    }
}
