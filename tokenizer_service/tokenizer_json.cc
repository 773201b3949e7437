#include "tokenizer_service/tokenizer_json.h"

#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/status_macros.h"
#include "tokenizer_service/byte_alphabet.h"
#include "tokenizer_service/tokenizer_stages.h"
#include "tokenizer_service/utf8.h"

namespace quartet::tokenizer {
namespace {

using Json = nlohmann::json;
using TokenIdMap = absl::flat_hash_map<std::string, uint32_t>;

std::optional<std::string> ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  if (!file || !(text << file.rdbuf())) return std::nullopt;
  return std::move(text).str();
}

absl::Status NamingFile(const absl::Status& status, absl::string_view path) {
  return absl::Status(status.code(), absl::StrCat(path, ": ", status.message()));
}

// Real files are nested five deep. The library walks documents recursively, so a bound keeps it
// from the stack's end.
constexpr int kMaxDepth = 64;

bool IsNestedTooDeeply(absl::string_view text) {
  int depth = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      in_string = c != '"';
    } else if (c == '"') {
      in_string = true;
    } else if (c == '{' || c == '[') {
      if (++depth > kMaxDepth) return true;
    } else if (c == '}' || c == ']') {
      --depth;
    }
  }
  return false;
}

// The library reports errors by exception; they end here.
absl::StatusOr<Json> ParseObject(absl::string_view text) {
  if (IsNestedTooDeeply(text)) {
    return absl::InvalidArgumentError(
        absl::StrCat("is nested more than ", kMaxDepth, " deep, which no tokenizer file is"));
  }
  try {
    Json document = Json::parse(text.begin(), text.end());
    if (!document.is_object()) return absl::InvalidArgumentError("is not a JSON object");
    return document;
  } catch (const Json::exception& error) {
    return absl::InvalidArgumentError(absl::StrCat("is not JSON: ", error.what()));
  }
}

std::string Shown(const Json& value) {
  std::string text = value.dump(-1, ' ', true, Json::error_handler_t::replace);
  if (text.size() > 100) text = text.substr(0, 100) + "...";
  return text;
}

absl::Status WrongField(absl::string_view field, const Json& value, absl::string_view expected) {
  return absl::InvalidArgumentError(
      absl::StrCat(field, " is ", Shown(value), "; expected ", expected));
}

const Json& Field(const Json& object, const char* key) {
  static const Json* const null = new Json();
  if (!object.is_object()) return *null;
  const auto found = object.find(key);
  return found == object.end() ? *null : *found;
}

absl::Status ReadModelOptions(const Json& model, Vocabulary* vocabulary) {
  if (Field(model, "type") != "BPE")
    return WrongField("model.type", Field(model, "type"), "\"BPE\"");
  const Json& dropout = Field(model, "dropout");
  if (!dropout.is_null() && dropout != 0) return WrongField("model.dropout", dropout, "null");
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    const Json& value = Field(model, key);
    if (!value.is_null() && value != "")
      return WrongField(absl::StrCat("model.", key), value, "\"\"");
  }
  const Json& fallback = Field(model, "byte_fallback");
  if (!fallback.is_null() && fallback != false) {
    return WrongField("model.byte_fallback", fallback, "false");
  }
  vocabulary->ignore_merges = Field(model, "ignore_merges") == true;
  return absl::OkStatus();
}

absl::Status ReadTokens(const Json& model, Vocabulary* vocabulary, TokenIdMap* ids) {
  const Json& vocab = Field(model, "vocab");
  if (!vocab.is_object() || vocab.empty()) {
    return WrongField("model.vocab", vocab, "an object of tokens and ids");
  }
  ids->reserve(vocab.size());
  for (const auto& [text, id] : vocab.items()) {
    if (!id.is_number_unsigned() || id.get<uint64_t>() > UINT32_MAX) {
      return WrongField(absl::StrCat("model.vocab[\"", absl::CHexEscape(text), "\"]"), id, "an id");
    }
    ids->emplace(text, id.get<uint32_t>());
    const absl::Status placed = PlaceToken(id.get<uint32_t>(), MakeToken(text), vocabulary);
    if (!placed.ok()) return NamingFile(placed, "model.vocab");
  }
  return absl::OkStatus();
}

// Both spellings: "left right" and ["left", "right"].
bool SplitMerge(const Json& merge, std::string* left, std::string* right) {
  if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
    *left = merge[0].get<std::string>();
    *right = merge[1].get<std::string>();
    return true;
  }
  if (!merge.is_string()) return false;
  const auto& text = merge.get_ref<const std::string&>();
  const size_t space = text.find(' ');
  if (space == std::string::npos) return false;
  *left = text.substr(0, space);
  *right = text.substr(space + 1);
  return true;
}

