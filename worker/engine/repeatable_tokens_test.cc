// A request's tokens and log-probabilities through the engine and a real model are the same bits
// whether it is alone or among others that come, end and push each other out at random, whole or
// resumed. engine_test.cc has the same with a model that hashes its tokens, in more schedules;
// batch_invariance_test.cc has the model alone, in more batches. QUARTET_TEST_SEED gives other
// requests.
#include <gtest/gtest.h>

#include <bit>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <random>

#include "common/logging.h"
#include "kernels/cpu/instruction_set.h"
#include "kernels/cpu/path_counters.h"
#include "worker/engine/engine.h"
#include "worker/engine/testing/engine_harness.h"
#include "worker/engine/testing/history_matcher.h"
#include "worker/model/testing/decoder_group.h"

namespace quartet::engine {
namespace {

using kernels::DType;
using model::testing::DecoderGroup;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr int kRequests = 20;
constexpr int kRounds = 2;
#else
constexpr int kRequests = 40;
constexpr int kRounds = 4;
#endif

constexpr int64_t kMaxModelLen = 640;
constexpr int64_t kBlocksOfOne = kMaxModelLen / kBlockTokens;
constexpr int64_t kNumBlocks = 4 * kBlocksOfOne;
constexpr int64_t kVocabulary = 150;

uint64_t Seed() {
  const char* value = std::getenv("QUARTET_TEST_SEED");
  return value == nullptr ? 1 : std::strtoull(value, nullptr, 10);
}

model::ModelConfig SmallModel() {
  model::ModelConfig config;
  config.vocab_size = kVocabulary;
  config.hidden_size = 76;
  config.intermediate_size = 88;
  config.num_layers = 2;
  config.num_heads = 6;
  config.num_kv_heads = 2;
  config.head_dim = 20;
  config.qkv_bias = true;
  config.max_position_embeddings = kMaxModelLen;
  return config;
}

// What the steps had in them.
struct StepCounters {
  int64_t steps = 0;
  int64_t mixed_steps = 0;  // single tokens beside chunks of prompts
  int64_t chunks_off_block_edges = 0;
  int64_t preemptions = 0;
  int64_t cached_tokens = 0;
  int64_t resumed = 0;
  int64_t constrained = 0;  // sequences with a grammar
};

// Passes steps on and looks at them.
class WatchedModel : public model::Model {
 public:
  WatchedModel(model::Model* model, StepCounters* counters) : model_(model), counters_(counters) {}

  absl::Status ShareTokenIds(std::vector<int32_t>* ids) override {
    return model_->ShareTokenIds(ids);
  }
  absl::Status Forward(const model::StepInput& input) override {
    bool has_single = false, has_chunk = false;
    for (int64_t s = 0; s < input.num_sequences(); ++s) {
      const int32_t new_tokens = input.query_start[s + 1] - input.query_start[s];
      (new_tokens == 1 ? has_single : has_chunk) = true;
      counters_->chunks_off_block_edges += new_tokens > 1 && input.kv_len[s] % kBlockTokens != 0;
    }
    ++counters_->steps;
    counters_->mixed_steps += has_single && has_chunk;
    return model_->Forward(input);
  }
  absl::Status Sample(std::span<const kernels::SampleRow> rows,
                      std::vector<kernels::SampledToken>* out) override {
    return model_->Sample(rows, out);
  }

 private:
  model::Model* const model_;
  StepCounters* const counters_;
};

void ExpectSameBits(const std::vector<PositionLogprobs>& got,
                    const std::vector<PositionLogprobs>& want) {
  ASSERT_EQ(got.size(), want.size());
  const auto expect_same = [](const kernels::TokenLogprob& a, const kernels::TokenLogprob& b) {
    EXPECT_EQ(a.token_id, b.token_id);
    EXPECT_EQ(a.rank, b.rank);
    EXPECT_EQ(std::bit_cast<uint32_t>(a.logprob), std::bit_cast<uint32_t>(b.logprob))
        << a.logprob << " and " << b.logprob;
  };
  for (size_t i = 0; i < got.size(); ++i) {
    expect_same(got[i].token, want[i].token);
    ASSERT_EQ(got[i].top.size(), want[i].top.size());
    for (size_t j = 0; j < got[i].top.size(); ++j) expect_same(got[i].top[j], want[i].top[j]);
  }
}

void ExpectSame(const Output& got, const Output& want) {
  EXPECT_EQ(got.token_ids, want.token_ids);
  EXPECT_EQ(got.finish_reason, want.finish_reason);
  EXPECT_EQ(got.stop_token_id, want.stop_token_id);
  EXPECT_EQ(got.error, want.error);
  ExpectSameBits(got.logprobs, want.logprobs);
  ExpectSameBits(got.prompt_logprobs, want.prompt_logprobs);
}

// What is left of an output after its first `cut` tokens.
Output RestOf(const Output& whole, size_t cut) {
  Output rest = whole;
  rest.token_ids.erase(rest.token_ids.begin(), rest.token_ids.begin() + cut);
  if (!rest.logprobs.empty()) {
    rest.logprobs.erase(rest.logprobs.begin(), rest.logprobs.begin() + cut);
  }
  rest.prompt_logprobs.clear();  // they were sent before
  return rest;
}

class RepeatableTokensTest : public ::testing::TestWithParam<std::string> {
 protected:
  using Outputs = std::map<uint64_t, Output>;  // by sequence

