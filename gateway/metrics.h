// What the gateway counts and times, in Prometheus' form: prefix quartet_, then vLLM's suffixes,
// labels and meanings.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "gateway/generation_types.h"
#include "gateway/worker_group.h"

namespace quartet::gateway {

// Thread-safe.
class Metrics {
 public:
  Metrics();
  ~Metrics();

  // The served model's name, the label of all model metrics. What was observed before is without
  // it, so call it first.
  void SetModelName(absl::string_view name);

  void ObservePrompt(uint32_t num_tokens);
  // `num_tokens` came at once; `since_last` is the time since this answer's previous tokens,
  // negative if these are the first.
  void ObserveTokens(size_t num_tokens, absl::Duration since_last);
  void ObserveFirstToken(absl::Duration since_arrival);
  void ObserveAnswer(FinishReason reason);
  void ObserveRequestEnd(absl::Duration since_arrival);
  void ObserveFailure(const absl::Status& status);
  // A sequence was submitted again after its worker was lost.
  void ObserveResume();
  // Its first new token came `since_loss` after the loss; `num_recomputed` tokens that had been
  // computed before were computed again for it.
  void ObserveRecovery(absl::Duration since_loss, absl::Duration since_resume,
                       size_t num_recomputed);
  void ObserveHttp(absl::string_view path, int code);
  // What the groups last reported, summed, and the sequences that wait for a group.
  void SetLoad(const GroupLoad& load, size_t num_awaiting_group);
  // Sequences that no group works on because there is none that may.
  void SetAwaitingGroup(size_t num_sequences);

  // The text that /metrics answers.
  std::string Render() const;

 private:
  struct Families;
  struct Series;
  // The present model's.
  const Series& Now();

  const std::unique_ptr<Families> families_;
  std::vector<std::unique_ptr<Series>> all_series_;  // Guarded by the families' mutex.
  std::atomic<const Series*> series_{nullptr};       // The last of all_series_.
};

}  // namespace quartet::gateway
