// Sixteen points at once with AVX-512, one register. Included by kernels.hpp; lanes_any.inl says what each function does.

// _mm512_max_ps and _mm512_min_ps without a mask make g++ 12 warn of what it does not initialise.
TRKX_KERNEL inline __m512 larger(__m512 first, __m512 second) { return _mm512_maskz_max_ps(0xffff, first, second); }
TRKX_KERNEL inline __m512 smaller(__m512 first, __m512 second) { return _mm512_maskz_min_ps(0xffff, first, second); }

TRKX_KERNEL inline std::uint32_t boxes_near_box(const float* low, const float* high, const float* bottom, const float* top,
                                                std::size_t axes, float reach2) {
    __m512 sum = _mm512_setzero_ps();
    for (std::size_t axis = 0; axis < axes; ++axis) {
        const __m512 above = _mm512_sub_ps(_mm512_load_ps(low + axis * lanes), _mm512_set1_ps(top[axis]));
        const __m512 below = _mm512_sub_ps(_mm512_set1_ps(bottom[axis]), _mm512_load_ps(high + axis * lanes));
        const __m512 gap = larger(larger(above, below), _mm512_setzero_ps());
        sum = _mm512_fmadd_ps(gap, gap, sum);
    }
    return _cvtmask16_u32(_mm512_cmp_ps_mask(sum, _mm512_set1_ps(reach2), _CMP_LE_OQ));
}

TRKX_KERNEL inline std::uint32_t points_near_box(const float* points, const float* bottom, const float* top, std::size_t axes,
                                                 float reach2) {
    __m512 sum = _mm512_setzero_ps();
    for (std::size_t axis = 0; axis < axes; ++axis) {
        const __m512 point = _mm512_load_ps(points + axis * lanes);
        const __m512 nearest = smaller(larger(point, _mm512_set1_ps(bottom[axis])), _mm512_set1_ps(top[axis]));
        const __m512 gap = _mm512_sub_ps(point, nearest);
        sum = _mm512_fmadd_ps(gap, gap, sum);
    }
    return _cvtmask16_u32(_mm512_cmp_ps_mask(sum, _mm512_set1_ps(reach2), _CMP_LE_OQ));
}

template <std::size_t Axes>
TRKX_KERNEL inline std::uint32_t points_near_point(const float* block, const float* query, std::size_t axes, const Reach& reach,
                                                   std::uint32_t& sure) {
    __m512 even = _mm512_setzero_ps(), odd = _mm512_setzero_ps();
    const std::size_t end = Axes ? Axes : axes;
    for (std::size_t axis = 0; axis < end; axis += 2) {  // two sums: each waits for its last addition
        const __m512 first = _mm512_sub_ps(_mm512_load_ps(block + axis * lanes), _mm512_set1_ps(query[axis * lanes]));
        const __m512 second =
            _mm512_sub_ps(_mm512_load_ps(block + (axis + 1) * lanes), _mm512_set1_ps(query[(axis + 1) * lanes]));
        even = _mm512_fmadd_ps(first, first, even);
        odd = _mm512_fmadd_ps(second, second, odd);
    }
    const __m512 sum = _mm512_add_ps(even, odd);
    sure = _cvtmask16_u32(_mm512_cmp_ps_mask(sum, _mm512_set1_ps(reach.inner), _CMP_LT_OQ));
    return _cvtmask16_u32(_mm512_cmp_ps_mask(sum, _mm512_set1_ps(reach.outer), _CMP_LE_OQ));
}

TRKX_KERNEL inline std::size_t keep_lanes(const std::int32_t* values, std::uint32_t bits, std::int32_t* out) {
    _mm512_storeu_si512(out, _mm512_maskz_compress_epi32(_cvtu32_mask16(bits), _mm512_load_si512(values)));
    return static_cast<std::size_t>(std::popcount(bits));
}

TRKX_KERNEL inline void write_keys(std::int32_t own, const std::int32_t* others, std::size_t size, int half, std::int64_t* keys) {
    const __m256i all = _mm256_set1_epi32(own);
    const __m128i bits = _mm_cvtsi32_si128(half);
    for (std::size_t n = 0; n < size; n += 8) {
        const __m256i other = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(others + n));
        const __m512i low = _mm512_maskz_cvtepi32_epi64(0xff, _mm256_min_epi32(all, other));
        const __m512i high = _mm512_maskz_cvtepi32_epi64(0xff, _mm256_max_epi32(all, other));
        _mm512_storeu_si512(keys + n, _mm512_or_si512(_mm512_maskz_sll_epi64(0xff, low, bits), high));
    }
}
