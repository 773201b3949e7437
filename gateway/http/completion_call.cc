#include "gateway/http/completion_call.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gateway/http/random_id.h"
#include "gateway/http/sse.h"

namespace quartet::gateway::http {
namespace {

DeltaEvent NoText(uint32_t index) {
  DeltaEvent delta;
  delta.index = index;
  return delta;
}

}  // namespace
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
                               const OpenAiRequest& request, Keeping keeping,
                               StatusObserver observer)
    : gateway_(gateway),
      exchange_(std::move(exchange)),
      observer_(std::move(observer)),
      stream_(request.stream),
      continuous_usage_(request.continuous_usage),
      stream_interval_(request.stream_interval),
      wants_prompts_(request.token_ids || request.prompts.front().wants_prompt_text),
      stop_token_ids_(request.prompts.front().sampling.stop_token_ids),
      n_(request.n),
      keeping_(std::move(keeping)),
      keeps_(request.store),
      messages_json_(request.messages_json),
      answers_(request.prompts.size() * request.n),
      prompts_(request.prompts.size()),
      progress_(answers_.size()),
      prompt_sizes_(request.prompts.size()),
      num_prompts_left_(request.prompts.size()) {
  shape_.chat = request.chat;
  shape_.logprobs = request.logprobs;
  shape_.echo = request.echo;
  shape_.prompt_logprobs = request.prompt_logprobs;
  shape_.include_usage = request.include_usage;
  shape_.obfuscate = request.obfuscate;
  shape_.token_ids = request.token_ids;
  shape_.tokens_as_ids = request.tokens_as_ids;
  shape_.service_tier = request.service_tier;
  shape_.metadata_json = request.metadata_json;
  const bool named = !request.request_id.empty();
  shape_.id =
      absl::StrCat(request.chat ? "chatcmpl-" : "cmpl-", named ? request.request_id : RandomId(""));
  request_id_ = named ? request.request_id : shape_.id;
  shape_.created = absl::ToUnixSeconds(absl::Now());
  for (uint32_t i = 0; i < answers_.size(); ++i) answers_[i].content.index = i;
  if (keeps_ && stream_) kept_.resize(answers_.size());
  for (uint32_t i = 0; i < kept_.size(); ++i) kept_[i].index = i;
  shape_.calls = ToolCallShape::Of(request.tools);
  if (shape_.calls.enabled) {
    parsers_.assign(answers_.size(), ToolCallParser(ParserOptions(request.tools)));
  }
}

void CompletionCall::Start(Gateway* gateway, std::shared_ptr<HttpExchange> exchange,
                           OpenAiRequest request, Keeping keeping, StatusObserver observer) {
  std::shared_ptr<CompletionCall> call(new CompletionCall(gateway, std::move(exchange), request,
                                                          std::move(keeping), std::move(observer)));
  call->exchange_->SetOnClosed([weak = std::weak_ptr<CompletionCall>(call)] {
    if (const auto self = weak.lock()) self->CancelAll();
  });
  call->StartGenerations(std::move(request));
}

void CompletionCall::StartGenerations(OpenAiRequest request) {
  for (size_t prompt = 0; prompt < request.prompts.size(); ++prompt) {
    // All of a request's prompts share its id, so that Control.Abort ends them together.
    request.prompts[prompt].request_id = request_id_;
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
    OnStarted(prompt, std::move(*started));
  } else if (auto* delta = std::get_if<DeltaEvent>(&event)) {
    delta->index += base;
    OnDelta(std::move(*delta));
  } else if (auto* finished = std::get_if<FinishedEvent>(&event)) {
    finished->index += base;
    OnFinished(std::move(*finished));
  } else if (const auto* usage = std::get_if<UsageEvent>(&event)) {
    OnUsage(*usage);
  } else {
    OnFailed(std::get<FailedEvent>(event).status);
  }
}

void CompletionCall::OnStarted(size_t prompt, StartedEvent started) {
  shape_.model = std::move(started.model);
  shape_.system_fingerprint = std::move(started.fingerprint);
  prompt_sizes_[prompt] = static_cast<uint32_t>(started.prompt_token_ids.size());
  if (wants_prompts_) {
    prompts_[prompt] = {std::move(started.prompt_token_ids), std::move(started.prompt_text)};
  }
  if (!stream_) return;
  if (!std::exchange(streaming_, true)) {
    HttpResponse head;
    head.content_type = kSseContentType;
    head.headers = {
        {"Cache-Control", "no-cache"}, {"X-Accel-Buffering", "no"}, {"X-Request-Id", request_id_}};
    exchange_->StartStream(std::move(head), kSseComment);
    observer_(200);
    writer_.emplace(shape_);
  }
  if (!shape_.chat) return;
  for (uint32_t i = 0; i < n_; ++i) {
    const uint32_t index = static_cast<uint32_t>(prompt) * n_ + i;
    exchange_->Write(SseEvent(RoleChunk(shape_, index, Extras(index))));
  }
}

