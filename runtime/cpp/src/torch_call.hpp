// What the two engines of libtorch share: arrays in, arrays out, around one call for each network.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <vector>

#include <trkx/engine.hpp>

namespace trkx {

/// A network: takes contiguous tensors on the CPU, float32 but for edge_index; may be called by any number of threads at once.
using TorchCall = std::function<at::Tensor(std::vector<at::Tensor>&&)>;

/// A network and the file that it came from, for messages.
struct TorchNetwork {
    TorchCall call;
    std::string where;
};

/// Engine over such networks.
class TorchEngine final : public Engine {
public:
    /// threads: of torch's operators.
    TorchEngine(std::map<std::string, TorchNetwork> networks, const Spec& spec, int threads);

    std::vector<float> embed(std::span<const float> x, std::size_t n, std::size_t F) const override;
    std::vector<float> filter(std::span<const float> x, std::size_t n, std::size_t F, const Edges& edges) const override;
    std::vector<float> gnn(std::span<const float> x, std::size_t n, std::size_t F, const Edges& edges,
                           std::span<const float> edge_attr, std::size_t A) const override;

private:
    std::vector<float> run(const std::string& stage, const Given& given, std::size_t rows, std::size_t columns) const;

    std::map<std::string, TorchNetwork> networks_;
    Columns columns_;
    int threads_;
};

/// Returns what torch says of an error, first and last line: a trace of the network's code stands between them, one of torch's own
/// functions, which is left out, after them.
std::string reason_of(const char* text);

/// Throws SpecError unless threads is at least 1.
void require_threads(int threads);

}  // namespace trkx
