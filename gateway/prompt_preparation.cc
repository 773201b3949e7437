#include "gateway/prompt_preparation.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace quartet::gateway {
namespace {

// Between two tries to have a prompt encoded while the tokenizer is away.
constexpr absl::Duration kRetryDelay = absl::Milliseconds(100);

// Cuts `ids` to what the request wants to be read of them; returns whether anything was cut.
bool Truncate(const GenerationRequest& request, uint32_t max_model_len, TokenIds* ids) {
  if (!request.truncate_prompt_tokens.has_value()) return false;
  size_t keep = *request.truncate_prompt_tokens;
  if (keep == kTruncateToFit) {
    const uint32_t output = request.sampling.max_tokens.value_or(1);
    keep = output < max_model_len ? max_model_len - output : 1;
  }
  if (ids->size() <= keep) return false;
  if (request.truncate_keeps_start) {
    ids->resize(keep);
  } else {
    ids->erase(ids->begin(), ids->end() - static_cast<std::ptrdiff_t>(keep));
  }
  return true;
}

}  // namespace

PromptPreparation::PromptPreparation(EventLoop* loop, Tokenizer* tokenizer, DecodeBatcher* decoder,
                                     std::shared_ptr<const ModelFacts> model,
                                     std::shared_ptr<PreparedRequest> prepared,
                                     absl::Time give_up_at)
    : loop_(loop),
      tokenizer_(tokenizer),
      decoder_(decoder),
      model_(std::move(model)),
      prepared_(std::move(prepared)),
      give_up_at_(give_up_at) {}

template <class T>
Tokenizer::Done<T> PromptPreparation::Then(void (PromptPreparation::*step)(), OnAnswer<T> next) {
  return [weak = weak_from_this(), step, next](absl::StatusOr<T> answer) {
    const auto self = weak.lock();
    if (self == nullptr) return;
    if (answer.ok()) return (self.get()->*next)(*std::move(answer));
    if (step == nullptr || !absl::IsUnavailable(answer.status()) ||
        self->loop_->Now() >= self->give_up_at_) {
      return self->Finish(answer.status());
    }
    self->loop_->PostAfter(kRetryDelay, [weak, step] {
      if (const auto again = weak.lock()) (again.get()->*step)();
    });
  };
}

void PromptPreparation::Finish(absl::Status status) {
  std::exchange(done_, nullptr)(std::move(status));
}

void PromptPreparation::Encode(Done done) {
  done_ = std::move(done);
  EncodePrompt();
}

void PromptPreparation::EncodePrompt() {
  GenerationRequest& request = prepared_->request;
  if (auto* ids = std::get_if<TokenIds>(&request.prompt)) return OnIds(std::move(*ids));
  if (const auto* chat = std::get_if<ChatPrompt>(&request.prompt)) {
    return tokenizer_->ApplyChatTemplate(
        *chat, Then<RenderedChat>(&PromptPreparation::EncodePrompt, &PromptPreparation::OnChat));
  }
  std::vector<std::string> texts = {std::get<std::string>(request.prompt)};
  if (request.suffix.has_value()) texts.push_back(*request.suffix);
  // The prefix id is what a prompt to be filled in begins with.
  const bool add_special_tokens = request.add_special_tokens.value_or(true) && texts.size() == 1;
  tokenizer_->EncodeAll(
      std::move(texts), add_special_tokens,
      Then<std::vector<TokenIds>>(&PromptPreparation::EncodePrompt, &PromptPreparation::OnTexts));
}

void PromptPreparation::OnTexts(std::vector<TokenIds> encodings) {
  if (!prepared_->request.suffix.has_value()) return OnIds(std::move(encodings[0]));
  const FillInMiddleIds& marks = *model_->fill_in_middle;
  TokenIds ids = {marks.prefix};
  ids.insert(ids.end(), encodings[0].begin(), encodings[0].end());
  ids.push_back(marks.suffix);
  ids.insert(ids.end(), encodings[1].begin(), encodings[1].end());
  ids.push_back(marks.middle);
  OnIds(std::move(ids));
}

