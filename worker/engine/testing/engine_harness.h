// An engine with a fake model and clock that tests drive step by step, and requests for it.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "worker/engine/engine.h"
#include "worker/engine/testing/fake_model.h"

namespace quartet::engine {

inline constexpr int64_t kVocabSize = 60;
inline constexpr int32_t kEos = 7;

inline EngineOptions TestOptions() {
  EngineOptions options;
  options.scheduler.max_num_batched_tokens = 24;
  options.scheduler.max_num_seqs = 8;
  options.scheduler.num_blocks = 64;
  options.scheduler.max_model_len = 200;
  options.vocab_size = kVocabSize;
  options.epoch = 5;
  return options;
}

// What a sequence brought until its end.
struct Output {
  std::vector<int32_t> token_ids;
  std::vector<PositionLogprobs> logprobs;
  std::vector<PositionLogprobs> prompt_logprobs;
  FinishReason finish_reason = FinishReason::kNone;
  std::optional<int32_t> stop_token_id;
  absl::Status error;
  int num_events = 0;
  uint32_t cached_tokens = 0;
  bool ended() const { return finish_reason != FinishReason::kNone || !error.ok(); }
};

// An engine with a fake model and clock, driven step by step.
class Harness {
 public:
  explicit Harness(EngineOptions options = TestOptions()) : model(options.vocab_size) {
    options.clock = [this] { return now; };
    EngineCallbacks callbacks;
    callbacks.on_events = [this](uint64_t client, uint64_t, std::vector<SequenceEvent> events) {
      for (SequenceEvent& event : events) Take(client, std::move(event));
    };
    callbacks.on_failure = [this](const absl::Status& why) { failure = why; };
    callbacks.broadcast = [this](const StepPlan& plan) {
      plans.push_back(plan);
      return broadcast_status;
    };
    engine = std::make_unique<Engine>(options, &model, nullptr, std::move(callbacks));
  }

  void Take(uint64_t client, SequenceEvent event) {
    Output& output = outputs[{client, event.sequence_id}];
    EXPECT_FALSE(output.ended()) << "an event after the last one";
    ++output.num_events;
    output.cached_tokens = std::max(output.cached_tokens, event.cached_tokens);
    output.token_ids.insert(output.token_ids.end(), event.token_ids.begin(), event.token_ids.end());
    for (auto& l : event.logprobs) output.logprobs.push_back(l);
    for (auto& l : event.prompt_logprobs) output.prompt_logprobs.push_back(l);
    output.finish_reason = event.finish_reason;
    output.stop_token_id = event.stop_token_id;
    output.error = event.error;
  }

  void RunUntilIdle() {
    for (int i = 0; i < 20000; ++i) {
      const absl::StatusOr<bool> ran = engine->RunStep();
      if (!ran.ok() || !*ran) return;
    }
    ADD_FAILURE() << "the engine does not become idle";
  }

  absl::Time now = absl::FromUnixSeconds(1'000'000);
  FakeModel model;
  std::map<std::pair<uint64_t, uint64_t>, Output> outputs;
  std::vector<StepPlan> plans;
  absl::Status broadcast_status;
  absl::Status failure;
  std::unique_ptr<Engine> engine;
};

inline SequenceRequest NewRequest(uint64_t id, std::vector<int32_t> prompt,
                                  int64_t max_tokens = 20) {
  SequenceRequest request;
  request.key = {1, id};
  request.request_id = absl::StrCat("request-", id);
  request.prompt_ids = std::move(prompt);
  request.sampling.max_tokens = max_tokens;
  request.sampling.seed = 1000 + id;
  request.eos_token_ids = {kEos};
  return request;
}

inline SequenceRequest RandomRequest(uint64_t id, std::mt19937* random) {
  const auto pick = [&](int64_t low, int64_t high) {
    return std::uniform_int_distribution<int64_t>(low, high)(*random);
  };
  std::vector<int32_t> prompt(pick(1, 70));
  for (int32_t& token : prompt) token = static_cast<int32_t>(pick(0, kVocabSize - 1));
  SequenceRequest request = NewRequest(id, std::move(prompt), pick(1, 60));
  SamplingParams& params = request.sampling;
  params.temperature = pick(0, 2) == 0 ? 0.0f : 0.8f;
  params.top_k = static_cast<int32_t>(pick(0, 1) * 10);
  params.top_p = pick(0, 1) == 0 ? 1.0f : 0.9f;
  if (pick(0, 1) == 0) {
    params.repetition_penalty = 1.2f;
    params.frequency_penalty = 0.3f;
    params.presence_penalty = 0.2f;
  }
  params.min_tokens = pick(0, params.max_tokens);
  params.num_logprobs = pick(0, 2) == 0 ? 2 : -1;
  params.num_prompt_logprobs = pick(0, 3) == 0 ? 1 : -1;
  request.choice_index = static_cast<uint32_t>(pick(0, 3));
  request.sample_limit = 55;
  return request;
}

inline Output RunAlone(const SequenceRequest& request) {
  Harness harness;
  EXPECT_TRUE(harness.engine->Submit(request).ok());
  harness.RunUntilIdle();
  return harness.outputs[{request.key.client_id, request.key.sequence_id}];
}

}  // namespace quartet::engine
