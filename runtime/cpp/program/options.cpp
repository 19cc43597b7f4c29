#include "options.hpp"

#include <charconv>
#include <limits>

namespace trkx::program {

namespace {

std::size_t number(const std::string& option, const std::string& text, std::size_t most) {
    std::size_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size() || value < 1 || value > most)
        throw UsageError("option " + option + ": expected a whole number from 1 to " + std::to_string(most) + ", found '" + text
                         + "'.");
    return value;
}

std::string one_of(const std::string& option, const std::string& text, const std::vector<std::string>& known) {
    std::string list;
    for (const std::string& word : known) {
        if (word == text) return text;
        list += (list.empty() ? "" : ", ") + word;
    }
    throw UsageError("option " + option + ": expected one of " + list + ", found '" + text + "'.");
}

/// Takes one option with its value.
void take(Options& options, const std::string& name, const std::string& value) {
    constexpr std::size_t many = std::numeric_limits<int>::max();
    if (name == "--out")
        options.out = value;
    else if (name == "--times")
        options.times = value;
    else if (name == "--engine")
        options.engine = value;
    else if (name == "--precision")
        options.precision = value;
    else if (name == "--target")
        options.target = value;
    else if (name == "--format")
        options.format = one_of(name, value, {"acts", "trackml"});
    else if (name == "--threads")
        options.threads = number(name, value, 1024);
    else if (name == "--engine-threads")
        options.engine_threads = static_cast<int>(number(name, value, 1024));
    else if (name == "--limit")
        options.limit = number(name, value, many);
    else if (name == "--repeat")
        options.repeat = number(name, value, many);
    else
        throw UsageError("no such option: " + name + ".");
    if (value.empty() && name != "--target") throw UsageError("option " + name + ": expected a value, found none.");
}

}  // namespace

Options read_options(const std::vector<std::string>& words) {
    Options options;
    std::vector<std::string> places;
    bool only_places = false;
    for (std::size_t i = 0; i < words.size(); ++i) {
        const std::string& word = words[i];
        if (only_places || word.size() < 2 || word[0] != '-')
            places.push_back(word);
        else if (word == "--")
            only_places = true;
        else if (word == "--help" || word == "-h")
            options.help = true;
        else if (word == "--version")
            options.version = true;
        else if (const std::size_t sign = word.find('='); sign != std::string::npos)
            take(options, word.substr(0, sign), word.substr(sign + 1));
        else if (i + 1 < words.size())
            take(options, word, words[++i]);
        else
            take(options, word, "");
    }
    if (options.help || options.version) return options;
    if (places.empty()) throw UsageError("expected a bundle and events, found neither.");
    if (places.size() == 1) throw UsageError("expected a bundle and events, found '" + places[0] + "' alone.");
    if (options.out.empty()) throw UsageError("option --out is missing: the folder for the tracks.");
    options.bundle = places[0];
    options.events.assign(places.begin() + 1, places.end());
    return options;
}

std::string help_text(const std::string& default_engine) {
    return "Usage: trkx-run BUNDLE EVENTS... --out FOLDER [options]\n"
           "\n"
           "Turn the hits of events into tracks.\n"
           "\n"
           "  BUNDLE                 bundle folder that trkx export wrote\n"
           "  EVENTS...              folders or files of events, CSV of TrackML or ACTS\n"
           "  --out FOLDER           folder for the tracks; made if it is not there\n"
           "  --engine NAME          onnxruntime, torchscript or aoti [" + default_engine + "]\n"
           "  --precision NAME       fp32, fp16, or of each network, filter=fp16,gnn=fp16 (onnxruntime) [fp32]\n"
           "  --target NAME          target of the ONNX files; \"\" for those that every bundle has\n"
           "  --threads T            events at a time [one a core]\n"
           "  --engine-threads T     threads inside a network, for each event [1]\n"
           "  --format NAME          acts (one prototracks file an event) or trackml (submission.csv) [acts]\n"
           "  --limit N              stop after so many events\n"
           "  --repeat K             run all events so many times, to measure; written once [1]\n"
           "  --times FILE.json      write what each stage of each event cost\n"
           "  -h, --help, --version\n"
           "\n"
           "Exit codes: 0; 1 where a bundle, an event or a folder is not right; 2 for wrong usage.\n";
}

}  // namespace trkx::program
