#include "gateway/http/completion_call.h"

#include <iterator>
#include <utility>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gateway/http/random_id.h"
#include "gateway/http/sse.h"

namespace quartet::gateway::http {
// Carries one generation's events from the gateway's loop to the exchange's strand.
class CompletionCall::PromptSink : public GenerationSink {
 public:
  PromptSink(std::shared_ptr<CompletionCall> call, size_t prompt)
      : call_(std::move(call)), prompt_(prompt) {}

  void OnEvent(GenerationEvent event) override {
    {
      std::lock_guard<std::mutex> lock(call_->mutex_);
      call_->events_.emplace_back(prompt_, std::move(event));
      if (call_->events_.size() > 1) return;  // The strand knows.
    }
    call_->exchange_->Post([call = call_] { call->TakeEvents(); });
  }

 private:
  const std::shared_ptr<CompletionCall> call_;
  const size_t prompt_;
};

CompletionCall::CompletionCall(Gateway* gateway, std::shared_ptr<HttpExchange> exchange,
                               const OpenAiRequest& request, StatusObserver observer)
    : gateway_(gateway),
      exchange_(std::move(exchange)),
      observer_(std::move(observer)),
      stream_(request.stream),
      n_(request.n),
      answers_(request.prompts.size() * request.n),
      num_prompts_left_(request.prompts.size()) {
  shape_.chat = request.chat;
  shape_.logprobs = request.logprobs;
  shape_.include_usage = request.include_usage;
  shape_.id = RandomId(request.chat ? "chatcmpl-" : "cmpl-");
  shape_.created = absl::ToUnixSeconds(absl::Now());
  for (uint32_t i = 0; i < answers_.size(); ++i) answers_[i].content.index = i;
  shape_.calls = ToolCallShape::Of(request.tools);
  if (shape_.calls.enabled) {
    parsers_.assign(answers_.size(), ToolCallParser(MaxCalls(request.tools)));
  }
}

void CompletionCall::Start(Gateway* gateway, std::shared_ptr<HttpExchange> exchange,
                           OpenAiRequest request, StatusObserver observer) {
  std::shared_ptr<CompletionCall> call(
      new CompletionCall(gateway, std::move(exchange), request, std::move(observer)));
  call->exchange_->SetOnClosed([weak = std::weak_ptr<CompletionCall>(call)] {
    if (const auto self = weak.lock()) self->CancelAll();
  });
  call->StartGenerations(std::move(request));
}

void CompletionCall::StartGenerations(OpenAiRequest request) {
  for (size_t prompt = 0; prompt < request.prompts.size(); ++prompt) {
    // All of a request's prompts share its id, so that Control.Abort ends them together.
    request.prompts[prompt].request_id = shape_.id;
    const absl::StatusOr<Gateway::RequestHandle> handle =
        gateway_->Generate(std::move(request.prompts[prompt]),
                           std::make_shared<PromptSink>(shared_from_this(), prompt));
    if (!handle.ok()) return OnFailed(handle.status());
    handles_.push_back(*handle);
  }
}

void CompletionCall::TakeEvents() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    taken_.swap(events_);
  }
  for (auto& [prompt, event] : taken_) OnEvent(prompt, std::move(event));
  taken_.clear();
}

void CompletionCall::OnEvent(size_t prompt, GenerationEvent event) {
  if (over_) return;
  const uint32_t base = static_cast<uint32_t>(prompt) * n_;
  if (auto* started = std::get_if<StartedEvent>(&event)) {
    shape_.model = std::move(started->model);
    OnStarted(prompt);
  } else if (auto* delta = std::get_if<DeltaEvent>(&event)) {
    delta->index += base;
    OnDelta(std::move(*delta));
  } else if (const auto* finished = std::get_if<FinishedEvent>(&event)) {
    OnFinished(base + finished->index, finished->reason);
  } else if (const auto* usage = std::get_if<UsageEvent>(&event)) {
    OnUsage(*usage);
  } else {
    OnFailed(std::get<FailedEvent>(event).status);
  }
}

void CompletionCall::OnStarted(size_t prompt) {
  if (!stream_) return;
  if (!std::exchange(streaming_, true)) {
    HttpResponse head;
    head.content_type = kSseContentType;
    head.headers = {
        {"Cache-Control", "no-cache"}, {"X-Accel-Buffering", "no"}, {"X-Request-Id", shape_.id}};
    exchange_->StartStream(std::move(head), kSseComment);
    observer_(200);
    writer_.emplace(shape_);
  }
  if (!shape_.chat) return;
  for (uint32_t i = 0; i < n_; ++i) {
    exchange_->Write(SseEvent(RoleChunk(shape_, static_cast<uint32_t>(prompt) * n_ + i)));
  }
}

