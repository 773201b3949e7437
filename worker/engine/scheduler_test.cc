// The scheduler's promises, on random schedules and on small ones that show one rule each.
#include "worker/engine/scheduler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <set>

namespace quartet::engine {
namespace {

using ::testing::HasSubstr;

const absl::Time kStart = absl::FromUnixSeconds(1'000'000);

std::unique_ptr<Sequence> NewSequence(uint64_t id, int64_t prompt, int64_t max_tokens,
                                      absl::Time arrival = kStart, int32_t priority = 0,
                                      uint64_t client = 1) {
  SequenceRequest request;
  request.key = {client, id};
  request.prompt_ids.assign(prompt, static_cast<int32_t>(id % 50));
  request.sampling.max_tokens = max_tokens;
  request.priority = priority;
  return std::make_unique<Sequence>(std::move(request), arrival);
}

SchedulerOptions SmallOptions() {
  SchedulerOptions options;
  options.max_num_batched_tokens = 32;
  options.max_num_seqs = 4;
  options.num_blocks = 8;
  options.max_model_len = 128;
  return options;
}

// Plays the engine: every sample appends one token. Returns the ids of the sequences that ended.
std::vector<uint64_t> RunStep(Scheduler* scheduler, const ScheduledStep& step,
                              int64_t max_model_len) {
  std::vector<uint64_t> ended;
  for (const ScheduledSequence& scheduled : step.sequences) {
    Sequence& sequence = *scheduled.sequence;
    for (int64_t i = scheduled.samples ? 1 : 0; i < scheduled.num_logits; ++i) {
      sequence.prompt_logprobs.emplace_back();
    }
    if (!scheduled.samples) continue;
    if (sequence.AppendOutput(1, max_model_len) != FinishReason::kNone) {
      ended.push_back(sequence.request().key.sequence_id);
    }
  }
  for (uint64_t id : ended) EXPECT_NE(scheduler->Remove({1, id}), nullptr);
  return ended;
}

// Checks one step against the options and against the block tables that a mirror would hold.
void CheckStep(const ScheduledStep& step, const SchedulerOptions& options,
               std::vector<std::vector<int32_t>>* tables) {
  for (const BlockTableUpdate& update : step.block_updates) {
    (*tables)[update.slot].resize(update.first);
    (*tables)[update.slot].insert((*tables)[update.slot].end(), update.blocks.begin(),
                                  update.blocks.end());
  }
  int64_t tokens = 0, rows = 0;
  std::set<int32_t> slots, owned;
  for (const ScheduledSequence& scheduled : step.sequences) {
    const Sequence& sequence = *scheduled.sequence;
    tokens += scheduled.num_new_tokens;
    rows += scheduled.num_logits;
    ASSERT_GE(scheduled.num_new_tokens, 1);
    ASSERT_EQ(scheduled.first_position + scheduled.num_new_tokens, sequence.num_computed_tokens);
    ASSERT_TRUE(slots.insert(sequence.slot).second) << "slot used twice";
    ASSERT_EQ((*tables)[sequence.slot], sequence.blocks);
    ASSERT_GE(static_cast<int64_t>(sequence.blocks.size()) * kBlockTokens,
              sequence.num_computed_tokens);
    for (int32_t block : sequence.blocks) {
      ASSERT_TRUE(owned.insert(block).second) << "block " << block << " owned twice";
    }
  }
  ASSERT_LE(tokens, options.max_num_batched_tokens);
  ASSERT_LE(static_cast<int64_t>(step.sequences.size()), options.max_num_seqs);
  ASSERT_LE(rows, options.max_num_seqs + options.max_prompt_logprob_rows);
}

TEST(SchedulerTest, RandomSchedulesKeepThePromises) {
  uint64_t preemptions = 0;
  for (uint32_t seed = 1; seed <= 60; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    std::mt19937 random(seed);
    const auto pick = [&](int64_t low, int64_t high) {
      return std::uniform_int_distribution<int64_t>(low, high)(random);
    };
    SchedulerOptions options;
    options.max_num_seqs = pick(1, 12);
    options.max_num_batched_tokens = pick(options.max_num_seqs, 100);
    options.max_model_len = pick(40, 200);
    options.num_blocks = pick(BlocksForTokens(options.max_model_len), 30);
    options.max_prompt_logprob_rows = pick(1, 20);
    options.enable_prefix_caching = false;  // so that every block has one owner
    ASSERT_TRUE(ValidateSchedulerOptions(options).ok());
    Scheduler scheduler(options);
    std::vector<std::vector<int32_t>> tables(options.max_num_seqs);
    std::set<uint64_t> open;
    uint64_t next_id = 0;
    absl::Time now = kStart;
    for (int step_number = 0; step_number < 3000; ++step_number) {
      now += absl::Milliseconds(10);
      if (step_number < 150 && pick(0, 2) == 0) {
        SequenceRequest request;
        request.key = {1, next_id};
        request.prompt_ids.assign(pick(1, options.max_model_len - 1), 3);
        request.sampling.max_tokens = pick(1, 60);
        request.sampling.num_prompt_logprobs = pick(0, 3) == 0 ? 2 : -1;
        request.priority = static_cast<int32_t>(pick(-1, 1));
        ASSERT_TRUE(Scheduler::CheckFits(request, options).ok());
        scheduler.Add(std::make_unique<Sequence>(std::move(request), now));
        open.insert(next_id++);
      }
      if (!open.empty() && pick(0, 40) == 0) {
        const uint64_t id = *std::next(open.begin(), pick(0, open.size() - 1));
        ASSERT_NE(scheduler.Remove({1, id}), nullptr);
        open.erase(id);
      }
      const bool had_work = !scheduler.empty();
      const ScheduledStep step = scheduler.Schedule();
      ASSERT_EQ(had_work, !step.sequences.empty())
          << "work that is not scheduled would wait for ever";
      CheckStep(step, options, &tables);
      if (testing::Test::HasFatalFailure()) return;
      for (uint64_t id : RunStep(&scheduler, step, options.max_model_len)) open.erase(id);
      if (step_number > 150 && open.empty()) break;
    }
    EXPECT_TRUE(open.empty()) << open.size() << " sequences did not end";
    EXPECT_EQ(scheduler.block_pool().num_used(), 0) << "blocks leaked";
    preemptions += scheduler.counters().num_preemptions;
  }
  EXPECT_GT(preemptions, 100u) << "the cases hardly preempt; they test too little";
}

TEST(SchedulerTest, DecodesComeBeforePromptChunks) {
  const SchedulerOptions options = SmallOptions();
  Scheduler scheduler(options);
  scheduler.Add(NewSequence(1, 4, 10));
  RunStep(&scheduler, scheduler.Schedule(), options.max_model_len);
  scheduler.Add(NewSequence(2, 60, 10));
  const ScheduledStep step = scheduler.Schedule();
  ASSERT_EQ(step.sequences.size(), 2u);
  EXPECT_EQ(step.sequences[0].sequence->request().key.sequence_id, 1u);
  EXPECT_EQ(step.sequences[0].num_new_tokens, 1);
  EXPECT_EQ(step.sequences[1].num_new_tokens, 31);  // what the budget leaves
  EXPECT_FALSE(step.sequences[1].samples);
  EXPECT_EQ(step.sequences[1].num_logits, 0);
}

TEST(SchedulerTest, TheLastInRankIsPreemptedAndReturnsFirst) {
  SchedulerOptions options = SmallOptions();
  options.num_blocks = 4;
  options.max_model_len = 64;
  Scheduler scheduler(options);
  scheduler.Add(NewSequence(1, 15, 40));
  scheduler.Add(NewSequence(2, 15, 40, kStart + absl::Seconds(1)));
  for (int i = 0; i < 2; ++i) RunStep(&scheduler, scheduler.Schedule(), 64);
  scheduler.Add(NewSequence(3, 15, 40, kStart + absl::Seconds(2)));
  while (scheduler.counters().num_preemptions == 0) RunStep(&scheduler, scheduler.Schedule(), 64);
  // Sequence 1 goes on; 2 waits before 3.
  EXPECT_EQ(scheduler.num_running(), 1);
  EXPECT_EQ(scheduler.num_waiting(), 2);
  scheduler.Remove({1, 1});
  const ScheduledStep step = scheduler.Schedule();
  ASSERT_FALSE(step.sequences.empty());
  EXPECT_EQ(step.sequences[0].sequence->request().key.sequence_id, 2u);
  EXPECT_GT(step.sequences[0].num_new_tokens, 15) << "prompt and output are computed again";
}

TEST(SchedulerTest, ACrowdedCacheDoesNotThrash) {
  // Together the sequences want four times the blocks that there are.
  SchedulerOptions options = SmallOptions();
  options.max_num_seqs = 16;
  options.max_num_batched_tokens = 64;
  options.num_blocks = 24;
  options.max_model_len = 120;
  Scheduler scheduler(options);
  constexpr uint64_t kSequences = 16;
  for (uint64_t id = 0; id < kSequences; ++id) {
    scheduler.Add(NewSequence(id, 20, 80, kStart + absl::Milliseconds(id)));
  }
  int64_t num_computed = 0;
  while (!scheduler.empty()) {
    const ScheduledStep step = scheduler.Schedule();
    for (const ScheduledSequence& scheduled : step.sequences) {
      num_computed += scheduled.num_new_tokens;
    }
    RunStep(&scheduler, step, options.max_model_len);
  }
  EXPECT_GT(scheduler.counters().num_preemptions, 0u);
  EXPECT_LE(scheduler.counters().num_preemptions, 2 * kSequences);
  // Each needs 99 tokens computed; what preemption repeats stays below as much again.
  EXPECT_LT(num_computed, 2 * kSequences * 99);
}

TEST(SchedulerTest, PriorityCountsButWaitingAges) {
  SchedulerOptions options = SmallOptions();
  options.max_num_seqs = 1;
  Scheduler scheduler(options);
  scheduler.Add(NewSequence(1, 4, 1, kStart, 1));
  scheduler.Add(NewSequence(2, 4, 1, kStart + absl::Seconds(5), 0));
  scheduler.Add(NewSequence(3, 4, 1, kStart + absl::Seconds(11), 0));
  std::vector<uint64_t> order;
  while (!scheduler.empty()) {
    for (uint64_t id : RunStep(&scheduler, scheduler.Schedule(), 128)) order.push_back(id);
  }
  EXPECT_THAT(order, testing::ElementsAre(2, 1, 3));
}

TEST(SchedulerTest, PromptLogprobsKeepTheRowsBounded) {
  SchedulerOptions options = SmallOptions();
  options.max_prompt_logprob_rows = 10;
  Scheduler scheduler(options);
  auto sequence = NewSequence(1, 35, 1);
  SequenceRequest request = sequence->request();
  request.sampling.num_prompt_logprobs = 0;
  scheduler.Add(std::make_unique<Sequence>(request, kStart));
  std::vector<int64_t> rows;
  while (!scheduler.empty()) {
    const ScheduledStep step = scheduler.Schedule();
    ASSERT_EQ(step.sequences.size(), 1u);
    rows.push_back(step.sequences[0].num_logits);
    RunStep(&scheduler, step, 128);
  }
  EXPECT_THAT(rows, testing::ElementsAre(10, 10, 10, 5));
}

TEST(SchedulerTest, RequestsThatCanNeverRunAreRefusedWithTheSums) {
  const SchedulerOptions options = SmallOptions();
  auto request = NewSequence(1, 128, 1)->request();
  absl::Status status = Scheduler::CheckFits(request, options);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("128 tokens"));

