// The whole loop with a model whose tokens depend on every token in the cache.
#include "worker/engine/engine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>
#include <random>

#include "worker/engine/follower.h"
#include "worker/engine/testing/fake_model.h"

namespace quartet::engine {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr int64_t kVocabSize = 60;
constexpr int32_t kEos = 7;

EngineOptions TestOptions() {
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

SequenceRequest NewRequest(uint64_t id, std::vector<int32_t> prompt, int64_t max_tokens = 20) {
  SequenceRequest request;
  request.key = {1, id};
  request.request_id = absl::StrCat("request-", id);
  request.prompt_ids = std::move(prompt);
  request.sampling.max_tokens = max_tokens;
  request.sampling.seed = 1000 + id;
  request.eos_token_ids = {kEos};
  return request;
}

SequenceRequest RandomRequest(uint64_t id, std::mt19937* random) {
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

Output RunAlone(const SequenceRequest& request) {
  Harness harness;
  EXPECT_TRUE(harness.engine->Submit(request).ok());
  harness.RunUntilIdle();
  return harness.outputs[{request.key.client_id, request.key.sequence_id}];
}

void ExpectSame(const Output& a, const Output& b) {
  EXPECT_EQ(a.token_ids, b.token_ids);
  EXPECT_EQ(a.finish_reason, b.finish_reason);
  EXPECT_EQ(a.stop_token_id, b.stop_token_id);
  EXPECT_EQ(a.error, b.error);
  ASSERT_EQ(a.logprobs.size(), b.logprobs.size());
  ASSERT_EQ(a.prompt_logprobs.size(), b.prompt_logprobs.size());
  for (size_t i = 0; i < a.prompt_logprobs.size(); ++i) {
    EXPECT_EQ(a.prompt_logprobs[i].token.logprob, b.prompt_logprobs[i].token.logprob);
  }
}

TEST(EngineTest, TokensDependOnTheRequestAlone) {
  for (uint32_t seed = 1; seed <= 8; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    std::mt19937 random(seed);
    EngineOptions options = TestOptions();
    // So few blocks that sequences are preempted, and small chunks.
    options.scheduler.num_blocks = 13;
    options.scheduler.max_num_batched_tokens = 8 + seed * 3;
    options.scheduler.max_prompt_logprob_rows = 5 + seed;
    Harness batch(options);
    std::vector<SequenceRequest> requests;
    for (uint64_t id = 0; id < 25; ++id) requests.push_back(RandomRequest(id, &random));
    for (const SequenceRequest& request : requests) {
      ASSERT_TRUE(batch.engine->Submit(request).ok());
      if (random() % 3 == 0) {
        ASSERT_TRUE(batch.engine->RunStep().ok());
      }
    }
    batch.RunUntilIdle();
    EXPECT_GT(batch.engine->load().num_preemptions, 0u);
    for (const SequenceRequest& request : requests) {
      SCOPED_TRACE(request.request_id);
      const Output& output = batch.outputs[{1, request.key.sequence_id}];
      EXPECT_TRUE(output.ended());
      ExpectSame(output, RunAlone(request));
    }
    EXPECT_EQ(batch.engine->load().num_used_blocks, 0);
  }
}

TEST(EngineTest, AResumedSequenceGoesOnWhereItStopped) {
  std::mt19937 random(99);
  int resumed = 0;
  for (uint64_t id = 0; id < 40; ++id) {
    const SequenceRequest request = RandomRequest(id, &random);
    const Output whole = RunAlone(request);
    for (size_t cut = 1; cut < whole.token_ids.size(); cut += 1 + random() % 7) {
      SequenceRequest again = request;
      again.attempt = 1;
      again.output_ids.assign(whole.token_ids.begin(), whole.token_ids.begin() + cut);
      const Output rest = RunAlone(again);
      EXPECT_EQ(rest.token_ids,
                std::vector<int32_t>(whole.token_ids.begin() + cut, whole.token_ids.end()))
          << "request " << id << " cut at " << cut;
      EXPECT_EQ(rest.finish_reason, whole.finish_reason);
      EXPECT_TRUE(rest.prompt_logprobs.empty()) << "they were sent before";
      ++resumed;
    }
  }
  EXPECT_GT(resumed, 50);
}

TEST(EngineTest, EndIdsStopAndAreReported) {
  SequenceRequest request = NewRequest(1, {3, 4}, 50);
  request.sampling.logit_bias = {{kEos, 100.0f}};
  Output output = RunAlone(request);
  EXPECT_THAT(output.token_ids, ElementsAre(kEos));
  EXPECT_EQ(output.finish_reason, FinishReason::kStop);
  EXPECT_EQ(output.stop_token_id, kEos);

  request.sampling.min_tokens = 3;
  output = RunAlone(request);
  ASSERT_EQ(output.token_ids.size(), 4u);
  for (int i = 0; i < 3; ++i) EXPECT_NE(output.token_ids[i], kEos);
  EXPECT_EQ(output.token_ids[3], kEos);

  request.sampling.min_tokens = 0;
  request.sampling.ignore_eos = true;
  output = RunAlone(request);
  EXPECT_EQ(output.token_ids, std::vector<int32_t>(50, kEos));
  EXPECT_EQ(output.finish_reason, FinishReason::kLength);
  EXPECT_FALSE(output.stop_token_id.has_value());

  request.sampling.stop_token_ids = {kEos};  // a stop id ends it all the same
  output = RunAlone(request);
  EXPECT_THAT(output.token_ids, ElementsAre(kEos));
  EXPECT_EQ(output.finish_reason, FinishReason::kStop);
}

TEST(EngineTest, TheModelsOwnEndIdsCount) {
  EngineOptions options = TestOptions();
  options.eos_token_ids = {21};
  Harness harness(options);
  SequenceRequest request = NewRequest(1, {3}, 50);
  request.sampling.logit_bias = {{21, 100.0f}};
  ASSERT_TRUE(harness.engine->Submit(request).ok());
  harness.RunUntilIdle();
  EXPECT_EQ((harness.outputs[{1, 1}].stop_token_id), 21);
}

TEST(EngineTest, LengthEndsAtMaxTokensAndAtTheContext) {
  SequenceRequest request = NewRequest(1, {3, 4, 5}, 9);
  request.sampling.ignore_eos = true;
  Output output = RunAlone(request);
  EXPECT_EQ(output.token_ids.size(), 9u);
  EXPECT_EQ(output.finish_reason, FinishReason::kLength);
  request.sampling.max_tokens = 5000;
  output = RunAlone(request);
  EXPECT_EQ(output.token_ids.size(), 197u);  // max_model_len 200
  EXPECT_EQ(output.finish_reason, FinishReason::kLength);
}

TEST(EngineTest, LogprobsAndPromptLogprobsAreComplete) {
  SequenceRequest request = NewRequest(1, std::vector<int32_t>(100, 9), 5);
  for (int i = 0; i < 100; ++i) request.prompt_ids[i] = i % 50;
  request.sampling.num_prompt_logprobs = 3;
  request.sampling.num_logprobs = 2;
  request.sampling.ignore_eos = true;
  const Output output = RunAlone(request);
  ASSERT_EQ(output.prompt_logprobs.size(), 99u);
  for (int i = 0; i < 99; ++i) {
    EXPECT_EQ(output.prompt_logprobs[i].token.token_id, request.prompt_ids[i + 1]);
    EXPECT_EQ(output.prompt_logprobs[i].top.size(), 3u);
    EXPECT_LT(output.prompt_logprobs[i].token.logprob, 0);
  }
  ASSERT_EQ(output.logprobs.size(), 5u);
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(output.logprobs[i].token.token_id, output.token_ids[i]);
    EXPECT_EQ(output.logprobs[i].top.size(), 2u);
  }
}

TEST(EngineTest, CancelAndDetachFreeBlocksAtTheNextStep) {
  Harness harness;
  for (uint64_t id = 1; id <= 4; ++id) {
    SequenceRequest request = NewRequest(id, {1, 2, 3}, 100);
    request.sampling.ignore_eos = true;
    request.key.client_id = id <= 2 ? 1 : 2;
    ASSERT_TRUE(harness.engine->Submit(request).ok());
  }
  ASSERT_TRUE(*harness.engine->RunStep());
  EXPECT_EQ(harness.engine->load().num_used_blocks, 4);
  harness.engine->Cancel({1, 1});
  harness.engine->Cancel({1, 77});
  ASSERT_TRUE(*harness.engine->RunStep());
  EXPECT_EQ(harness.engine->load().num_used_blocks, 3);
  EXPECT_EQ((harness.outputs[{1, 1}].num_events), 1);
  harness.engine->Detach(2);
  harness.engine->Cancel({1, 2});
  EXPECT_FALSE(*harness.engine->RunStep());
  EXPECT_EQ(harness.engine->load().num_used_blocks, 0);
  EXPECT_EQ(harness.engine->load().num_running, 0);
}

TEST(EngineTest, OverdueSequencesFailWhetherTheyWaitOrRun) {
  EngineOptions options = TestOptions();
  options.scheduler.max_num_seqs = 1;
  Harness harness(options);
  for (uint64_t id = 1; id <= 2; ++id) {
    SequenceRequest request = NewRequest(id, {1, 2, 3}, 100);
    request.sampling.ignore_eos = true;
    request.timeout_ms = 50 * id;
    ASSERT_TRUE(harness.engine->Submit(request).ok());
  }
  ASSERT_TRUE(*harness.engine->RunStep());
  harness.now += absl::Milliseconds(100);
  EXPECT_FALSE(*harness.engine->RunStep());
  for (uint64_t id = 1; id <= 2; ++id) {
    const Output& output = harness.outputs[{1, id}];
    EXPECT_EQ(output.error.code(), absl::StatusCode::kDeadlineExceeded);
    EXPECT_THAT(std::string(output.error.message()), HasSubstr(absl::StrCat(50 * id, " ms")));
  }
  EXPECT_EQ(harness.engine->load().num_used_blocks, 0);
}

TEST(EngineTest, TheQueueIsBounded) {
  EngineOptions options = TestOptions();
  options.max_waiting = 3;
  options.scheduler.max_num_seqs = 1;
  Harness harness(options);
  for (uint64_t id = 1; id <= 3; ++id) {
    ASSERT_TRUE(harness.engine->Submit(NewRequest(id, {1})).ok());
  }
  EXPECT_EQ(harness.engine->load().num_waiting, 3);
  absl::Status status = harness.engine->Submit(NewRequest(4, {1}));
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()), HasSubstr("--max_waiting is 3"));
  ASSERT_TRUE(*harness.engine->RunStep());  // one runs now
  EXPECT_TRUE(harness.engine->Submit(NewRequest(5, {1})).ok());
  EXPECT_FALSE(harness.engine->Submit(NewRequest(6, {1})).ok());
}

