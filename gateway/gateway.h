// What both faces stand on: takes requests, finds the running ones again, and knows what is served
// and whether it can be.
#pragma once

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "absl/status/statusor.h"
#include "gateway/admission.h"
#include "gateway/decode_batcher.h"
#include "gateway/event_loop.h"
#include "gateway/generation.h"
#include "gateway/metrics.h"
#include "gateway/request_validation.h"
#include "gateway/router.h"
#include "gateway/tokenizer.h"

namespace quartet::gateway {

struct GatewayOptions {
  // Served names: the first is the one that answers carry, all may be sent as "model". Empty: the
  // worker's own.
  std::vector<std::string> model_names;
  size_t max_inflight_requests = 4096;
  // Prompt tokens of all requests in the gateway together.
  size_t max_inflight_prompt_tokens = 16 << 20;
  RouterOptions router;
  absl::Duration resume_timeout = absl::Seconds(60);
  absl::Duration started_hold = absl::Seconds(5);
};

// What is served, and how it is. A copy for readers on any thread.
struct ServerState {
  // Whether a request sent now would be worked on; `reason` says why not.
  bool serving = false;
  std::string reason;
  // Of the served model; unset until a worker has attached once.
  std::shared_ptr<const ModelFacts> model;
  GroupInfo group;
  std::string tokenizer_hash;
  // Summed over the attached groups.
  GroupLoad load;
  // All names that clients may send.
  std::vector<std::string> model_names;
};

// One attached worker group at this moment.
struct GroupState {
  std::string address;
  GroupInfo info;
  GroupLoad load;
  bool healthy = false;
  bool draining = false;
  // Tokens that it has generated for this gateway since it attached.
  uint64_t num_tokens = 0;
};

// Public functions marked "any thread" may be called from any; all others on the loop only.
class Gateway : public WorkerGroupListener {
 public:
  using RequestHandle = uint64_t;

  Gateway(const GatewayOptions& options, EventLoop* loop, Tokenizer* tokenizer, Metrics* metrics);
  // REQUIRES: the loop is stopped, or this runs on it.
  ~Gateway() override;

  // Any thread. Starts the request; its events go to `sink`. Returns NOT_FOUND for a model that
  // isn't served, RESOURCE_EXHAUSTED or UNAVAILABLE if it can't be taken; what is found wrong later
  // goes to the sink.
  absl::StatusOr<RequestHandle> Generate(GenerationRequest request,
                                         std::shared_ptr<GenerationSink> sink);
  // Any thread. The client is gone; the sink hears nothing more, apart from what is under way.
  void Cancel(RequestHandle handle);
  // Any thread. Ends all requests with this id; `done` hears NOT_FOUND if there is none.
  void Abort(std::string request_id, absl::AnyInvocable<void(absl::Status)> done);

  // Any thread. Takes no more requests; running ones go on.
  void StopAdmitting();
  // Any thread; `done` is called on the loop. Asks the worker group at `address` to take no new
  // work. NOT_FOUND names the groups that there are.
  void DrainGroup(std::string address, absl::AnyInvocable<void(absl::Status)> done);

  // Any thread; `done` is called on the loop.
  void Tokenize(std::string text, bool add_special_tokens, Tokenizer::Done<TokenIds> done);
  // The bytes of each token.
  void TokenPieces(TokenIds ids, Tokenizer::Done<std::vector<std::string>> done);
  void Detokenize(TokenIds ids, bool skip_special_tokens, Tokenizer::Done<std::string> done);
  void ApplyChatTemplate(ChatPrompt chat, Tokenizer::Done<RenderedChat> done);

  // Any thread; `done` is called on the loop. The attached groups in the order of their addresses.
  void ListGroups(absl::AnyInvocable<void(std::vector<GroupState>)> done);

  // Any thread.
  std::shared_ptr<const ServerState> state() const;
  // Any thread. NOT_FOUND, with the names that there are, unless `name` is empty or served.
  absl::Status CheckModel(const std::string& name) const;
  // Any thread. UNAVAILABLE with the reason unless requests can be taken.
  absl::Status CheckServing() const;
  // Called on the loop whenever ServerState::serving changes. Set before the loop has work.
  void SetServingListener(std::function<void(bool)> listener) { on_serving_ = std::move(listener); }

  // Any thread but the loop's. Takes no more requests, waits for the running ones, and after
  // `timeout` ends them with an error.
  void Drain(absl::Duration timeout);

  // What the tokenizer service says of itself; nullopt while it does not answer.
  void OnTokenizer(std::optional<TokenizerInfo> info);
  void OnAttached(WorkerGroup* group) override;
  void OnDetached(WorkerGroup* group, const absl::Status& why) override;
  void OnStep(WorkerGroup* group, std::vector<SequenceNews> news) override;
  void OnLoadChanged(WorkerGroup* group) override;

 private:
  void Remove(RequestHandle handle);
  // Works out a new ServerState and tells the serving listener.
  void UpdateState();
  void FailAll(const absl::Status& status);

  const GatewayOptions options_;
  EventLoop* const loop_;
  Tokenizer* const tokenizer_;
  Metrics* const metrics_;
  Admission admission_;
  Router router_;
  DecodeBatcher decoder_;
  std::function<void(bool)> on_serving_;

  // On the loop only.
  std::unordered_map<RequestHandle, std::shared_ptr<Generation>> generations_;
  std::unordered_multimap<std::string, RequestHandle> by_request_id_;
  std::optional<TokenizerInfo> tokenizer_info_;
  std::string why_no_worker_ = "no worker has attached yet";

  mutable std::mutex mutex_;
  std::condition_variable drained_;
  std::shared_ptr<const ServerState> state_;  // Guarded by mutex_.
  RequestHandle next_handle_ = 1;             // Guarded by mutex_.
};

}  // namespace quartet::gateway
