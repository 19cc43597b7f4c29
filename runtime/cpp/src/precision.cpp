#include <trkx/precision.hpp>

#include <algorithm>

namespace trkx {

namespace {

std::string trimmed(std::string_view text) {
    const std::size_t first = text.find_first_not_of(" \t");
    if (first == std::string_view::npos) return "";
    return std::string(text.substr(first, text.find_last_not_of(" \t") - first + 1));
}

std::string file_type(const std::string& name) {
    static constexpr std::pair<std::string_view, std::string_view> words[] = {
        {"fp32", "float32"}, {"fp16", "float16"}, {"bf16", "bfloat16"}};
    for (const auto& [word, type] : words)
        if (name == word || name == type) return std::string(type);
    throw SpecError(unknown_name("precision", name, {"fp32", "fp16", "bf16", "mixed"}));
}

}  // namespace

std::map<std::string, std::string> file_precisions(std::string_view text, const std::vector<std::string>& stages) {
    std::map<std::string, std::string> found;
    const std::string whole = trimmed(text);
    if (whole.find('=') == std::string::npos) {
        for (const std::string& stage : stages)
            found[stage] = whole != "mixed" ? file_type(whole) : stage == "embedding" ? "float32" : "bfloat16";
        return found;
    }
    for (std::size_t start = 0; start <= whole.size();) {
        const std::size_t end = std::min(whole.find_first_of(",+", start), whole.size());
        const std::string word = whole.substr(start, end - start);
        const std::size_t sign = std::min(word.find('='), word.size());
        const std::string stage = trimmed(word.substr(0, sign)), name = trimmed(word.substr(std::min(sign + 1, word.size())));
        start = end + 1;
        if (std::find(stages.begin(), stages.end(), stage) == stages.end())
            throw SpecError("precision '" + whole + "': this bundle has no stage '" + stage + "'; its stages are "
                            + joined(stages) + ".");
        if (name == "mixed")
            throw SpecError("precision '" + whole + "': 'mixed' is said of all networks at once, not of " + stage + " alone.");
        if (!found.emplace(stage, file_type(name)).second)
            throw SpecError("precision '" + whole + "': " + stage + " stands there twice.");
    }
    for (const std::string& stage : stages) found.emplace(stage, "float32");
    return found;
}

}  // namespace trkx
