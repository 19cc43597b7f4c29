// Memory that vector instructions read: uninitialised, and aligned to a cache line.
#pragma once

#include <cstddef>
#include <new>
#include <type_traits>
#include <utility>

namespace trkx::detail {

/// A fixed number of plain values, not initialised, aligned to 64 bytes; moved, never copied. Throws std::bad_alloc.
template <class Value>
class Buffer {
    static_assert(std::is_trivially_copyable_v<Value> && std::is_trivially_destructible_v<Value>);

public:
    Buffer() = default;
    explicit Buffer(std::size_t size) : size_(size) {
        if (size > static_cast<std::size_t>(-1) / sizeof(Value)) throw std::bad_array_new_length();
        if (size) data_ = static_cast<Value*>(::operator new(size * sizeof(Value), std::align_val_t(alignment)));
    }
    Buffer(Buffer&& other) noexcept : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
    Buffer& operator=(Buffer&& other) noexcept {
        std::swap(data_, other.data_);
        std::swap(size_, other.size_);
        return *this;
    }
    ~Buffer() {
        if (data_) ::operator delete(data_, std::align_val_t(alignment));
    }

    Value* data() { return data_; }
    const Value* data() const { return data_; }
    std::size_t size() const { return size_; }
    Value& operator[](std::size_t place) { return data_[place]; }
    const Value& operator[](std::size_t place) const { return data_[place]; }

    /// Makes room for at least `size` values; what was there is lost if it has to grow.
    void make_room(std::size_t size) {
        if (size > size_) *this = Buffer(size + size / 2);
    }

private:
    static constexpr std::size_t alignment = 64;
    Value* data_ = nullptr;
    std::size_t size_ = 0;
};

}  // namespace trkx::detail
