#include "gateway/http/json_body.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "common/status_macros.h"
#include "gateway/request_error.h"
#include "gateway/utf8.h"

namespace quartet::gateway::http {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

constexpr size_t kMaxDepth = 100;
constexpr size_t kMaxShownBytes = 100;
// ordered_json looks names up one by one, so an object with many is quadratic.
constexpr size_t kMaxOrderedFields = 10'000;

struct Outline {
  size_t max_depth = 0;
  size_t num_fields = 0;
};

// What can be said of a JSON text without parsing it: brackets and colons outside strings.
Outline OutlineOf(absl::string_view body) {
  Outline outline;
  size_t depth = 0;
  bool in_string = false;
  for (size_t i = 0; i < body.size(); ++i) {
    const char c = body[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '[' || c == '{') {
      outline.max_depth = std::max(outline.max_depth, ++depth);
    } else if ((c == ']' || c == '}') && depth > 0) {
      --depth;
    } else if (c == ':') {
      ++outline.num_fields;
    }
  }
  return outline;
}

std::string Cut(std::string text, size_t max_bytes) {
  if (text.size() <= max_bytes) return text;
  // Not in the middle of a character.
  while (max_bytes > 0 && (static_cast<unsigned char>(text[max_bytes]) & 0xC0) == 0x80) --max_bytes;
  text.resize(max_bytes);
  return text + "...";
}

// nlohmann's messages begin with "[json.exception.parse_error.101] " and tell line, column and what
// was expected.
std::string Explain(const json::exception& error) {
  absl::string_view what = error.what();
  const size_t end = what.find("] ");
  if (end != absl::string_view::npos) what.remove_prefix(end + 2);
  absl::ConsumePrefix(&what, "parse error ");
  std::string text(what);
  const size_t bad = FirstInvalidUtf8(text);
  text.resize(bad);
  return Cut(std::move(text), 300);
}

// REQUIRES: ParseJsonObject took the body.
absl::StatusOr<ordered_json> ParseOrdered(absl::string_view body, absl::string_view field) {
  if (OutlineOf(body).num_fields > kMaxOrderedFields) {
    return InvalidField(field, absl::StrCat("A body with ", field, " may have at most ",
                                            kMaxOrderedFields, " fields"));
  }
  return ordered_json::parse(body.begin(), body.end(), nullptr, false);
}

}  // namespace

absl::StatusOr<json> ParseJsonObject(absl::string_view body) {
  const size_t bad = FirstInvalidUtf8(body);
  if (bad != body.size()) {
    return InvalidField(
        "", absl::StrCat("The body is not valid UTF-8: byte ", bad, " is 0x",
                         absl::Hex(static_cast<unsigned char>(body[bad]), absl::kZeroPad2)));
  }
  if (OutlineOf(body).max_depth > kMaxDepth) {
    return InvalidField("", absl::StrCat("The body is nested deeper than ", kMaxDepth, " levels"));
  }
  json parsed;
  try {
    parsed = json::parse(body.begin(), body.end());
  } catch (const json::exception& error) {
    return InvalidField(
        "", absl::StrCat("We could not parse the JSON body of your request, ", Explain(error)));
  }
  if (!parsed.is_object()) {
    return InvalidField("", absl::StrCat("The body must be a JSON object, got ", Show(parsed)));
  }
  return parsed;
}

absl::StatusOr<ordered_json> ParseOrdered(absl::string_view body) {
  if (OutlineOf(body).num_fields > kMaxOrderedFields) {
    return InvalidField("", absl::StrCat("The body may have at most ", kMaxOrderedFields,
                                         " fields in all its objects together"));
  }
  return ParseOrdered(body, "");
}

absl::StatusOr<std::vector<std::string>> OrderedElements(absl::string_view body,
                                                         absl::string_view field) {
  ASSIGN_OR_RETURN(const ordered_json parsed, ParseOrdered(body, field));
  const auto found = parsed.find(std::string(field));
  std::vector<std::string> elements;
  if (found == parsed.end() || !found->is_array()) return elements;
  for (const ordered_json& element : *found) elements.push_back(element.dump());
  return elements;
}

absl::StatusOr<std::string> OrderedText(absl::string_view body,
                                        const std::vector<std::string>& path) {
  ASSIGN_OR_RETURN(const ordered_json parsed, ParseOrdered(body, path.front()));
  const ordered_json* value = &parsed;
  for (const std::string& name : path) {
    const auto found = value->find(name);
    if (found == value->end()) return std::string();
    value = &*found;
  }
  return value->dump();
}

std::string Dump(const ordered_json& value) {
  return value.dump(-1, ' ', false, ordered_json::error_handler_t::replace);
}

