// The engine of AOTInductor packages on the bundle in TRKX_TEST_AOTI_BUNDLE, with fewer runners than threads that ask.
#include <trkx/torch_engine.hpp>

#include "engine_checks.hpp"

int main() {
    const trkx::Bundle bundle = checks::bundle_of("TRKX_TEST_AOTI_BUNDLE");
    return checks::check_engine(*trkx::open_aoti_engine(bundle, 1, 3), bundle.spec());
}
