// Stand-ins of what the README's algorithm uses of Athena, by their declarations; nothing works.
#pragma once
#include "gaudi.hpp"

struct EventContext {
    struct EventID {
        unsigned long long event_number() const;
    };
    const EventID& eventID() const;
};
struct AthReentrantAlgorithm {
    AthReentrantAlgorithm(const std::string& name, void* services);
    virtual ~AthReentrantAlgorithm();
    virtual StatusCode initialize();
    virtual StatusCode execute(const EventContext& context) const = 0;
};
namespace Amg {
struct Vector3D {
    double x() const, y() const, z() const;
};
}  // namespace Amg
namespace Trk {
struct SpacePoint {
    const Amg::Vector3D& globalPosition() const;
};
}  // namespace Trk
using SpacePointCollection = std::vector<const Trk::SpacePoint*>;
using SpacePointContainer = std::vector<const SpacePointCollection*>;

template <typename T>
struct ClassID_traits;  // as in Athena: only of types that have a CLASS_DEF
#define CLASS_DEF(type, number, version) \
    template <>                          \
    struct ClassID_traits<type> {        \
        static constexpr int id = number; \
    };
namespace SG {
template <typename T>
struct ReadHandleKey {
    template <typename Owner>
    ReadHandleKey(Owner* owner, const std::string& name, const std::string& key);
    StatusCode initialize();
};
template <typename T>
struct WriteHandleKey {
    template <typename Owner>
    WriteHandleKey(Owner* owner, const std::string& name, const std::string& key);
    StatusCode initialize();
    static constexpr int id = ClassID_traits<T>::id;
};
template <typename T>
struct ReadHandle {
    ReadHandle(const ReadHandleKey<T>& key, const EventContext& context);
    const T& operator*() const;
};
template <typename T>
struct WriteHandle {
    WriteHandle(const WriteHandleKey<T>& key, const EventContext& context);
    StatusCode record(std::unique_ptr<T> value);
    static constexpr int id = ClassID_traits<T>::id;
};
}  // namespace SG
#define ATH_CHECK(status)                             \
    do {                                              \
        if ((status).isFailure()) return StatusCode::FAILURE; \
    } while (false)
inline void say(const std::string&);
#define ATH_MSG_WARNING(text) say(text)
#define ATH_MSG_ERROR(text) say(text)
