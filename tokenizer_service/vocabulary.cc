#include "tokenizer_service/vocabulary.h"

#include <openssl/evp.h>
#include <sys/stat.h>

#include <array>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "tokenizer_service/byte_alphabet.h"
#include "tokenizer_service/gguf_vocabulary.h"
#include "tokenizer_service/tokenizer_json.h"

namespace quartet::tokenizer {
namespace {

// Far above any real vocabulary; keeps a broken file from asking for gigabytes.
constexpr uint32_t kMaxTokens = 8u << 20;

class Sha256 {
 public:
  Sha256() : context_(EVP_MD_CTX_new()) {
    QUARTET_CHECK(context_ != nullptr && EVP_DigestInit_ex(context_, EVP_sha256(), nullptr) == 1);
  }
  ~Sha256() { EVP_MD_CTX_free(context_); }
  Sha256(const Sha256&) = delete;
  Sha256& operator=(const Sha256&) = delete;

  void Add(absl::string_view bytes) {
    QUARTET_CHECK(EVP_DigestUpdate(context_, bytes.data(), bytes.size()) == 1);
  }
  void AddNumber(uint64_t number) {
    std::array<char, 8> bytes;
    for (int i = 0; i < 8; ++i) bytes[i] = static_cast<char>(number >> (8 * i));
    Add({bytes.data(), bytes.size()});
  }
  // With its size, so that two lists never look alike.
  void AddText(absl::string_view text) {
    AddNumber(text.size());
    Add(text);
  }
  std::string Hex() {
    std::array<unsigned char, 32> digest;
    unsigned int size = 0;
    QUARTET_CHECK(EVP_DigestFinal_ex(context_, digest.data(), &size) == 1 && size == 32);
    return absl::BytesToHexString({reinterpret_cast<const char*>(digest.data()), digest.size()});
  }

 private:
  EVP_MD_CTX* context_;
};

}  // namespace

absl::StatusOr<Vocabulary> LoadVocabulary(const std::string& path) {
  struct stat info;
  if (stat(path.c_str(), &info) != 0) {
    return absl::NotFoundError(
        absl::StrCat(path,
                     ": no such file or directory; give --model a directory that holds "
                     "tokenizer.json, or a .gguf file"));
  }
  if (S_ISDIR(info.st_mode)) return LoadTokenizerJson(absl::StrCat(path, "/tokenizer.json"));
  if (absl::EndsWith(path, ".json")) return LoadTokenizerJson(path);
  if (absl::EndsWith(path, ".gguf")) return LoadGgufVocabulary(path);
  return absl::InvalidArgumentError(
      absl::StrCat(path,
                   ": neither a directory nor a .json or .gguf file; give --model a directory "
                   "that holds tokenizer.json, or a .gguf file"));
}

Token MakeToken(absl::string_view text) {
  Token token;
  token.byte_level = DecodeAlphabet(text, &token.bytes);
  if (!token.byte_level) token.bytes = std::string(text);
  return token;
}

absl::Status PlaceToken(uint32_t id, Token token, Vocabulary* vocabulary) {
  if (id >= kMaxTokens) {
    return absl::InvalidArgumentError(absl::StrCat("token \"", absl::CHexEscape(token.bytes),
                                                   "\" has id ", id, "; ids end at ", kMaxTokens));
  }
  if (token.bytes.empty())
    return absl::InvalidArgumentError(absl::StrCat("token ", id, " is empty"));
  if (vocabulary->tokens.size() <= id) vocabulary->tokens.resize(id + 1);
  Token& place = vocabulary->tokens[id];
  if (!place.bytes.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("tokens \"", absl::CHexEscape(place.bytes),
                                                   "\" and \"", absl::CHexEscape(token.bytes),
                                                   "\" have the same id ", id));
  }
  place = std::move(token);
  return absl::OkStatus();
}

absl::Status AddAddedToken(AddedToken added, Vocabulary* vocabulary) {
  if (added.content.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("added token ", added.id, " is empty"));
  }
  Token token = MakeToken(added.content);
  if (added.id < vocabulary->tokens.size() && !vocabulary->tokens[added.id].bytes.empty()) {
    Token& place = vocabulary->tokens[added.id];
    if (place.bytes != token.bytes) {
      return absl::InvalidArgumentError(
          absl::StrCat("added token \"", absl::CHexEscape(added.content), "\" has id ", added.id,
                       ", which is token \"", absl::CHexEscape(place.bytes), "\""));
    }
  } else {
    token.byte_level = false;  // No merge makes it.
    RETURN_IF_ERROR(PlaceToken(added.id, std::move(token), vocabulary));
  }
  vocabulary->tokens[added.id].special = added.special;
  vocabulary->added_tokens.push_back(std::move(added));
  return absl::OkStatus();
}

std::optional<FillInMiddleIds> FindFillInMiddle(const Vocabulary& vocabulary) {
  std::optional<uint32_t> prefix, suffix, middle;
  for (const AddedToken& added : vocabulary.added_tokens) {
    if (added.content == "<|fim_prefix|>") prefix = added.id;
    if (added.content == "<|fim_suffix|>") suffix = added.id;
    if (added.content == "<|fim_middle|>") middle = added.id;
  }
  if (!prefix.has_value() || !suffix.has_value() || !middle.has_value()) return std::nullopt;
  return FillInMiddleIds{*prefix, *suffix, *middle};
}

std::string HashVocabulary(const Vocabulary& vocabulary) {
  Sha256 hash;
  hash.AddText("quartet tokenizer 2");
  hash.AddNumber(vocabulary.tokens.size());
  for (const Token& token : vocabulary.tokens) {
    hash.AddText(token.bytes);
    hash.AddNumber(token.byte_level * 2 + token.special);
  }
  hash.AddNumber(vocabulary.merges.size());
  for (const Merge& merge : vocabulary.merges) {
    hash.AddNumber(uint64_t{merge.left} << 32 | merge.right);
  }
  hash.AddNumber(vocabulary.added_tokens.size());
  for (const AddedToken& added : vocabulary.added_tokens) {
    hash.AddNumber(added.id);
    hash.AddText(added.content);
    hash.AddNumber(added.single_word | added.lstrip << 1 | added.rstrip << 2 |
                   added.normalized << 3);
  }
  hash.AddNumber(static_cast<uint64_t>(vocabulary.split_pattern));
  hash.AddNumber(vocabulary.individual_digits | vocabulary.nfc << 1 |
                 vocabulary.ignore_merges << 2);
  hash.AddNumber(vocabulary.prefix_ids.size());
  for (uint32_t id : vocabulary.prefix_ids) hash.AddNumber(id);
  hash.AddText(vocabulary.chat_template.text);
  hash.AddText(vocabulary.chat_template.tool_use_text);
  hash.AddNumber(vocabulary.chat_template.special_tokens.size());
  for (const auto& [name, text] : vocabulary.chat_template.special_tokens) {
    hash.AddText(name);
    hash.AddText(text);
  }
  return hash.Hex();
}

}  // namespace quartet::tokenizer
