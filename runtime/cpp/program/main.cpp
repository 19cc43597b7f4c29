// trkx-run: hits to tracks with a bundle, without Python.
#include <algorithm>
#include <chrono>
#include <exception>
#include <filesystem>
#include <iostream>
#include <memory>
#include <mutex>
#include <new>
#include <set>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include <trkx/many.hpp>
#include <trkx/output.hpp>
#include <trkx/pipeline.hpp>

#include "engines.hpp"
#include "options.hpp"
#include "report.hpp"

namespace trkx::program {

namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

double since(Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
}

/// Prints warnings, that of strange features once for each folder that events come from.
class Warner {
public:
    void say(const std::string& text) {
        const std::lock_guard lock(mutex_);
        std::cerr << "warning: " << text << "\n";
    }
    void say_once(const Event& event, const std::string& text) {
        const std::string place = fs::path(event.source).parent_path().string();
        {
            const std::lock_guard lock(mutex_);
            if (!places_.insert(place).second) return;
        }
        say(text);
    }

private:
    std::mutex mutex_;
    std::set<std::string> places_;
};

/// An event and its tracks, between the thread that ran it and the one that writes.
struct Done {
    Event event;
    Tracks tracks;
    double read = 0.0;
};

/// One run: events through the pipeline, tracks into a folder.
class Run {
public:
    Run(const Options& options, const Pipeline& pipeline, std::vector<CsvSource> sources, std::size_t threads)
        : options_(options), pipeline_(pipeline), files_(std::move(sources)), threads_(threads), done_(files_.size()) {}

    /// Runs all events, as often as wanted; writes the tracks of the first pass, of a pass that fails those before the bad event.
    void all() {
        try {
            for (std::size_t pass = 0; pass < options_.repeat; ++pass) {
                const auto start = Clock::now();
                for_each_in_order(
                    files_.size(), threads_, [&](std::size_t i) { work(i); }, [&](std::size_t i) { keep(i, pass); });
                passes_.push_back(since(start));
            }
        } catch (const Error&) {
            finish();
            throw;
        }
        finish();
    }

    const std::vector<Row>& rows() const { return rows_; }
    const std::vector<double>& passes() const { return passes_; }
    std::string stopped() const {
        if (rows_.size() == files_.size() || options_.format.empty()) return "";
        return "\nStopped at " + files_[rows_.size()].hits.string() + ". "
               + (rows_.empty() ? "No tracks were written."
                                : "The tracks of " + std::to_string(rows_.size()) + " event(s) before it are in "
                                      + options_.out.string() + ".");
    }

private:
    void work(std::size_t i) {
        const auto start = Clock::now();
        auto found = std::make_unique<Done>();
        found->event = read_csv_event(files_[i]);
        found->read = since(start);
        for (const std::string& text : found->event.warnings) warner_.say(text);
        found->tracks = pipeline_.run(found->event, [&](const std::string& text) { warner_.say_once(found->event, text); });
        done_[i] = std::move(found);
    }

    void keep(std::size_t i, std::size_t pass) {
        const std::unique_ptr<Done> found = std::move(done_[i]);
        if (pass > 0) {  // times are those of the last pass: memory is there by then
            rows_[i].stages = found->tracks.stages;
            rows_[i].read = found->read;
            return;
        }
        if (options_.format == "acts") write_prototracks(options_.out, found->event, found->tracks);
        Tracks& tracks = found->tracks;
        rows_.push_back({tracks.event_id, static_cast<std::int64_t>(tracks.hit_id.size()), tracks.num_tracks(), tracks.truncated,
                         found->read, tracks.stages});
        if (options_.format == "trackml") submission_.push_back(std::move(tracks));
    }

    void finish() {
        if (options_.format == "trackml" && !submission_.empty())
            write_trackml_submission(options_.out / "submission.csv", submission_);
    }

