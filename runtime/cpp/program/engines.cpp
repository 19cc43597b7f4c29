#include "engines.hpp"

#include <trkx/precision.hpp>
#ifdef TRKX_WITH_ONNXRUNTIME
#include <trkx/onnx_engine.hpp>
#endif
#ifdef TRKX_WITH_TORCH
#include <trkx/torch_engine.hpp>
#endif

namespace trkx::program {

namespace {

[[maybe_unused]] Error not_there(const std::string& name, const std::string& library, const std::string& option) {
    return Error("engine '" + name + "' is not in this program, which was compiled without " + library + ": configure it with -D"
                 + option + " and build it again.");
}

/// The files of the other engines compute in float32 and have no target to choose.
void require_plain(const Bundle& bundle, const Options& options) {
    for (const auto& [stage, precision] : file_precisions(options.precision, bundle.spec().stages))
        if (precision != "float32")
            throw SpecError("engine '" + options.engine + "' runs in fp32 only; " + options.precision + " is for: onnxruntime.");
    if (!options.target.empty())
        throw SpecError("engine '" + options.engine + "' has no files of other targets; leave --target out.");
}

}  // namespace

std::string default_engine() {
#if defined(TRKX_WITH_ONNXRUNTIME)
    return "onnxruntime";
#elif defined(TRKX_WITH_TORCH)
    return "torchscript";
#else
    return "";
#endif
}

std::unique_ptr<Engine> open_engine(const Bundle& bundle, const Options& options, [[maybe_unused]] std::size_t threads) {
    const std::string& name = options.engine;
    if (name.empty())
        throw Error("this program was compiled without an engine: configure it with -DONNXRUNTIME_ROOT=FOLDER (get-onnxruntime.sh "
                    "makes one) or with -DTRKX_TORCH=ON, and build it again.");
    if (name == "onnxruntime") {
#ifdef TRKX_WITH_ONNXRUNTIME
        return open_onnx_engine(bundle, options.precision, options.target, options.engine_threads);
#else
        throw not_there(name, "ONNX Runtime", "TRKX_ONNXRUNTIME=ON -DONNXRUNTIME_ROOT=FOLDER (get-onnxruntime.sh makes one)");
#endif
    }
    if (name != "torchscript" && name != "aoti")
        throw SpecError(unknown_name("engine", name, {"onnxruntime", "torchscript", "aoti"}));
    require_plain(bundle, options);
#ifdef TRKX_WITH_TORCH
    if (name == "aoti") return open_aoti_engine(bundle, options.engine_threads, static_cast<int>(threads));
    return open_torchscript_engine(bundle, options.engine_threads);
#else
    throw not_there(name, "libtorch", "TRKX_TORCH=ON");
#endif
}

}  // namespace trkx::program
