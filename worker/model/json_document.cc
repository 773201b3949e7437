#include "worker/model/json_document.h"

#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"

namespace quartet::model {

using nlohmann::json;

absl::StatusOr<json> ParseJson(absl::string_view text, absl::string_view source) {
  std::vector<std::set<std::string>> keys;  // of the open objects
  std::string duplicate;
  const auto watch = [&](int depth, json::parse_event_t event, json& parsed) {
    if (event == json::parse_event_t::object_start) {
      keys.emplace_back();
    } else if (event == json::parse_event_t::object_end) {
      keys.pop_back();
    } else if (event == json::parse_event_t::key) {
      const std::string& key = parsed.get_ref<const std::string&>();
      if (!keys.back().insert(key).second && duplicate.empty()) duplicate = key;
    }
    return true;
  };
  // The library's only way to tell where and why is an exception; it ends here.
  try {
    json document = json::parse(text.begin(), text.end(), watch);
    if (!duplicate.empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat(source, ": the key \"", duplicate, "\" stands twice in one object"));
    }
    return document;
  } catch (const json::exception& error) {
    return absl::InvalidArgumentError(absl::StrCat(source, ": not valid JSON: ", error.what()));
  }
}

std::string JsonExcerpt(const json& value) {
  constexpr size_t kMaxLength = 80;
  // A huge value is not worth writing out only to cut it.
  if (value.is_structured() && value.size() > kMaxLength) {
    return absl::StrCat(value.is_array() ? "a list" : "an object", " of ", value.size(),
                        " elements");
  }
  std::string text = value.dump(-1, ' ', true, json::error_handler_t::replace);
  if (text.size() > kMaxLength) text = text.substr(0, kMaxLength) + "...";
  return text;
}

const json* JsonFields::Find(absl::string_view name) const {
  const auto found = object_.find(std::string(name));
  return found == object_.end() || found->is_null() ? nullptr : &*found;
}

absl::Status JsonFields::Error(absl::string_view name, absl::string_view expected) const {
  const json* value = Find(name);
  return absl::InvalidArgumentError(absl::StrCat(source_, ": ", name, " is ",
                                                 value ? JsonExcerpt(*value) : "missing",
                                                 "; expected ", expected));
}

absl::StatusOr<std::optional<int64_t>> JsonFields::Int(absl::string_view name, int64_t min,
                                                       int64_t max) const {
  const json* value = Find(name);
  if (value == nullptr) return std::nullopt;
  const bool fits = value->is_number_integer() &&
                    (!value->is_number_unsigned() || value->get<uint64_t>() <= INT64_MAX) &&
                    value->get<int64_t>() >= min && value->get<int64_t>() <= max;
  if (!fits) return Error(name, absl::StrCat("an integer from ", min, " to ", max));
  return value->get<int64_t>();
}

absl::StatusOr<int64_t> JsonFields::RequiredInt(absl::string_view name, int64_t min,
                                                int64_t max) const {
  ASSIGN_OR_RETURN(const std::optional<int64_t> value, Int(name, min, max));
  if (!value) return Error(name, absl::StrCat("an integer from ", min, " to ", max));
  return *value;
}

absl::StatusOr<std::optional<double>> JsonFields::Number(absl::string_view name, double min,
                                                         double max, bool min_included) const {
  const json* value = Find(name);
  if (value == nullptr) return std::nullopt;
  const double number = value->is_number() ? value->get<double>() : std::nan("");
  const bool fits =
      std::isfinite(number) && number <= max && (min_included ? number >= min : number > min);
  if (!fits) {
    return Error(name, absl::StrCat("a number ", min_included ? "from " : "above ", min,
                                    max < 1e30 ? absl::StrCat(" to ", max) : ""));
  }
  return number;
}

absl::StatusOr<std::optional<bool>> JsonFields::Bool(absl::string_view name) const {
  const json* value = Find(name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_boolean()) return Error(name, "true or false");
  return value->get<bool>();
}

absl::StatusOr<std::optional<std::string>> JsonFields::Text(absl::string_view name) const {
  const json* value = Find(name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_string()) return Error(name, "a string");
  return value->get<std::string>();
}

absl::StatusOr<std::vector<int64_t>> JsonFields::Ints(absl::string_view name, int64_t min,
                                                      int64_t max) const {
  const json* value = Find(name);
  if (value == nullptr) return std::vector<int64_t>();
  const json list = value->is_array() ? *value : json::array({*value});
  std::vector<int64_t> result;
  for (const json& element : list) {
    const bool fits = element.is_number_integer() &&
                      (!element.is_number_unsigned() || element.get<uint64_t>() <= INT64_MAX) &&
                      element.get<int64_t>() >= min && element.get<int64_t>() <= max;
    if (!fits) {
      return Error(name, absl::StrCat("an integer from ", min, " to ", max, " or a list of them"));
    }
    result.push_back(element.get<int64_t>());
  }
  return result;
}

}  // namespace quartet::model
