// Stand-ins of what the README's algorithm uses of k4FWCore and EDM4hep, by their declarations; nothing works.
#pragma once
#include <utility>

#include "gaudi.hpp"

class ISvcLocator;
struct MsgStream {
    template <typename T>
    MsgStream& operator<<(const T& what);
};
inline constexpr int endmsg = 0;

namespace edm4hep {
struct Vector3d {
    double x, y, z;
};
struct TrackerHit3D {
    const Vector3d& getPosition() const;
};
struct TrackerHit3DCollection {
    const TrackerHit3D* begin() const;
    const TrackerHit3D* end() const;
    TrackerHit3D operator[](std::size_t at) const;
};
struct MutableTrack {
    void addToTrackerHits(const TrackerHit3D& hit);
};
struct TrackCollection {
    void push_back(const MutableTrack& track);
};
}  // namespace edm4hep

using KeyValues = std::pair<std::string, std::vector<std::string>>;
namespace k4FWCore {
template <typename Signature>
class Transformer;
template <typename Out, typename In>
class Transformer<Out(const In&)> {
public:
    Transformer(const std::string& name, ISvcLocator* services, std::initializer_list<KeyValues> in,
                std::initializer_list<KeyValues> out);
    virtual ~Transformer();
    virtual StatusCode initialize();
    virtual Out operator()(const In& in) const = 0;
    MsgStream &error() const, &warning() const;
};
}  // namespace k4FWCore
#define DECLARE_COMPONENT(type) static_assert(sizeof(type) > 0);
