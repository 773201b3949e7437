// How sequences and the engine end: cancelled, overdue, refused, failed; and the engine's threads.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>
#include <thread>

#include "worker/engine/engine.h"
#include "worker/engine/follower.h"
#include "worker/engine/testing/engine_harness.h"

namespace quartet::engine {
namespace {

using ::testing::HasSubstr;

TEST(EngineLifecycleTest, CancelAndDetachFreeBlocksAtTheNextStep) {
  Harness harness;
  for (uint64_t id = 1; id <= 4; ++id) {
    SequenceRequest request = NewRequest(id, {1, 2, 3}, 100);
    request.sampling.ignore_eos = true;
    request.key.client_id = id <= 2 ? 1 : 2;
    ASSERT_TRUE(harness.engine->Submit(request).ok());
  }
  for (int i = 0; i < 2; ++i) ASSERT_TRUE(*harness.engine->RunStep());
  EXPECT_EQ(harness.engine->load().num_used_blocks, 4);
  harness.engine->Cancel({1, 1});
  harness.engine->Cancel({1, 77});
  ASSERT_TRUE(*harness.engine->RunStep());
  EXPECT_EQ(harness.engine->load().num_used_blocks, 3);
  EXPECT_EQ((harness.outputs[{1, 1}].num_events), 1);
  harness.engine->Detach(2);
  harness.engine->Cancel({1, 2});
  harness.RunUntilIdle();
  EXPECT_EQ((harness.outputs[{2, 3}].num_events), 2) << "the surplus token was sent";
  EXPECT_EQ(harness.engine->load().num_used_blocks, 0);
  EXPECT_EQ(harness.engine->load().num_running, 0);
}

TEST(EngineLifecycleTest, TheLoadTellsWhoIsInTheMiddleOfItsPrompt) {
  EngineOptions options = TestOptions();
  options.scheduler.max_num_batched_tokens = 8;
  Harness harness(options);
  ASSERT_TRUE(harness.engine->Submit(NewRequest(1, std::vector<int32_t>(20, 1))).ok());
  std::vector<int64_t> seen;
  for (int i = 0; i < 4; ++i) {
    ASSERT_TRUE(*harness.engine->RunStep());
    seen.push_back(harness.engine->load().num_partial_prompts);
  }
  EXPECT_EQ(seen, (std::vector<int64_t>{1, 1, 0, 0}));
}

TEST(EngineLifecycleTest, AProbeIsAnEmptyStepOfAllRanks) {
  Harness harness;
  harness.engine->Probe();
  harness.RunUntilIdle();
  ASSERT_EQ(harness.plans.size(), 1u);
  EXPECT_TRUE(harness.plans[0].slots.empty());
  ASSERT_EQ(harness.model.inputs.size(), 1u);
  EXPECT_EQ(harness.model.inputs[0].num_tokens(), 0);
  EXPECT_FALSE(*harness.engine->RunStep());
  EXPECT_EQ(harness.plans.size(), 1u);
  // Sequences come after it as ever.
  ASSERT_TRUE(harness.engine->Submit(NewRequest(1, {1, 2, 3}, 5)).ok());
  harness.RunUntilIdle();
  EXPECT_TRUE((harness.outputs[{1, 1}].ended()));
}

TEST(EngineLifecycleTest, OverdueSequencesFailWhetherTheyWaitOrRun) {
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
  harness.RunUntilIdle();
  for (uint64_t id = 1; id <= 2; ++id) {
    const Output& output = harness.outputs[{1, id}];
    EXPECT_EQ(output.error.code(), absl::StatusCode::kDeadlineExceeded);
    EXPECT_THAT(std::string(output.error.message()), HasSubstr(absl::StrCat(50 * id, " ms")));
  }
  EXPECT_EQ(harness.engine->load().num_used_blocks, 0);
}

TEST(EngineLifecycleTest, TheQueueIsBounded) {
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

TEST(EngineLifecycleTest, BadRequestsAreRefusedByName) {
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

TEST(EngineLifecycleTest, ASequenceIdInUseEndsBoth) {
  Harness harness;
  ASSERT_TRUE(harness.engine->Submit(NewRequest(1, {1})).ok());
  ASSERT_TRUE(harness.engine->Submit(NewRequest(1, {2})).ok());
  EXPECT_FALSE(*harness.engine->RunStep());
  EXPECT_EQ((harness.outputs[{1, 1}].error.code()), absl::StatusCode::kAlreadyExists);
}

TEST(EngineLifecycleTest, ARowWithoutATokenFailsThatSequenceOnly) {
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

TEST(EngineLifecycleTest, AFailedStepEndsEverySequenceAndTheEngine) {
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

TEST(EngineLifecycleTest, TheReasonGivenFromOutsideIsTheOneReported) {
  Harness harness;
  ASSERT_TRUE(harness.engine->Submit(NewRequest(1, {1})).ok());
  harness.model.on_forward = [&](const model::StepInput&) {
    harness.engine->Fail(absl::UnavailableError("rank 1 (pid 17) has gone"));
    return absl::AbortedError("the communicator was told to stop");
  };
  EXPECT_TRUE(*harness.engine->RunStep()) << "planned";
  EXPECT_FALSE(harness.engine->RunStep().ok());
  EXPECT_THAT(std::string(harness.outputs[{1, 1}].error.message()), HasSubstr("pid 17"));
}

TEST(EngineLifecycleTest, AFollowerSeesTheSameSteps) {
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
  model.shared_by = &leader.model;
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

TEST(EngineLifecycleTest, TheThreadServesSeveralClientsAndStops) {
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
