#include "tokenizer_service/gguf_metadata.h"

#include <cstring>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/status_macros.h"

namespace quartet::tokenizer {
namespace {

// Type numbers of the GGUF specification.
enum GgufType : uint32_t {
  kUint8 = 0,
  kInt8 = 1,
  kUint16 = 2,
  kInt16 = 3,
  kUint32 = 4,
  kInt32 = 5,
  kFloat32 = 6,
  kBool = 7,
  kString = 8,
  kArray = 9,
  kUint64 = 10,
  kInt64 = 11,
  kFloat64 = 12,
};

// Bytes of one value of `type`; 0 for those whose size is in the file and for unknown types.
size_t FixedSize(uint32_t type) {
  constexpr size_t kSizes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
  return type < sizeof(kSizes) / sizeof(kSizes[0]) ? kSizes[type] : 0;
}

bool IsInteger(uint32_t type) { return type <= kInt32 || type == kUint64 || type == kInt64; }

template <typename T>
T Load(absl::string_view bytes) {
  T value;
  std::memcpy(&value, bytes.data(), sizeof(T));
  return value;
}

// REQUIRES: `bytes` holds FixedSize(type) bytes.
int64_t LoadInteger(uint32_t type, absl::string_view bytes) {
  switch (type) {
    case kUint8:
      return Load<uint8_t>(bytes);
    case kInt8:
      return Load<int8_t>(bytes);
    case kUint16:
      return Load<uint16_t>(bytes);
    case kInt16:
      return Load<int16_t>(bytes);
    case kUint32:
      return Load<uint32_t>(bytes);
    case kInt32:
      return Load<int32_t>(bytes);
    default:
      return Load<int64_t>(bytes);
  }
}

constexpr int kMaxArrayDepth = 4;

}  // namespace

class GgufParser {
 public:
  explicit GgufParser(absl::string_view bytes) : bytes_(bytes) {}

  absl::Status ParseHeader(uint64_t* num_pairs) {
    absl::string_view magic;
    RETURN_IF_ERROR(Take(4, "magic", &magic));
    if (magic != "GGUF") {
      return absl::InvalidArgumentError(absl::StrCat(
          "not a GGUF file: it starts with \"", absl::CHexEscape(magic), "\" instead of \"GGUF\""));
    }
    uint32_t version;
    RETURN_IF_ERROR(Read("version", &version));
    if (version != 2 && version != 3) {
      return absl::InvalidArgumentError(
          absl::StrCat("GGUF version ", version, " is not supported (2 and 3 little-endian are)"));
    }
    uint64_t num_tensors;
    RETURN_IF_ERROR(Read("tensor count", &num_tensors));
    return Read("key count", num_pairs);
  }

  absl::Status ParsePair(const std::vector<std::string>& wanted_prefixes, GgufMetadata* metadata) {
    absl::string_view key;
    RETURN_IF_ERROR(ReadString("key", &key));
    bool wanted = false;
    for (const std::string& prefix : wanted_prefixes) wanted |= absl::StartsWith(key, prefix);
    uint32_t type;
    RETURN_IF_ERROR(Read(key, &type));
    GgufMetadata::Value value;
    RETURN_IF_ERROR(ParseValue(key, type, wanted, &value));
    if (wanted && !metadata->values_.emplace(std::string(key), std::move(value)).second) {
      return absl::InvalidArgumentError(
          absl::StrCat("key \"", absl::CHexEscape(key), "\" stands there twice"));
    }
    return absl::OkStatus();
  }

 private:
  // `what` names the field in the message.
  absl::Status Take(uint64_t size, absl::string_view what, absl::string_view* out) {
    if (size > bytes_.size() - at_) {
      return absl::InvalidArgumentError(absl::StrCat(
          "\"", absl::CHexEscape(what.substr(0, 100)), "\" at byte ", at_, " needs ", size,
          " bytes and ", bytes_.size() - at_, " are left: the file is cut off or damaged"));
    }
    *out = bytes_.substr(at_, size);
    at_ += size;
    return absl::OkStatus();
  }

  template <typename T>
  absl::Status Read(absl::string_view what, T* out) {
    absl::string_view taken;
    RETURN_IF_ERROR(Take(sizeof(T), what, &taken));
    *out = Load<T>(taken);
    return absl::OkStatus();
  }

  absl::Status ReadString(absl::string_view what, absl::string_view* out) {
    uint64_t size;
    RETURN_IF_ERROR(Read(what, &size));
    return Take(size, what, out);
  }

