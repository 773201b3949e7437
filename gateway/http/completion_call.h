// One completions or chat request over HTTP: starts a generation for each prompt, and turns their
// events into one response, whole or streamed.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "gateway/gateway.h"
#include "gateway/http/delta_event_writer.h"
#include "gateway/http/exchange.h"
#include "gateway/http/openai_request.h"
#include "gateway/http/openai_response.h"
#include "gateway/http/response_store.h"
#include "gateway/tool_call_parser.h"

namespace quartet::gateway::http {

// Runs on the exchange's strand. Answers are indexed by prompt first: prompt p's answer i is p * n
// + i.
class CompletionCall : public std::enable_shared_from_this<CompletionCall> {
 public:
  // Hears the HTTP status of the answer, once.
  using StatusObserver = std::function<void(int)>;

  // Where an answer is kept if the request asks for it.
  struct Keeping {
    ResponseStore* store = nullptr;  // Outlives the call.
    std::string tenant;
  };

  // Takes the exchange over. REQUIRES: runs on its strand.
  static void Start(Gateway* gateway, std::shared_ptr<HttpExchange> exchange, OpenAiRequest request,
                    Keeping keeping, StatusObserver observer);

 private:
  class PromptSink;

  CompletionCall(Gateway* gateway, std::shared_ptr<HttpExchange> exchange,
                 const OpenAiRequest& request, Keeping keeping, StatusObserver observer);
  void StartGenerations(OpenAiRequest request);
  // Takes over what the sinks have put into events_.
  void TakeEvents();
  void OnEvent(size_t prompt, GenerationEvent event);
  void OnStarted(size_t prompt, StartedEvent started);
  void OnDelta(DeltaEvent delta);
  // Text, and with it what the delta says of tokens.
  void PassOn(DeltaEvent delta);
  // What an answer's parser made of the delta's text.
  void PassOn(DeltaEvent delta, std::vector<ToolCallPart> parts);
  void PassOnCall(DeltaEvent delta, ToolCallPart part);
  // Gathers deltas until they have stream_interval tokens; returns whether `delta`, then all that
  // was gathered, is to be sent.
  bool Gather(DeltaEvent* delta);
  // Sends what was gathered.
  void WriteGathered(uint32_t index);
  void WriteDelta(const DeltaEvent& delta);
  // Adds a delta to the sum of an answer's.
  void Sum(DeltaEvent delta, DeltaEvent* sum) const;
  void OnFinished(FinishedEvent finished);
  // What the answer's next chunk carries beside its text. The result points into extra_usage_.
  ChunkExtras Extras(uint32_t index);
  void OnUsage(const UsageEvent& usage);
  void OnFailed(const absl::Status& status);
  void CancelAll();
  void Complete();
  void Keep(std::string body);

  Gateway* const gateway_;
  const std::shared_ptr<HttpExchange> exchange_;
  const StatusObserver observer_;
  const bool stream_;
  const bool continuous_usage_;
  const uint32_t stream_interval_;
  const bool wants_prompts_;  // Ids or text of the prompts are told.
  const std::vector<uint32_t> stop_token_ids_;
  const uint32_t n_;
  const Keeping keeping_;
  const bool keeps_;
  const std::string messages_json_;  // If kept: the conversation.
  // The client's own id, or the response's: in the headers, for Control.Abort and in logs.
  std::string request_id_;
  ResponseShape shape_;
  std::vector<Gateway::RequestHandle> handles_;
  std::vector<Answer> answers_;
  std::vector<DeltaEvent> kept_;         // Of streams that are kept: the sum of each answer.
  std::vector<ToolCallParser> parsers_;  // Empty, or one an answer.
  std::vector<PromptFacts> prompts_;
  // For the chunks of a stream that say more than its text; one entry an answer.
  struct Progress {
    uint32_t num_tokens = 0;
    bool prompt_told = false;
    bool any_delta = false;
  };
  std::vector<Progress> progress_;
  std::vector<uint32_t> prompt_sizes_;
  UsageEvent extra_usage_;
  UsageEvent usage_;
  size_t num_prompts_left_;
  bool streaming_ = false;  // The head is out.
  bool over_ = false;
  std::optional<DeltaEventWriter> writer_;  // Once streaming.
  std::string scratch_;

  using Events = std::vector<std::pair<size_t, GenerationEvent>>;  // With their prompts.
  Events taken_;
  std::mutex mutex_;
  Events events_;  // Guarded by mutex_. Not empty: TakeEvents is posted.
};

}  // namespace quartet::gateway::http
