// The engines that this program was compiled with.
#pragma once

#include <memory>
#include <string>

#include <trkx/engine.hpp>

#include "options.hpp"

namespace trkx::program {

/// The engine that runs where none is named; "" if there is none at all.
std::string default_engine();

/// Returns the engine that options name. threads: calls at a time.
/// Throws SpecError: an unknown engine, or one that does not run in this precision; Error: one that was not compiled in.
std::unique_ptr<Engine> open_engine(const Bundle& bundle, const Options& options, std::size_t threads);

}  // namespace trkx::program
