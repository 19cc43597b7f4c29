// Stand-ins of what the README's algorithms use of Gaudi, by their declarations; nothing works.
#pragma once
#include <memory>
#include <string>
#include <vector>

class StatusCode {
public:
    static const StatusCode SUCCESS, FAILURE;
    template <typename F>
    StatusCode andThen(F&& next) const {
        return next();
    }
    bool isFailure() const;
};
namespace Gaudi {
template <typename T>
struct Property {
    template <typename Owner>
    Property(Owner* owner, const std::string& name, const T& value, const std::string& text);
    const T& value() const;
};
}  // namespace Gaudi