  void SetUp() override {
    const auto instruction_set = kernels::cpu::ParseInstructionSet(GetParam());
    if (!instruction_set.ok()) GTEST_SKIP() << instruction_set.status();
    common::SetLogLevel(common::LogLevel::kWarning);
  }

  int64_t Pick(int64_t low, int64_t high) {
    return std::uniform_int_distribution<int64_t>(low, high)(random_);
  }
  template <typename T>
  T OneOf(std::initializer_list<T> values) {
    return *(values.begin() + Pick(0, static_cast<int64_t>(values.size()) - 1));
  }

  std::vector<int32_t> RandomTokens(int64_t count) {
    std::vector<int32_t> tokens(count);
    for (int32_t& token : tokens) token = static_cast<int32_t>(Pick(0, kVocabulary - 1));
    return tokens;
  }

  std::unique_ptr<DecoderGroup> NewGroup(DType dtype, int world_size, int num_threads) {
    model::testing::DecoderGroupOptions options;
    options.instruction_set = GetParam();
    options.world_size = world_size;
    options.num_threads = num_threads;
    options.path_counters = &paths_;
    options.decoder.compute_dtype = dtype;
    options.decoder.max_step_tokens = kMaxModelLen;
    options.decoder.max_logits_rows = kMaxModelLen;
    options.decoder.num_kv_blocks = kNumBlocks;
    options.decoder.max_model_len = kMaxModelLen;
    auto group = DecoderGroup::Create(SmallModel(), /*model_seed=*/3, options);
    EXPECT_TRUE(group.ok()) << group.status();
    return group.ok() ? *std::move(group) : nullptr;
  }

  SamplingParams RandomSampling() {
    SamplingParams params;
    params.temperature = OneOf({0.0f, 0.5f, 1.0f, 1.3f});
    params.top_p = OneOf({1.0f, 1.0f, 0.9f, 0.5f});
    params.top_k = OneOf({0, 0, 40, 3});
    params.min_p = OneOf({0.0f, 0.0f, 0.05f});
    if (Pick(0, 1) == 0) {
      params.repetition_penalty = OneOf({1.0f, 1.2f});
      params.presence_penalty = OneOf({0.0f, 0.5f, -0.3f});
      params.frequency_penalty = OneOf({0.0f, 0.4f});
    }
    if (Pick(0, 3) == 0) params.logit_bias = {{static_cast<int32_t>(Pick(0, 99)), 2.5f}};
    if (Pick(0, 3) == 0) {
      params.allowed_token_ids = RandomTokens(60);
    } else if (Pick(0, 3) == 0) {
      params.banned_sequences = {RandomTokens(1), RandomTokens(2), {7, 8, 9}};
    }
    params.seed = random_();
    params.max_tokens = Pick(0, 2) == 0 ? Pick(1, 20) : Pick(80, 140);
    params.min_tokens = Pick(0, params.max_tokens);
    params.ignore_eos = Pick(0, 5) > 0;
    params.num_logprobs = OneOf({-1, 0, 4});
    params.num_prompt_logprobs = OneOf({-1, -1, -1, 2});
    return params;
  }

