#include "gateway/http/tokenize_call.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "common/status_macros.h"
#include "gateway/http/chat_messages.h"
#include "gateway/http/json_body.h"
#include "gateway/http/logprobs_json.h"
#include "gateway/http/openai_response.h"
#include "gateway/http/tool_request.h"
#include "gateway/request_error.h"

namespace quartet::gateway::http {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

struct TokenizeRequest {
  std::string model;
  // Text or a conversation.
  Prompt prompt;
  std::optional<bool> add_special_tokens;
  bool return_token_strs = false;
};

absl::StatusOr<TokenizeRequest> ParseTokenize(const std::string& text) {
  ASSIGN_OR_RETURN(const json body, ParseJsonObject(text));
  const FieldReader fields(body);
  TokenizeRequest request;
  RETURN_IF_ERROR(fields.Read("model", &request.model));
  RETURN_IF_ERROR(fields.Read("add_special_tokens", &request.add_special_tokens));
  RETURN_IF_ERROR(fields.Read("return_token_strs", &request.return_token_strs));
  const bool chat = fields.Find("messages") != nullptr;
  if (chat && fields.Find("prompt") != nullptr) {
    return InvalidField("prompt", "give either prompt or messages, not both");
  }
  if (chat) {
    ASSIGN_OR_RETURN(ChatPrompt chat, ReadChat(body, text));
    RETURN_IF_ERROR(ReadTools(body, text, &chat.tools_json).status());
    request.prompt = std::move(chat);
    return request;
  }
  if (fields.Find("prompt") == nullptr) {
    return InvalidField("prompt", "you must provide a prompt, or messages");
  }
  RETURN_IF_ERROR(fields.Read("prompt", &request.prompt.emplace<std::string>()));
  return request;
}

struct DetokenizeRequest {
  std::string model;
  TokenIds tokens;
};

absl::StatusOr<DetokenizeRequest> ParseDetokenize(const std::string& text) {
  ASSIGN_OR_RETURN(const json body, ParseJsonObject(text));
  const FieldReader fields(body);
  DetokenizeRequest request;
  RETURN_IF_ERROR(fields.Read("model", &request.model));
  if (fields.Find("tokens") == nullptr) return fields.Wrong("tokens", "a list of token ids");
  RETURN_IF_ERROR(fields.Read("tokens", &request.tokens));
  return request;
}

HttpResponse Json(const ordered_json& body) {
  HttpResponse response;
  response.body = Dump(body);
  return response;
}

}  // namespace

void TokenizeCall::Tokenize() {
  absl::StatusOr<TokenizeRequest> request = ParseTokenize(exchange_->request().body);
  if (!request.ok()) return Fail(request.status());
  const absl::Status served = gateway_->CheckModel(request->model);
  if (!served.ok()) return Fail(served);
  const bool strings = request->return_token_strs;
  if (auto* text = std::get_if<std::string>(&request->prompt)) {
    return TokenizeText(std::move(*text), request->add_special_tokens.value_or(true), strings);
  }
  TokenizeChat(std::move(std::get<ChatPrompt>(request->prompt)),
               request->add_special_tokens.value_or(false), strings);
}

void TokenizeCall::TokenizeText(std::string text, bool add_special_tokens, bool with_strings) {
  gateway_->Tokenize(std::move(text), add_special_tokens,
                     [call = *this, with_strings](absl::StatusOr<TokenIds> ids) mutable {
                       call.OnIds(std::move(ids), with_strings);
                     });
}

void TokenizeCall::TokenizeChat(ChatPrompt chat, bool add_special_tokens, bool with_strings) {
  gateway_->ApplyChatTemplate(std::move(chat), [call = *this, add_special_tokens, with_strings](
                                                   absl::StatusOr<RenderedChat> rendered) mutable {
    if (!rendered.ok()) return call.Fail(rendered.status());
    // The template has put in what it wants of them.
    if (!add_special_tokens) return call.OnIds(std::move(rendered->ids), with_strings);
    call.TokenizeText(std::move(rendered->text), /*add_special_tokens=*/true, with_strings);
  });
}

void TokenizeCall::OnIds(absl::StatusOr<TokenIds> ids, bool with_strings) {
  if (!ids.ok()) return Fail(ids.status());
  if (!with_strings || ids->empty()) {
    const std::vector<std::string> none;
    return Answer(*ids, with_strings ? &none : nullptr);
  }
  gateway_->TokenPieces(
      *ids, [call = *this, ids = *ids](absl::StatusOr<std::vector<std::string>> pieces) mutable {
        if (!pieces.ok()) return call.Fail(pieces.status());
        call.Answer(ids, &*pieces);
      });
}

void TokenizeCall::Answer(const TokenIds& ids, const std::vector<std::string>* strings) {
  const auto state = gateway_->state();
  const uint32_t length = state->model == nullptr ? 0 : state->model->max_model_len;
  ordered_json body = {{"count", ids.size()}, {"max_model_len", length}, {"tokens", ids}};
  if (strings != nullptr) {
    body["token_strs"] = ordered_json::array();
    for (const std::string& piece : *strings) body["token_strs"].push_back(TokenText(piece));
  }
  PostResponse(Json(body));
}

void TokenizeCall::Detokenize() {
  absl::StatusOr<DetokenizeRequest> request = ParseDetokenize(exchange_->request().body);
  if (!request.ok()) return Fail(request.status());
  const absl::Status served = gateway_->CheckModel(request->model);
  if (!served.ok()) return Fail(served);
  gateway_->Detokenize(std::move(request->tokens), /*skip_special_tokens=*/false,
                       [call = *this](absl::StatusOr<std::string> text) mutable {
                         if (!text.ok()) return call.Fail(text.status());
                         call.PostResponse(Json({{"prompt", *text}}));
                       });
}

void TokenizeCall::Fail(absl::Status status) { PostResponse(ErrorResponse(status)); }

// Answers come on the gateway's loop.
void TokenizeCall::PostResponse(HttpResponse response) {
  exchange_->Post([call = *this, response = std::move(response)]() mutable {
    call.respond_(*call.exchange_, std::move(response));
  });
}

}  // namespace quartet::gateway::http