absl::Status ReadMerges(const Json& model, const TokenIdMap& ids, Vocabulary* vocabulary) {
  const Json& merges = Field(model, "merges");
  if (!merges.is_array()) return WrongField("model.merges", merges, "an array");
  vocabulary->merges.reserve(merges.size());
  std::string left, right;
  for (size_t rank = 0; rank < merges.size(); ++rank) {
    const std::string field = absl::StrCat("model.merges[", rank, "]");
    if (!SplitMerge(merges[rank], &left, &right)) {
      return WrongField(field, merges[rank], "\"left right\" or [left, right]");
    }
    const std::string joined = left + right;
    for (const std::string* part :
         std::initializer_list<const std::string*>{&left, &right, &joined}) {
      if (!ids.contains(*part)) {
        return absl::InvalidArgumentError(absl::StrCat(field, " is ", Shown(merges[rank]),
                                                       ", but \"", absl::CHexEscape(*part),
                                                       "\" is no token"));
      }
    }
    vocabulary->merges.push_back({ids.at(left), ids.at(right), ids.at(joined)});
  }
  return absl::OkStatus();
}

// An unknown token would stand for bytes that no token has. With all of them there it never comes
// up; with none given such bytes are dropped, as the reference does.
absl::Status CheckUnknownToken(const Json& model, const TokenIdMap& ids) {
  const Json& unknown = Field(model, "unk_token");
  if (unknown.is_null()) return absl::OkStatus();
  for (int byte = 0; byte < 256; ++byte) {
    const bool in_utf8 = byte < 0xc0 || (byte > 0xc1 && byte < 0xf5);
    std::string text;
    AppendCodePoint(ByteToAlphabet(static_cast<uint8_t>(byte)), &text);
    if (in_utf8 && !ids.contains(text)) {
      return absl::InvalidArgumentError(
          absl::StrCat("model.unk_token is ", Shown(unknown), " and byte ", byte,
                       " has no token; this is supported only without unk_token"));
    }
  }
  return absl::OkStatus();
}

absl::Status ReadAddedToken(const Json& entry, absl::string_view field, TokenIdMap* ids,
                            Vocabulary* vocabulary) {
  const Json& id = Field(entry, "id");
  const Json& content = Field(entry, "content");
  if (!id.is_number_unsigned() || id.get<uint64_t>() > UINT32_MAX || !content.is_string()) {
    return WrongField(field, entry, "an object with id and content");
  }
  AddedToken added;
  added.id = id.get<uint32_t>();
  added.content = content.get<std::string>();
  added.special = Field(entry, "special") == true;
  added.single_word = Field(entry, "single_word") == true;
  added.lstrip = Field(entry, "lstrip") == true;
  added.rstrip = Field(entry, "rstrip") == true;
  added.normalized = Field(entry, "normalized") == true;
  const auto [known, is_new] = ids->emplace(added.content, added.id);
  if (!is_new && known->second != added.id) {
    return absl::InvalidArgumentError(absl::StrCat(field, ": \"", absl::CHexEscape(added.content),
                                                   "\" has id ", added.id, ", but also id ",
                                                   known->second));
  }
  const absl::Status status = AddAddedToken(std::move(added), vocabulary);
  return status.ok() ? status : NamingFile(status, field);
}

absl::Status ReadAddedTokens(const Json& document, TokenIdMap* ids, Vocabulary* vocabulary) {
  const Json& added = Field(document, "added_tokens");
  if (added.is_null()) return absl::OkStatus();
  if (!added.is_array()) return WrongField("added_tokens", added, "an array");
  for (size_t i = 0; i < added.size(); ++i) {
    RETURN_IF_ERROR(
        ReadAddedToken(added[i], absl::StrCat("added_tokens[", i, "]"), ids, vocabulary));
  }
  return absl::OkStatus();
}

// The id of a token that the configuration names by its text.
absl::StatusOr<std::optional<uint32_t>> FindToken(const Json& config, const char* key,
                                                  const Vocabulary& vocabulary) {
  const Json& value = Field(config, key);
  const Json& content = value.is_object() ? Field(value, "content") : value;
  if (content.is_null()) return std::optional<uint32_t>();
  if (!content.is_string()) return WrongField(key, value, "a token's text");
  const Token wanted = MakeToken(content.get_ref<const std::string&>());
  for (const AddedToken& added : vocabulary.added_tokens) {
    if (added.content == content) return std::optional<uint32_t>(added.id);
  }
  for (uint32_t id = 0; id < vocabulary.tokens.size(); ++id) {
    if (vocabulary.tokens[id].bytes == wanted.bytes) return std::optional<uint32_t>(id);
  }
  return WrongField(key, value, "a token of tokenizer.json");
}

