#include "tokenizer_service/gguf_vocabulary.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/status_macros.h"
#include "tokenizer_service/gguf_metadata.h"
#include "tokenizer_service/utf8.h"

namespace quartet::tokenizer {
namespace {

// Token types of llama.cpp's gguf.
enum GgufTokenType : int64_t {
  kNormal = 1,
  kUnknown = 2,
  kControl = 3,      // special
  kUserDefined = 4,  // added, not special
  kUnused = 5,       // fills the table up to the size of the logits
  kByte = 6,
};

constexpr absl::string_view kTokens = "tokenizer.ggml.tokens";
constexpr absl::string_view kTokenTypes = "tokenizer.ggml.token_type";
constexpr absl::string_view kMerges = "tokenizer.ggml.merges";

absl::Status ReadStages(const GgufMetadata& metadata, Vocabulary* vocabulary) {
  ASSIGN_OR_RETURN(const absl::string_view model, metadata.Text("tokenizer.ggml.model"));
  if (model != "gpt2") {
    return absl::InvalidArgumentError(
        absl::StrCat("tokenizer.ggml.model is \"", absl::CHexEscape(model),
                     "\"; only \"gpt2\" (byte-level BPE) is supported"));
  }
  ASSIGN_OR_RETURN(const absl::string_view pre, metadata.Text("tokenizer.ggml.pre"));
  if (pre == "qwen2") {
    vocabulary->split_pattern = SplitPattern::kQwen2;
    vocabulary->nfc = true;
  } else if (pre == "smollm") {
    vocabulary->individual_digits = true;
  } else if (pre != "gpt-2") {
    return absl::InvalidArgumentError(
        absl::StrCat("tokenizer.ggml.pre is \"", absl::CHexEscape(pre),
                     "\"; supported are \"qwen2\", \"smollm\" and \"gpt-2\""));
  }
  if (metadata.Has("tokenizer.ggml.add_space_prefix")) {
    ASSIGN_OR_RETURN(const bool prefix, metadata.Boolean("tokenizer.ggml.add_space_prefix"));
    if (prefix) {
      return absl::InvalidArgumentError(
          "tokenizer.ggml.add_space_prefix is true, which is not supported");
    }
  }
  return absl::OkStatus();
}

absl::Status ReadTokens(const GgufMetadata& metadata, Vocabulary* vocabulary,
                        absl::flat_hash_map<absl::string_view, uint32_t>* ids) {
  ASSIGN_OR_RETURN(const auto* tokens, metadata.Texts(kTokens));
  const std::vector<int64_t>* types = nullptr;
  if (metadata.Has(kTokenTypes)) {
    ASSIGN_OR_RETURN(types, metadata.Integers(kTokenTypes));
    if (types->size() != tokens->size()) {
      return absl::InvalidArgumentError(absl::StrCat(
          kTokenTypes, " has ", types->size(), " entries and ", kTokens, " has ", tokens->size()));
    }
  }
  if (tokens->empty()) return absl::InvalidArgumentError(absl::StrCat(kTokens, " is empty"));
  for (uint32_t id = 0; id < tokens->size(); ++id) {
    const absl::string_view text = (*tokens)[id];
    const int64_t type = types == nullptr ? int64_t{kNormal} : (*types)[id];
    if (FindInvalidUtf8(text) != absl::string_view::npos) {
      return absl::InvalidArgumentError(
          absl::StrCat(kTokens, "[", id, "] is not UTF-8: \"", absl::CHexEscape(text), "\""));
    }
    if (type == kUnused) continue;
    if (type < kNormal || type > kByte) {
      return absl::InvalidArgumentError(
          absl::StrCat(kTokenTypes, "[", id, "] is ", type, "; known are 1 to 6"));
    }
    if (!ids->emplace(text, id).second) {
      return absl::InvalidArgumentError(
          absl::StrCat(kTokens, "[", id, "] repeats \"", absl::CHexEscape(text), "\""));
    }
    RETURN_IF_ERROR(PlaceToken(id, MakeToken(text), vocabulary));
    if (type != kControl && type != kUserDefined) continue;
    AddedToken added;
    added.id = id;
    added.content = std::string(text);
    added.special = type == kControl;
    RETURN_IF_ERROR(AddAddedToken(std::move(added), vocabulary));
  }
  return absl::OkStatus();
}

absl::Status ReadMerges(const GgufMetadata& metadata,
                        const absl::flat_hash_map<absl::string_view, uint32_t>& ids,
                        Vocabulary* vocabulary) {
  ASSIGN_OR_RETURN(const auto* merges, metadata.Texts(kMerges));
  vocabulary->merges.reserve(merges->size());
  for (size_t rank = 0; rank < merges->size(); ++rank) {
    const absl::string_view text = (*merges)[rank];
    // The alphabet has no space, so the first one parts the two.
    const size_t space = text.find(' ');
    const absl::string_view left = text.substr(0, space);
    const absl::string_view right =
        space == absl::string_view::npos ? absl::string_view() : text.substr(space + 1);
    const std::string joined = absl::StrCat(left, right);
    for (const absl::string_view part : {left, right, absl::string_view(joined)}) {
      if (!ids.contains(part)) {
        return absl::InvalidArgumentError(absl::StrCat(kMerges, "[", rank, "] is \"",
                                                       absl::CHexEscape(text), "\", but \"",
                                                       absl::CHexEscape(part), "\" is no token"));
      }
    }
    vocabulary->merges.push_back({ids.at(left), ids.at(right), ids.at(joined)});
  }
  return absl::OkStatus();
}

// Sets *id to the token that `key` names; leaves it alone if there is no such key.
absl::Status ReadId(const GgufMetadata& metadata, absl::string_view key,
                    const Vocabulary& vocabulary, std::optional<uint32_t>* id) {
  if (!metadata.Has(key)) return absl::OkStatus();
  ASSIGN_OR_RETURN(const int64_t value, metadata.Integer(key));
  const auto num_tokens = static_cast<int64_t>(vocabulary.tokens.size());
  if (value < 0 || value >= num_tokens || vocabulary.tokens[value].bytes.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(key, " is ", value, ", which is no token (there are ", num_tokens, ")"));
  }
  *id = static_cast<uint32_t>(value);
  return absl::OkStatus();
}

absl::Status ReadSpecialIds(const GgufMetadata& metadata, Vocabulary* vocabulary) {
  for (const absl::string_view key : {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id",
                                      "tokenizer.ggml.eom_token_id"}) {
    std::optional<uint32_t> id;
    RETURN_IF_ERROR(ReadId(metadata, key, *vocabulary, &id));
    bool known = !id.has_value();
    for (uint32_t eos : vocabulary->eos_ids) known |= eos == *id;
    if (!known) vocabulary->eos_ids.push_back(*id);
  }
  RETURN_IF_ERROR(
      ReadId(metadata, "tokenizer.ggml.padding_token_id", *vocabulary, &vocabulary->pad_id));
  if (!metadata.Has("tokenizer.ggml.add_bos_token")) return absl::OkStatus();
  ASSIGN_OR_RETURN(const bool add_bos, metadata.Boolean("tokenizer.ggml.add_bos_token"));
  if (!add_bos) return absl::OkStatus();
  RETURN_IF_ERROR(
      ReadId(metadata, "tokenizer.ggml.bos_token_id", *vocabulary, &vocabulary->bos_id));
  if (!vocabulary->bos_id.has_value()) {
    return absl::InvalidArgumentError(
        "tokenizer.ggml.add_bos_token is true, but there is no tokenizer.ggml.bos_token_id");
  }
  vocabulary->prefix_ids.push_back(*vocabulary->bos_id);
  return absl::OkStatus();
}

absl::Status ReadChatTemplates(const GgufMetadata& metadata, Vocabulary* vocabulary) {
  ChatTemplateSource& source = vocabulary->chat_template;
  for (const auto& [key, target] :
       {std::pair("tokenizer.chat_template", &source.text),
        std::pair("tokenizer.chat_template.tool_use", &source.tool_use_text)}) {
    if (!metadata.Has(key)) continue;
    ASSIGN_OR_RETURN(const absl::string_view text, metadata.Text(key));
    *target = std::string(text);
  }
  for (const auto& [key, name] : {std::pair("tokenizer.ggml.bos_token_id", "bos_token"),
                                  std::pair("tokenizer.ggml.eos_token_id", "eos_token"),
                                  std::pair("tokenizer.ggml.unknown_token_id", "unk_token"),
                                  std::pair("tokenizer.ggml.padding_token_id", "pad_token")}) {
    std::optional<uint32_t> id;
    RETURN_IF_ERROR(ReadId(metadata, key, *vocabulary, &id));
    if (id.has_value()) source.special_tokens.emplace_back(name, vocabulary->tokens[*id].bytes);
  }
  return absl::OkStatus();
}

// A file mapped for reading; empty if it can't be.
class MappedFile {
 public:
  explicit MappedFile(const std::string& path) {
    const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) return;
    struct stat info;
    if (fstat(fd, &info) == 0 && S_ISREG(info.st_mode) && info.st_size > 0) {
      size_ = static_cast<size_t>(info.st_size);
      data_ = mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, fd, 0);
    }
    close(fd);
  }
  ~MappedFile() {
    if (data_ != MAP_FAILED) munmap(data_, size_);
  }
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  bool ok() const { return data_ != MAP_FAILED; }
  absl::string_view bytes() const { return {static_cast<const char*>(data_), size_}; }

 private:
  void* data_ = MAP_FAILED;
  size_t size_ = 0;
};

}  // namespace