  absl::Status ParseValue(absl::string_view key, uint32_t type, bool wanted,
                          GgufMetadata::Value* value) {
    if (type == kString) {
      absl::string_view text;
      RETURN_IF_ERROR(ReadString(key, &text));
      *value = text;
      return absl::OkStatus();
    }
    if (type == kArray) return ParseArray(key, wanted, 1, value);
    const size_t size = FixedSize(type);
    if (size == 0) return UnknownType(key, type);
    absl::string_view taken;
    RETURN_IF_ERROR(Take(size, key, &taken));
    if (type == kBool) {
      *value = taken[0] != 0;
    } else if (IsInteger(type)) {
      *value = LoadInteger(type, taken);
    }
    return absl::OkStatus();
  }

  absl::Status ParseArray(absl::string_view key, bool wanted, int depth,
                          GgufMetadata::Value* value) {
    uint32_t type;
    RETURN_IF_ERROR(Read(key, &type));
    uint64_t count;
    RETURN_IF_ERROR(Read(key, &count));
    if (type == kString) return ParseStrings(key, count, wanted, value);
    if (type == kArray) {
      if (depth == kMaxArrayDepth) {
        return absl::InvalidArgumentError(
            absl::StrCat("\"", absl::CHexEscape(key), "\": arrays are nested too deeply"));
      }
      for (uint64_t i = 0; i < count; ++i) {
        GgufMetadata::Value ignored;
        RETURN_IF_ERROR(ParseArray(key, false, depth + 1, &ignored));
      }
      return absl::OkStatus();
    }
    const size_t size = FixedSize(type);
    if (size == 0) return UnknownType(key, type);
    absl::string_view taken;
    // The division keeps count * size from wrapping around.
    RETURN_IF_ERROR(Take(count > bytes_.size() ? UINT64_MAX : count * size, key, &taken));
    if (!wanted || !IsInteger(type)) return absl::OkStatus();
    std::vector<int64_t> integers(count);
    for (uint64_t i = 0; i < count; ++i)
      integers[i] = LoadInteger(type, taken.substr(i * size, size));
    *value = std::move(integers);
    return absl::OkStatus();
  }

  absl::Status ParseStrings(absl::string_view key, uint64_t count, bool wanted,
                            GgufMetadata::Value* value) {
    std::vector<absl::string_view> texts;
    for (uint64_t i = 0; i < count; ++i) {
      absl::string_view text;
      RETURN_IF_ERROR(ReadString(key, &text));
      if (wanted) texts.push_back(text);
    }
    *value = std::move(texts);
    return absl::OkStatus();
  }

  static absl::Status UnknownType(absl::string_view key, uint32_t type) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", absl::CHexEscape(key), "\" has the unknown GGUF type ", type));
  }

  absl::string_view bytes_;
  size_t at_ = 0;
};

absl::StatusOr<GgufMetadata> GgufMetadata::Parse(absl::string_view bytes,
                                                 const std::vector<std::string>& wanted_prefixes) {
  GgufParser parser(bytes);
  uint64_t num_pairs = 0;
  RETURN_IF_ERROR(parser.ParseHeader(&num_pairs));
  GgufMetadata metadata;
  for (uint64_t i = 0; i < num_pairs; ++i) {
    RETURN_IF_ERROR(parser.ParsePair(wanted_prefixes, &metadata));
  }
  return metadata;
}

template <typename T>
absl::StatusOr<const T*> GgufMetadata::Find(absl::string_view key, absl::string_view type) const {
  // absl's string_view and std::map's transparent comparison meet in std::string_view.
  const auto found = values_.find(std::string_view(key.data(), key.size()));
  if (found == values_.end()) {
    return absl::NotFoundError(absl::StrCat("the file has no \"", key, "\""));
  }
  const T* const value = std::get_if<T>(&found->second);
  if (value == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat("\"", key, "\" is not ", type));
  }
  return value;
}

bool GgufMetadata::Has(absl::string_view key) const {
  return values_.find(std::string_view(key.data(), key.size())) != values_.end();
}

absl::StatusOr<absl::string_view> GgufMetadata::Text(absl::string_view key) const {
  ASSIGN_OR_RETURN(const absl::string_view* text, Find<absl::string_view>(key, "a string"));
  return *text;
}

absl::StatusOr<int64_t> GgufMetadata::Integer(absl::string_view key) const {
  ASSIGN_OR_RETURN(const int64_t* value, Find<int64_t>(key, "an integer"));
  return *value;
}

absl::StatusOr<bool> GgufMetadata::Boolean(absl::string_view key) const {
  ASSIGN_OR_RETURN(const bool* value, Find<bool>(key, "a boolean"));
  return *value;
}

absl::StatusOr<const std::vector<absl::string_view>*> GgufMetadata::Texts(
    absl::string_view key) const {
  return Find<std::vector<absl::string_view>>(key, "an array of strings");
}

absl::StatusOr<const std::vector<int64_t>*> GgufMetadata::Integers(absl::string_view key) const {
  return Find<std::vector<int64_t>>(key, "an array of integers");
}

}  // namespace quartet::tokenizer
