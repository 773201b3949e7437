// One request from its prompt to its last word: turns the prompt into ids, owns the answers, and
// tells its sink what happens in the order that both faces promise. The only state machine of a
// request; the faces only translate.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "gateway/admission.h"
#include "gateway/beam_search.h"
#include "gateway/best_of.h"
#include "gateway/choice.h"
#include "gateway/decode_batcher.h"
#include "gateway/event_loop.h"
#include "gateway/generation_types.h"
#include "gateway/metrics.h"
#include "gateway/prompt_preparation.h"
#include "gateway/request_validation.h"
#include "gateway/router.h"
#include "gateway/tokenizer.h"

namespace quartet::gateway {

// What a generation works with; all of it outlives the generation.
struct GenerationEnvironment {
  EventLoop* loop = nullptr;
  Tokenizer* tokenizer = nullptr;
  Router* router = nullptr;
  DecodeBatcher* decoder = nullptr;
  Metrics* metrics = nullptr;
  // How long an answer whose group is gone waits for another.
  absl::Duration resume_timeout = absl::Seconds(60);
  // How long Started, and with it the HTTP status, waits for the first token, so that early errors
  // are status codes.
  absl::Duration started_hold = absl::Seconds(5);
};

// Used on the gateway's loop only. Stages: preparing (validation, prompt_preparation) -> running ->
// done; any stage may end in a failure, a cancel or an abort.
class Generation : public ChoiceOwner, public std::enable_shared_from_this<Generation> {
 public:
  // `on_done` is called once, when nothing more will happen; the generation must not be destroyed
  // inside it.
  Generation(const GenerationEnvironment& environment, std::shared_ptr<const ModelFacts> model,
             GenerationRequest request, uint64_t drawn_seed, Admission::Ticket ticket,
             std::shared_ptr<GenerationSink> sink, std::function<void()> on_done);

  void Start();
  // The client is gone: frees everything, and the sink hears nothing more.
  void Cancel();
  // Ends all unfinished answers with the reason "abort".
  void Abort();
  // Ends the request with an error.
  void Fail(absl::Status status);

  const std::string& request_id() const { return prepared_->request.request_id; }

  void OnChoiceNews(uint32_t index, size_t num_tokens, uint32_t cached_tokens) override;
  void OnChoiceDelta(DeltaEvent delta) override;
  void OnChoiceFinished(FinishedEvent finished, uint32_t num_tokens) override;
  void OnChoiceFailed(const absl::Status& status) override;
  void OnChoiceWaiting(uint32_t index, bool waiting, const absl::Status& why) override;
  void OnChoiceResumed(uint32_t index) override;
  void OnChoiceRecovered(uint32_t index, absl::Duration since_loss, absl::Duration since_resume,
                         size_t num_recomputed) override;

 private:
  enum class Stage {
    kPreparing,  // The prompt is with the tokenizer service.
    kRunning,    // All answers are submitted; some may be finished or waiting for a group.
    kDone,       // The sink has had its last event.
  };

  void OnEncoded(absl::Status status);
  void OnDescribed(absl::Status status);
  void SubmitChoices();
  void StartBeamSearch();
  void EmitStarted();
  void Emit(GenerationEvent event);
  void FinishIfComplete();
  void Done();
  uint32_t num_tokens() const;

  const GenerationEnvironment env_;
  const std::shared_ptr<const ModelFacts> model_;
  // Written while preparing, shared with the answers and unchanged afterwards.
  const std::shared_ptr<PreparedRequest> prepared_;
  std::shared_ptr<PromptPreparation> preparation_;
  Admission::Ticket ticket_;
  std::shared_ptr<GenerationSink> sink_;
  const std::function<void()> on_done_;
  const absl::Time arrival_;

  Stage stage_ = Stage::kPreparing;
  bool started_ = false;       // Started was emitted.
  bool hold_is_over_ = false;  // Started goes out as soon as it can.
  uint32_t num_choices_ = 0;   // n or best_of.
  std::vector<std::shared_ptr<Choice>> choices_;
  std::shared_ptr<BeamSearch> beam_search_;  // In the place of choices.
  std::optional<BestOf> best_of_;            // If fewer are reported than generated.
  std::vector<absl::Time> last_news_;        // Of each choice; InfinitePast before the first.
  uint32_t num_finished_ = 0;
  uint32_t num_waiting_ = 0;  // Answers without a group.
  uint32_t cached_tokens_ = 0;
  uint64_t hold_timer_ = 0;
  uint64_t deadline_timer_ = 0;
  uint64_t resume_timer_ = 0;
};

}  // namespace quartet::gateway
