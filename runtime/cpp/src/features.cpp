// Network input from an event (runtime/features.py).
#include <trkx/features.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>

namespace trkx {
namespace {

constexpr double smallest_r = 1e-3;  // mm, keeps eta finite on the beam axis
constexpr double margin = 0.1;       // of the trained range's width, at both ends
constexpr double far_fraction = 0.05, small_fraction = 0.7;
constexpr std::size_t small_hits = 200;

struct Place {
    double x, y, z;
    double r() const { return std::hypot(x, y); }
    double phi() const { return std::atan2(y, x); }
};

using Formula = double (*)(const Place&);
struct Known {
    const char* name;
    Formula formula;
};

constexpr std::array<Known, 10> from_position = {{
    {"x", [](const Place& p) { return p.x; }},
    {"y", [](const Place& p) { return p.y; }},
    {"z", [](const Place& p) { return p.z; }},
    {"r", [](const Place& p) { return p.r(); }},
    {"phi", [](const Place& p) { return p.phi(); }},
    {"cos_phi", [](const Place& p) { return std::cos(p.phi()); }},
    {"sin_phi", [](const Place& p) { return std::sin(p.phi()); }},
    {"theta", [](const Place& p) { return std::atan2(p.r(), p.z); }},
    {"eta", [](const Place& p) { return std::asinh(p.z / std::max(p.r(), smallest_r)); }},
    {"distance", [](const Place& p) { return std::hypot(p.r(), p.z); }},
}};

/// Features that stay the same when positions are given in another unit.
bool is_scale_free(const std::string& name) {
    constexpr std::array<const char*, 5> names = {"phi", "cos_phi", "sin_phi", "theta", "eta"};
    return std::find(names.begin(), names.end(), name) != names.end();
}

[[noreturn]] void missing(const Event& event, const std::string& name) {
    std::vector<std::string> has;
    for (const Known& known : from_position) has.emplace_back(known.name);
    for (const auto& [column, unused] : event.columns) has.push_back(column);
    throw InputError(
        event.where() + ": the bundle needs the feature '" + name + "', which this event does not have; " +
        unknown_name("feature", name, has) +
        " Read the event from files with that column (TrackML: the cells file), or use a bundle that needs positions only.");
}

/// Returns the q-quantile of values, linear between the two nearest, in numpy's order of operations. Reorders the values.
double quantile(std::vector<double>& values, double q) {
    const double at = q * static_cast<double>(values.size() - 1), whole = std::floor(at), part = at - whole;
    const auto low = values.begin() + static_cast<std::ptrdiff_t>(whole);
    std::nth_element(values.begin(), low, values.end());
    const double a = *low, b = low + 1 == values.end() ? a : *std::min_element(low + 1, values.end());
    return part >= 0.5 ? b - (b - a) * (1.0 - part) : a + (b - a) * part;
}

std::string general(const char* format, double value) {
    std::array<char, 48> text{};
    std::snprintf(text.data(), text.size(), format, value);
    return text.data();
}

std::string range_problem(const Feature& feature, const std::vector<double>& values) {
    const double low = *feature.low, high = *feature.high, room = margin * (high - low);
    const auto outside = std::count_if(values.begin(), values.end(), [&](double v) { return v < low - room || v > high + room; });
    const double far = static_cast<double>(outside) / static_cast<double>(values.size());
    std::vector<double> sizes(values.size());
    std::transform(values.begin(), values.end(), sizes.begin(), [](double v) { return std::abs(v); });
    bool small = quantile(sizes, 0.999) < small_fraction * std::max(std::abs(low), std::abs(high));
    small = small && values.size() >= small_hits && !is_scale_free(feature.name);
    if (far <= far_fraction && !small) return "";
    const auto [least, most] = std::minmax_element(values.begin(), values.end());
    return "feature '" + feature.name + "' (value / " + general("%g", feature.scale) + ") runs from " + general("%.4g", *least) +
           " to " + general("%.4g", *most) + " in the event, but the bundle was trained on " + general("%.4g", low) + " to " +
           general("%.4g", high);
}

}  // namespace

std::vector<float> node_features(const Event& event, const Spec& spec) {
    const std::size_t count = spec.features.size();
    std::vector<float> x(event.size() * count);
    for (std::size_t column = 0; column < count; ++column) {
        const Feature& feature = spec.features[column];
        const auto known =
            std::find_if(from_position.begin(), from_position.end(), [&](const Known& k) { return feature.name == k.name; });
        const auto held = event.columns.find(feature.name);
        if (known == from_position.end() && held == event.columns.end()) missing(event, feature.name);
        for (std::size_t hit = 0; hit < event.size(); ++hit) {
            const float* p = event.position.data() + 3 * hit;
            const double raw = known == from_position.end() ? held->second[hit] : known->formula({p[0], p[1], p[2]});
            x[hit * count + column] = static_cast<float>(raw / feature.scale);
        }
    }
    return x;
}

std::vector<std::string> range_problems(std::span<const float> x, const Spec& spec) {
    const std::size_t count = spec.features.size(), hits = count > 0 ? x.size() / count : 0;
    std::vector<std::string> found;
    for (std::size_t column = 0; column < count; ++column) {
        const Feature& feature = spec.features[column];
        if (!feature.low || !feature.high || hits == 0 || *feature.high == *feature.low) continue;
        std::vector<double> values(hits);
        for (std::size_t hit = 0; hit < hits; ++hit) values[hit] = static_cast<double>(x[hit * count + column]);
        std::string problem = range_problem(feature, values);
        if (!problem.empty()) found.push_back(std::move(problem));
    }
    return found;
}

std::string range_warning(const Event& event, std::span<const float> x, const Spec& spec) {
    const std::vector<std::string> problems = range_problems(x, spec);
    if (problems.empty()) return "";
    return event.where() + ": " + joined(problems, "; ") +
           ". Are the units mm and radians, and is this the detector that the bundle was trained for, whole? If not, tracks will "
           "be wrong.";
}

}  // namespace trkx
