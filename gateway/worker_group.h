// What the gateway wants of a worker group, as a plain interface: worker_client.h is the real one,
// tests bring their own.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "gateway/generation_types.h"

namespace quartet::gateway {

struct RankReport {
  uint32_t rank = 0;
  uint32_t pid = 0;
  uint64_t weight_bytes = 0;
  uint64_t kv_cache_bytes = 0;
  uint64_t peak_rss_bytes = 0;
};

// What a group said of itself when the gateway attached.
struct GroupInfo {
  std::string build;
  std::string model_hash;
  std::string numerics_id;
  std::string device;
  uint32_t world_size = 0;
  uint64_t epoch = 0;
  uint32_t max_model_len = 0;
  uint32_t vocab_size = 0;
  std::string architecture;
  uint64_t num_parameters = 0;
  std::vector<uint32_t> eos_token_ids;
  uint32_t kv_block_tokens = 0;
  std::vector<RankReport> ranks;
  std::string model_name;
};

struct GroupLoad {
  uint32_t num_running = 0;
  uint32_t num_waiting = 0;
  uint32_t num_used_kv_blocks = 0;
  uint32_t num_kv_blocks = 0;
};

// One answer of one request, as it is handed to a group.
struct Submission {
  uint64_t sequence_id = 0;
  std::string request_id;
  uint32_t choice_index = 0;
  uint32_t attempt = 0;
  std::shared_ptr<const TokenIds> prompt_ids;
  // What earlier attempts generated.
  TokenIds output_ids;
  SamplingParams sampling;
  int32_t priority = 0;
  std::string cache_salt;
  std::string tenant;
  // 0 means never.
  uint64_t timeout_ms = 0;
  std::vector<uint32_t> eos_token_ids;
  std::optional<StructuredOutput> structured_output;
};

// What one step brought to one sequence.
struct SequenceNews {
  uint64_t sequence_id = 0;
  TokenIds token_ids;
  std::vector<PositionLogprobs> logprobs;
  std::vector<PositionLogprobs> prompt_logprobs;
  // Not kNone in the last news.
  FinishReason finish_reason = FinishReason::kNone;
  std::optional<uint32_t> stop_token_id;
  uint32_t cached_tokens = 0;
  // Not OK if the sequence failed; it is then the last news.
  absl::Status error;
};

// Used on the gateway's loop only.
class WorkerGroup {
 public:
  virtual ~WorkerGroup() = default;
  // Where it is, for messages.
  virtual const std::string& address() const = 0;
  // REQUIRES for all below: attached.
  virtual const GroupInfo& info() const = 0;
  virtual const GroupLoad& load() const = 0;
  // Whether the group's own health service says that its engine steps.
  virtual bool healthy() const = 0;
  // Whether it takes no new sequences any more.
  virtual bool draining() const = 0;
  virtual void Submit(const Submission& submission) = 0;
  virtual void Cancel(uint64_t sequence_id) = 0;
  // Asks the group to take no new sequences any more; `done` hears what it says.
  virtual void Drain(absl::AnyInvocable<void(absl::Status)> done) = 0;
};

// Hears what happens to groups. Called on the gateway's loop.
class WorkerGroupListener {
 public:
  virtual ~WorkerGroupListener() = default;
  // The group takes submissions from now on.
  virtual void OnAttached(WorkerGroup* group) = 0;
  // All sequences of the group are gone.
  virtual void OnDetached(WorkerGroup* group, const absl::Status& why) = 0;
  // One step's news of all this gateway's sequences.
  virtual void OnStep(WorkerGroup* group, std::vector<SequenceNews> news) = 0;
  // load(), healthy() or draining() may have changed.
  virtual void OnLoadChanged(WorkerGroup* group) = 0;
};

}  // namespace quartet::gateway