  SchedulerOptions few_blocks = options;
  few_blocks.num_blocks = 4;
  request = NewSequence(1, 60, 6)->request();
  status = Scheduler::CheckFits(request, few_blocks);
  EXPECT_THAT(std::string(status.message()), HasSubstr("65 tokens (5 blocks)"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("holds 64 tokens (4 blocks)"));
  request = NewSequence(1, 60, 5)->request();
  EXPECT_TRUE(Scheduler::CheckFits(request, few_blocks).ok());
}

TEST(SchedulerTest, OptionsThatMakeNoSenseAreRefused) {
  SchedulerOptions options = SmallOptions();
  options.max_num_seqs = 257;
  EXPECT_THAT(std::string(ValidateSchedulerOptions(options).message()), HasSubstr("257"));
  options = SmallOptions();
  options.max_num_batched_tokens = 3;
  EXPECT_THAT(std::string(ValidateSchedulerOptions(options).message()),
              HasSubstr("max_num_batched_tokens is 3"));
  options = SmallOptions();
  options.num_blocks = 7;
  EXPECT_THAT(std::string(ValidateSchedulerOptions(options).message()), HasSubstr("8 KV blocks"));
}

TEST(SchedulerTest, ClientsAndExpiredSequencesLeaveNothingBehind) {
  const SchedulerOptions options = SmallOptions();
  Scheduler scheduler(options);
  for (uint64_t id = 0; id < 6; ++id) scheduler.Add(NewSequence(id, 10, 5, kStart, 0, id % 2));
  scheduler.Schedule();
  EXPECT_GT(scheduler.block_pool().num_used(), 0);
  EXPECT_EQ(scheduler.RemoveClient(0).size(), 3u);
  auto request = NewSequence(9, 10, 5)->request();
  request.timeout_ms = 100;
  scheduler.Add(std::make_unique<Sequence>(request, kStart));
  EXPECT_TRUE(scheduler.RemoveExpired(kStart + absl::Milliseconds(99)).empty());
  EXPECT_EQ(scheduler.RemoveExpired(kStart + absl::Milliseconds(100)).size(), 1u);
  EXPECT_EQ(scheduler.RemoveClient(1).size(), 3u);
  EXPECT_TRUE(scheduler.empty());
  EXPECT_EQ(scheduler.block_pool().num_used(), 0);
}

TEST(BlockPoolTest, ABlockIsFreeWhenItsLastHolderReleasesIt) {
  BlockPool pool(2);
  const int32_t block = pool.Allocate();
  pool.Share(block);
  pool.Release(block);
  EXPECT_EQ(pool.num_used(), 1);
  pool.Release(block);
  EXPECT_EQ(pool.num_used(), 0);
  EXPECT_EQ(pool.Allocate(), block) << "the block freed last comes first";
}

}  // namespace
}  // namespace quartet::engine
