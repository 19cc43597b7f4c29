// Answers questions about graphs: a command a line on standard input, an answer a line on standard output. Arrays are raw files.
//
//   neighbours POINTS DIM RADIUS K_MAX MAX_PAIRS KERNELS OUT             -> ok TRUNCATED
//   stream POINTS DIM RADIUS K_MAX MAX_PAIRS KERNELS BLOCK_PAIRS OUT     -> ok TRUNCATED PAIRS SIZE SIZE …   (of each block)
//   components EDGES NUM_HITS OUT                                        -> ok
//   contraction EDGES WEIGHTS NUM_HITS OUT                               -> ok
//   orient EDGES POSITION by_radius|by_index OUT                         -> ok
//   canonical EDGES NUM_HITS OUT                                         -> ok
//   time REPEAT COMMAND …                                                -> ok SECONDS SECONDS …   (of the call alone)
//   kernels                                                              -> ok NAME NAME …   (those that run here)
// POINTS, POSITION: float32; EDGES, OUT: int64; WEIGHTS: float64; K_MAX: a number or "none"; KERNELS: a name or "fastest".
// An error is answered by its class and its message.
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <iostream>
#include <map>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include <trkx/components.hpp>
#include <trkx/edges.hpp>
#include <trkx/neighbours.hpp>

namespace {

using Words = std::vector<std::string>;
using Call = std::function<std::string()>;  // does the work that is timed; returns what is said

std::map<std::string, const trkx::detail::Kernels*> kernels_here() {
    using namespace trkx::detail;
    std::map<std::string, const Kernels*> known{{"fastest", &fastest_kernels()}, {"any", &any::kernels}};
#if defined(__x86_64__) && defined(__GNUC__)
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi"))
        known["avx2"] = &avx2::kernels;
    if (&fastest_kernels() == &avx512::kernels) known["avx512"] = &avx512::kernels;
#endif
    return known;
}

template <class Value>
std::vector<Value> read(const std::string& path) {
    std::ifstream file(path, std::ios::binary | std::ios::ate);
    if (!file) throw std::runtime_error("can't read " + path);
    const auto bytes = static_cast<std::size_t>(file.tellg());
    std::vector<Value> values(bytes / sizeof(Value));
    file.seekg(0);
    file.read(reinterpret_cast<char*>(values.data()), static_cast<std::streamsize>(values.size() * sizeof(Value)));
    return values;
}

void write(const std::string& path, const std::vector<std::int64_t>& values) {
    std::ofstream file(path, std::ios::binary);
    file.write(reinterpret_cast<const char*>(values.data()), static_cast<std::streamsize>(values.size() * sizeof(std::int64_t)));
    if (!file) throw std::runtime_error("can't write " + path);
}

std::size_t number(const std::string& word) { return std::stoull(word); }

Call neighbours(const Words& words, bool streamed) {
    const auto points = read<float>(words.at(1));
    const std::size_t dim = number(words.at(2));
    const double radius = std::strtod(words.at(3).c_str(), nullptr);
    const std::optional<std::int64_t> k_max = words.at(4) == "none" ? std::nullopt : std::optional(std::stoll(words.at(4)));
    const std::int64_t max_pairs = std::stoll(words.at(5));
    const trkx::detail::Kernels& kernels = *kernels_here().at(words.at(6));
    if (!streamed) {
        return [=, &kernels] {
            const trkx::Neighbours found = trkx::detail::radius_graph(points, dim, radius, k_max, max_pairs, kernels);
            if (words.at(7) != "nowhere") write(words.at(7), found.pairs.data);
            return std::to_string(found.truncated);
        };
    }
    return [=, &kernels, block_pairs = number(words.at(7))] {
        std::vector<std::int64_t> all;
        std::string sizes;
        const bool keep = words.at(8) != "nowhere";
        const auto done = trkx::detail::for_each_block(
            points, dim, radius, k_max,
            [&](const trkx::Edges& block) {
                if (!keep) return;
                for (std::size_t n = 0; n < block.size(); ++n) all.insert(all.end(), {block.source()[n], block.target()[n]});
                sizes.append(" ").append(std::to_string(block.size()));
            },
            block_pairs, max_pairs, kernels);
        if (keep) write(words.at(8), all);
        return std::to_string(done.truncated) + " " + std::to_string(done.pairs) + sizes;
    };
}

Call call_of(const Words& words) {
    const std::string& command = words.at(0);
    if (command == "neighbours" || command == "stream") return neighbours(words, command == "stream");
    trkx::Edges edges{read<std::int64_t>(words.at(1))};
    const std::string out = words.back();
    const auto answer = [out](const std::vector<std::int64_t>& values) {
        if (out != "nowhere") write(out, values);
        return std::string();
    };
    if (command == "components")
        return [=, hits = number(words.at(2))] { return answer(trkx::connected_components(edges, hits)); };
    if (command == "contraction") {
        const auto weight = read<double>(words.at(2));
        return [=, hits = number(words.at(3))] { return answer(trkx::edge_contraction(edges, weight, hits)); };
    }
    if (command == "canonical") return [=, hits = number(words.at(2))] { return answer(trkx::canonical(edges, hits).data); };
    if (command == "orient") {
        const auto position = read<float>(words.at(2));
        const auto direction = words.at(3) == "by_radius" ? trkx::Direction::by_radius : trkx::Direction::by_index;
        return [=] {
            trkx::Edges turned = edges;
            trkx::orient(turned, position, direction);
            return answer(turned.data);
        };
    }
    throw std::runtime_error("unknown command " + command);
}

std::string answer(Words words) {
    if (words.at(0) == "kernels") {
        std::string names = "ok";
        for (const auto& [name, kernels] : kernels_here()) names += " " + name;
        return names;
    }
    if (words.at(0) != "time") return "ok " + call_of(words)();
    const std::size_t repeat = number(words.at(1));
    const Call call = call_of({words.begin() + 2, words.end()});
    std::ostringstream seconds("ok", std::ios::ate);
    for (std::size_t n = 0; n < repeat; ++n) {
        const auto began = std::chrono::steady_clock::now();
        call();
        seconds << " " << std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
    }
    return seconds.str();
}

}  // namespace

int main() {
    for (std::string line; std::getline(std::cin, line);) {
        std::istringstream text(line);
        Words words;
        for (std::string word; text >> word;) words.push_back(word);
        try {
            std::cout << answer(words) << std::endl;
        } catch (const trkx::InputError& error) {
            std::cout << "InputError: " << error.what() << std::endl;
        } catch (const trkx::SpecError& error) {
            std::cout << "SpecError: " << error.what() << std::endl;
        } catch (const std::exception& error) {
            std::cout << "exception: " << error.what() << std::endl;
        }
    }
    return 0;
}
