// Writers of tracks (runtime/events/{writers,output}.py): byte for byte what Python writes.
#include <trkx/output.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <numeric>
#include <random>
#include <set>
#include <system_error>

#include <fcntl.h>
#include <unistd.h>

#include <trkx/error.hpp>

#include "decimal.hpp"

namespace trkx {
namespace {

namespace fs = std::filesystem;

void append(std::string& out, std::int64_t value) {
    std::array<char, 24> text{};
    out.append(text.data(), std::to_chars(text.data(), text.data() + text.size(), value).ptr);
}

/// A file that is being written under a temporary name beside its own; removed unless it was put in place.
class Temporary {
public:
    /// A link stands for the file that it leads to; what is there and is no file, such as a device, is written to as it is.
    explicit Temporary(const fs::path& path) : path_(path) {
        std::error_code ignored, error;
        direct_ = fs::is_other(path, ignored);
        for (int links = 0; !direct_ && !error && fs::is_symlink(path_, ignored); ++links) {  // one that leads nowhere yet, too
            if (links == 40) fail(ELOOP);
            path_ = path_.parent_path() / fs::read_symlink(path_, error);
        }
        if (error) fail(error.value());
        std::array<char, 16> token{};
        std::snprintf(token.data(), token.size(), "%08x", static_cast<unsigned>(std::random_device()()));
        temporary_ = path_.parent_path() / ("." + path_.filename().string() + "." + token.data() + ".tmp");
    }
    Temporary(const Temporary&) = delete;
    Temporary& operator=(const Temporary&) = delete;
    Temporary(Temporary&& other) noexcept
        : path_(std::move(other.path_)), temporary_(std::move(other.temporary_)), made_(other.made_), direct_(other.direct_) {
        other.made_ = false;
    }
    Temporary& operator=(Temporary&&) = delete;
    ~Temporary() {
        if (made_) ::unlink(temporary_.c_str());
    }

    void write(const std::string& content) {
        const int file = direct_ ? ::open(path_.c_str(), O_WRONLY | O_CLOEXEC)
                                 : ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (file < 0) fail(errno);
        made_ = !direct_;
        int problem = 0;
        for (std::size_t done = 0; done < content.size() && problem == 0;) {
            const ssize_t step = ::write(file, content.data() + done, content.size() - done);
            if (step == 0 || (step < 0 && errno != EINTR)) problem = step == 0 ? ENOSPC : errno;
            done += step > 0 ? static_cast<std::size_t>(step) : 0;
        }
        if (problem == 0 && !direct_ && ::fsync(file) != 0) problem = errno;
        if (::close(file) != 0 && problem == 0) problem = errno;
        if (problem != 0) fail(problem);
    }

    void put_in_place() {
        if (direct_) return;
        if (std::rename(temporary_.c_str(), path_.c_str()) != 0) fail(errno);
        made_ = false;
    }

    [[noreturn]] void fail(int code) const {
        throw Error(path_.string() + ": could not be written (" + std::generic_category().message(code) +
                    "); what was there is untouched. Free some space or choose another folder.");
    }

private:
    fs::path path_, temporary_;
    bool made_ = false, direct_ = false;
};

}  // namespace

std::string shortest(float value) {
    const std::optional<Decimal> decimal = decimal_of(value);
    if (!decimal) return std::isnan(value) ? "nan" : value < 0.0F ? "-inf" : "inf";
    const bool plain = decimal->exponent >= -6 && decimal->exponent < 10;
    return decimal->sign() + (plain ? decimal->fixed() : decimal->scientific(1));
}

std::string submission_rows(const Tracks& tracks) {
    const std::vector<std::int64_t> track = tracks.track_id();
    std::string out;
    out.reserve(track.size() * 24);
    for (std::size_t hit = 0; hit < track.size(); ++hit) {
        append(out, tracks.event_id);
        out += ',';
        append(out, tracks.hit_id[hit]);
        out += ',';
        append(out, track[hit] + 1);
        out += '\n';
    }
    return out;
}

std::string prototrack_rows(const Event& event, const Tracks& tracks) {
    if (tracks.event_id != event.id || tracks.hit_id != event.hit_id) {
        throw InputError("tracks of event " + std::to_string(tracks.event_id) + " do not belong to event " +
                         std::to_string(event.id) + " (" + event.source + ").");
    }
    const std::vector<std::int64_t> track = tracks.track_id();
    std::vector<std::size_t> rows(track.size());
    std::iota(rows.begin(), rows.end(), std::size_t{0});
    std::stable_sort(rows.begin(), rows.end(), [&](std::size_t a, std::size_t b) { return track[a] < track[b]; });
    std::string out = "trackId,measurementId,x,y,z\n";
    for (const std::size_t row : rows) {
        if (track[row] < 0) continue;
        append(out, track[row]);
        out += ',';
        append(out, event.hit_id[row]);
        for (std::size_t axis = 0; axis < 3; ++axis) {
            out += ',';
            out += shortest(event.position[3 * row + axis]);
        }
        out += '\n';
    }
    return out;
}

fs::path write_trackml_submission(const fs::path& path, const std::vector<Tracks>& tracks) {
    std::string out(submission_header);
    std::set<std::int64_t> seen;
    for (const Tracks& one : tracks) {
        if (!seen.insert(one.event_id).second) {
            throw InputError(path.string() + ": event " + std::to_string(one.event_id) +
                             " occurs twice; a submission holds each event once.");
        }
        out += submission_rows(one);
    }
    write_files({{path, std::move(out)}});
    return path;
}

fs::path write_prototracks(const fs::path& folder, const Event& event, const Tracks& tracks) {
    std::array<char, 64> name{};
    std::snprintf(name.data(), name.size(), "event%09lld-prototracks.csv", static_cast<long long>(event.id));
    const fs::path path = folder / name.data();
    write_files({{path, prototrack_rows(event, tracks)}});
    return path;
}

void write_files(const std::vector<std::pair<fs::path, std::string>>& contents) {
    std::vector<Temporary> written;
    for (const auto& [path, content] : contents) {
        Temporary file(path);
        std::error_code error;
        if (path.has_parent_path()) fs::create_directories(path.parent_path(), error);
        if (error) file.fail(error.value());
        file.write(content);
        written.push_back(std::move(file));
    }
    for (Temporary& file : written) file.put_in_place();
}

}  // namespace trkx
