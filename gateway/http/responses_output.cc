#include "gateway/http/responses_output.h"

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gateway/http/json_body.h"
#include "gateway/http/logprobs_json.h"
#include "gateway/http/random_id.h"

namespace quartet::gateway::http {
namespace {

using json = nlohmann::ordered_json;

json TextPart() {
  return {{"type", "output_text"},
          {"text", ""},
          {"annotations", json::array()},
          {"logprobs", json::array()}};
}

json Usage(const UsageEvent& usage) {
  return {
      {"input_tokens", usage.prompt_tokens},
      {"input_tokens_details", {{"cached_tokens", usage.cached_tokens}, {"cache_write_tokens", 0}}},
      {"output_tokens", usage.completion_tokens},
      {"output_tokens_details", {{"reasoning_tokens", 0}}},
      {"total_tokens", usage.prompt_tokens + usage.completion_tokens}};
}

void AppendText(json* to, const std::string& text) { to->get_ref<std::string&>().append(text); }

}  // namespace

ResponsesOutput::ResponsesOutput(json echo, bool show_logprobs, EventSink sink)
    : sink_(std::move(sink)), show_logprobs_(show_logprobs), id_(RandomId("resp_")) {
  response_ = {{"id", id_},
               {"object", "response"},
               {"created_at", absl::ToUnixSeconds(absl::Now())},
               {"status", "in_progress"},
               {"background", false},
               {"error", nullptr},
               {"incomplete_details", nullptr},
               {"model", ""},
               {"output", json::array()},
               {"usage", nullptr}};
  for (const auto& [name, value] : echo.items()) response_[name] = value;
}

json ResponsesOutput::Response() const {
  json response = response_;
  response["output"] = output_;
  return response;
}

void ResponsesOutput::Send(const char* type, json fields) {
  if (!sink_) return;
  json event = {{"type", type}, {"sequence_number", sequence_number_++}};
  for (auto& [name, value] : fields.items()) event[name] = std::move(value);
  sink_(absl::StrCat("event: ", type, "\ndata: ", Dump(event), "\n\n"));
}

void ResponsesOutput::SendOfItem(const char* type, json fields) {
  if (!sink_) return;
  json all = {{"item_id", item()["id"]}, {"output_index", output_.size() - 1}};
  for (auto& [name, value] : fields.items()) all[name] = std::move(value);
  Send(type, std::move(all));
}

void ResponsesOutput::SendOfPart(const char* type, json fields) {
  fields["content_index"] = 0;
  SendOfItem(type, std::move(fields));
}

void ResponsesOutput::Begin(const std::string& model) {
  response_["model"] = model;
  Send("response.created", {{"response", Response()}});
  Send("response.in_progress", {{"response", Response()}});
}

void ResponsesOutput::BeginMessage() {
  EndItem("completed");
  output_.push_back({{"id", RandomId("msg_")},
                     {"type", "message"},
                     {"status", "in_progress"},
                     {"role", "assistant"},
                     {"content", json::array()}});
  open_ = true;
  Send("response.output_item.added", {{"output_index", output_.size() - 1}, {"item", item()}});
  item()["content"].push_back(TextPart());
  SendOfPart("response.content_part.added", {{"part", text_part()}});
}

void ResponsesOutput::BeginCall(const std::string& name) {
  EndItem("completed");
  output_.push_back({{"id", RandomId("fc_")},
                     {"type", "function_call"},
                     {"status", "in_progress"},
                     {"call_id", RandomId("call_")},
                     {"name", name},
                     {"arguments", ""}});
  open_ = true;
  Send("response.output_item.added", {{"output_index", output_.size() - 1}, {"item", item()}});
}

void ResponsesOutput::EndItem(const char* status) {
  if (!open_) return;
  if (writing_message()) {
    json part = text_part();
    SendOfPart("response.output_text.done",
               {{"text", part["text"]}, {"logprobs", part["logprobs"]}});
    SendOfPart("response.content_part.done", {{"part", std::move(part)}});
  } else {
    SendOfItem("response.function_call_arguments.done",
               {{"name", item()["name"]}, {"arguments", item()["arguments"]}});
  }
  item()["status"] = status;
  Send("response.output_item.done", {{"output_index", output_.size() - 1}, {"item", item()}});
  open_ = false;
}

void ResponsesOutput::Add(const DeltaEvent& delta, const std::vector<ToolCallPart>& parts) {
  json logprobs = json::array();
  if (show_logprobs_) logprobs = std::move(ChatLogprobs(delta, /*as_ids=*/false)["content"]);
  for (const ToolCallPart& part : parts) {
    switch (part.kind) {
      case ToolCallPart::Kind::kContent:
        if (!writing_message()) BeginMessage();
        AppendText(&text_part()["text"], part.text);
        for (const json& token : logprobs) text_part()["logprobs"].push_back(token);
        SendOfPart("response.output_text.delta",
                   {{"delta", part.text}, {"logprobs", std::exchange(logprobs, json::array())}});
        break;
      case ToolCallPart::Kind::kCall:
        BeginCall(part.text);
        break;
      case ToolCallPart::Kind::kArguments:
        AppendText(&item()["arguments"], part.text);
        SendOfItem("response.function_call_arguments.delta", {{"delta", part.text}});
        break;
    }
  }
}

void ResponsesOutput::Finish(FinishReason reason, const UsageEvent& usage) {
  const bool complete = reason == FinishReason::kStop;
  // A response has at least one item.
  if (output_.empty()) BeginMessage();
  EndItem(complete ? "completed" : "incomplete");
  response_["usage"] = Usage(usage);
  response_["status"] = complete ? "completed" : "incomplete";
  if (!complete) {
    const bool too_long = reason == FinishReason::kLength;
    response_["incomplete_details"] = {{"reason", too_long ? "max_output_tokens" : "aborted"}};
  }
  Send(complete ? "response.completed" : "response.incomplete", {{"response", Response()}});
}

void ResponsesOutput::Fail(const absl::Status& status, const std::string& code) {
  const std::string message(status.message());
  response_["status"] = "failed";
  response_["error"] = {{"code", "server_error"}, {"message", message}};
  Send("error",
       {{"code", code.empty() ? json() : json(code)}, {"message", message}, {"param", nullptr}});
  Send("response.failed", {{"response", Response()}});
}

}  // namespace quartet::gateway::http
