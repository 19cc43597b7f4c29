// ONNX Runtime on the CPU. Needs no libtorch. Link trkx::onnx.
#pragma once

#include <memory>
#include <string_view>

#include <trkx/engine.hpp>

namespace trkx {

/// Returns the engine for a bundle's ONNX files: one session a stage, made from verified bytes and shared by all threads.
///
/// precision: "fp32", "fp16", "bf16", "mixed" (filter and GNN in bfloat16) or of each network, "filter=fp16,gnn=fp16"; the names
/// that bundle.json has ("float32", "float16", "bfloat16") do as well. Each takes the file that computes so inside; doors are
/// float32 and int64. target: that of the files, "" for those that every bundle has. threads: inside one call; with 1, the rule
/// where events are the parallel axis, a call runs in the calling thread alone. Throws SpecError: an unknown precision, or one
/// that ONNX Runtime does not compute in on this processor. BundleError: a file that is missing, edited, refused, made for
/// another spec, stage or precision, or with other inputs and outputs than the contract has. Error: a library older than the
/// headers that this was compiled with.
std::unique_ptr<Engine> open_onnx_engine(const Bundle& bundle, std::string_view precision = "float32",
                                         std::string_view target = "", int threads = 1);

}  // namespace trkx