TEST(EngineTest, BadRequestsAreRefusedByName) {
  Harness harness;
  const auto message = [&](SequenceRequest request) {
    const absl::Status status = harness.engine->Submit(std::move(request));
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    return std::string(status.message());
  };
  EXPECT_THAT(message(NewRequest(1, {})), HasSubstr("prompt_ids is empty"));
  EXPECT_THAT(message(NewRequest(1, {1, 60})), HasSubstr("prompt_ids[1] is 60"));
  SequenceRequest request = NewRequest(1, {1});
  request.output_ids = {-4};
  EXPECT_THAT(message(request), HasSubstr("output_ids[0] is -4"));
  request.output_ids.assign(20, 1);
  EXPECT_THAT(message(request), HasSubstr("nothing is left to generate"));
  EXPECT_THAT(message(NewRequest(1, std::vector<int32_t>(200, 1))), HasSubstr("max_model_len"));
  request = NewRequest(1, {1});
  request.sampling.top_p = 7;
  EXPECT_THAT(message(request), HasSubstr("top_p is 7"));
  EXPECT_FALSE(*harness.engine->RunStep());
}

TEST(EngineTest, ASequenceIdInUseEndsBoth) {
  Harness harness;
  ASSERT_TRUE(harness.engine->Submit(NewRequest(1, {1})).ok());
  ASSERT_TRUE(harness.engine->Submit(NewRequest(1, {2})).ok());
  EXPECT_FALSE(*harness.engine->RunStep());
  EXPECT_EQ((harness.outputs[{1, 1}].error.code()), absl::StatusCode::kAlreadyExists);
}

