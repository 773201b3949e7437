// One response in the making: gathers what the model says into OpenAI's output items, and tells of
// every step as the streamed events of the Responses API.
#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "gateway/generation_types.h"
#include "gateway/tool_call_parser.h"

namespace quartet::gateway::http {

// Not thread-safe. Begin first, then any number of Add, then Finish or Fail.
class ResponsesOutput {
 public:
  // Takes one server-sent event, framed. Empty if nobody listens.
  using EventSink = std::function<void(std::string)>;

  // `echo` is what the response repeats of its request. `show_logprobs`: text carries those of its
  // tokens.
  ResponsesOutput(nlohmann::ordered_json echo, bool show_logprobs, EventSink sink);

  const std::string& id() const { return id_; }
  void Begin(const std::string& model);
  // What the parser made of a delta; `delta` tells of its tokens.
  void Add(const DeltaEvent& delta, const std::vector<ToolCallPart>& parts);
  void Finish(FinishReason reason, const UsageEvent& usage);
  // The request failed after it had begun.
  void Fail(const absl::Status& status, const std::string& code);

  // The response as it is now.
  nlohmann::ordered_json Response() const;
  // Its items.
  const nlohmann::ordered_json& output() const { return output_; }

 private:
  void Send(const char* type, nlohmann::ordered_json fields);
  // The same about the item that is being written.
  void SendOfItem(const char* type, nlohmann::ordered_json fields);
  void SendOfPart(const char* type, nlohmann::ordered_json fields);
  void BeginMessage();
  void BeginCall(const std::string& name);
  // Ends the item that is being written, if there is one.
  void EndItem(const char* status);
  nlohmann::ordered_json& item() { return output_.back(); }
  nlohmann::ordered_json& text_part() { return output_.back()["content"][0]; }
  bool writing_message() const { return open_ && output_.back()["type"] == "message"; }

  const EventSink sink_;
  const bool show_logprobs_;
  const std::string id_;
  nlohmann::ordered_json response_;  // Without its output.
  nlohmann::ordered_json output_ = nlohmann::ordered_json::array();
  bool open_ = false;  // The last item of output_ is being written.
  uint64_t sequence_number_ = 0;
};

}  // namespace quartet::gateway::http
