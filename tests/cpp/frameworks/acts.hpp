// Stand-ins of what the README's algorithm uses of ACTS's examples, by their declarations; nothing works.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace Acts {
class Logger {};
struct SourceLink {
    template <typename T>
    const T& get() const;
};
}  // namespace Acts

namespace ActsExamples {
using Index = std::uint32_t;
enum class ProcessCode { SUCCESS, ABORT };
struct AlgorithmContext {
    std::size_t eventNumber;
};
struct IndexSourceLink {
    Index index() const;
};
struct SpacePoint {
    double x() const, y() const, z() const;
    std::vector<Acts::SourceLink> sourceLinks() const;
};
using SpacePointContainer = std::vector<SpacePoint>;
using ProtoTrackContainer = std::vector<std::vector<Index>>;

class IAlgorithm {
public:
    explicit IAlgorithm(const std::string& name, std::unique_ptr<const Acts::Logger> logger = nullptr);
    virtual ~IAlgorithm();
    virtual ProcessCode execute(const AlgorithmContext& context) const = 0;

protected:
    const Acts::Logger& logger() const;
};

template <typename T>
struct ReadDataHandle {
    ReadDataHandle(IAlgorithm* parent, const std::string& name);
    void initialize(const std::string& key);
    const T& operator()(const AlgorithmContext& context) const;
};
template <typename T>
struct WriteDataHandle {
    WriteDataHandle(IAlgorithm* parent, const std::string& name);
    void initialize(const std::string& key);
    void operator()(const AlgorithmContext& context, T&& value) const;
};
}  // namespace ActsExamples

inline void say(const Acts::Logger&, const std::string&);
#define ACTS_WARNING(text) say(logger(), text)
#define ACTS_ERROR(text) say(logger(), text)
