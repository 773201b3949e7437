// Many random schedules against SchedulerChecker: sequences that arrive, end, are cancelled, expire
// and push each other out, with a clock of the test's own. QUARTET_TEST_SEED gives another first
// seed, QUARTET_TEST_ROUNDS another number of schedules.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <deque>
#include <functional>
#include <iostream>
#include <random>

#include "common/logging.h"
#include "common/status_macros.h"
#include "worker/engine/scheduler.h"
#include "worker/engine/testing/scheduler_checker.h"

namespace quartet::engine {
namespace {

using ::testing::HasSubstr;

constexpr int32_t kVocabulary = 50;
constexpr int32_t kEndId = 5;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr int64_t kRounds = 3000;
#else
constexpr int64_t kRounds = 25000;
#endif

int64_t FromEnvironment(const char* name, int64_t otherwise) {
  const char* value = std::getenv(name);
  return value == nullptr ? otherwise : std::atoll(value);
}

// --- What the test knows of the scheduler's interface, beside the types that it returns. ---

// Steps that may be scheduled before the first of them is committed.
constexpr size_t kStepsInFlight = 2;

PoolUse UseOf(const Scheduler& scheduler) {
  const BlockPool& pool = scheduler.block_pool();
  const int64_t num_cached = scheduler.prefix_cache().num_cached();
  return {.num_used = pool.num_used(),
          .num_cached = num_cached,
          .num_free = pool.num_free() - num_cached};
}

// Plays the engine: commits a step's results. Returns the keys of the sequences that ended.
std::vector<SequenceKey> Commit(const Scheduler& scheduler, const CheckedStep& checked,
                                int64_t max_model_len) {
  std::vector<SequenceKey> ended;
  for (size_t i = 0; i < checked.keys.size(); ++i) {
    if (!scheduler.Contains(checked.keys[i])) continue;  // cancelled since
    const ScheduledSequence& scheduled = checked.step.sequences[i];
    Sequence& sequence = *scheduled.sequence;
    for (int64_t row = scheduled.samples ? 1 : 0; row < scheduled.num_logits; ++row) {
      sequence.prompt_logprobs.emplace_back();
    }
    if (!scheduled.samples) continue;
    sequence.has_sent_event = true;
    if (sequence.AppendOutput(checked.sampled[i], max_model_len) != FinishReason::kNone) {
      ended.push_back(checked.keys[i]);
    }
  }
  return ended;
}

// --- End of that. ---

// One random schedule.
class RandomSchedule {
 public:
  RandomSchedule(uint64_t seed, ScheduleCounters* counters)
      : random_(seed),
        options_(RandomOptions()),
        scheduler_(options_),
        num_tenants_(Pick(0, 1) == 0 ? 1 : Pick(2, 4)),
        checker_(options_, kVocabulary, num_tenants_ > 1, counters) {
    for (auto& text : texts_) text = RandomTokens(options_.max_model_len);
  }

  // Changes what the scheduler returned before it is checked.
  std::function<void(ScheduledStep*)> tamper;

  absl::Status Run() {
    const int64_t arrival_steps = Pick(1, 60);
    const int64_t load = Pick(1, 6);
    for (int64_t i = 0; i < arrival_steps; ++i) {
      now_ += absl::Milliseconds(Pick(0, 1) == 0 ? Pick(0, 20) : Pick(0, 3000));
      while (Pick(0, 8) < load) AddSequence();
      RETURN_IF_ERROR(RemoveSome());
      RETURN_IF_ERROR(RunStep());
    }
    for (int64_t left = checker_.StepBound(); !IsDone(); --left) {
      if (left == 0) return absl::InternalError("sequences starve");
      RETURN_IF_ERROR(RunStep());
    }
    if (checker_.num_sequences() != 0) return absl::InternalError("sequences got lost");
    return checker_.CheckBlocks(UseOf(scheduler_));
  }

 private:
  int64_t Pick(int64_t low, int64_t high) {
    return std::uniform_int_distribution<int64_t>(low, high)(random_);
  }

  std::vector<int32_t> RandomTokens(int64_t count) {
    std::vector<int32_t> tokens(count);
    for (int32_t& token : tokens) token = static_cast<int32_t>(Pick(0, kVocabulary - 1));
    return tokens;
  }

