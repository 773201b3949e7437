// Writes the metadata part of a GGUF file into memory, for tests.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace quartet::tokenizer {

class GgufWriter {
 public:
  GgufWriter& Text(absl::string_view key, absl::string_view value) {
    Key(key, 8);
    return Put(value);
  }
  GgufWriter& Boolean(absl::string_view key, bool value) {
    Key(key, 7);
    body_.push_back(value ? 1 : 0);
    return *this;
  }
  GgufWriter& Number(absl::string_view key, uint32_t value) {
    Key(key, 4);
    return Raw(value);
  }
  GgufWriter& Texts(absl::string_view key, const std::vector<std::string>& values) {
    Key(key, 9);
    Raw(uint32_t{8});
    Raw(uint64_t{values.size()});
    for (const std::string& value : values) Put(value);
    return *this;
  }
  GgufWriter& Numbers(absl::string_view key, const std::vector<int32_t>& values) {
    Key(key, 9);
    Raw(uint32_t{5});
    Raw(uint64_t{values.size()});
    for (const int32_t value : values) Raw(value);
    return *this;
  }
  // The whole file; tensors are none of our business.
  std::string Bytes(uint32_t version = 3) const {
    GgufWriter file;
    file.body_ = "GGUF";
    file.Raw(version);
    file.Raw(uint64_t{0});
    file.Raw(num_keys_);
    return file.body_ + body_;
  }

 private:
  template <typename T>
  GgufWriter& Raw(T value) {
    body_.append(reinterpret_cast<const char*>(&value), sizeof(T));
    return *this;
  }
  GgufWriter& Put(absl::string_view text) {
    Raw(uint64_t{text.size()});
    body_.append(text.data(), text.size());
    return *this;
  }
  void Key(absl::string_view key, uint32_t type) {
    ++num_keys_;
    Put(key);
    Raw(type);
  }

  std::string body_;
  uint64_t num_keys_ = 0;
};

}  // namespace quartet::tokenizer
