// Drives the in-process tokenizer from a script: reads one JSON request a line, answers one JSON
// line each.
//   {"encode": TEXT} {"decode": [IDS], "skip": BOOL} {"increments": [[IDS], ...], "skip": BOOL}
//   {"chat": {"messages": [...], "tools": [JSON TEXTS], "documents": [JSON TEXTS],
//             "template_kwargs": JSON TEXT, "chat_template": TEXT, "add_generation_prompt": BOOL,
//             "continue_final_message": BOOL}}
//   {"info": true} {"pieces": [IDS]}
// A failure answers {"error":
// MESSAGE}.
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "tokenizer_service/tokenizer.h"

namespace quartet::tokenizer {
namespace {

using Json = nlohmann::json;

Json Failure(const absl::Status& status) { return {{"error", status.ToString()}}; }

Json Encode(const Tokenizer& tokenizer, const Json& request) {
  const auto ids = tokenizer.Encode(request["encode"].get<std::string>(), true);
  if (!ids.ok()) return Failure(ids.status());
  return {{"ids", *ids}};
}

Json Decode(const Tokenizer& tokenizer, const Json& request) {
  const auto ids = request["decode"].get<std::vector<uint32_t>>();
  const auto text = tokenizer.Decode(ids, request.value("skip", false));
  if (!text.ok()) return Failure(text.status());
  return {{"text", *text}};
}

// The texts of each call, the last one finishing the stream.
Json Increments(const Tokenizer& tokenizer, const Json& request) {
  Json texts = Json::array();
  std::string pending;
  const Json& steps = request["increments"];
  for (size_t i = 0; i < steps.size(); ++i) {
    const auto ids = steps[i].get<std::vector<uint32_t>>();
    const DecodeOptions options{request.value("skip", false), i + 1 == steps.size()};
    const auto piece = tokenizer.DecodeNext(pending, ids, options);
    if (!piece.ok()) return Failure(piece.status());
    texts.push_back(piece->text);
    pending = piece->pending;
  }
  return {{"texts", texts}};
}

ChatTurn ToTurn(const Json& message) {
  ChatTurn turn;
  turn.role = message["role"].get<std::string>();
  turn.content = message.value("content", "");
  turn.tool_call_id = message.value("tool_call_id", "");
  turn.name = message.value("name", "");
  for (const Json& call : message.value("tool_calls", Json::array())) {
    turn.tool_calls.push_back({call["name"].get<std::string>(),
                               call["arguments"].get<std::string>(), call.value("id", "")});
  }
  return turn;
}

Json Chat(const Tokenizer& tokenizer, const Json& chat) {
  Conversation conversation;
  for (const Json& message : chat["messages"]) conversation.turns.push_back(ToTurn(message));
  conversation.tools_json = chat.value("tools", std::vector<std::string>());
  conversation.documents_json = chat.value("documents", std::vector<std::string>());
  conversation.template_kwargs_json = chat.value("template_kwargs", "");
  conversation.chat_template = chat.value("chat_template", "");
  conversation.continue_final_message = chat.value("continue_final_message", false);
  conversation.add_generation_prompt = chat.value("add_generation_prompt", true);
  const auto text = tokenizer.ApplyChatTemplate(conversation);
  if (!text.ok()) return Failure(text.status());
  return {{"text", *text}};
}

Json Info(const Tokenizer& tokenizer) {
  const Vocabulary& vocabulary = tokenizer.vocabulary();
  Json fill_in_middle;
  if (const auto ids = FindFillInMiddle(vocabulary); ids.has_value()) {
    fill_in_middle = {ids->prefix, ids->suffix, ids->middle};
  }
  return {{"vocab_size", tokenizer.vocab_size()},
          {"fill_in_middle", fill_in_middle},
          {"hash", tokenizer.hash()},
          {"eos", vocabulary.eos_ids},
          {"chat_template", tokenizer.chat_template_status().ToString()}};
}

// The bytes of each id, hexadecimal, and whether it is special.
Json Pieces(const Tokenizer& tokenizer, const Json& ids) {
  Json pieces = Json::array();
  for (const Json& id : ids) {
    const auto bytes = tokenizer.TokenBytes(id.get<uint32_t>());
    if (!bytes.ok()) return Failure(bytes.status());
    pieces.push_back({absl::BytesToHexString(*bytes),
                      tokenizer.vocabulary().tokens[id.get<uint32_t>()].special});
  }
  return {{"pieces", pieces}};
}

Json Answer(const Tokenizer& tokenizer, const Json& request) {
  if (request.contains("encode")) return Encode(tokenizer, request);
  if (request.contains("decode")) return Decode(tokenizer, request);
  if (request.contains("increments")) return Increments(tokenizer, request);
  if (request.contains("chat")) return Chat(tokenizer, request["chat"]);
  if (request.contains("pieces")) return Pieces(tokenizer, request["pieces"]);
  return Info(tokenizer);
}

int Run(const std::string& path) {
  const auto tokenizer = Tokenizer::Load(path, TokenizerOptions());
  if (!tokenizer.ok()) {
    std::cerr << tokenizer.status() << "\n";
    return 1;
  }
  std::ios::sync_with_stdio(false);
  std::string line;
  while (std::getline(std::cin, line)) {
    std::cout << Answer(**tokenizer, Json::parse(line)).dump() << "\n";
    if (std::cin.rdbuf()->in_avail() <= 0) std::cout.flush();
  }
  return 0;
}

}  // namespace
}  // namespace quartet::tokenizer

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: tokenizer_tool MODEL_DIRECTORY_OR_FILE < requests\n";
    return 2;
  }
  return quartet::tokenizer::Run(argv[1]);
}
