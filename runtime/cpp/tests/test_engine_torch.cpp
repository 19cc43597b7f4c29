// The engine of TorchScript files on the bundle in TRKX_TEST_BUNDLE.
#include <trkx/torch_engine.hpp>

#include "engine_checks.hpp"

int main() {
    const trkx::Bundle bundle = checks::bundle_of("TRKX_TEST_BUNDLE");
    checks::expect_error<trkx::BundleError>([&] { trkx::open_aoti_engine(bundle); }, "aoti", "a bundle without packages");
    checks::expect_error<trkx::SpecError>([&] { trkx::open_torchscript_engine(bundle, 0); }, "threads", "no threads");
    return checks::check_engine(*trkx::open_torchscript_engine(bundle), bundle.spec());
}
