#include "gateway/http/responses_call.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "gateway/http/json_body.h"
#include "gateway/http/openai_response.h"
#include "gateway/http/responses_items.h"
#include "gateway/http/sse.h"
#include "gateway/http/tool_call_json.h"
#include "gateway/request_error.h"

namespace quartet::gateway::http {
namespace {

using json = nlohmann::ordered_json;

}  // namespace

// Carries the generation's events from the gateway's loop to the exchange's strand.
class ResponsesCall::Sink : public GenerationSink {
 public:
  explicit Sink(std::shared_ptr<ResponsesCall> call) : call_(std::move(call)) {}
  void OnEvent(GenerationEvent event) override {
    call_->exchange_->Post(
        [call = call_, event = std::move(event)]() mutable { call->OnEvent(std::move(event)); });
  }

 private:
  const std::shared_ptr<ResponsesCall> call_;
};

ResponsesCall::ResponsesCall(Gateway* gateway, ResponseStore* store,
                             std::shared_ptr<HttpExchange> exchange,
                             const ResponsesRequest& request, StatusObserver observer)
    : gateway_(gateway),
      store_(store),
      exchange_(std::move(exchange)),
      observer_(std::move(observer)),
      stream_(request.stream),
      stored_(request.store),
      tenant_(request.chat.prompts.front().tenant),
      messages_json_(request.messages_json),
      output_(json::parse(request.echo_json), request.chat.logprobs,
              stream_ ? [this](std::string event) { exchange_->Write(event); }
                      : ResponsesOutput::EventSink()),
      request_id_(request.chat.request_id.empty() ? output_.id() : request.chat.request_id),
      parser_(ParserOptions(request.chat.tools)),
      has_tools_(request.chat.tools.choice != ToolUse::Choice::kNone) {}

void ResponsesCall::Start(Gateway* gateway, ResponseStore* store,
                          std::shared_ptr<HttpExchange> exchange, ResponsesRequest request,
                          StatusObserver observer) {
  std::shared_ptr<ResponsesCall> call(
      new ResponsesCall(gateway, store, std::move(exchange), request, std::move(observer)));
  call->exchange_->SetOnClosed([weak = std::weak_ptr<ResponsesCall>(call)] {
    if (const auto self = weak.lock()) self->Cancel();
  });
  call->Generate(std::move(request.chat.prompts.front()));
}

void ResponsesCall::Generate(GenerationRequest request) {
  request.request_id = request_id_;
  const absl::StatusOr<Gateway::RequestHandle> handle =
      gateway_->Generate(std::move(request), std::make_shared<Sink>(shared_from_this()));
  if (!handle.ok()) return OnFailed(handle.status());
  handle_ = *handle;
}

void ResponsesCall::OnEvent(GenerationEvent event) {
  if (over_) return;
  if (const auto* started = std::get_if<StartedEvent>(&event)) {
    OnStarted(*started);
  } else if (auto* delta = std::get_if<DeltaEvent>(&event)) {
    OnDelta(std::move(*delta));
  } else if (const auto* finished = std::get_if<FinishedEvent>(&event)) {
    finish_reason_ = finished->reason;
  } else if (const auto* usage = std::get_if<UsageEvent>(&event)) {
    OnUsage(*usage);
  } else {
    OnFailed(std::get<FailedEvent>(event).status);
  }
}

void ResponsesCall::OnStarted(const StartedEvent& started) {
  if (stream_) {
    HttpResponse head;
    head.content_type = kSseContentType;
    head.headers = {
        {"Cache-Control", "no-cache"}, {"X-Accel-Buffering", "no"}, {"X-Request-Id", request_id_}};
    exchange_->StartStream(std::move(head), kSseComment);
    streaming_ = true;
    observer_(200);
  }
  output_.Begin(started.model);
}

void ResponsesCall::OnDelta(DeltaEvent delta) {
  std::vector<ToolCallPart> parts;
  if (has_tools_) {
    parts = parser_.Feed(delta.text);
  } else if (!delta.text.empty()) {
    parts.push_back({ToolCallPart::Kind::kContent, 0, std::move(delta.text)});
  }
  output_.Add(delta, parts);
}

void ResponsesCall::OnUsage(const UsageEvent& usage) {
  over_ = true;
  output_.Add(DeltaEvent(), parser_.Finish());
  output_.Finish(finish_reason_, usage);
  const std::string body = Dump(output_.Response());
  if (stored_) {
    json messages = json::parse(messages_json_);
    AppendOutput(output_.output(), &messages);
    store_->Put({output_.id(), tenant_, body, Dump(messages)});
  }
  if (stream_) return exchange_->EndStream();
  HttpResponse response;
  response.headers.emplace_back("X-Request-Id", request_id_);
  response.body = body;
  exchange_->Respond(std::move(response));
  observer_(200);
}

void ResponsesCall::OnFailed(const absl::Status& status) {
  if (over_) return;
  Cancel();
  if (streaming_) {
    output_.Fail(status, ErrorCode(status));
    return exchange_->EndStream();
  }
  HttpResponse response = ErrorResponse(status);
  response.headers.emplace_back("X-Request-Id", request_id_);
  observer_(response.status);
  exchange_->Respond(std::move(response));
}

void ResponsesCall::Cancel() {
  over_ = true;
  if (handle_ != 0) gateway_->Cancel(handle_);
}

}  // namespace quartet::gateway::http
