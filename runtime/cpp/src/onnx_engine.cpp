#include <trkx/onnx_engine.hpp>

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <trkx/identity.hpp>
#include <trkx/precision.hpp>

#include "onnx_doors.hpp"

namespace trkx {

namespace {

/// One network: its session, the file it came from, and whether its answer is a column, [E, 1], or a row, [E].
struct Network {
    Ort::Session session;
    std::string where;
    std::size_t output_rank;
};

std::string first_line(const char* text) {
    const std::string whole(text);
    return whole.substr(0, whole.find('\n'));
}

void require_api() {
    const OrtApi* api = OrtGetApiBase()->GetApi(ORT_API_VERSION);
    if (api == nullptr)
        throw Error(std::string("ONNX Runtime ") + OrtGetApiBase()->GetVersionString() + " is older than 1."
                    + std::to_string(ORT_API_VERSION)
                    + ", whose headers this program was compiled with: load a newer library, or compile with its headers.");
    Ort::InitApi(api);
}

class OnnxEngine final : public Engine {
public:
    OnnxEngine(const Bundle& bundle, const std::map<std::string, std::string>& precisions, std::string_view target, int threads)
        : env_(ORT_LOGGING_LEVEL_FATAL, "trkx"),  // what is wrong is said by our errors
          memory_(Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault)),
          columns_(bundle.spec()) {
        Ort::SessionOptions options;
        options.SetIntraOpNumThreads(threads);
        options.SetInterOpNumThreads(1);
        options.SetExecutionMode(ORT_SEQUENTIAL);
        options.SetDeterministicCompute(true);
        options.DisableMemPattern();  // sizes differ from event to event: patterns would be kept for each
        options.AddConfigEntry("session.force_spinning_stop", "1");  // leave the cores to other events
        // Weights that lie beside a file are verified by nobody; of bytes in memory they would be looked for in the current folder.
        options.AddConfigEntry("session.model_external_initializers_file_folder_path", "/dev/null");
        for (const auto& [stage, precision] : precisions) open(bundle, stage, precision, target, options);
    }

    std::vector<float> embed(std::span<const float> x, std::size_t n, std::size_t F) const override {
        return run("embedding", {x, n, F, nullptr, {}, 0}, n, columns_.places);
    }

    std::vector<float> filter(std::span<const float> x, std::size_t n, std::size_t F, const Edges& edges) const override {
        return run("filter", {x, n, F, &edges, {}, 0}, edges.size(), 1);
    }

    std::vector<float> gnn(std::span<const float> x, std::size_t n, std::size_t F, const Edges& edges,
                           std::span<const float> edge_attr, std::size_t A) const override {
        return run("gnn", {x, n, F, &edges, edge_attr, A}, edges.size(), 1);
    }

private:
    void open(const Bundle& bundle, const std::string& stage, const std::string& precision, std::string_view target,
              const Ort::SessionOptions& options) {
        const std::vector<std::byte> data = bundle.read(stage, "onnx", precision, target);
        const std::string where = (bundle.path() / bundle.entry(stage, "onnx", precision, target).path).string();
        try {
            Ort::Session session(env_, data.data(), data.size(), options);
            const std::size_t rank = require_doors(session, where, stage, bundle.spec());
            require_metadata(session, bundle.spec(), where, stage, precision, target);
            networks_.emplace(stage, Network{std::move(session), where, rank});
        } catch (const Ort::Exception& error) {
            const std::string first = first_line(error.what());
            if (error.GetOrtErrorCode() == ORT_NOT_IMPLEMENTED && precision != "float32")
                throw SpecError(where + ": ONNX Runtime does not compute in " + precision + " on this processor (" + first
                                + "). Take float16 or float32.");
            throw BundleError(where + ": stage " + stage + " can't be loaded (" + first
                              + "). Its weights must be inside the file. The bundle may be newer than ONNX Runtime: upgrade it, "
                                "or export the bundle again.");
        }
    }

    static void require_metadata(const Ort::Session& session, const Spec& spec, const std::string& where,
                                 const std::string& stage, const std::string& precision, std::string_view target) {
        const Ort::AllocatorWithDefaultOptions allocator;
        const Ort::ModelMetadata held = session.GetModelMetadata();
        const Metadata look_up = [&](const std::string& key) -> std::optional<std::string> {
            const auto value = held.LookupCustomMetadataMapAllocated(key.c_str(), allocator);
            return value ? std::optional<std::string>(value.get()) : std::nullopt;
        };
        require_same(look_up, spec, where, stage, precision, target);
    }

    /// Runs a network on arrays where they lie, into the answer [rows, columns] that it returns.
    std::vector<float> run(const std::string& stage, const Given& given, std::size_t rows, std::size_t columns) const {
        const auto found = networks_.find(stage);
        if (found == networks_.end())
            throw SpecError("this bundle has no " + stage + "; leave the stage out, or open another bundle.");
        require_fit(stage, given, columns_);
        const Network& network = found->second;
        std::vector<float> out(rows * columns);
        if (rows == 0) return out;
        try {
            const std::vector<Ort::Value> inputs = values(given);
            const std::int64_t shape[] = {static_cast<std::int64_t>(rows), static_cast<std::int64_t>(columns)};
            Ort::Value output = Ort::Value::CreateTensor<float>(memory_, out.data(), out.size(), shape, network.output_rank);
            Ort::RunOptions options;
            if (stage != "filter")  // which keeps the memory of a chunk for the next one
                options.AddConfigEntry("memory.enable_memory_arena_shrinkage", "cpu:0");
            const_cast<Ort::Session&>(network.session)
                .Run(options, input_names.data(), inputs.data(), inputs.size(), &output_name, &output, 1);
        } catch (const Ort::Exception& error) {
            throw BundleError(network.where + ": stage " + stage + " failed on " + std::to_string(given.n) + " hits and "
                              + std::to_string(rows) + " rows (" + first_line(error.what())
                              + "). Is there enough memory? Else export the bundle again.");
        }
        return out;
    }

    /// Arrays as the library's tensors, which see them where they lie; it takes no const, and writes to no input.
    std::vector<Ort::Value> values(const Given& given) const {
        const auto seen = [this]<typename T>(const T* first, std::size_t rows, std::size_t columns) {
            const std::int64_t shape[] = {static_cast<std::int64_t>(rows), static_cast<std::int64_t>(columns)};
            return Ort::Value::CreateTensor<T>(memory_, const_cast<T*>(first), rows * columns, shape, 2);
        };
        std::vector<Ort::Value> made;
        made.push_back(seen(given.x.data(), given.n, given.F));
        if (given.edges) made.push_back(seen(given.edges->data.data(), 2, given.edges->size()));
        if (given.A > 0) made.push_back(seen(given.edge_attr.data(), given.edges->size(), given.A));
        return made;
    }

    Ort::Env env_;
    Ort::MemoryInfo memory_;
    Columns columns_;
    std::map<std::string, Network> networks_;
};

}  // namespace

std::unique_ptr<Engine> open_onnx_engine(const Bundle& bundle, std::string_view precision, std::string_view target, int threads) {
    if (threads < 1) throw SpecError("threads must be at least 1, found " + std::to_string(threads) + ".");
    require_api();
    return std::make_unique<OnnxEngine>(bundle, file_precisions(precision, bundle.spec().stages), target, threads);
}

}  // namespace trkx
