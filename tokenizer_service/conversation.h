// A conversation to be made a prompt, as plain data: what clients send and templates read.
#pragma once

#include <string>
#include <vector>

namespace quartet::tokenizer {

struct ChatToolCall {
  std::string name;
  std::string arguments_json;  // empty means {}
  std::string id;              // may be empty
};

struct ChatTurn {
  std::string role;
  std::string content;
  std::vector<ChatToolCall> tool_calls;
  std::string tool_call_id;  // of a tool's turn: the call it answers; may be empty
  std::string name;          // of the speaker or the tool; may be empty
};

struct Conversation {
  std::vector<ChatTurn> turns;
  std::vector<std::string> tools_json;  // each an object
  // Whether the prompt ends with the opening of an assistant's turn.
  bool add_generation_prompt = true;
  // Whether the prompt ends with the content of the last turn, for the model to go on. Not together
  // with add_generation_prompt.
  bool continue_final_message = false;
  std::string template_kwargs_json;         // an object of further variables; empty means none
  std::vector<std::string> documents_json;  // each an object
  std::string chat_template;                // in the place of the model's own if not empty
};

}  // namespace quartet::tokenizer