    const Options& options_;
    const Pipeline& pipeline_;
    const std::vector<CsvSource> files_;
    const std::size_t threads_;
    std::vector<std::unique_ptr<Done>> done_;
    Warner warner_;
    std::vector<Row> rows_;
    std::vector<double> passes_;
    std::vector<Tracks> submission_;
};

void require_folder(const fs::path& folder) {
    std::error_code error;
    fs::create_directories(folder, error);
    if (error || !fs::is_directory(folder, error))
        throw Error(folder.string() + ": can't be made a folder (" + (error ? error.message() : "it is a file")
                    + "); choose another --out.");
}

void report(const Options& options, const Bundle& bundle, const Run& run, std::size_t threads) {
    std::int64_t tracks = 0, truncated = 0;
    for (const Row& row : run.rows()) {
        tracks += row.tracks;
        truncated += row.truncated;
    }
    double seconds = 0.0;
    for (const double pass : run.passes()) seconds += pass;
    const std::size_t events = run.rows().size() * run.passes().size();
    const std::string engine = options.engine + (options.precision == "fp32" ? "" : " in " + options.precision);
    std::cout << stage_table(run.rows(), bundle.spec().name + ", " + engine + ", " + counted(threads, "thread"))
              << counted(static_cast<std::size_t>(tracks), "track") << " of " << counted(run.rows().size(), "event") << " in "
              << options.out.string() << "\n"
              << rate(static_cast<double>(events) / std::max(seconds, 1e-9)) << " events/s\n";
    if (truncated > 0)
        std::cout << counted(static_cast<std::size_t>(truncated), "hit") << " had more than k_max = " << bundle.spec().needed_graph().k_max.value_or(0)
                  << " neighbours and lost the farthest.\n";
    if (!options.times.empty())
        write_files({{options.times, times_json(run.rows(), run.passes(),
                                                {{"bundle", bundle.spec().name},
                                                 {"engine", options.engine},
                                                 {"precision", options.precision},
                                                 {"threads", std::to_string(threads)},
                                                 {"engine_threads", std::to_string(options.engine_threads)}})}});
}

void run(Options options) {
    if (options.engine.empty()) options.engine = default_engine();
    std::vector<CsvSource> files = find_csv_sources(options.events);
    if (options.limit && *options.limit < files.size()) files.resize(*options.limit);
    std::size_t threads = options.threads > 0 ? options.threads : std::max(1u, std::thread::hardware_concurrency());
    threads = std::min(threads, std::max<std::size_t>(files.size(), 1));
    const int cores = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
    if (options.engine_threads > cores) {  // the libraries' threads wait by spinning: more than there are cores all but stop a run
        std::cerr << "warning: --engine-threads " << options.engine_threads << " is more than the "
                  << counted(static_cast<std::size_t>(cores), "core") << " here; taken as " << cores << ".\n";
        options.engine_threads = cores;
    }
    const Bundle bundle = Bundle::open(options.bundle);
    const Pipeline pipeline(bundle.spec(), open_engine(bundle, options, threads));
    require_folder(options.out);
    Run all(options, pipeline, std::move(files), threads);
    try {
        all.all();
    } catch (const Error& error) {
        throw Error(error.what() + all.stopped());
    }
    report(options, bundle, all, threads);
}

int fail(const std::string& text, int code) {
    std::cerr << "error: " << text << "\n";
    return code;
}

}  // namespace

int main(const std::vector<std::string>& words) {
    try {
        Options options = read_options(words);
        if (options.help)
            std::cout << help_text(default_engine().empty() ? "none is compiled in" : default_engine());
        else if (options.version)
            std::cout << "trkx-run " << TRKX_VERSION << "\n";
        else
            run(std::move(options));
        if (!std::cout.flush()) throw Error("what was to be said could not be written to the standard output; is its disk full?");
        return 0;
    } catch (const UsageError& error) {
        return fail(std::string(error.what()) + " trkx-run --help says more.", 2);
    } catch (const Error& error) {
        return fail(error.what(), 1);
    } catch (const std::bad_alloc&) {
        return fail("not enough memory. Run fewer events at a time (--threads 1), or where there is more.", 1);
    } catch (const std::exception& error) {
        return fail(std::string("not expected: ") + error.what() + ". Please report it.", 1);
    }
}

}  // namespace trkx::program

int main(int count, char** words) {
    return trkx::program::main(std::vector<std::string>(words + 1, words + count));
}