std::string Show(const json& value) {
  return Cut(value.dump(-1, ' ', false, json::error_handler_t::replace), kMaxShownBytes);
}

const json* FieldReader::Find(const char* name) const {
  const auto found = object_.find(name);
  return found == object_.end() || found->is_null() ? nullptr : &*found;
}

absl::Status FieldReader::Wrong(const char* name, absl::string_view must_be) const {
  const json* const value = Find(name);
  const std::string field = absl::StrCat(where_, name);
  return InvalidField(field, absl::StrCat(field, " must be ", must_be, ", got ",
                                          value == nullptr ? "null" : Show(*value)));
}

absl::Status FieldReader::Read(const char* name, bool* value) const {
  std::optional<bool> read;
  RETURN_IF_ERROR(Read(name, &read));
  if (read.has_value()) *value = *read;
  return absl::OkStatus();
}

absl::Status FieldReader::Read(const char* name, std::optional<bool>* value) const {
  const json* const found = Find(name);
  if (found == nullptr) return absl::OkStatus();
  if (!found->is_boolean()) return Wrong(name, "true or false");
  *value = found->get<bool>();
  return absl::OkStatus();
}

absl::Status FieldReader::Read(const char* name, std::string* value) const {
  const json* const found = Find(name);
  if (found == nullptr) return absl::OkStatus();
  if (!found->is_string()) return Wrong(name, "a string");
  *value = found->get<std::string>();
  return absl::OkStatus();
}

absl::Status FieldReader::Read(const char* name, std::optional<float>* value) const {
  const json* const found = Find(name);
  if (found == nullptr) return absl::OkStatus();
  if (!found->is_number()) return Wrong(name, "a number");
  *value = static_cast<float>(found->get<double>());
  return absl::OkStatus();
}

absl::Status FieldReader::Read(const char* name, std::vector<std::string>* value) const {
  const json* const found = Find(name);
  if (found == nullptr) return absl::OkStatus();
  if (!found->is_array()) return Wrong(name, "a list of strings");
  for (const json& element : *found) {
    if (!element.is_string()) return Wrong(name, "a list of strings");
    value->push_back(element.get<std::string>());
  }
  return absl::OkStatus();
}

absl::Status FieldReader::Read(const char* name, std::vector<uint32_t>* value) const {
  const json* const found = Find(name);
  if (found == nullptr) return absl::OkStatus();
  if (!found->is_array()) return Wrong(name, "a list of token ids");
  for (const json& id : *found) {
    if (!id.is_number_unsigned() || id.get<uint64_t>() > UINT32_MAX) {
      return Wrong(name, "a list of token ids");
    }
    value->push_back(id.get<uint32_t>());
  }
  return absl::OkStatus();
}

absl::Status FieldReader::ReadOneOf(const char* name, const std::vector<std::string>& words,
                                    std::string* value) const {
  std::string word;
  RETURN_IF_ERROR(Read(name, &word));
  if (Find(name) == nullptr) return absl::OkStatus();
  if (std::find(words.begin(), words.end(), word) == words.end()) {
    return Wrong(name, absl::StrCat("one of ", absl::StrJoin(words, ", ")));
  }
  *value = std::move(word);
  return absl::OkStatus();
}

absl::Status FieldReader::Read(const char* name, int64_t min, int64_t max,
                               std::optional<int64_t>* value) const {
  const json* const found = Find(name);
  if (found == nullptr) return absl::OkStatus();
  const std::string range = absl::StrCat("a whole number in [", min, ", ", max, "]");
  int64_t number = 0;
  if (found->is_number_unsigned()) {
    const uint64_t large = found->get<uint64_t>();
    if (large > static_cast<uint64_t>(INT64_MAX)) return Wrong(name, range);
    number = static_cast<int64_t>(large);
  } else if (found->is_number_integer()) {
    number = found->get<int64_t>();
  } else if (found->is_number_float() && std::floor(found->get<double>()) == found->get<double>() &&
             std::abs(found->get<double>()) < 1e15) {
    number = static_cast<int64_t>(found->get<double>());  // 16.0, as some clients write it.
  } else {
    return Wrong(name, range);
  }
  if (number < min || number > max) return Wrong(name, range);
  *value = number;
  return absl::OkStatus();
}

absl::Status FieldReader::Read(const char* name, int64_t min, int64_t max,
                               std::optional<uint32_t>* value) const {
  std::optional<int64_t> wide;
  RETURN_IF_ERROR(Read(name, min, max, &wide));
  if (wide.has_value()) *value = static_cast<uint32_t>(*wide);
  return absl::OkStatus();
}

}  // namespace quartet::gateway::http
