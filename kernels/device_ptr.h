// A pointer into a device's memory. Host code may compute with it but not look behind it; only
// kernels call raw().
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace quartet::kernels {

template <typename T>
class DevicePtr {
 public:
  DevicePtr() = default;
  explicit DevicePtr(T* raw) : raw_(raw) {}
  // DevicePtr<float> converts to DevicePtr<const float>.
  template <typename U>
  requires std::is_convertible_v<U*, T*> DevicePtr(DevicePtr<U> other)
      : raw_(other.raw()) {}  // NOLINT: implicit like a pointer's

  explicit operator bool() const { return raw_ != nullptr; }
  DevicePtr operator+(int64_t elements) const { return DevicePtr(raw_ + elements); }
  template <typename U>
  DevicePtr<U> As() const {
    return DevicePtr<U>(reinterpret_cast<U*>(raw_));
  }
  // For kernels and the device's own copies.
  T* raw() const { return raw_; }

 private:
  T* raw_ = nullptr;
};

}  // namespace quartet::kernels
