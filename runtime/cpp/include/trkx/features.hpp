// Network input from an event: known features, scaled; warnings where they contradict the bundle; features of edges.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include <trkx/edges.hpp>
#include <trkx/event.hpp>
#include <trkx/spec.hpp>

namespace trkx {

/// Returns the network input x, [N, F] row-major: each feature computed in double, divided by its scale, then rounded.
/// Every event has x, y, z, r, phi, cos_phi, sin_phi, theta, eta, distance (of position in mm; eta takes r as at least 1
/// micrometre); others are the event's columns. Throws InputError: a feature that the event lacks; the message lists those it
/// has.
std::vector<float> node_features(const Event& event, const Spec& spec);

/// Returns one sentence for each feature of x [N, F] whose values contradict the range seen in training: more than 5 % of the
/// hits outside [low, high] widened by a tenth at both ends, or (of 200 hits or more) the 99.9 % quantile of |x| below 0.7 of the
/// largest trained value. Either way the unit, the scale or the detector is probably another one.
std::vector<std::string> range_problems(std::span<const float> x, const Spec& spec);

/// Returns the warning of `range_problems` for an event, "" if there is nothing to say.
std::string range_warning(const Event& event, std::span<const float> x, const Spec& spec);

/// Returns what a graph network reads of each edge, [E, A] row-major, A = spec.edge_features.size(), 0 for most: dr, dphi, dz,
/// deta, phislope, rphislope of values with the network's own scales (phi / pi), slopes clamped to ±100. x: scaled node features,
/// [N, F] row-major. F: their number of columns. Throws SpecError: an unknown edge feature, or one that needs a node feature
/// which the pipeline has not. Source: acorn `handle_edge_features`.
std::vector<float> edge_features(const Spec& spec, std::span<const float> x, std::size_t F, const Edges& edges);

}  // namespace trkx
