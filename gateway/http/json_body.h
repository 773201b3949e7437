// Reading JSON request bodies: parsing with bounds, and typed access to fields whose errors name
// the field and the value.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace quartet::gateway::http {

// Parses a body that must be a JSON object. Returns INVALID_ARGUMENT with the position if it is not
// UTF-8, not JSON, nested deeper than 100, or not an object.
absl::StatusOr<nlohmann::json> ParseJsonObject(absl::string_view body);

// The same body with all fields in the client's order. Returns INVALID_ARGUMENT if it has too many
// for that. REQUIRES: ParseJsonObject took the body.
absl::StatusOr<nlohmann::ordered_json> ParseOrdered(absl::string_view body);

// The elements of the array `field` of the same body, each as JSON text with its keys in the
// client's order. Empty if there is no such field. REQUIRES: ParseJsonObject took the body.
absl::StatusOr<std::vector<std::string>> OrderedElements(absl::string_view body,
                                                         absl::string_view field);

// The JSON text of the value at `path` in the same body, with its keys in the client's order; empty
// if there is none. REQUIRES: ParseJsonObject took the body.
absl::StatusOr<std::string> OrderedText(absl::string_view body,
                                        const std::vector<std::string>& path);

// JSON on one line, for answers; bytes that are no UTF-8 become U+FFFD.
std::string Dump(const nlohmann::ordered_json& value);

// A value for a message: its JSON, cut when long.
std::string Show(const nlohmann::json& value);

// Typed access to the fields of one object. A field that is absent or null leaves the target as it
// is; one of a wrong type or out of range is INVALID_ARGUMENT. `where` goes before the names in
// messages, e.g. "messages[2].".
class FieldReader {
 public:
  explicit FieldReader(const nlohmann::json& object, std::string where = "")
      : object_(object), where_(std::move(where)) {}

  // The field's value, or nullptr if absent or null.
  const nlohmann::json* Find(const char* name) const;

  absl::Status Read(const char* name, bool* value) const;
  absl::Status Read(const char* name, std::optional<bool>* value) const;
  absl::Status Read(const char* name, std::string* value) const;
  absl::Status Read(const char* name, std::optional<float>* value) const;
  absl::Status Read(const char* name, std::vector<std::string>* value) const;
  // Token ids.
  absl::Status Read(const char* name, std::vector<uint32_t>* value) const;
  // One of a few words.
  absl::Status ReadOneOf(const char* name, const std::vector<std::string>& words,
                         std::string* value) const;
  // Whole numbers in [min, max].
  absl::Status Read(const char* name, int64_t min, int64_t max,
                    std::optional<int64_t>* value) const;
  absl::Status Read(const char* name, int64_t min, int64_t max,
                    std::optional<uint32_t>* value) const;

  // INVALID_ARGUMENT that says what the field must be, and what it is.
  absl::Status Wrong(const char* name, absl::string_view must_be) const;

 private:
  const nlohmann::json& object_;
  const std::string where_;
};

}  // namespace quartet::gateway::http
