// The pipeline: hits to tracks, one stage after the other, each measured.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <trkx/engine.hpp>
#include <trkx/event.hpp>
#include <trkx/spec.hpp>
#include <trkx/tracks.hpp>

namespace trkx {

/// Edges that the filter sees at once: its memory, for each event in flight, is so many times its hidden width, however many
/// candidates there are. Fewer than in Python, where one event at a time has all cores: 1 << 17 are no faster on one.
inline constexpr std::size_t filter_chunk = std::size_t{1} << 15;

/// Receives a sentence about an event that looks strange; called from the threads that run events.
using Warn = std::function<void(const std::string&)>;

/// A bundle that is ready to run; `run` may be called from any number of threads at once.
class Pipeline {
public:
    /// engine: of the same bundle. chunk: edges that the filter sees at once, unless it looks at all of them.
    /// Throws SpecError: a bundle without embedding or GNN, which makes no tracks.
    Pipeline(Spec spec, std::shared_ptr<const Engine> engine, std::size_t chunk = filter_chunk);

    /// Returns the tracks of one event.
    /// warn: told where features contradict the ranges seen in training; the default says nothing.
    /// Throws InputError: hits that make no sense, a feature that the event lacks, too many candidates. BundleError: a network
    /// that answers with NaN or infinity, and what the engine throws.
    Tracks run(const Event& event, const Warn& warn = {}) const;

    const Spec& spec() const { return spec_; }

private:
    Edges kept_edges(const Event& event, std::span<const float> x, std::span<const float> points, Tracks& tracks) const;
    std::vector<double> judged(const std::vector<float>& x, std::size_t n, const Edges& edges) const;

    Spec spec_;
    std::shared_ptr<const Engine> engine_;
    std::size_t chunk_;
};

}  // namespace trkx