  SchedulerOptions RandomOptions() {
    SchedulerOptions options;
    options.max_num_seqs = Pick(1, 8);
    options.max_num_batched_tokens = Pick(options.max_num_seqs, 64);
    options.max_model_len = Pick(20, 120);
    const int64_t longest = BlocksForTokens(options.max_model_len);
    options.num_blocks = Pick(longest, longest + 12);
    options.max_prompt_logprob_rows = Pick(1, 20);
    return options;
  }

  // Prompts begin alike, so that they may share blocks.
  void AddSequence() {
    SequenceRequest request;
    request.key = {static_cast<uint64_t>(Pick(1, 3)), next_id_++};
    const std::vector<int32_t>& text = texts_[Pick(0, 1)];
    const int64_t length = Pick(1, Pick(1, options_.max_model_len - 1));
    const int64_t common = Pick(0, 2) == 0 ? 0 : Pick(0, length);
    request.prompt_ids.assign(text.begin(), text.begin() + common);
    for (int32_t token : RandomTokens(length - common)) request.prompt_ids.push_back(token);
    request.sampling.max_tokens = Pick(1, 80);
    if (Pick(0, 5) == 0) {  // resumed
      const int64_t room = std::min(request.sampling.max_tokens, options_.max_model_len - length);
      request.output_ids = RandomTokens(Pick(0, room - 1));
    }
    request.sampling.num_prompt_logprobs = Pick(0, 4) == 0 ? 1 : -1;
    request.sampling.ignore_eos = Pick(0, 1) == 0;
    request.eos_token_ids = {kEndId};
    request.priority = static_cast<int32_t>(Pick(0, 3) == 0 ? Pick(-1, 1) : 0);
    request.tenant = std::string(1, static_cast<char>('a' + Pick(0, num_tenants_ - 1)));
    request.cache_salt = Pick(0, 3) == 0 ? "another tenant" : "";
    request.timeout_ms = Pick(0, 6) == 0 ? Pick(1, 4000) : 0;
    if (!Scheduler::CheckFits(request, options_).ok()) return;
    auto sequence = std::make_unique<Sequence>(std::move(request), now_);
    live_[next_id_ - 1] = sequence.get();
    checker_.Added(sequence.get());
    scheduler_.Add(std::move(sequence));
  }

  absl::Status Forget(const SequenceKey& key) {
    live_.erase(key.sequence_id);
    return checker_.Removed(key);
  }

  absl::Status RemoveSome() {
    for (const auto& expired : scheduler_.RemoveExpired(now_)) {
      if (!expired->IsExpired(now_)) return absl::InternalError("expired too early");
      RETURN_IF_ERROR(Forget(expired->request().key));
    }
    for (const auto& [id, sequence] : live_) {
      if (sequence->IsExpired(now_)) return absl::InternalError("not expired in time");
    }
    if (!live_.empty() && Pick(0, 15) == 0) {
      const SequenceKey key =
          std::next(live_.begin(), Pick(0, live_.size() - 1))->second->request().key;
      if (scheduler_.Remove(key) == nullptr) return absl::InternalError("cancelled one was lost");
      RETURN_IF_ERROR(Forget(key));
    }
    if (Pick(0, 60) == 0) {
      for (const auto& removed : scheduler_.RemoveClient(2)) {
        RETURN_IF_ERROR(Forget(removed->request().key));
      }
    }
    return checker_.CheckBlocks(UseOf(scheduler_));
  }

  bool IsDone() const { return scheduler_.empty() && in_flight_.empty(); }

  absl::Status RunStep() {
    if (!scheduler_.empty()) {
      ScheduledStep step = scheduler_.Schedule();
      if (tamper) tamper(&step);
      if (step.sequences.empty() && in_flight_.empty()) {
        return absl::InternalError("nothing is scheduled though sequences are there");
      }
      RETURN_IF_ERROR(checker_.CheckStep(std::move(step), &in_flight_.emplace_back()));
      RETURN_IF_ERROR(checker_.CheckBlocks(UseOf(scheduler_)));
      if (in_flight_.size() < kStepsInFlight) return absl::OkStatus();
    }
    if (in_flight_.empty()) return absl::OkStatus();
    const CheckedStep done = std::move(in_flight_.front());
    in_flight_.pop_front();
    for (const SequenceKey& key : Commit(scheduler_, done, options_.max_model_len)) {
      const std::unique_ptr<Sequence> sequence = scheduler_.Remove(key);
      RETURN_IF_ERROR(checker_.CheckTokens(*sequence));
      RETURN_IF_ERROR(Forget(key));
    }
    return checker_.CheckBlocks(UseOf(scheduler_));
  }

