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

json Bytes(const std::string& piece) {
  json bytes = json::array();
  for (unsigned char byte : piece) bytes.push_back(byte);
  return bytes;
}

// A token's name: its text, or vLLM's "token_id:5".
std::string Name(uint32_t id, const std::string& piece, bool as_id) {
  return as_id ? absl::StrCat("token_id:", id) : TokenText(piece);
}

// The alternatives and the token itself. Two tokens of one spelling leave the likelier.
json TopObject(const PositionLogprobs& position, bool as_ids) {
  json top = json::object();
  const auto add = [&](const TokenLogprob& token) {
    const std::string text = Name(token.token_id, token.piece, as_ids);
    if (!top.contains(text)) top[text] = Shown(token.logprob);
  };
  for (const TokenLogprob& token : position.top) add(token);
  add(position.token);
  return top;
}

void AddPosition(const std::string& name, const std::optional<PositionLogprobs>& position,
                 size_t text_offset, bool as_ids, json* out) {
  (*out)["tokens"].push_back(name);
  (*out)["token_logprobs"].push_back(position ? json(Shown(position->token.logprob)) : json());
  (*out)["top_logprobs"].push_back(position ? TopObject(*position, as_ids) : json());
  (*out)["text_offset"].push_back(text_offset);
}

json ChatToken(const TokenLogprob& token, bool as_id) {
  return {{"token", Name(token.token_id, token.piece, as_id)},
          {"logprob", Shown(token.logprob)},
          {"bytes", Bytes(token.piece)}};
}

}  // namespace

std::string TokenText(const std::string& piece) {
  if (FirstInvalidUtf8(piece) == piece.size()) return piece;
  std::string text = "bytes:";
  for (unsigned char byte : piece) {
    absl::StrAppend(&text, "\\x", absl::Hex(byte, absl::kZeroPad2));
  }
  return text;
}

json CompletionLogprobs(const DeltaEvent& delta, bool echo, bool as_ids) {
  json out = {{"tokens", json::array()},
              {"token_logprobs", json::array()},
              {"top_logprobs", json::array()},
              {"text_offset", json::array()}};
  for (const PromptToken& token : delta.prompt_tokens) {
    if (!echo) break;
    AddPosition(Name(token.id, token.piece, as_ids), token.logprobs, token.text_offset, as_ids,
                &out);
  }
  for (const OutputToken& token : delta.tokens) {
    if (token.hidden || !token.logprobs) continue;
    AddPosition(Name(token.id, token.logprobs->token.piece, as_ids), token.logprobs,
                token.text_offset, as_ids, &out);
  }
  return out;
}

json ChatLogprobs(const DeltaEvent& delta, bool as_ids) {
  json content = json::array();
  for (const OutputToken& token : delta.tokens) {
    if (token.hidden || !token.logprobs) continue;
    json entry = ChatToken(token.logprobs->token, as_ids);
    entry["top_logprobs"] = json::array();
    for (const TokenLogprob& top : token.logprobs->top) {
      entry["top_logprobs"].push_back(ChatToken(top, as_ids));
    }
    content.push_back(std::move(entry));
  }
  return {{"content", std::move(content)}, {"refusal", nullptr}};
}

json PromptLogprobs(const DeltaEvent& delta) {
  json positions = json::array();
  for (const PromptToken& token : delta.prompt_tokens) {
    if (!token.logprobs.has_value()) {
      positions.push_back(nullptr);
      continue;
    }
    json position = json::object();
    const auto add = [&position](const TokenLogprob& of) {
      json& entry = position[absl::StrCat(of.token_id)];
      entry = {{"logprob", Shown(of.logprob)},
               {"rank", of.rank},
               {"decoded_token", TokenText(of.piece)}};
    };
    add(token.logprobs->token);
    for (const TokenLogprob& top : token.logprobs->top) add(top);
    positions.push_back(std::move(position));
  }
  return positions;
}

}  // namespace quartet::gateway::http
