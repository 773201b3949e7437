#include "tokenizer_service/tokenizer_stages.h"

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"

namespace quartet::tokenizer {
namespace {

using Json = nlohmann::json;

// The regular expression of Qwen2 and Qwen2.5, as their tokenizer.json has it.
constexpr absl::string_view kQwen2Pattern =
    R"re((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)re";
// What a ByteLevel stage with use_regex applies; some files spell it out.
constexpr absl::string_view kGpt2Pattern =
    R"re('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)re";

// The value at `key`, or null.
const Json& Field(const Json& object, const char* key) {
  static const Json* const null = new Json();
  if (!object.is_object()) return *null;
  const auto found = object.find(key);
  return found == object.end() ? *null : *found;
}

bool IsTrue(const Json& value, bool if_absent) {
  return value.is_boolean() ? value.get<bool>() : if_absent;
}

std::string TypeOf(const Json& stage) {
  const Json& type = Field(stage, "type");
  return type.is_string() ? type.get<std::string>() : std::string();
}

std::string Shown(const Json& value) {
  std::string text = value.dump(-1, ' ', true, Json::error_handler_t::replace);
  if (text.size() > 300) text = text.substr(0, 300) + "...";
  return text;
}

absl::Status Unsupported(absl::string_view stage, const Json& value, absl::string_view supported) {
  return absl::InvalidArgumentError(
      absl::StrCat(stage, " ", Shown(value), " is not supported; supported: ", supported));
}

// A stage as a list: the parts of a Sequence, nothing for null, or itself.
std::vector<Json> Parts(const Json& stage, const char* list) {
  if (stage.is_null()) return {};
  if (TypeOf(stage) != "Sequence") return {stage};
  const Json& parts = Field(stage, list);
  if (!parts.is_array()) return {stage};
  return {parts.begin(), parts.end()};
}

absl::Status ReadNormalizer(const Json& stage, Vocabulary* vocabulary) {
  for (const Json& part : Parts(stage, "normalizers")) {
    if (TypeOf(part) != "NFC") return Unsupported("normalizer", part, "NFC or none");
    vocabulary->nfc = true;
  }
  return absl::OkStatus();
}

// The pattern of a Split stage if we have it.
std::optional<SplitPattern> PatternOf(const Json& split) {
  const Json& regex = Field(Field(split, "pattern"), "Regex");
  if (!regex.is_string() || Field(split, "behavior") != "Isolated" ||
      IsTrue(Field(split, "invert"), false)) {
    return std::nullopt;
  }
  const auto& text = regex.get_ref<const std::string&>();
  if (text == kQwen2Pattern) return SplitPattern::kQwen2;
  if (text == kGpt2Pattern) return SplitPattern::kGpt2;
  return std::nullopt;
}

// [Digits(individual)] then one of Split(pattern) + ByteLevel(no regex), or ByteLevel(regex).
absl::Status ReadPreTokenizer(const Json& stage, Vocabulary* vocabulary) {
  constexpr absl::string_view kSupported =
      "Digits(individual_digits), Split with the pattern of Qwen2 or GPT-2 (Isolated), then "
      "ByteLevel";
  std::optional<SplitPattern> pattern;
  bool byte_level = false;
  for (const Json& part : Parts(stage, "pretokenizers")) {
    const std::string type = TypeOf(part);
    const bool first = !pattern.has_value() && !byte_level;
    if (type == "Digits" && first && IsTrue(Field(part, "individual_digits"), false)) {
      vocabulary->individual_digits = true;
    } else if (type == "Split" && first) {
      pattern = PatternOf(part);
      if (!pattern.has_value()) return Unsupported("pre_tokenizer", part, kSupported);
    } else if (type == "ByteLevel" && !byte_level &&
               !IsTrue(Field(part, "add_prefix_space"), true) &&
               IsTrue(Field(part, "use_regex"), true) != pattern.has_value()) {
      byte_level = true;
    } else {
      return Unsupported("pre_tokenizer", part, kSupported);
    }
  }
  if (!byte_level) return Unsupported("pre_tokenizer", stage, kSupported);
  vocabulary->split_pattern = pattern.value_or(SplitPattern::kGpt2);
  return absl::OkStatus();
}

// The ids that a SpecialToken entry of a template stands for.
absl::Status AppendTemplateIds(const Json& processor, const Json& name, Vocabulary* vocabulary) {
  const Json* ids = nullptr;
  if (name.is_string()) {
    const Json& entry =
        Field(Field(processor, "special_tokens"), name.get_ref<const std::string&>().c_str());
    ids = &Field(entry, "ids");
  }
  if (ids == nullptr || !ids->is_array()) {
    return absl::InvalidArgumentError(
        absl::StrCat("post_processor.special_tokens has no ids for ", Shown(name)));
  }
  for (const Json& id : *ids) {
    if (!id.is_number_unsigned() || id.get<uint64_t>() >= vocabulary->tokens.size() ||
        vocabulary->tokens[id.get<uint64_t>()].bytes.empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat("post_processor.special_tokens: ", Shown(id), " is no token"));
    }
    vocabulary->prefix_ids.push_back(id.get<uint32_t>());
  }
  return absl::OkStatus();
}

// Only templates that put special tokens before the text.
absl::Status ReadTemplate(const Json& processor, Vocabulary* vocabulary) {
  constexpr absl::string_view kSupported =
      "a template that only puts special tokens before the text";
  const Json& single = Field(processor, "single");
  bool text_seen = false;
  if (!single.is_array()) return Unsupported("post_processor", processor, kSupported);
  for (const Json& piece : single) {
    const Json& special = Field(piece, "SpecialToken");
    if (special.is_object() && !text_seen) {
      RETURN_IF_ERROR(AppendTemplateIds(processor, Field(special, "id"), vocabulary));
    } else if (Field(piece, "Sequence").is_object() && !text_seen) {
      text_seen = true;
    } else {
      return Unsupported("post_processor", processor, kSupported);
    }
  }
  if (!text_seen) return Unsupported("post_processor", processor, kSupported);
  if (!vocabulary->prefix_ids.empty()) vocabulary->bos_id = vocabulary->prefix_ids.front();
  return absl::OkStatus();
}

absl::Status ReadPostProcessor(const Json& stage, Vocabulary* vocabulary) {
  for (const Json& part : Parts(stage, "processors")) {
    const std::string type = TypeOf(part);
    if (type == "TemplateProcessing") {
      RETURN_IF_ERROR(ReadTemplate(part, vocabulary));
    } else if (type != "ByteLevel") {
      return Unsupported("post_processor", part, "ByteLevel, TemplateProcessing or none");
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ReadStages(const Json& document, Vocabulary* vocabulary) {
  RETURN_IF_ERROR(ReadNormalizer(Field(document, "normalizer"), vocabulary));
  RETURN_IF_ERROR(ReadPreTokenizer(Field(document, "pre_tokenizer"), vocabulary));
  RETURN_IF_ERROR(ReadPostProcessor(Field(document, "post_processor"), vocabulary));
  const Json& decoder = Field(document, "decoder");
  if (TypeOf(decoder) != "ByteLevel") return Unsupported("decoder", decoder, "ByteLevel");
  return absl::OkStatus();
}

}  // namespace quartet::tokenizer
