#include <trkx/error.hpp>

#include <algorithm>

namespace trkx {

std::string joined(const std::vector<std::string>& items, std::string_view separator) {
    std::string text;
    for (const std::string& item : items) {
        if (&item != items.data()) text += separator;
        text += item;
    }
    return text;
}

std::string unknown_name(std::string_view kind, std::string_view name, std::vector<std::string> known) {
    std::sort(known.begin(), known.end());
    const std::string names = known.empty() ? "none" : joined(known);
    return "unknown " + std::string(kind) + " '" + std::string(name) + "'. Known: " + names + ".";
}

}  // namespace trkx
