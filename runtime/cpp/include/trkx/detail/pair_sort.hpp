// Pairs in order: a radix sort of keys, once by the top bits, then bucket by bucket inside the cache.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include <trkx/detail/buffer.hpp>
#include <trkx/detail/pages.hpp>
#include <trkx/edges.hpp>

namespace trkx::detail {

inline constexpr int top_bits = 9;           // 512 buckets: a bucket of 10 million keys fits a core's cache twice
inline constexpr int digit_bits = 8;         // bits a pass, at most: 256 places that are written to in turn
inline constexpr std::size_t few_keys = 64;  // that are sorted by comparing them

/// Returns the bits that hold an index below `count`: a pair's key is low << bits | high.
inline int key_bits(std::size_t count) { return count < 2 ? 1 : std::max(1, static_cast<int>(std::bit_width(count - 1))); }

/// Writes keys, sorted by their lowest passes * digit bits, to source and target [size] as (key >> half, its lowest half bits).
/// keys, scratch: [size] each; both are overwritten, and keys may be the same memory as source or target.
inline void sort_bucket(std::int64_t* keys, std::int64_t* scratch, std::size_t size, int passes, int digit, int half,
                        std::int64_t* source, std::int64_t* target) {
    std::array<std::array<std::size_t, std::size_t{1} << digit_bits>, 8> places;
    const std::int64_t mask = (std::int64_t{1} << digit) - 1;
    const bool few = size <= few_keys;
    if (few) std::sort(keys, keys + size);
    const std::size_t passes_done = few ? 0 : static_cast<std::size_t>(passes);
    for (std::size_t pass = 0; pass < passes_done; ++pass) places[pass].fill(0);
    for (std::size_t n = 0; n < size && !few; ++n)
        for (std::size_t pass = 0; pass < passes_done; ++pass)
            ++places[pass][static_cast<std::size_t>((keys[n] >> (static_cast<int>(pass) * digit)) & mask)];
    for (std::size_t pass = 0; pass < passes_done; ++pass) {
        auto& place = places[pass];
        std::size_t total = 0;
        for (std::size_t& value : place) {
            const std::size_t count = value;
            value = total;
            total += count;
        }
        const int shift = static_cast<int>(pass) * digit;
        for (std::size_t n = 0; n < size; ++n) scratch[place[static_cast<std::size_t>((keys[n] >> shift) & mask)]++] = keys[n];
        std::swap(keys, scratch);
    }
    const std::int64_t lower = (std::int64_t{1} << half) - 1;
    for (std::size_t n = 0; n < size; ++n) {
        const std::int64_t key = keys[n];  // before either is written, which may be where it stands
        source[n] = key >> half;
        target[n] = key & lower;
    }
}

/// Keys of pairs as they are found, in pieces, and how many of them go to each bucket.
class FoundKeys {
public:
    /// half: bits of an index.
    explicit FoundKeys(int half) : half_(half), shift_(std::max(0, 2 * half - top_bits)) {}

    /// Returns room for `size` keys and 16 more; `keep` says how many stay.
    std::int64_t* room(std::size_t size) {
        if (pieces_.empty() || pieces_.back().size() - filled_.back() < size + 16) {
            const std::size_t wanted = std::clamp(static_cast<std::size_t>(size_), smallest_piece, largest_piece);
            pieces_.emplace_back(std::max(size + 16, wanted));
            filled_.push_back(0);
            prefer_large_pages(pieces_.back().data(), pieces_.back().size() * sizeof(std::int64_t));
        }
        return pieces_.back().data() + filled_.back();
    }
    void keep(std::size_t size) {
        const std::int64_t* const keys = pieces_.back().data() + filled_.back();
        for (std::size_t n = 0; n < size; ++n) ++counts_[static_cast<std::size_t>(keys[n] >> shift_)];
        filled_.back() += size;
        size_ += static_cast<std::int64_t>(size);
    }

    /// Returns the pairs sorted by (low, high); all keys are different. Gives their memory back.
    Edges sorted() {
        Edges pairs;
        const auto size = static_cast<std::size_t>(size_);
        resize_large(pairs.data, 2 * size);
        std::array<std::size_t, (std::size_t{1} << top_bits) + 1> starts{};
        for (std::size_t bucket = 0; bucket < counts_.size(); ++bucket) starts[bucket + 1] = starts[bucket] + counts_[bucket];
        std::int64_t* const merged = pairs.target();  // the keys wait where the pairs will be
        auto places = starts;
        for (std::size_t n = 0; n < pieces_.size(); ++n) {
            for (const std::int64_t key : std::span(pieces_[n].data(), filled_[n]))
                merged[places[static_cast<std::size_t>(key >> shift_)]++] = key;
            pieces_[n] = {};
        }
        const int passes = (shift_ + digit_bits - 1) / digit_bits, digit = passes ? (shift_ + passes - 1) / passes : 0;
        Buffer<std::int64_t> scratch(*std::max_element(counts_.begin(), counts_.end()));
        for (std::size_t bucket = 0; bucket < counts_.size(); ++bucket) {
            const std::size_t start = starts[bucket];
            if (counts_[bucket])
                sort_bucket(merged + start, scratch.data(), counts_[bucket], passes, digit, half_, pairs.source() + start,
                            merged + start);
        }
        return pairs;
    }

private:
    static constexpr std::size_t smallest_piece = 1 << 14, largest_piece = 1 << 20;  // keys: 128 KB to 8 MB

    int half_, shift_;
    std::vector<Buffer<std::int64_t>> pieces_;
    std::vector<std::size_t> filled_;
    std::array<std::size_t, std::size_t{1} << top_bits> counts_{};
    std::int64_t size_ = 0;
};

}  // namespace trkx::detail
