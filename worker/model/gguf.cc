#include "worker/model/gguf.h"

#include <cmath>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "worker/model/gguf_parser.h"

namespace quartet::model {
namespace {

bool IsInteger(GgufValueType type) {
  switch (type) {
    case GgufValueType::kUint8:
    case GgufValueType::kInt8:
    case GgufValueType::kUint16:
    case GgufValueType::kInt16:
    case GgufValueType::kUint32:
    case GgufValueType::kInt32:
    case GgufValueType::kUint64:
    case GgufValueType::kInt64:
      return true;
    default:
      return false;
  }
}

bool IsFloat(GgufValueType type) {
  return type == GgufValueType::kFloat32 || type == GgufValueType::kFloat64;
}

std::string ValueText(const GgufValue& value) {
  if (value.type == GgufValueType::kString) {
    return absl::StrCat("\"", absl::CHexEscape(value.text.substr(0, 60)), "\"");
  }
  if (value.type == GgufValueType::kArray) {
    return absl::StrCat("a list of ", value.num_elements, " elements");
  }
  if (value.type == GgufValueType::kBool) return value.integer ? "true" : "false";
  if (IsFloat(value.type)) return absl::StrCat(value.number);
  if (value.type == GgufValueType::kUint64)
    return absl::StrCat(static_cast<uint64_t>(value.integer));
  return absl::StrCat(value.integer);
}

}  // namespace

absl::StatusOr<GgufFile> GgufFile::Open(const std::string& path) {
  GgufFile gguf;
  ASSIGN_OR_RETURN(gguf.file_, MappedFile::Open(path));
  RETURN_IF_ERROR(GgufParser(&gguf).Parse());
  return gguf;
}

const GgufTensor* GgufFile::FindTensor(absl::string_view name) const {
  const auto found = tensors_.find(std::string(name));
  return found == tensors_.end() ? nullptr : &found->second;
}

const GgufValue* GgufFile::Find(absl::string_view key) const {
  const auto found = metadata_.find(std::string(key));
  return found == metadata_.end() ? nullptr : &found->second;
}

absl::Status GgufFile::Error(absl::string_view key, absl::string_view expected) const {
  const GgufValue* value = Find(key);
  return absl::InvalidArgumentError(absl::StrCat(file_->path(), ": metadata ", key, " is ",
                                                 value ? ValueText(*value) : "missing",
                                                 "; expected ", expected));
}

absl::StatusOr<std::optional<int64_t>> GgufFile::Int(absl::string_view key, int64_t min,
                                                     int64_t max) const {
  const GgufValue* value = Find(key);
  if (value == nullptr) return std::nullopt;
  const bool overflows = value->type == GgufValueType::kUint64 && value->integer < 0;
  if (!IsInteger(value->type) || overflows || value->integer < min || value->integer > max) {
    return Error(key, absl::StrCat("an integer from ", min, " to ", max));
  }
  return value->integer;
}

absl::StatusOr<int64_t> GgufFile::RequiredInt(absl::string_view key, int64_t min,
                                              int64_t max) const {
  ASSIGN_OR_RETURN(const std::optional<int64_t> value, Int(key, min, max));
  if (!value) return Error(key, absl::StrCat("an integer from ", min, " to ", max));
  return *value;
}

absl::StatusOr<std::optional<double>> GgufFile::Number(absl::string_view key, double min,
                                                       double max, bool min_included) const {
  const GgufValue* value = Find(key);
  if (value == nullptr) return std::nullopt;
  const double number = IsFloat(value->type)     ? value->number
                        : IsInteger(value->type) ? static_cast<double>(value->integer)
                                                 : std::nan("");
  const bool fits =
      std::isfinite(number) && number <= max && (min_included ? number >= min : number > min);
  if (!fits) {
    return Error(key, absl::StrCat("a number ", min_included ? "from " : "above ", min,
                                   max < 1e30 ? absl::StrCat(" to ", max) : ""));
  }
  return number;
}

absl::StatusOr<std::optional<bool>> GgufFile::Bool(absl::string_view key) const {
  const GgufValue* value = Find(key);
  if (value == nullptr) return std::nullopt;
  if (value->type != GgufValueType::kBool) return Error(key, "true or false");
  return value->integer != 0;
}

absl::StatusOr<std::optional<std::string>> GgufFile::Text(absl::string_view key) const {
  const GgufValue* value = Find(key);
  if (value == nullptr) return std::nullopt;
  if (value->type != GgufValueType::kString) return Error(key, "a string");
  return value->text;
}

}  // namespace quartet::model