  std::mt19937_64 random_;
  const SchedulerOptions options_;
  Scheduler scheduler_;
  const int64_t num_tenants_;
  SchedulerChecker checker_;
  std::vector<int32_t> texts_[2];
  std::map<uint64_t, const Sequence*> live_;
  std::deque<CheckedStep> in_flight_;
  absl::Time now_ = absl::FromUnixSeconds(1'000'000);
  uint64_t next_id_ = 1;
};

TEST(SchedulerModelTest, RandomSchedulesKeepEveryPromise) {
  common::SetLogLevel(common::LogLevel::kWarning);  // a line for each preemption else
  const int64_t first_seed = FromEnvironment("QUARTET_TEST_SEED", 1);
  const int64_t rounds = FromEnvironment("QUARTET_TEST_ROUNDS", kRounds);
  ScheduleCounters counters;
  for (int64_t seed = first_seed; seed < first_seed + rounds; ++seed) {
    const absl::Status status = RandomSchedule(seed, &counters).Run();
    ASSERT_TRUE(status.ok()) << status << "\nQUARTET_TEST_SEED=" << seed;
  }
  std::cout << rounds << " schedules from seed " << first_seed << ": " << counters.steps
            << " steps, " << counters.preempted << " preempted, " << counters.cached_tokens
            << " cached tokens, " << counters.shared_blocks << " shared blocks, "
            << counters.chunks_off_block_edges << " chunks off block edges, "
            << counters.prompt_logprob_rows << " rows of prompt log-probabilities\n";
  EXPECT_GT(counters.preempted, rounds);
  EXPECT_GT(counters.cached_tokens, rounds);
  EXPECT_GT(counters.shared_blocks, rounds);
  EXPECT_GT(counters.chunks_off_block_edges, rounds);
  EXPECT_GT(counters.prompt_logprob_rows, rounds);
  EXPECT_GT(counters.full_budgets, rounds);
}

// The first status that is not OK with a scheduler whose steps are spoiled.
absl::Status FirstViolation(const std::function<void(ScheduledStep*)>& tamper) {
  common::SetLogLevel(common::LogLevel::kWarning);
  ScheduleCounters counters;
  for (uint64_t seed = 1; seed <= 200; ++seed) {
    RandomSchedule schedule(seed, &counters);
    schedule.tamper = tamper;
    const absl::Status status = schedule.Run();
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

TEST(SchedulerModelTest, TheCheckerSeesWhatIsWrong) {
  const auto message = [](const std::function<void(ScheduledStep*)>& tamper) {
    return std::string(FirstViolation(tamper).message());
  };
  EXPECT_THAT(message([](ScheduledStep* step) {
                if (step->sequences.size() < 2) return;
                step->sequences[1].sequence->blocks = step->sequences[0].sequence->blocks;
              }),
              HasSubstr("the ranks know other blocks"));
  EXPECT_THAT(message([](ScheduledStep* step) {
                if (step->sequences.size() < 2 || step->block_updates.size() < 2) return;
                step->block_updates[1].blocks[0] = step->block_updates[0].blocks[0];
                Sequence& sequence = *step->sequences.back().sequence;
                if (sequence.slot != step->block_updates[1].slot) return;
                sequence.blocks[step->block_updates[1].first] = step->block_updates[0].blocks[0];
              }),
              testing::AnyOf(HasSubstr("which another one holds"),
                             HasSubstr("the ranks know other blocks")));
  EXPECT_THAT(message([](ScheduledStep* step) { step->sequences.clear(); }),
              HasSubstr("nothing is scheduled"));
  EXPECT_THAT(message([](ScheduledStep* step) {
                if (step->sequences.size() > 1) step->sequences.erase(step->sequences.begin());
              }),
              testing::AnyOf(HasSubstr("not in the step"), HasSubstr("the step is empty")));
  // A sequence that takes a part of its prompt as computed reads what nobody wrote.
  EXPECT_THAT(message([](ScheduledStep* step) {
                for (ScheduledSequence& scheduled : step->sequences) {
                  if (scheduled.first_position > 0) continue;
                  if (scheduled.num_new_tokens < 2 || scheduled.num_logits > 1) continue;
                  ++scheduled.first_position;
                  --scheduled.num_new_tokens;
                }
              }),
              HasSubstr("reads nothing at token 0"));
  EXPECT_THAT(message([](ScheduledStep* step) {
                if (!step->sequences.empty()) ++step->sequences[0].num_logits;
              }),
              HasSubstr("log-probabilities"));
}

}  // namespace
}  // namespace quartet::engine
