// Large pages for large arrays, as far as the system has them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace trkx::detail {

inline constexpr std::size_t large_page = std::size_t{1} << 21;

/// Asks Linux to back memory that was not written yet with large pages, which spares most of the time that first writes take.
/// Only a wish: nothing happens where it can't be had.
inline void prefer_large_pages([[maybe_unused]] void* memory, [[maybe_unused]] std::size_t bytes) {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
    const std::uintptr_t start = (reinterpret_cast<std::uintptr_t>(memory) + large_page - 1) / large_page * large_page;
    const std::uintptr_t end = (reinterpret_cast<std::uintptr_t>(memory) + bytes) / large_page * large_page;
    if (start < end) madvise(reinterpret_cast<void*>(start), end - start, MADV_HUGEPAGE);
#endif
}

/// Makes an empty vector `size` values long, all zero, in large pages.
template <class Value>
void resize_large(std::vector<Value>& values, std::size_t size) {
    values.reserve(size);
    prefer_large_pages(values.data(), size * sizeof(Value));
    values.resize(size);
}

}  // namespace trkx::detail
