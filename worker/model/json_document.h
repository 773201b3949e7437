// JSON files with errors that name the file and the field. Includes of the JSON library stay in .cc
// files.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace quartet::model {

// Parses `text`, which `source` names in messages. Returns INVALID_ARGUMENT with the position if it
// is not JSON, not UTF-8, or has a key twice in one object.
absl::StatusOr<nlohmann::json> ParseJson(absl::string_view text, absl::string_view source);

// `value` as text for messages, cut to a readable length.
std::string JsonExcerpt(const nlohmann::json& value);

// Typed access to the fields of one object; a field that is null counts as absent. All errors are
// INVALID_ARGUMENT "source: field is value; expected ...". Does not own the object.
class JsonFields {
 public:
  // REQUIRES: `object` is an object and outlives this.
  JsonFields(const nlohmann::json& object, absl::string_view source)
      : object_(object), source_(source) {}

  // Null if absent.
  const nlohmann::json* Find(absl::string_view name) const;
  absl::StatusOr<std::optional<int64_t>> Int(absl::string_view name, int64_t min,
                                             int64_t max) const;
  absl::StatusOr<int64_t> RequiredInt(absl::string_view name, int64_t min, int64_t max) const;
  // A finite number in [min, max]; `min` itself only if `min_included`.
  absl::StatusOr<std::optional<double>> Number(absl::string_view name, double min, double max,
                                               bool min_included = false) const;
  absl::StatusOr<std::optional<bool>> Bool(absl::string_view name) const;
  absl::StatusOr<std::optional<std::string>> Text(absl::string_view name) const;
  // One integer or a list of them.
  absl::StatusOr<std::vector<int64_t>> Ints(absl::string_view name, int64_t min, int64_t max) const;

  absl::Status Error(absl::string_view name, absl::string_view expected) const;
  const std::string& source() const { return source_; }

 private:
  const nlohmann::json& object_;
  std::string source_;
};

}  // namespace quartet::model
