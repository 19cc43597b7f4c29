// The kernels of the block search for the processor that is there: AVX-512, AVX2 with fused multiply-add, or any.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

#include <trkx/detail/blocks.hpp>
#include <trkx/detail/exact.hpp>

#if defined(__x86_64__) && defined(__GNUC__)
#define TRKX_X86 1
#include <immintrin.h>
#endif

namespace trkx::detail {

inline constexpr std::uint32_t full = (1U << lanes) - 1U;

/// What is looked for, and the blocks near the one that is looked at: near [size], masks [size] (see `near_lanes`), listed
/// (scratch).
struct Search {
    Reach reach;
    std::int32_t* near = nullptr;
    std::uint16_t* masks = nullptr;
    std::int32_t* listed = nullptr;
    std::size_t size = 0;
};

/// The kernels for one kind of processor; kernels.inl says what each does. All give the same pairs: what vector instructions
/// can't decide is decided by `squared_distance`.
struct Kernels {
    std::size_t (*near_blocks)(std::size_t, std::size_t, const Blocks&, float, std::int32_t*);
    void (*near_lanes)(std::size_t, const Blocks&, float, const std::int32_t*, std::size_t, std::uint16_t*);
    std::size_t (*near_one)(const Blocks&, const Search&, std::size_t, std::uint32_t, const std::int32_t*, std::int32_t*);
    void (*write_keys)(std::int32_t, const std::int32_t*, std::size_t, int, std::int64_t*);
};

namespace any {
#define TRKX_KERNEL
#include <trkx/detail/lanes_any.inl>
#include <trkx/detail/kernels.inl>
#undef TRKX_KERNEL
}  // namespace any

#ifdef TRKX_X86
namespace avx2 {
#define TRKX_KERNEL __attribute__((target("avx2,fma,bmi,popcnt")))
#include <trkx/detail/lanes_avx2.inl>
#include <trkx/detail/kernels.inl>
#undef TRKX_KERNEL
}  // namespace avx2

namespace avx512 {
#define TRKX_KERNEL __attribute__((target("avx512f,avx512dq,avx512bw,avx512vl,avx2,fma,bmi,popcnt")))
#include <trkx/detail/lanes_avx512.inl>
#include <trkx/detail/kernels.inl>
#undef TRKX_KERNEL
}  // namespace avx512
#endif

/// Returns the fastest kernels that the processor runs.
inline const Kernels& fastest_kernels() {
#ifdef TRKX_X86
    __builtin_cpu_init();  // as long as constructors of static objects run, nothing else did
    static const Kernels& found =
        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")
            ? avx512::kernels
        : __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi") ? avx2::kernels
                                                                                                           : any::kernels;
    return found;
#else
    return any::kernels;
#endif
}

}  // namespace trkx::detail

#undef TRKX_X86
