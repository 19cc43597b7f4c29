// The kernel of edge contraction: a heap of positive edges, and for each cluster a list of its edges.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <span>
#include <utility>
#include <vector>

namespace trkx::detail {

/// An edge between two hits, or clusters, with its weight in whole units.
struct Weighted {
    std::int64_t low, high, weight;
};

/// Living edges by the pair of clusters that they join: open addressing, half full at most. Entries of pairs that are no more
/// stay.
class PairTable {
public:
    /// Empties the table, with room for at least `count` pairs.
    void clear(std::size_t count) {
        std::size_t size = 16;
        while (size < 4 * count) size *= 2;
        table_.assign(size, {-1, -1});
        used_ = 0;
    }
    bool crowded() const { return 2 * used_ > table_.size(); }

    /// Returns where the edge of a pair stands: -1 if there is none yet, then to be set at once.
    std::int64_t& edge(std::int64_t key) {
        const std::size_t mask = table_.size() - 1;
        std::size_t at = (static_cast<std::uint64_t>(key) * 0x9e3779b97f4a7c15U >> 20) & mask;
        while (table_[at].key != -1 && table_[at].key != key) at = (at + 1) & mask;
        used_ += table_[at].key == -1;
        table_[at].key = key;
        return table_[at].edge;
    }

private:
    struct Entry {
        std::int64_t key, edge;
    };
    std::vector<Entry> table_;
    std::size_t used_ = 0;
};

/// Contracts one component after the other, in the same memory. An edge stands in the lists of both its ends, as entry 2 * edge +
/// side; the cluster with the shorter list moves its edges into the other one, which makes E log(E) steps. Entries of edges that
/// are no more drop out when their list is moved.
class Contraction {
public:
    /// Returns the lowest hit of the cluster of each hit, [num_hits], until the next call.
    /// edges: ends in [0, num_hits), no pair twice and no self pair. Of pairs of clusters with the same weight the one with the
    /// first edge between them is joined first: where two edges become one, the one that comes first stays.
    const std::vector<std::int64_t>& contract(std::span<const Weighted> edges, std::size_t num_hits) {
        begin(edges, num_hits);
        while (positive_ > 0) {  // what is left in the heap then is from before
            std::pop_heap(heap_.begin(), heap_.end(), later);
            const Candidate best = heap_.back();
            heap_.pop_back();
            if (alive_[best.edge] && weight_[best.edge] == best.weight) join(best.edge);  // else from before the weight changed
        }
        for (std::size_t hit = 0; hit < num_hits; ++hit) {
            std::size_t root = hit;
            while (parent_[root] != root) {
                parent_[root] = parent_[parent_[root]];
                root = parent_[root];
            }
            label_[hit] = static_cast<std::int64_t>(lowest_[root]);
        }
        return label_;
    }

private:
    struct Candidate {
        std::int64_t weight;
        std::size_t edge;
    };
    /// The order of the heap, whose top is the largest weight, and of equal ones the first edge.
    static bool later(const Candidate& a, const Candidate& b) {
        return a.weight < b.weight || (a.weight == b.weight && a.edge > b.edge);
    }

    void begin(std::span<const Weighted> edges, std::size_t num_hits) {
        num_hits_ = static_cast<std::int64_t>(num_hits);
        ends_.resize(2 * edges.size());
        following_.resize(2 * edges.size());
        weight_.resize(edges.size());
        alive_.assign(edges.size(), 1);
        head_.assign(num_hits, none);
        length_.assign(num_hits, 0);
        parent_.resize(num_hits);
        lowest_.resize(num_hits);
        label_.resize(num_hits);
        std::iota(parent_.begin(), parent_.end(), std::size_t{0});
        std::iota(lowest_.begin(), lowest_.end(), std::size_t{0});
        heap_.clear();
        for (std::size_t edge = 0; edge < edges.size(); ++edge) {
            ends_[2 * edge] = static_cast<std::size_t>(edges[edge].low);
            ends_[2 * edge + 1] = static_cast<std::size_t>(edges[edge].high);
            weight_[edge] = edges[edge].weight;
            for (const std::size_t entry : {2 * edge, 2 * edge + 1}) list(entry);
            if (weight_[edge] > 0) heap_.push_back({weight_[edge], edge});
        }
        std::make_heap(heap_.begin(), heap_.end(), later);
        positive_ = heap_.size();
        fill_table();
    }

    /// Puts an entry into the list of its end.
    void list(std::size_t entry) {
        const std::size_t end = ends_[entry];
        following_[entry] = head_[end];
        head_[end] = entry;
        ++length_[end];
    }

    std::int64_t key(std::size_t a, std::size_t b) const {
        return static_cast<std::int64_t>(std::min(a, b)) * num_hits_ + static_cast<std::int64_t>(std::max(a, b));
    }

    void fill_table() {
        table_.clear(static_cast<std::size_t>(std::count(alive_.begin(), alive_.end(), 1)));
        for (std::size_t edge = 0; edge < alive_.size(); ++edge)
            if (alive_[edge]) table_.edge(key(ends_[2 * edge], ends_[2 * edge + 1])) = static_cast<std::int64_t>(edge);
    }

    /// Makes one cluster of the two that an edge joins.
    void join(std::size_t joining) {
        std::size_t keep = ends_[2 * joining], gone = ends_[2 * joining + 1];
        if (length_[keep] < length_[gone]) std::swap(keep, gone);
        alive_[joining] = 0;
        --positive_;
        parent_[gone] = keep;
        lowest_[keep] = std::min(lowest_[keep], lowest_[gone]);
        for (std::size_t entry = head_[gone], after; entry != none; entry = after) {
            after = following_[entry];
            const std::size_t edge = entry / 2;
            if (!alive_[edge]) continue;
            std::int64_t& other = table_.edge(key(keep, ends_[entry ^ 1]));
            if (other >= 0) {  // that cluster has an edge already: weights add up
                const auto twin = static_cast<std::size_t>(other);
                const std::size_t first = std::min(edge, twin);
                alive_[std::max(edge, twin)] = 0;
                const std::int64_t total = weight_[edge] + weight_[twin];
                positive_ += static_cast<std::size_t>(total > 0);
                positive_ -= static_cast<std::size_t>(weight_[edge] > 0) + static_cast<std::size_t>(weight_[twin] > 0);
                weight_[first] = total;
                if (total > 0) {
                    heap_.push_back({total, first});
                    std::push_heap(heap_.begin(), heap_.end(), later);
                }
                if (first == twin) continue;
            }
            other = static_cast<std::int64_t>(edge);
            ends_[entry] = keep;
            list(entry);
            if (table_.crowded()) fill_table();  // full of pairs that are no more
        }
    }

    static constexpr std::size_t none = static_cast<std::size_t>(-1);
    std::int64_t num_hits_ = 0;
    std::vector<std::size_t> ends_, following_, head_, length_, parent_, lowest_;
    std::vector<std::int64_t> weight_, label_;
    std::vector<char> alive_;
    std::vector<Candidate> heap_;
    std::size_t positive_ = 0;  // living edges above 0, each of which has its entry in the heap
    PairTable table_;
};

}  // namespace trkx::detail