  // Prompts begin alike in three families, end in one of the first three splits of the cache, and
  // some grow into the next one.
  std::vector<SequenceRequest> RandomRequests() {
    std::vector<std::vector<int32_t>> families;
    for (int i = 0; i < 3; ++i) families.push_back(RandomTokens(kMaxModelLen));
    std::vector<SequenceRequest> requests;
    for (int i = 0; i < kRequests; ++i) {
      const int64_t length = i % 10 == 0   ? Pick(500, 560)
                             : i % 10 == 1 ? Pick(240, 300)
                                           : Pick(1, 90);
      std::vector<int32_t> prompt = families[Pick(0, 2)];
      prompt.resize(Pick(0, length));
      for (int32_t token : RandomTokens(length - static_cast<int64_t>(prompt.size()))) {
        prompt.push_back(token);
      }
      SequenceRequest request = NewRequest(i, std::move(prompt));
      request.sampling = RandomSampling();
      request.choice_index = static_cast<uint32_t>(Pick(0, 3));
      request.priority = static_cast<int32_t>(Pick(-1, 1));
      request.cache_salt = Pick(0, 4) == 0 ? "another tenant" : "";
      request.sample_limit = 140;
      requests.push_back(std::move(request));
    }
    return requests;
  }

  // A third of the requests have a grammar, which each submission walks anew.
  SequenceRequest WithGrammar(SequenceRequest request) {
    if (request.key.sequence_id % 3 != 0) return request;
    request.matcher = std::make_shared<HistoryMatcher>(kVocabulary);
    for (const int32_t id : request.output_ids) EXPECT_TRUE(request.matcher->Accept(id).ok());
    ++counters_.constrained;
    return request;
  }

  // Runs the requests, which come one after another at random times if `scattered`, else at once.
  Outputs Serve(const SchedulerOptions& scheduler, const std::vector<SequenceRequest>& requests,
                bool scattered, DecoderGroup* group) {
    EngineOptions options;
    options.scheduler = scheduler;
    options.vocab_size = kVocabulary;
    options.epoch = 1;
    absl::Time now = absl::FromUnixSeconds(1'000'000);
    options.clock = [&now] { return now; };
    Outputs outputs;
    EngineCallbacks callbacks;
    callbacks.on_events = [&](uint64_t, uint64_t, std::vector<SequenceEvent> events) {
      for (SequenceEvent& event : events) Take(std::move(event), &outputs);
    };
    WatchedModel watched(group, &counters_);
    Engine engine(options, &watched, nullptr, std::move(callbacks));
    size_t next = 0;
    for (bool ran = true; ran || next < requests.size();) {
      now += absl::Milliseconds(Pick(0, 3000));
      while (next < requests.size() && (!scattered || Pick(0, 2) > 0)) {
        EXPECT_TRUE(engine.Submit(WithGrammar(requests[next++])).ok());
      }
      const absl::StatusOr<bool> result = engine.RunStep();
      EXPECT_TRUE(result.ok()) << result.status();
      if (!result.ok()) return outputs;
      ran = *result;
    }
    counters_.preemptions += static_cast<int64_t>(engine.load().counters.num_preemptions);
    EXPECT_EQ(engine.load().num_used_blocks, 0);
    return outputs;
  }

  void Take(SequenceEvent event, Outputs* outputs) {
    Output& output = (*outputs)[event.sequence_id];
    EXPECT_FALSE(output.ended()) << "an event after the last one";
    output.token_ids.insert(output.token_ids.end(), event.token_ids.begin(), event.token_ids.end());
    for (auto& l : event.logprobs) output.logprobs.push_back(l);
    for (auto& l : event.prompt_logprobs) output.prompt_logprobs.push_back(l);
    output.finish_reason = event.finish_reason;
    output.stop_token_id = event.stop_token_id;
    output.error = event.error;
    counters_.cached_tokens += event.cached_tokens;
  }

  // Each request by an engine of its own: its prompt in one step, one thread, one rank.
  Outputs ServeAlone(const std::vector<SequenceRequest>& requests, DType dtype) {
    SchedulerOptions scheduler;
    scheduler.max_num_batched_tokens = kMaxModelLen;
    scheduler.max_num_seqs = 1;
    scheduler.num_blocks = kBlocksOfOne;
    scheduler.max_model_len = kMaxModelLen;
    scheduler.max_prompt_logprob_rows = kMaxModelLen - 1;
    const auto group = NewGroup(dtype, /*world_size=*/1, /*num_threads=*/1);
    Outputs outputs;
    for (const SequenceRequest& request : requests) {
      outputs.merge(Serve(scheduler, {request}, /*scattered=*/false, group.get()));
    }
    return outputs;
  }

