#include <trkx/torch_engine.hpp>

#include <torch/csrc/jit/runtime/graph_executor.h>
#include <torch/csrc/jit/serialization/import.h>

#include <istream>
#include <memory>
#include <optional>
#include <streambuf>
#include <string>
#include <utility>

#include <trkx/identity.hpp>

#include "torch_call.hpp"

namespace trkx {

namespace {

/// Bytes in memory as a stream that can be read and sought in, without a copy of them.
class Bytes final : public std::streambuf {
public:
    explicit Bytes(std::vector<std::byte>& bytes) {
        char* first = reinterpret_cast<char*>(bytes.data());
        setg(first, first, first + bytes.size());
    }

private:
    pos_type seekoff(off_type offset, std::ios_base::seekdir way, std::ios_base::openmode) override {
        const off_type from = way == std::ios_base::beg ? 0 : way == std::ios_base::cur ? gptr() - eback() : egptr() - eback();
        if (from + offset < 0 || from + offset > egptr() - eback()) return pos_type(off_type(-1));
        setg(eback(), eback() + from + offset, egptr());
        return pos_type(from + offset);
    }
    pos_type seekpos(pos_type place, std::ios_base::openmode mode) override {
        return seekoff(off_type(place), std::ios_base::beg, mode);
    }
};

TorchNetwork opened(const Bundle& bundle, const std::string& stage) {
    std::vector<std::byte> data = bundle.read(stage, "torchscript");
    const std::string where = (bundle.path() / bundle.entry(stage, "torchscript").path).string();
    try {
        Bytes buffer(data);
        std::istream stream(&buffer);
        torch::jit::ExtraFilesMap said;  // what the file says of itself: libtorch fills in those that are there
        for (const char* name : {"spec", "stage", "precision", "target"}) said[std::string(metadata_prefix) + name] = "";
        auto held = std::make_shared<torch::jit::Module>(torch::jit::load(stream, at::kCPU, said));
        const auto value = [&said](const std::string& key) {
            const auto found = said.find(key);
            return found == said.end() || found->second.empty() ? std::nullopt : std::optional<std::string>(found->second);
        };
        require_same(value, bundle.spec(), where, stage, "float32", "libtorch");
        held->eval();
        const auto call = [held](std::vector<at::Tensor>&& inputs) {
            const torch::jit::GraphOptimizerEnabledGuard off(
                false);  // of this thread; else graphs are compiled anew for sizes not seen yet
            return held->forward(std::vector<c10::IValue>(inputs.begin(), inputs.end())).toTensor();
        };
        return {call, where};
    } catch (const Error&) {
        throw;
    } catch (const std::bad_alloc&) {
        throw;
    } catch (const std::exception& error) {
        throw BundleError(where + ": stage " + stage + " can't be loaded (" + reason_of(error.what())
                          + "). The bundle may be newer than libtorch: upgrade it, or export the bundle again.");
    }
}

}  // namespace

std::unique_ptr<Engine> open_torchscript_engine(const Bundle& bundle, int threads) {
    require_threads(threads);
    std::map<std::string, TorchNetwork> networks;
    for (const std::string& stage : bundle.spec().stages) networks.emplace(stage, opened(bundle, stage));
    return std::make_unique<TorchEngine>(std::move(networks), bundle.spec(), threads);
}

}  // namespace trkx
