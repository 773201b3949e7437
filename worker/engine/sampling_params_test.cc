#include "worker/engine/sampling_params.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>

namespace quartet::engine {
namespace {

using ::testing::HasSubstr;

constexpr int64_t kVocabSize = 100;

TEST(SamplingParamsTest, DefaultsAndBordersAreValid) {
  SamplingParams params;
  EXPECT_TRUE(ValidateSamplingParams(params, kVocabSize).ok());
  params.temperature = 100;
  params.top_p = 1e-6f;
  params.top_k = -1;
  params.min_p = 1;
  params.repetition_penalty = 100;
  params.presence_penalty = -2;
  params.frequency_penalty = 2;
  params.logit_bias = {{0, -100.0f}, {99, 100.0f}};
  params.min_tokens = params.max_tokens = 1;
  params.stop_token_ids = {0, 99};
  params.num_logprobs = params.num_prompt_logprobs = 20;
  EXPECT_TRUE(ValidateSamplingParams(params, kVocabSize).ok());
}

TEST(SamplingParamsTest, ErrorsNameFieldAndValue) {
  struct Case {
    std::function<void(SamplingParams&)> spoil;
    const char* field;
    const char* value;
  };
  const Case cases[] = {
      {[](auto& p) { p.temperature = -0.5f; }, "temperature", "-0.5"},
      {[](auto& p) { p.temperature = std::nanf(""); }, "temperature", "nan"},
      {[](auto& p) { p.temperature = 101; }, "temperature", "101"},
      {[](auto& p) { p.top_p = 0; }, "top_p", "0"},
      {[](auto& p) { p.top_p = 1.5f; }, "top_p", "1.5"},
      {[](auto& p) { p.top_k = -2; }, "top_k", "-2"},
      {[](auto& p) { p.min_p = 1.25f; }, "min_p", "1.25"},
      {[](auto& p) { p.repetition_penalty = 0; }, "repetition_penalty", "0"},
      {[](auto& p) { p.presence_penalty = 2.5f; }, "presence_penalty", "2.5"},
      {[](auto& p) { p.frequency_penalty = -3; }, "frequency_penalty", "-3"},
      {[](auto& p) {
         p.logit_bias = {{100, 1.0f}};
       },
       "logit_bias", "100"},
      {[](auto& p) {
         p.logit_bias = {{7, 100.5f}};
       },
       "logit_bias of 7", "100.5"},
      {[](auto& p) { p.max_tokens = 0; }, "max_tokens", "0"},
      {[](auto& p) { p.min_tokens = 17; }, "min_tokens", "17"},
      {[](auto& p) { p.stop_token_ids = {-1}; }, "stop_token_ids", "-1"},
      {[](auto& p) { p.num_logprobs = 21; }, "logprobs", "21"},
      {[](auto& p) { p.num_prompt_logprobs = 22; }, "prompt_logprobs", "22"},
  };
  for (const Case& c : cases) {
    SamplingParams params;
    c.spoil(params);
    const absl::Status status = ValidateSamplingParams(params, kVocabSize);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << c.field;
    EXPECT_THAT(std::string(status.message()), HasSubstr(c.field));
    EXPECT_THAT(std::string(status.message()), HasSubstr(c.value));
  }
}

}  // namespace
}  // namespace quartet::engine
