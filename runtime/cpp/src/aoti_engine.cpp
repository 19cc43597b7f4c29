#include <trkx/torch_engine.hpp>

#include <torch/csrc/inductor/aoti_package/model_package_loader.h>

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <thread>
#include <utility>

#include <trkx/identity.hpp>

#include "torch_call.hpp"

namespace trkx {

namespace {

namespace fs = std::filesystem;
using Loader = torch::inductor::AOTIModelPackageLoader;
constexpr const char* model_name = "model";

/// A file that only this user can read, in a folder of its own, for a library that takes nothing but paths. Gone with the object.
class PrivateFile {
public:
    PrivateFile(const std::vector<std::byte>& bytes, const std::string& name) {
        std::error_code error;
        const fs::path base = fs::temp_directory_path(error);
        if (error) {
            errno = error.value();
            fail("the folder for temporary files");
        }
        std::string pattern = (base / "trkx-XXXXXX").string();
        if (mkdtemp(pattern.data()) == nullptr) fail(pattern);
        folder_ = pattern;
        path_ = folder_ / name;
        const int file = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        const bool written = file >= 0 && write_all(file, bytes);
        const int reason = errno;
        if (file >= 0) ::close(file);
        if (!written) {
            remove();
            errno = reason;
            fail(path_.string());
        }
    }
    PrivateFile(const PrivateFile&) = delete;
    PrivateFile& operator=(const PrivateFile&) = delete;
    ~PrivateFile() { remove(); }
    std::string path() const { return path_.string(); }

private:
    static bool write_all(int file, const std::vector<std::byte>& bytes) {
        for (std::size_t done = 0; done < bytes.size();) {
            const ssize_t count = ::write(file, bytes.data() + done, bytes.size() - done);
            if (count < 0 && errno == EINTR) continue;
            if (count <= 0) return false;
            done += static_cast<std::size_t>(count);
        }
        return true;
    }
    void remove() const {
        std::error_code ignored;
        fs::remove_all(folder_, ignored);
    }
    [[noreturn]] static void fail(const std::string& path) {
        throw Error(path + ": could not be written (" + std::strerror(errno) + "): AOTInductor packages are loaded from a "
                    "temporary file. Free some space, or name another folder in TMPDIR.");
    }

    fs::path folder_, path_;
};

/// What this processor lacks of what a package was compiled for, "" if nothing is known to be missing.
std::string lacks(const std::string& machine, const std::string& instructions) {
#if defined(__x86_64__)
    if (!machine.empty() && machine != "x86_64") return "it is for " + machine + ", and this is x86_64";
    const bool wide = instructions.find("AVX512") != std::string::npos,
               narrow = wide || instructions.find("AVX2") != std::string::npos;
    if (wide
        && !(__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")
             && __builtin_cpu_supports("avx512bw")))
        return "it needs AVX-512, which this processor lacks";
    if (instructions.find("AVX512_VNNI") != std::string::npos && !__builtin_cpu_supports("avx512vnni"))
        return "it needs AVX-512 VNNI, which this processor lacks";
    if (narrow && !(__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")))
        return "it needs AVX2, which this processor lacks";
#elif defined(__aarch64__)
    if (!machine.empty() && machine != "aarch64" && machine != "arm64") return "it is for " + machine + ", and this is aarch64";
#endif
    (void)instructions;
    return "";
}

TorchNetwork opened(const Bundle& bundle, const std::string& stage, std::size_t runners) {
    const FileEntry& entry = bundle.entry(stage, "aoti", "float32", "aoti");
    const std::string where = (bundle.path() / entry.path).string();
    const PrivateFile package(bundle.read(stage, "aoti", "float32", "aoti"), stage + ".pt2");
    try {
        const auto held = Loader::load_metadata_from_package(package.path(), model_name);
        const auto value = [&held](const std::string& key) {
            const auto found = held.find(key);
            return found == held.end() ? std::optional<std::string>() : std::optional<std::string>(found->second);
        };
        const std::string missing = lacks(value("AOTI_MACHINE").value_or(""), value("AOTI_CPU_ISA").value_or(""));
        if (!missing.empty())
            throw BundleError(where + ": stage " + stage + ": " + missing
                              + ". Export the bundle again on the machine where it shall run.");
        require_same(value, bundle.spec(), where, stage, "float32", "aoti");
        const auto loader = std::make_shared<Loader>(package.path(), model_name, false, runners);
        const auto call = [loader](std::vector<at::Tensor>&& inputs) {
            for (at::Tensor& input : inputs) input = input.contiguous();  // packages ignore strides
            auto answers = loader->boxed_run(std::move(inputs));
            if (answers.size() != 1) throw std::runtime_error("expected one output, found " + std::to_string(answers.size()));
            return answers[0];
        };
        return {call, where};
    } catch (const Error&) {
        throw;
    } catch (const std::bad_alloc&) {
        throw;
    } catch (const std::exception& error) {
        throw BundleError(where + ": stage " + stage + " can't be loaded (" + reason_of(error.what())
                          + "). A package is machine code for one version of libtorch: export the bundle again with the "
                            "version that this program has.");
    }
}

}  // namespace

std::unique_ptr<Engine> open_aoti_engine(const Bundle& bundle, int threads, int runners) {
    require_threads(threads);
    if (runners < 0) throw SpecError("runners must be at least 0, found " + std::to_string(runners) + "; 0 is one a core.");
    const std::size_t count = runners > 0 ? static_cast<std::size_t>(runners) : std::max(1u, std::thread::hardware_concurrency());
    std::map<std::string, TorchNetwork> networks;
    for (const std::string& stage : bundle.spec().stages) networks.emplace(stage, opened(bundle, stage, count));
    return std::make_unique<TorchEngine>(std::move(networks), bundle.spec(), threads);
}

}  // namespace trkx