absl::StatusOr<Vocabulary> ParseGgufVocabulary(absl::string_view bytes) {
  ASSIGN_OR_RETURN(const GgufMetadata metadata, GgufMetadata::Parse(bytes, {"tokenizer."}));
  Vocabulary vocabulary;
  RETURN_IF_ERROR(ReadStages(metadata, &vocabulary));
  absl::flat_hash_map<absl::string_view, uint32_t> ids;
  RETURN_IF_ERROR(ReadTokens(metadata, &vocabulary, &ids));
  RETURN_IF_ERROR(ReadMerges(metadata, ids, &vocabulary));
  RETURN_IF_ERROR(ReadSpecialIds(metadata, &vocabulary));
  RETURN_IF_ERROR(ReadChatTemplates(metadata, &vocabulary));
  return vocabulary;
}

absl::StatusOr<Vocabulary> LoadGgufVocabulary(const std::string& path) {
  const MappedFile file(path);
  if (!file.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": can't be read, or is empty (", std::strerror(errno), ")"));
  }
  absl::StatusOr<Vocabulary> vocabulary = ParseGgufVocabulary(file.bytes());
  if (!vocabulary.ok()) {
    return absl::Status(vocabulary.status().code(),
                        absl::StrCat(path, ": ", vocabulary.status().message()));
  }
  vocabulary->source = path;
  return vocabulary;
}

}  // namespace quartet::tokenizer
