// Reads the key-value part of a GGUF file (versions 2 and 3, little-endian), which is all a
// tokenizer needs. Tensors are not looked at. Every length is checked against the bytes that are
// there.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace quartet::tokenizer {

// The metadata of one file. Text and arrays of text point into the bytes that were parsed.
class GgufMetadata {
 public:
  // Keys that start with one of `wanted_prefixes` are kept. Returns INVALID_ARGUMENT saying what is
  // wrong at which offset.
  static absl::StatusOr<GgufMetadata> Parse(absl::string_view bytes,
                                            const std::vector<std::string>& wanted_prefixes);

  bool Has(absl::string_view key) const;
  // Each returns NOT_FOUND if the key is not there and INVALID_ARGUMENT if it has another type,
  // both naming the key.
  absl::StatusOr<absl::string_view> Text(absl::string_view key) const;
  absl::StatusOr<int64_t> Integer(absl::string_view key) const;
  absl::StatusOr<bool> Boolean(absl::string_view key) const;
  absl::StatusOr<const std::vector<absl::string_view>*> Texts(absl::string_view key) const;
  absl::StatusOr<const std::vector<int64_t>*> Integers(absl::string_view key) const;

 private:
  // monostate: a type that no tokenizer field has (floats, arrays of them, nested arrays).
  using Value = std::variant<std::monostate, bool, int64_t, absl::string_view, std::vector<int64_t>,
                             std::vector<absl::string_view>>;
  template <typename T>
  absl::StatusOr<const T*> Find(absl::string_view key, absl::string_view type) const;

  std::map<std::string, Value, std::less<>> values_;

  friend class GgufParser;
};

}  // namespace quartet::tokenizer