void PromptPreparation::OnChat(RenderedChat chat) {
  if (prepared_->request.add_special_tokens.value_or(false)) {
    chat_text_ = std::move(chat.text);
    return EncodeChatText();
  }
  if (prepared_->request.wants_prompt_text) prepared_->prompt_text = std::move(chat.text);
  OnIds(std::move(chat.ids));
}

void PromptPreparation::EncodeChatText() {
  if (prepared_->request.wants_prompt_text) prepared_->prompt_text = chat_text_;
  tokenizer_->Encode(chat_text_, /*add_special_tokens=*/true,
                     Then<TokenIds>(&PromptPreparation::EncodeChatText, &PromptPreparation::OnIds));
}

void PromptPreparation::OnIds(TokenIds ids) {
  was_cut_ = Truncate(prepared_->request, model_->max_model_len, &ids);
  prepared_->prompt_ids = std::make_shared<const TokenIds>(std::move(ids));
  if (prepared_->request.bad_words.empty()) return Finish(absl::OkStatus());
  EncodeBadWords();
}

// A word is spelled in one way at the beginning of a text and in another after a space.
void PromptPreparation::EncodeBadWords() {
  std::vector<std::string> texts;
  for (absl::string_view word : prepared_->request.bad_words) {
    while (absl::ConsumePrefix(&word, " ")) {
    }
    texts.emplace_back(word);
    texts.push_back(absl::StrCat(" ", word));
  }
  tokenizer_->EncodeAll(std::move(texts), /*add_special_tokens=*/false,
                        Then<std::vector<TokenIds>>(&PromptPreparation::EncodeBadWords,
                                                    &PromptPreparation::OnBadWords));
}

void PromptPreparation::OnBadWords(std::vector<TokenIds> encodings) {
  std::vector<TokenIds>& banned = prepared_->request.sampling.banned_sequences;
  for (TokenIds& ids : encodings) {
    if (!ids.empty() && std::find(banned.begin(), banned.end(), ids) == banned.end()) {
      banned.push_back(std::move(ids));
    }
  }
  Finish(absl::OkStatus());
}

void PromptPreparation::Describe(Done done) {
  const GenerationRequest& request = prepared_->request;
  prepared_->echo_text = request.echo_text;
  const auto* text = std::get_if<std::string>(&request.prompt);
  const bool has_text = text != nullptr && !was_cut_;
  if (request.echo && has_text) prepared_->echo_text = *text;
  const bool wants_tokens = request.sampling.prompt_logprobs.has_value() && request.wants_pieces;
  if (!request.echo || (has_text && !wants_tokens)) return done(absl::OkStatus());
  done_ = std::move(done);
  DecodeItem item;
  item.ids = *prepared_->prompt_ids;
  item.finish = true;
  if (wants_tokens) item.piece_ids = item.ids;
  decoder_->Add(std::move(item), Then<DecodeResult>(nullptr, &PromptPreparation::OnPromptDecoded));
}

void PromptPreparation::OnPromptDecoded(DecodeResult result) {
  const TokenIds& ids = *prepared_->prompt_ids;
  size_t begin = 0;
  size_t characters = 0;
  for (size_t i = 0; i < result.pieces.size() && i < ids.size(); ++i) {
    prepared_->prompt_tokens.push_back(
        {ids[i], std::move(result.pieces[i]), characters, std::nullopt});
    const size_t end = i < result.text_end.size() ? result.text_end[i] : result.text.size();
    for (size_t b = begin; b < std::min(end, result.text.size()); ++b) {
      characters += (static_cast<unsigned char>(result.text[b]) & 0xC0) != 0x80;
    }
    begin = std::max(begin, end);
  }
  if (prepared_->echo_text.empty()) prepared_->echo_text = std::move(result.text);
  Finish(absl::OkStatus());
}

}  // namespace quartet::gateway