ChunkExtras CompletionCall::Extras(uint32_t index) {
  ChunkExtras extras;
  const size_t prompt = index / n_;
  if (wants_prompts_ && !std::exchange(progress_[index].prompt_told, true)) {
    extras.prompt = &prompts_[prompt];
  }
  if (continuous_usage_) {
    extra_usage_ = {prompt_sizes_[prompt], progress_[index].num_tokens, 0};
    extras.usage = &extra_usage_;
  }
  return extras;
}

bool CompletionCall::Gather(DeltaEvent* delta) {
  // The first chunk is sent at once, so that the client sees that something comes.
  if (!std::exchange(progress_[delta->index].any_delta, true)) return true;
  DeltaEvent& sum = answers_[delta->index].content;
  sum.text += delta->text;
  std::move(delta->tokens.begin(), delta->tokens.end(), std::back_inserter(sum.tokens));
  if (sum.tokens.size() < stream_interval_) return false;
  *delta = std::exchange(sum, DeltaEvent());
  sum.index = delta->index;
  return true;
}

void CompletionCall::WriteDelta(const DeltaEvent& delta) {
  progress_[delta.index].num_tokens += static_cast<uint32_t>(delta.tokens.size());
  if (!HasContent(shape_, delta)) return;
  scratch_.clear();
  writer_->Append(delta, &scratch_, Extras(delta.index));
  exchange_->Write(scratch_);
}

void CompletionCall::WriteGathered(uint32_t index) {
  DeltaEvent& sum = answers_[index].content;
  if (sum.tokens.empty() && sum.text.empty()) return;
  WriteDelta(std::exchange(sum, NoText(index)));
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
    DeltaEvent piece = std::exchange(delta, NoText(delta.index));
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
  if (begins) {
    calls.push_back({RandomId("call_"), part.text, ""});
  } else {
    calls.back().arguments_json += part.text;
  }
  if (stream_) {
    if (keeps_) Sum(delta, &kept_[delta.index]);
    WriteGathered(delta.index);
    progress_[delta.index].num_tokens += static_cast<uint32_t>(delta.tokens.size());
    return exchange_->Write(
        SseEvent(CallChunk(shape_, delta, part, calls.back().id, Extras(delta.index))));
  }
  PassOn(std::move(delta));
}

void CompletionCall::PassOn(DeltaEvent delta) {
  if (!stream_) {
    DeltaEvent* const sum = &answers_[delta.index].content;
    return Sum(std::move(delta), sum);
  }
  if (keeps_) Sum(delta, &kept_[delta.index]);
  if (stream_interval_ > 1 && !Gather(&delta)) return;
  WriteDelta(delta);
}

void CompletionCall::Sum(DeltaEvent delta, DeltaEvent* sum) const {
  sum->text += delta.text;
  if (!shape_.logprobs && !shape_.token_ids && !shape_.prompt_logprobs) return;
  std::move(delta.tokens.begin(), delta.tokens.end(), std::back_inserter(sum->tokens));
  std::move(delta.prompt_tokens.begin(), delta.prompt_tokens.end(),
            std::back_inserter(sum->prompt_tokens));
}

void CompletionCall::OnFinished(FinishedEvent finished) {
  // The model's own end is no stop that the client asked for.
  if (finished.stop_token_id.has_value() &&
      std::find(stop_token_ids_.begin(), stop_token_ids_.end(), *finished.stop_token_id) ==
          stop_token_ids_.end()) {
    finished.stop_token_id.reset();
  }
  Answer& answer = answers_[finished.index];
  answer.finished = std::move(finished);
  const uint32_t index = answer.finished.index;
  if (!parsers_.empty()) {
    PassOn(NoText(index), parsers_[index].Finish());
    // The call was the end, not a string that the client gave.
    if (answer.finished.stop_string == std::string(kToolCallEnd))
      answer.finished.stop_string.reset();
  }
  if (!stream_) return;
  WriteGathered(index);
  const bool made_calls = !answer.tool_calls.empty();
  exchange_->Write(SseEvent(FinishChunk(shape_, answer.finished, Extras(index), made_calls)));
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
    for (size_t i = 0; i < kept_.size(); ++i) answers_[i].content = std::move(kept_[i]);
    // Before the end is out: a client that has it may ask for the answer.
    if (keeps_) Keep(ResponseBody(shape_, answers_, prompts_, usage_));
    exchange_->Write(kSseDone);
    return exchange_->EndStream();
  }
  HttpResponse response;
  response.headers.emplace_back("X-Request-Id", request_id_);
  response.body = ResponseBody(shape_, answers_, prompts_, usage_);
  if (keeps_) Keep(response.body);
  exchange_->Respond(std::move(response));
  observer_(200);
}

void CompletionCall::Keep(std::string body) {
  keeping_.store->Put({shape_.id, keeping_.tenant, std::move(body), messages_json_});
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
  response.headers.emplace_back("X-Request-Id", request_id_);
  observer_(response.status);
  exchange_->Respond(std::move(response));
}

void CompletionCall::CancelAll() {
  over_ = true;
  for (Gateway::RequestHandle handle : handles_) gateway_->Cancel(handle);
}

}  // namespace quartet::gateway::http