void CompletionCall::OnDelta(DeltaEvent delta) {
  if (parsers_.empty()) return PassOn(std::move(delta));
  std::vector<ToolCallPart> parts = parsers_[delta.index].Feed(delta.text);
  PassOn(std::move(delta), std::move(parts));
}

void CompletionCall::PassOn(DeltaEvent delta, std::vector<ToolCallPart> parts) {
  delta.text.clear();
  // The tokens go with the first part, or alone.
  if (parts.empty()) return PassOn(std::move(delta));
  for (ToolCallPart& part : parts) {
    DeltaEvent piece = std::exchange(delta, DeltaEvent{delta.index, {}, {}, {}});
    if (part.kind == ToolCallPart::Kind::kContent) {
      piece.text = std::move(part.text);
      PassOn(std::move(piece));
    } else {
      PassOnCall(std::move(piece), std::move(part));
    }
  }
}

void CompletionCall::PassOnCall(DeltaEvent delta, ToolCallPart part) {
  std::vector<ToolCall>& calls = answers_[delta.index].tool_calls;
  const bool begins = part.kind == ToolCallPart::Kind::kCall;
  if (begins) calls.push_back({RandomId("call_"), part.text, ""});
  if (stream_) return exchange_->Write(SseEvent(CallChunk(shape_, delta, part, calls.back().id)));
  if (!begins) calls.back().arguments_json += part.text;
  PassOn(std::move(delta));
}

void CompletionCall::PassOn(DeltaEvent delta) {
  if (stream_) {
    if (!HasContent(shape_, delta)) return;
    scratch_.clear();
    writer_->Append(delta, &scratch_);
    return exchange_->Write(scratch_);
  }
  DeltaEvent& sum = answers_[delta.index].content;
  sum.text += delta.text;
  if (!shape_.logprobs) return;
  std::move(delta.tokens.begin(), delta.tokens.end(), std::back_inserter(sum.tokens));
  std::move(delta.prompt_tokens.begin(), delta.prompt_tokens.end(),
            std::back_inserter(sum.prompt_tokens));
}

void CompletionCall::OnFinished(uint32_t index, FinishReason reason) {
  answers_[index].finish_reason = reason;
  if (!parsers_.empty()) PassOn(DeltaEvent{index, {}, {}, {}}, parsers_[index].Finish());
  if (!stream_) return;
  const bool made_calls = !answers_[index].tool_calls.empty();
  exchange_->Write(SseEvent(FinishChunk(shape_, index, reason, made_calls)));
}

void CompletionCall::OnUsage(const UsageEvent& usage) {
  usage_.prompt_tokens += usage.prompt_tokens;
  usage_.completion_tokens += usage.completion_tokens;
  usage_.cached_tokens += usage.cached_tokens;
  if (--num_prompts_left_ == 0) Complete();
}

void CompletionCall::Complete() {
  over_ = true;
  if (stream_) {
    if (shape_.include_usage) exchange_->Write(SseEvent(UsageChunk(shape_, usage_)));
    exchange_->Write(kSseDone);
    return exchange_->EndStream();
  }
  HttpResponse response;
  response.headers.emplace_back("X-Request-Id", shape_.id);
  response.body = ResponseBody(shape_, answers_, usage_);
  exchange_->Respond(std::move(response));
  observer_(200);
}

// One prompt's failure is the whole request's: the response has no place for it beside other
// prompts' answers.
void CompletionCall::OnFailed(const absl::Status& status) {
  if (over_) return;
  CancelAll();
  if (streaming_) {
    // No [DONE]: a client must be able to tell this from success.
    exchange_->Write(SseEvent(ErrorBody(status)));
    return exchange_->EndStream();
  }
  HttpResponse response = ErrorResponse(status);
  response.headers.emplace_back("X-Request-Id", shape_.id);
  observer_(response.status);
  exchange_->Respond(std::move(response));
}

void CompletionCall::CancelAll() {
  over_ = true;
  for (Gateway::RequestHandle handle : handles_) gateway_->Cancel(handle);
}

}  // namespace quartet::gateway::http