// chat_template: a text, or a list of texts with names.
absl::Status ReadChatTemplate(const Json& config, ChatTemplateSource* source) {
  const Json& value = Field(config, "chat_template");
  if (value.is_null()) return absl::OkStatus();
  if (value.is_string()) {
    source->text = value.get<std::string>();
    return absl::OkStatus();
  }
  if (!value.is_array()) return WrongField("chat_template", value, "a text or a list");
  for (const Json& entry : value) {
    if (!Field(entry, "template").is_string()) {
      return WrongField("chat_template", entry, "an object with name and template");
    }
    if (Field(entry, "name") == "default") source->text = entry["template"].get<std::string>();
    if (Field(entry, "name") == "tool_use") {
      source->tool_use_text = entry["template"].get<std::string>();
    }
  }
  return absl::OkStatus();
}

// The special tokens that templates may name.
void ReadSpecialTokens(const Json& config, ChatTemplateSource* source) {
  for (const char* key : {"bos_token", "eos_token", "unk_token", "sep_token", "pad_token",
                          "cls_token", "mask_token"}) {
    const Json& value = Field(config, key);
    const Json& content = value.is_object() ? Field(value, "content") : value;
    if (content.is_string() && content != "") {
      source->special_tokens.emplace_back(key, content.get<std::string>());
    }
  }
}

// Templates in files of their own: they count more than the configuration's, but for
// chat_template.json, which old models with images have beside the same text.
absl::Status ReadTemplateFiles(const std::string& directory, ChatTemplateSource* source) {
  if (std::optional<std::string> jinja = ReadFile(directory + "/chat_template.jinja")) {
    source->text = *std::move(jinja);
  }
  if (std::optional<std::string> jinja =
          ReadFile(directory + "/additional_chat_templates/tool_use.jinja")) {
    source->tool_use_text = *std::move(jinja);
  }
  if (!source->text.empty()) return absl::OkStatus();
  const std::string path = directory + "/chat_template.json";
  const std::optional<std::string> text = ReadFile(path);
  if (!text.has_value()) return absl::OkStatus();
  const absl::StatusOr<Json> document = ParseObject(*text);
  const absl::Status read = document.ok() ? ReadChatTemplate(*document, source) : document.status();
  return read.ok() ? read : NamingFile(read, path);
}

}  // namespace

absl::StatusOr<Vocabulary> ParseTokenizerJson(absl::string_view text) {
  ASSIGN_OR_RETURN(const Json document, ParseObject(text));
  const Json& model = Field(document, "model");
  Vocabulary vocabulary;
  RETURN_IF_ERROR(ReadModelOptions(model, &vocabulary));
  TokenIdMap ids;
  RETURN_IF_ERROR(ReadTokens(model, &vocabulary, &ids));
  RETURN_IF_ERROR(ReadMerges(model, ids, &vocabulary));
  RETURN_IF_ERROR(CheckUnknownToken(model, ids));
  RETURN_IF_ERROR(ReadAddedTokens(document, &ids, &vocabulary));
  RETURN_IF_ERROR(ReadStages(document, &vocabulary));
  return vocabulary;
}

absl::Status ApplyTokenizerConfig(absl::string_view text, Vocabulary* vocabulary) {
  ASSIGN_OR_RETURN(const Json config, ParseObject(text));
  ASSIGN_OR_RETURN(const std::optional<uint32_t> eos, FindToken(config, "eos_token", *vocabulary));
  if (eos.has_value()) vocabulary->eos_ids = {*eos};
  ASSIGN_OR_RETURN(vocabulary->pad_id, FindToken(config, "pad_token", *vocabulary));
  ReadSpecialTokens(config, &vocabulary->chat_template);
  return ReadChatTemplate(config, &vocabulary->chat_template);
}

absl::StatusOr<Vocabulary> LoadTokenizerJson(const std::string& path) {
  const std::optional<std::string> text = ReadFile(path);
  if (!text.has_value()) {
    return absl::NotFoundError(absl::StrCat(path, ": can't be read; a model directory needs it"));
  }
  absl::StatusOr<Vocabulary> vocabulary = ParseTokenizerJson(*text);
  if (!vocabulary.ok()) return NamingFile(vocabulary.status(), path);
  vocabulary->source = path;
  const size_t slash = path.rfind('/');
  const std::string directory = slash == std::string::npos ? "." : path.substr(0, slash);
  const std::string config_path = directory + "/tokenizer_config.json";
  if (const std::optional<std::string> config = ReadFile(config_path); config.has_value()) {
    const absl::Status applied = ApplyTokenizerConfig(*config, &*vocabulary);
    if (!applied.ok()) return NamingFile(applied, config_path);
  }
  RETURN_IF_ERROR(ReadTemplateFiles(directory, &vocabulary->chat_template));
  return vocabulary;
}

}  // namespace quartet::tokenizer
