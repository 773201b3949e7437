// One Responses request over HTTP: starts a generation, and turns its events into one response,
// whole or streamed.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "gateway/gateway.h"
#include "gateway/http/exchange.h"
#include "gateway/http/response_store.h"
#include "gateway/http/responses_output.h"
#include "gateway/http/responses_request.h"
#include "gateway/tool_call_parser.h"

namespace quartet::gateway::http {

// Runs on the exchange's strand.
class ResponsesCall : public std::enable_shared_from_this<ResponsesCall> {
 public:
  // Hears the HTTP status of the answer, once.
  using StatusObserver = std::function<void(int)>;

  // Takes the exchange over. `store` outlives the call. REQUIRES: runs on the exchange's strand.
  static void Start(Gateway* gateway, ResponseStore* store, std::shared_ptr<HttpExchange> exchange,
                    ResponsesRequest request, StatusObserver observer);

 private:
  class Sink;

  ResponsesCall(Gateway* gateway, ResponseStore* store, std::shared_ptr<HttpExchange> exchange,
                const ResponsesRequest& request, StatusObserver observer);
  void Generate(GenerationRequest request);
  void OnEvent(GenerationEvent event);
  void OnStarted(const StartedEvent& started);
  void OnDelta(DeltaEvent delta);
  void OnUsage(const UsageEvent& usage);
  void OnFailed(const absl::Status& status);
  void Cancel();

  Gateway* const gateway_;
  ResponseStore* const store_;
  const std::shared_ptr<HttpExchange> exchange_;
  const StatusObserver observer_;
  const bool stream_;
  const bool stored_;
  const std::string tenant_;
  const std::string messages_json_;
  ResponsesOutput output_;
  const std::string request_id_;
  ToolCallParser parser_;
  const bool has_tools_;
  Gateway::RequestHandle handle_ = 0;
  FinishReason finish_reason_ = FinishReason::kNone;
  bool streaming_ = false;  // The head is out.
  bool over_ = false;
};

}  // namespace quartet::gateway::http
