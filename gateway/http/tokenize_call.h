// POST /tokenize and /detokenize, in vLLM's shapes.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "gateway/gateway.h"
#include "gateway/http/exchange.h"

namespace quartet::gateway::http {

// One call. Copied into the callbacks of what it waits for; small for that reason.
class TokenizeCall {
 public:
  using Respond = std::function<void(HttpExchange&, HttpResponse)>;

  // `respond` is called once, on the exchange's strand. REQUIRES: runs on it.
  TokenizeCall(Gateway* gateway, std::shared_ptr<HttpExchange> exchange, Respond respond)
      : gateway_(gateway), exchange_(std::move(exchange)), respond_(std::move(respond)) {}

  // Body: a prompt, or messages and what else a chat template sees.
  void Tokenize();
  // Body: tokens.
  void Detokenize();

 private:
  void TokenizeText(std::string text, bool add_special_tokens, bool with_strings);
  void TokenizeChat(ChatPrompt chat, bool add_special_tokens, bool with_strings);
  // Tells the ids, after their texts have been fetched if those are wanted.
  void OnIds(absl::StatusOr<TokenIds> ids, bool with_strings);
  void Answer(const TokenIds& ids, const std::vector<std::string>* strings);
  void Fail(absl::Status status);
  void PostResponse(HttpResponse response);

  Gateway* gateway_;
  std::shared_ptr<HttpExchange> exchange_;
  Respond respond_;
};

}  // namespace quartet::gateway::http