TEST(EngineTest, ARowWithoutATokenFailsThatSequenceOnly) {
  Harness harness;
  SequenceRequest broken = NewRequest(1, {1});
  broken.sample_limit = 1;
  broken.sampling.stop_token_ids = {0};
  broken.sampling.min_tokens = 5;  // the only id is banned
  ASSERT_TRUE(harness.engine->Submit(broken).ok());
  ASSERT_TRUE(harness.engine->Submit(NewRequest(2, {1})).ok());
  harness.RunUntilIdle();
  EXPECT_EQ((harness.outputs[{1, 1}].error.code()), absl::StatusCode::kInternal);
  EXPECT_TRUE((harness.outputs[{1, 2}].error.ok()));
  EXPECT_EQ(harness.engine->load().num_used_blocks, 0);
}

TEST(EngineTest, AFailedStepEndsEverySequenceAndTheEngine) {
  Harness harness;
  ASSERT_TRUE(harness.engine->Submit(NewRequest(1, {1})).ok());
  ASSERT_TRUE(*harness.engine->RunStep());
  harness.model.on_forward = [](const model::StepInput&) {
    return absl::UnavailableError("rank 2 did not come within 60 s");
  };
  ASSERT_TRUE(harness.engine->Submit(NewRequest(2, {1})).ok());
  EXPECT_FALSE(harness.engine->RunStep().ok());
  for (uint64_t id = 1; id <= 2; ++id) {
    EXPECT_EQ((harness.outputs[{1, id}].error.code()), absl::StatusCode::kUnavailable);
    EXPECT_THAT(std::string(harness.outputs[{1, id}].error.message()), HasSubstr("rank 2"));
  }
  EXPECT_FALSE(harness.failure.ok());
  EXPECT_EQ(harness.engine->Submit(NewRequest(3, {1})).code(), absl::StatusCode::kUnavailable);
}

