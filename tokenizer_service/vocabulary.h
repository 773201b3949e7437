// What a tokenizer is made of, as plain data: tokens, merges, added tokens and the names of its
// stages. Loaded from a model directory (tokenizer.json, tokenizer_config.json,
// chat_template.jinja) or from the metadata of a GGUF file.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace quartet::tokenizer {

// One entry of the vocabulary. An id that the tokenizer does not have is an empty entry.
struct Token {
  std::string bytes;        // what the token decodes to
  bool byte_level = false;  // written in the byte alphabet, so merges can make it
  bool special = false;     // left out by skip_special_tokens
};

// A pair of ids that becomes one; its place in the list is its rank, lowest first.
struct Merge {
  uint32_t left;
  uint32_t right;
  uint32_t result;
};

// Text that is one id wherever it stands. The flags mean what they mean in tokenizer.json.
struct AddedToken {
  uint32_t id = 0;
  std::string content;
  bool special = false;
  bool single_word = false;
  bool lstrip = false;
  bool rstrip = false;
  bool normalized = false;
};

// The regular expression that cuts text into words.
enum class SplitPattern {
  kGpt2,   // 's|'t|...| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
  kQwen2,  // (?i:'s|...)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|
           // ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+
};

// The chat templates of a model and the tokens that they may name.
struct ChatTemplateSource {
  std::string text;           // empty if the model has none
  std::string tool_use_text;  // used when there are tools; empty: `text` is
  // Variables like ("bos_token", "<s>").
  std::vector<std::pair<std::string, std::string>> special_tokens;
};

struct Vocabulary {
  std::string source;         // the file it was loaded from
  std::vector<Token> tokens;  // by id, added tokens included
  std::vector<Merge> merges;  // by rank
  std::vector<AddedToken> added_tokens;
  SplitPattern split_pattern = SplitPattern::kGpt2;
  bool individual_digits = false;  // digits are cut out one by one before the pattern is applied
  bool nfc = false;
  bool ignore_merges = false;        // a word that is a token is taken whole
  std::vector<uint32_t> prefix_ids;  // put before a text when special tokens are asked for
  std::optional<uint32_t> bos_id;    // the prefix's id, if it has one
  std::vector<uint32_t> eos_ids;
  std::optional<uint32_t> pad_id;
  ChatTemplateSource chat_template;
};

// Loads from a directory that holds tokenizer.json, from a .json file, or from a .gguf file.
// Returns NOT_FOUND or INVALID_ARGUMENT naming the file, the field and the value.
absl::StatusOr<Vocabulary> LoadVocabulary(const std::string& path);

// Puts `token` at `id`. Returns INVALID_ARGUMENT if the id is absurd or taken by another token.
absl::Status PlaceToken(uint32_t id, Token token, Vocabulary* vocabulary);

// The byte-level token of `text` as vocabulary files write it; tokens outside the alphabet keep
// their text.
Token MakeToken(absl::string_view text);

// Adds `added` as a token, or marks the token that already has its id and content.
absl::Status AddAddedToken(AddedToken added, Vocabulary* vocabulary);

// The marks of a prompt to be filled in the middle.
struct FillInMiddleIds {
  uint32_t prefix;
  uint32_t suffix;
  uint32_t middle;
};
// Those that Qwen2.5 and other models of code know; nothing if one of the three is no added token.
std::optional<FillInMiddleIds> FindFillInMiddle(const Vocabulary& vocabulary);

// SHA-256, hex, over all that decides ids and text.
std::string HashVocabulary(const Vocabulary& vocabulary);

}  // namespace quartet::tokenizer
