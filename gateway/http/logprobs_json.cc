#include "gateway/http/logprobs_json.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>

#include "absl/strings/str_cat.h"
#include "gateway/utf8.h"

namespace quartet::gateway::http {
namespace {

using json = nlohmann::ordered_json;

// JSON has no infinity; OpenAI shows this for what can't be sampled.
constexpr double kLowestLogprob = -9999.0;

double Shown(float logprob) { return std::max(static_cast<double>(logprob), kLowestLogprob); }

// A token that is no text of its own, such as half a character, is shown as its bytes, as OpenAI
// does.
std::string TokenText(const std::string& piece) {
  if (FirstInvalidUtf8(piece) == piece.size()) return piece;
  std::string text = "bytes:";
  for (unsigned char byte : piece) {
    absl::StrAppend(&text, "\\x", absl::Hex(byte, absl::kZeroPad2));
  }
  return text;
}

json Bytes(const std::string& piece) {
  json bytes = json::array();
  for (unsigned char byte : piece) bytes.push_back(byte);
  return bytes;
}

// The alternatives and the token itself. Two tokens of one spelling leave the likelier.
json TopObject(const PositionLogprobs& position) {
  json top = json::object();
  const auto add = [&top](const TokenLogprob& token) {
    const std::string text = TokenText(token.piece);
    if (!top.contains(text)) top[text] = Shown(token.logprob);
  };
  for (const TokenLogprob& token : position.top) add(token);
  add(position.token);
  return top;
}

void AddPosition(const std::string& piece, const std::optional<PositionLogprobs>& position,
                 size_t text_offset, json* out) {
  (*out)["tokens"].push_back(TokenText(piece));
  (*out)["token_logprobs"].push_back(position ? json(Shown(position->token.logprob)) : json());
  (*out)["top_logprobs"].push_back(position ? TopObject(*position) : json());
  (*out)["text_offset"].push_back(text_offset);
}

json ChatToken(const TokenLogprob& token) {
  return {{"token", TokenText(token.piece)},
          {"logprob", Shown(token.logprob)},
          {"bytes", Bytes(token.piece)}};
}

}  // namespace

json CompletionLogprobs(const DeltaEvent& delta) {
  json out = {{"tokens", json::array()},
              {"token_logprobs", json::array()},
              {"top_logprobs", json::array()},
              {"text_offset", json::array()}};
  for (const PromptToken& token : delta.prompt_tokens) {
    AddPosition(token.piece, token.logprobs, token.text_offset, &out);
  }
  for (const OutputToken& token : delta.tokens) {
    if (token.hidden || !token.logprobs) continue;
    AddPosition(token.logprobs->token.piece, token.logprobs, token.text_offset, &out);
  }
  return out;
}

json ChatLogprobs(const DeltaEvent& delta) {
  json content = json::array();
  for (const OutputToken& token : delta.tokens) {
    if (token.hidden || !token.logprobs) continue;
    json entry = ChatToken(token.logprobs->token);
    entry["top_logprobs"] = json::array();
    for (const TokenLogprob& top : token.logprobs->top) {
      entry["top_logprobs"].push_back(ChatToken(top));
    }
    content.push_back(std::move(entry));
  }
  return {{"content", std::move(content)}, {"refusal", nullptr}};
}

}  // namespace quartet::gateway::http
