#include "worker/model/gguf_parser.h"

#include <utf8proc.h>

#include <algorithm>
#include <bit>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "worker/model/float_conversion.h"
#include "worker/model/gguf_quantization.h"
#include "worker/model/tensor_file.h"

namespace quartet::model {
namespace {

constexpr uint32_t kMagic = 0x46554747;  // "GGUF"
constexpr uint64_t kMaxNameBytes = 65535;
// Smallest entries: a key of no bytes, its type, one byte; a name of no bytes, one dimension.
constexpr uint64_t kMinValueBytes = 8 + 4 + 1;
constexpr uint64_t kMinTensorBytes = 8 + 4 + 8 + 4 + 8;

bool IsUtf8(absl::string_view text) {
  const auto* at = reinterpret_cast<const utf8proc_uint8_t*>(text.data());
  auto left = static_cast<utf8proc_ssize_t>(text.size());
  while (left > 0) {
    utf8proc_int32_t codepoint;
    const utf8proc_ssize_t used = utf8proc_iterate(at, left, &codepoint);
    if (used < 1) return false;
    at += used;
    left -= used;
  }
  return true;
}

// 0 for strings, arrays and what GGUF doesn't know.
uint64_t ScalarBytes(GgufValueType type) {
  switch (type) {
    case GgufValueType::kUint8:
    case GgufValueType::kInt8:
    case GgufValueType::kBool:
      return 1;
    case GgufValueType::kUint16:
    case GgufValueType::kInt16:
      return 2;
    case GgufValueType::kUint32:
    case GgufValueType::kInt32:
    case GgufValueType::kFloat32:
      return 4;
    case GgufValueType::kUint64:
    case GgufValueType::kInt64:
    case GgufValueType::kFloat64:
      return 8;
    case GgufValueType::kString:
    case GgufValueType::kArray:
      return 0;
  }
  return 0;
}

}  // namespace

absl::Status GgufParser::Error(absl::string_view what) const {
  return absl::InvalidArgumentError(absl::StrCat(file_.path(), ": ", what));
}

absl::Status GgufParser::Truncated(absl::string_view what) const {
  return Error(absl::StrCat("ends inside ", absl::CHexEscape(what), " at byte ", file_.size(),
                            "; the file is truncated or damaged, fetch it again"));
}

template <typename T>
absl::StatusOr<T> GgufParser::Read(absl::string_view what) {
  if (remaining() < sizeof(T)) return Truncated(what);
  const T value = LoadAs<T>(file_.data() + position_);
  position_ += sizeof(T);
  return value;
}

absl::StatusOr<absl::string_view> GgufParser::ReadString(absl::string_view what,
                                                         uint64_t max_bytes) {
  ASSIGN_OR_RETURN(const uint64_t length, Read<uint64_t>(what));
  if (length > max_bytes) {
    return Error(absl::StrCat(absl::CHexEscape(what), " is said to have ", length,
                              " bytes; expected at most ", max_bytes));
  }
  if (length > remaining()) return Truncated(what);
  const absl::string_view text(reinterpret_cast<const char*>(file_.data() + position_), length);
  position_ += static_cast<int64_t>(length);
  if (!IsUtf8(text)) {
    return Error(absl::StrCat(absl::CHexEscape(what), " is not valid UTF-8: \"",
                              absl::CHexEscape(text.substr(0, 40)), "\""));
  }
  return text;
}

absl::Status GgufParser::Parse() {
  RETURN_IF_ERROR(ParseHeader());
  for (uint64_t i = 0; i < num_values_; ++i) RETURN_IF_ERROR(ParseKeyValue());
  for (uint64_t i = 0; i < num_tensors_; ++i) RETURN_IF_ERROR(ParseTensorInfo());
  RETURN_IF_ERROR(PlaceTensors());
  file_.Release(0, position_);
  return absl::OkStatus();
}

absl::Status GgufParser::ParseHeader() {
  ASSIGN_OR_RETURN(const uint32_t magic, Read<uint32_t>("the header"));
  if (magic != kMagic) return Error("doesn't begin with \"GGUF\"; not a GGUF file");
  ASSIGN_OR_RETURN(const uint32_t version, Read<uint32_t>("the header"));
  if (version != 2 && version != 3) {
    const uint32_t swapped = __builtin_bswap32(version);
    return Error(swapped == 2 || swapped == 3
                     ? std::string("is a big-endian GGUF; expected little-endian, convert it again")
                     : absl::StrCat("has GGUF version ", version, "; expected 2 or 3"));
  }
  ASSIGN_OR_RETURN(num_tensors_, Read<uint64_t>("the header"));
  ASSIGN_OR_RETURN(num_values_, Read<uint64_t>("the header"));
  if (num_values_ > remaining() / kMinValueBytes || num_tensors_ > remaining() / kMinTensorBytes) {
    return Error(absl::StrCat("is said to have ", num_values_, " metadata values and ",
                              num_tensors_, " tensors, more than fit into its ", file_.size(),
                              " bytes"));
  }
  return absl::OkStatus();
}

absl::Status GgufParser::ParseKeyValue() {
  ASSIGN_OR_RETURN(const absl::string_view key, ReadString("a metadata key", kMaxNameBytes));
  ASSIGN_OR_RETURN(const uint32_t type, Read<uint32_t>(key));
  GgufValue value;
  RETURN_IF_ERROR(ReadValue(key, static_cast<GgufValueType>(type), &value));
  if (!out_.metadata_.emplace(std::string(key), std::move(value)).second) {
    return Error(absl::StrCat("metadata key ", absl::CHexEscape(key), " stands twice"));
  }
  return absl::OkStatus();
}

absl::Status GgufParser::ReadValue(absl::string_view key, GgufValueType type, GgufValue* value) {
  value->type = type;
  if (type == GgufValueType::kArray) return SkipArray(key, value);
  if (type == GgufValueType::kString) {
    ASSIGN_OR_RETURN(const absl::string_view text, ReadString(key, remaining()));
    value->text = std::string(text);
    return absl::OkStatus();
  }
  const uint64_t bytes = ScalarBytes(type);
  if (bytes == 0) {
    return Error(absl::StrCat("metadata key ", absl::CHexEscape(key), " has the unknown type ",
                              static_cast<uint32_t>(type)));
  }
  if (remaining() < bytes) return Truncated(key);
  const uint8_t* from = file_.data() + position_;
  position_ += static_cast<int64_t>(bytes);
  switch (type) {
    case GgufValueType::kInt8:
      value->integer = LoadAs<int8_t>(from);
      break;
    case GgufValueType::kUint16:
      value->integer = LoadAs<uint16_t>(from);
      break;
    case GgufValueType::kInt16:
      value->integer = LoadAs<int16_t>(from);
      break;
    case GgufValueType::kUint32:
      value->integer = LoadAs<uint32_t>(from);
      break;
    case GgufValueType::kInt32:
      value->integer = LoadAs<int32_t>(from);
      break;
    case GgufValueType::kUint64:
    case GgufValueType::kInt64:
      value->integer = LoadAs<int64_t>(from);
      break;
    case GgufValueType::kFloat32:
      value->number = LoadAs<float>(from);
      break;
    case GgufValueType::kFloat64:
      value->number = LoadAs<double>(from);
      break;
    default:  // kUint8, kBool
      value->integer = *from;
  }
  return absl::OkStatus();
}

absl::Status GgufParser::SkipArray(absl::string_view key, GgufValue* value) {
  ASSIGN_OR_RETURN(const uint32_t raw_type, Read<uint32_t>(key));
  ASSIGN_OR_RETURN(value->num_elements, Read<uint64_t>(key));
  const auto type = static_cast<GgufValueType>(raw_type);
  const uint64_t bytes = ScalarBytes(type);
  if (bytes > 0) {
    if (value->num_elements > remaining() / bytes) return Truncated(key);
    position_ += static_cast<int64_t>(value->num_elements * bytes);
    return absl::OkStatus();
  }
  // The format allows arrays of arrays; no writer makes them.
  if (type != GgufValueType::kString) {
    return Error(absl::StrCat("metadata key ", absl::CHexEscape(key),
                              " is a list of elements of type ", raw_type,
                              "; expected numbers or strings"));
  }
  if (value->num_elements > remaining() / sizeof(uint64_t)) return Truncated(key);
  for (uint64_t i = 0; i < value->num_elements; ++i) {
    // Strings of vocabularies: the tokenizer judges their contents.
    ASSIGN_OR_RETURN(const uint64_t length, Read<uint64_t>(key));
    if (length > remaining()) return Truncated(key);
    position_ += static_cast<int64_t>(length);
  }
  return absl::OkStatus();
}

absl::Status GgufParser::ParseTensorInfo() {
  ASSIGN_OR_RETURN(const absl::string_view raw_name, ReadString("a tensor's name", kMaxNameBytes));
  const std::string name = absl::CHexEscape(raw_name);
  ASSIGN_OR_RETURN(const uint32_t num_dimensions, Read<uint32_t>(name));
  if (num_dimensions < 1 || num_dimensions > 4) {
    return Error(
        absl::StrCat("tensor ", name, " has ", num_dimensions, " dimensions; expected 1 to 4"));
  }
  GgufTensor tensor;
  for (uint32_t i = 0; i < num_dimensions; ++i) {
    ASSIGN_OR_RETURN(const uint64_t size, Read<uint64_t>(name));
    tensor.shape.push_back(static_cast<int64_t>(std::min<uint64_t>(size, INT64_MAX)));
  }
  std::reverse(tensor.shape.begin(), tensor.shape.end());
  ASSIGN_OR_RETURN(tensor.type, Read<uint32_t>(name));
  ASSIGN_OR_RETURN(const uint64_t offset, Read<uint64_t>(name));
  const GgmlType* type = FindGgmlType(tensor.type);
  if (type == nullptr) {
    return Error(absl::StrCat("tensor ", name, " has type ", GgmlTypeName(tensor.type), " (",
                              tensor.type, "); expected ", LoadableGgmlTypes()));
  }
  const int64_t elements = NumElements(tensor.shape);
  int64_t bytes = 0;
  if (elements < 0 || tensor.shape.back() % type->block_elements != 0 ||
      __builtin_mul_overflow(elements / type->block_elements, type->block_bytes, &bytes)) {
    return Error(absl::StrCat("tensor ", name, " has shape ", ShapeText(tensor.shape),
                              "; expected positive sizes, the last a multiple of ", type->name,
                              "'s ", type->block_elements));
  }
  if (offset > static_cast<uint64_t>(file_.size()) || bytes > file_.size()) {
    return Error(absl::StrCat("tensor ", name, " (", bytes, " bytes at offset ", offset,
                              ") leaves the file, which has ", file_.size(),
                              " bytes; it is truncated or damaged, fetch it again"));
  }
  tensor.begin = static_cast<int64_t>(offset);
  tensor.end = tensor.begin + bytes;
  if (!out_.tensors_.emplace(std::string(raw_name), std::move(tensor)).second) {
    return Error(absl::StrCat("tensor ", name, " stands twice"));
  }
  return absl::OkStatus();
}

absl::Status GgufParser::PlaceTensors() {
  int64_t alignment = 32;
  if (const GgufValue* value = out_.Find("general.alignment")) {
    alignment = value->integer;
    const bool fits = value->type == GgufValueType::kUint32 && alignment >= 1 &&
                      alignment <= (1 << 20) &&
                      std::has_single_bit(static_cast<uint64_t>(alignment));
    if (!fits) return out_.Error("general.alignment", "a power of two up to 1048576, as uint32");
  }
  const int64_t data_begin = (position_ + alignment - 1) / alignment * alignment;
  for (auto& [name, tensor] : out_.tensors_) {
    if (tensor.begin % alignment != 0) {
      return Error(absl::StrCat("tensor ", absl::CHexEscape(name), " is at offset ", tensor.begin,
                                "; expected a multiple of ", alignment));
    }
    tensor.begin += data_begin;
    tensor.end += data_begin;
    if (tensor.end > file_.size()) {
      return Error(absl::StrCat("tensor ", absl::CHexEscape(name), " ends at byte ", tensor.end,
                                ", but the file has ", file_.size(),
                                "; it is truncated, fetch it again"));
    }
  }
  return absl::OkStatus();
}

}  // namespace quartet::model