  // Few blocks and a small budget, so that sequences are preempted and prompts come in chunks.
  SchedulerOptions RandomScheduler(int round) {
    SchedulerOptions scheduler;
    scheduler.max_num_seqs = std::vector<int64_t>{32, 8, 3, 16}[round % 4];
    scheduler.max_num_batched_tokens = scheduler.max_num_seqs + Pick(1, 60);
    scheduler.num_blocks = kBlocksOfOne + Pick(0, 10);
    scheduler.max_model_len = kMaxModelLen;
    scheduler.max_prompt_logprob_rows = Pick(1, 40);
    return scheduler;
  }

  // The requests in any order, a third of them resumed after some of their tokens.
  void CheckRound(const std::vector<SequenceRequest>& requests, const Outputs& alone, int round,
                  DecoderGroup* group) {
    std::vector<SequenceRequest> served = requests;
    std::shuffle(served.begin(), served.end(), random_);
    Outputs want = alone;
    for (SequenceRequest& request : served) {
      const uint64_t id = request.key.sequence_id;
      const size_t length = alone.at(id).token_ids.size();
      if (length < 2 || Pick(0, 2) > 0) continue;
      const size_t cut = Pick(1, static_cast<int64_t>(length) - 1);
      request.attempt = 1;
      request.output_ids.assign(alone.at(id).token_ids.begin(),
                                alone.at(id).token_ids.begin() + cut);
      want[id] = RestOf(alone.at(id), cut);
      ++counters_.resumed;
    }
    const bool scattered = round % 4 == 1 || round % 4 == 2;
    const Outputs got = Serve(RandomScheduler(round), served, scattered, group);
    for (const SequenceRequest& request : served) {
      SCOPED_TRACE(::testing::Message() << request.request_id << " with "
                                        << request.output_ids.size() << " ids of output");
      const auto it = got.find(request.key.sequence_id);
      ASSERT_NE(it, got.end());
      ExpectSame(it->second, want.at(request.key.sequence_id));
    }
  }

  std::mt19937_64 random_{Seed()};
  kernels::cpu::PathCounters paths_;
  StepCounters counters_;
};

TEST_P(RepeatableTokensTest, TokensAndLogprobsAreTheSameBitsAloneAndAmongOthers) {
  SCOPED_TRACE(::testing::Message() << "QUARTET_TEST_SEED=" << Seed());
  for (DType dtype : {DType::kBFloat16, DType::kFloat32}) {
    SCOPED_TRACE(dtype == DType::kFloat32 ? "float32" : "bfloat16");
    const std::vector<SequenceRequest> requests = RandomRequests();
    const Outputs alone = ServeAlone(requests, dtype);
    ASSERT_EQ(alone.size(), requests.size());
    const auto threads = NewGroup(dtype, /*world_size=*/1, /*num_threads=*/2);
    const auto ranks = NewGroup(dtype, /*world_size=*/2, /*num_threads=*/1);
    for (int round = 0; round < kRounds; ++round) {
      SCOPED_TRACE(::testing::Message() << "round " << round);
      CheckRound(requests, alone, round, round % 2 == 0 ? threads.get() : ranks.get());
      if (HasFailure()) return;
    }
  }
  std::cout << "seed " << Seed() << ": " << counters_.steps << " steps, " << counters_.mixed_steps
            << " mixed, " << counters_.preemptions << " preemptions, "
            << counters_.chunks_off_block_edges << " chunks off block edges, "
            << counters_.cached_tokens << " cached tokens, " << counters_.resumed << " resumed, "
            << counters_.constrained << " with a grammar\n";
  EXPECT_GT(counters_.mixed_steps, 0);
  EXPECT_GT(counters_.preemptions, 0);
  EXPECT_GT(counters_.cached_tokens, 0);
  EXPECT_GT(counters_.chunks_off_block_edges, 0);
  EXPECT_GT(counters_.resumed, 0);
  EXPECT_GT(counters_.constrained, 0);
  for (int splits = 1; splits <= paths_.kManySplits; ++splits) {
    EXPECT_GT(paths_.attention_whole[splits], 0u) << splits << " splits of the cache";
  }
}

INSTANTIATE_TEST_SUITE_P(InstructionSets, RepeatableTokensTest,
                         ::testing::Values("avx512", "avx2", "portable"),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace quartet::engine
