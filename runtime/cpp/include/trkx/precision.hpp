// In which precision each network runs: names, and how a user says it.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include <trkx/error.hpp>

namespace trkx {

/// Returns stage to the `FileEntry::precision` of the file that computes so ("float32", "float16", "bfloat16"), for the stages
/// that there are. Of "fp16" or "float16"; of "mixed" (the embedding in fp32, filter and GNN in bf16); or of
/// "filter=fp16,gnn=fp16", where what is not named is fp32 and + may stand for the comma. Throws SpecError: an unknown precision
/// or stage, a stage that is not there or named twice.
std::map<std::string, std::string> file_precisions(std::string_view text, const std::vector<std::string>& stages);

}  // namespace trkx
