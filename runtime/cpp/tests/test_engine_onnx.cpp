// The engine of ONNX Runtime on the bundle in TRKX_TEST_BUNDLE; precisions too where TRKX_TEST_HALF_BUNDLE names one that has
// them.
#include <trkx/onnx_engine.hpp>

#include "engine_checks.hpp"

int main() {
    const trkx::Bundle bundle = checks::bundle_of("TRKX_TEST_BUNDLE");
    checks::expect_error<trkx::SpecError>([&] { trkx::open_onnx_engine(bundle, "fp17"); }, "fp17", "an unknown precision");
    checks::expect_error<trkx::SpecError>([&] { trkx::open_onnx_engine(bundle, "fp32", "", 0); }, "threads", "no threads");
    checks::expect_error<trkx::BundleError>([&] { trkx::open_onnx_engine(bundle, "fp32", "tensorrt"); }, "tensorrt",
                                            "a target that is not there");
    checks::expect_error<trkx::SpecError>([&] { trkx::open_onnx_engine(bundle, "gnn=fp16+gnn=fp16"); }, "twice", "a stage twice");
    if (const char* half = std::getenv("TRKX_TEST_HALF_BUNDLE")) {
        const trkx::Bundle held = trkx::Bundle::open(half);
        const checks::Sample graph = checks::sample(50, 200, held.spec().features.size(), held.spec().edge_features.size(), 5);
        const auto exact = trkx::open_onnx_engine(held), mixed = trkx::open_onnx_engine(held, "filter=fp16,gnn=fp16");
        const auto fine = checks::ask(*exact, held.spec(), graph), coarse = checks::ask(*mixed, held.spec(), graph);
        checks::expect(fine.places == coarse.places, "the embedding stays exact");
        checks::expect(fine.gnn != coarse.gnn, "another file runs in half precision");
        for (std::size_t i = 0; i < fine.gnn.size(); ++i)
            checks::expect(std::abs(fine.gnn[i] - coarse.gnn[i]) < 0.05F * (1.0F + std::abs(fine.gnn[i])),
                           "half precision is near");
    }
    return checks::check_engine(*trkx::open_onnx_engine(bundle), bundle.spec());
}
