#include "files.hpp"

#include <cerrno>
#include <cstdio>
#include <memory>
#include <system_error>

namespace trkx {

std::string read_whole(const std::filesystem::path& path, std::string& data, std::size_t limit) {
    data.clear();
    const auto why = [](int code) { return std::generic_category().message(code != 0 ? code : EIO); };
    std::error_code status;
    if (std::filesystem::is_directory(path, status)) return why(EISDIR);
    if (!status && std::filesystem::exists(path, status) && !std::filesystem::is_regular_file(path, status))
        return "not a regular file";  // a pipe without a writer would be waited for
    errno = 0;
    const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.string().c_str(), "rb"), &std::fclose);
    if (!file) return why(errno);
    const std::uintmax_t size = std::filesystem::file_size(path, status);  // a hint: it may grow
    std::size_t step = !status && size > 0 ? static_cast<std::size_t>(size) + 1 : std::size_t{1} << 16U;
    std::size_t filled = 0;
    while (filled < limit) {
        step = std::min(step, limit - filled);
        data.resize(filled + step);
        const std::size_t found = std::fread(data.data() + filled, 1, step, file.get());
        filled += found;
        if (found < step) break;
        step = std::size_t{1} << 20U;
    }
    const bool failed = std::ferror(file.get()) != 0;
    data.resize(failed ? 0 : filled);
    return failed ? why(errno) : "";
}

}  // namespace trkx