TEST(EngineTest, TheReasonGivenFromOutsideIsTheOneReported) {
  Harness harness;
  ASSERT_TRUE(harness.engine->Submit(NewRequest(1, {1})).ok());
  harness.model.on_forward = [&](const model::StepInput&) {
    harness.engine->Fail(absl::UnavailableError("rank 1 (pid 17) has gone"));
    return absl::AbortedError("the communicator was told to stop");
  };
  EXPECT_FALSE(harness.engine->RunStep().ok());
  EXPECT_THAT(std::string(harness.outputs[{1, 1}].error.message()), HasSubstr("pid 17"));
}

TEST(EngineTest, AFollowerSeesTheSameSteps) {
  std::mt19937 random(4);
  EngineOptions options = TestOptions();
  options.scheduler.num_blocks = 13;
  Harness leader(options);
  for (uint64_t id = 0; id < 15; ++id) {
    ASSERT_TRUE(leader.engine->Submit(RandomRequest(id, &random)).ok());
  }
  leader.RunUntilIdle();
  ASSERT_GT(leader.plans.size(), 20u);

  class Replay : public PlanSource {
   public:
    explicit Replay(const std::vector<StepPlan>& plans) : plans_(plans) {}
    absl::StatusOr<StepPlan> Next() override {
      if (next_ == plans_.size()) return absl::CancelledError("told to stop");
      return plans_[next_++];
    }
    void Done(uint64_t step, const absl::Status& status) override {
      EXPECT_EQ(step, next_);
      EXPECT_TRUE(status.ok()) << status;
    }

   private:
    const std::vector<StepPlan>& plans_;
    size_t next_ = 0;
  };
  Replay replay(leader.plans);
  FakeModel model(kVocabSize);
  const SchedulerOptions& s = options.scheduler;
  const absl::Status status =
      RunFollower({kVocabSize, s.num_blocks, s.max_num_seqs, s.max_num_batched_tokens},
                  options.epoch, &model, nullptr, &replay);
  EXPECT_EQ(status.code(), absl::StatusCode::kCancelled);
  ASSERT_EQ(model.inputs.size(), leader.model.inputs.size());
  for (size_t i = 0; i < model.inputs.size(); ++i) {
    EXPECT_EQ(model.inputs[i].token_ids, leader.model.inputs[i].token_ids);
    EXPECT_EQ(model.inputs[i].slot_mapping, leader.model.inputs[i].slot_mapping);
    EXPECT_EQ(model.inputs[i].block_tables, leader.model.inputs[i].block_tables);
    EXPECT_EQ(model.inputs[i].logits_rows, leader.model.inputs[i].logits_rows);
  }
}

TEST(EngineTest, TheThreadServesSeveralClientsAndStops) {
  EngineOptions options = TestOptions();
  FakeModel model(kVocabSize);
  int num_ended = 0;  // the engine's thread alone touches these two
  bool all_are_ended = false;
  std::promise<void> all_ended;
  constexpr int kClients = 4, kPerClient = 10;
  EngineCallbacks callbacks;
  callbacks.on_events = [&](uint64_t client, uint64_t, std::vector<SequenceEvent> events) {
    if (client > kClients) return;  // those that are cancelled, which may have begun
    for (const SequenceEvent& event : events) {
      num_ended += event.finish_reason != FinishReason::kNone;
    }
    if (num_ended == kClients * kPerClient && !std::exchange(all_are_ended, true)) {
      all_ended.set_value();
    }
  };
  Engine engine(options, &model, nullptr, std::move(callbacks));
  engine.Start();
  std::vector<std::thread> clients;
  for (uint64_t client = 1; client <= kClients; ++client) {
    clients.emplace_back([&engine, client] {
      std::mt19937 random(static_cast<uint32_t>(client));
      for (uint64_t id = 0; id < kPerClient; ++id) {
        SequenceRequest request = RandomRequest(id, &random);
        request.key.client_id = client;
        EXPECT_TRUE(engine.Submit(std::move(request)).ok());
        SequenceRequest cancelled = RandomRequest(1000 + id, &random);
        cancelled.key.client_id = client + 100;
        EXPECT_TRUE(engine.Submit(std::move(cancelled)).ok());
        engine.Detach(client + 100);
        engine.load();
      }
    });
  }
  for (std::thread& client : clients) client.join();
  EXPECT_EQ(all_ended.get_future().wait_for(std::chrono::seconds(60)), std::future_status::ready);
  engine.Stop();
  EXPECT_EQ(engine.load().num_used_blocks, 0);
}

}  // namespace
}  // namespace quartet::engine
