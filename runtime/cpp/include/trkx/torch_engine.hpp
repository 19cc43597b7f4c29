// libtorch on the CPU: TorchScript files and AOTInductor packages. Link trkx::torch.
#pragma once

#include <memory>

#include <trkx/engine.hpp>

namespace trkx {

/// Returns the engine for a bundle's TorchScript files, loaded from verified bytes.
///
/// threads: of torch's operators, a setting of the whole process, which torch has no other of; with 1 a call runs in the calling
/// thread alone. Modules are shared by all threads and run as they are written: torch's optimiser, which would compile anew for
/// sizes it has not seen, stays off. Throws BundleError: a file that is missing, edited, or refused by torch.
std::unique_ptr<Engine> open_torchscript_engine(const Bundle& bundle, int threads = 1);

/// Returns the engine for a bundle's AOTInductor packages (target "aoti"): machine code, loaded from a private copy of the
/// verified bytes.
///
/// threads: as above. runners: calls of one stage that run at the same time, each with buffers of its own and the same weights;
/// further calls wait for a free one. 0 for one a core. Throws BundleError: as above, or a package for another processor or
/// version of libtorch. Error: no place for temporary files.
std::unique_ptr<Engine> open_aoti_engine(const Bundle& bundle, int threads = 1, int runners = 0);

}  // namespace trkx
