// Files for tests of loading: temporary directories, and GGUF files built value by value.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "worker/model/gguf.h"

namespace quartet::model::testing {

// A directory that goes away with its owner.
class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    std::string pattern = ::testing::TempDir() + "/quartet_model_XXXXXX";
    if (mkdtemp(pattern.data()) == nullptr) ADD_FAILURE() << "can't make " << pattern;
    path_ = pattern;
  }
  ~TemporaryDirectory() { std::filesystem::remove_all(path_); }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  const std::string& path() const { return path_; }
  std::string File(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

inline void WriteFile(const std::string& path, const std::string& bytes) {
  // Some file systems flush a file to the disk when it is truncated and written again.
  std::filesystem::remove(path);
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << bytes;
  if (!file) ADD_FAILURE() << "can't write " << path;
}

inline std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

inline uint64_t SplitMix64(uint64_t x) {
  x += 0x9E3779B97F4A7C15u;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  return x ^ (x >> 31);
}

// Writes a GGUF file in the order of the calls.
class GgufWriter {
 public:
  void AddText(const std::string& key, const std::string& text) {
    AddKey(key, GgufValueType::kString);
    AppendText(text, &values_);
  }
  void AddInt(const std::string& key, uint32_t value) {
    AddKey(key, GgufValueType::kUint32);
    Append(value, &values_);
  }
  void AddNumber(const std::string& key, float value) {
    AddKey(key, GgufValueType::kFloat32);
    Append(value, &values_);
  }
  void AddTextList(const std::string& key, const std::vector<std::string>& list) {
    AddKey(key, GgufValueType::kArray);
    Append(static_cast<uint32_t>(GgufValueType::kString), &values_);
    Append(static_cast<uint64_t>(list.size()), &values_);
    for (const std::string& text : list) AppendText(text, &values_);
  }
  // `value`: its bytes as they stand in the file.
  void AddRaw(const std::string& key, uint32_t type, const std::string& value) {
    AddKey(key, static_cast<GgufValueType>(type));
    values_ += value;
  }
  // `shape`: rows first.
  void AddTensor(const std::string& name, const std::vector<uint64_t>& shape, uint32_t type,
                 const std::string& data) {
    AddTensorInfo(name, shape, type, data_.size());
    data_ += data;
    data_.append((32 - data_.size() % 32) % 32, '\0');
  }
  void AddTensorInfo(const std::string& name, const std::vector<uint64_t>& shape, uint32_t type,
                     uint64_t offset) {
    ++num_tensors_;
    AppendText(name, &tensors_);
    Append(static_cast<uint32_t>(shape.size()), &tensors_);
    for (size_t i = shape.size(); i-- > 0;) Append(shape[i], &tensors_);
    Append(type, &tensors_);
    Append(offset, &tensors_);
  }
  std::string Bytes(uint32_t version = 3) const {
    std::string bytes = "GGUF";
    Append(version, &bytes);
    Append(num_tensors_, &bytes);
    Append(num_values_, &bytes);
    bytes += values_ + tensors_;
    bytes.append((32 - bytes.size() % 32) % 32, '\0');
    return bytes + data_;
  }

  template <typename T>
  static void Append(T value, std::string* to) {
    to->append(reinterpret_cast<const char*>(&value), sizeof(T));
  }

 private:
  void AddKey(const std::string& key, GgufValueType type) {
    ++num_values_;
    AppendText(key, &values_);
    Append(static_cast<uint32_t>(type), &values_);
  }
  static void AppendText(const std::string& text, std::string* to) {
    Append(static_cast<uint64_t>(text.size()), to);
    *to += text;
  }

  uint64_t num_values_ = 0;
  uint64_t num_tensors_ = 0;
  std::string values_;
  std::string tensors_;
  std::string data_;
};

inline std::string FloatBytes(const std::vector<float>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)};
}

}  // namespace quartet::model::testing
