// A gateway on a manual loop with a tokenizer and a group driven by hand, and the words that tests
// of generations use.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "gateway/gateway.h"
#include "gateway/testing/fake_peers.h"

namespace quartet::gateway::testing {

class GenerationTest : public ::testing::Test {
 protected:
  GenerationTest() {
    gateway_.OnTokenizer(ToyInfo());
    gateway_.OnAttached(&group_);
  }

  static GenerationRequest Request(Prompt prompt, uint32_t max_tokens = 100) {
    GenerationRequest request;
    request.prompt = std::move(prompt);
    request.sampling.max_tokens = max_tokens;
    return request;
  }
  std::shared_ptr<RecordingSink> Generate(GenerationRequest request) {
    auto sink = std::make_shared<RecordingSink>();
    const auto handle = gateway_.Generate(std::move(request), sink);
    EXPECT_TRUE(handle.ok()) << handle.status();
    handle_ = handle.ok() ? *handle : 0;
    loop_.RunReady();
    return sink;
  }
  SequenceNews News(const Submission& to, TokenIds ids) {
    SequenceNews news;
    news.sequence_id = to.sequence_id;
    news.token_ids = std::move(ids);
    return news;
  }
  void Step(FakeGroup& group, SequenceNews news) {
    gateway_.OnStep(&group, {std::move(news)});
    loop_.RunReady();
  }
  void Tokens(TokenIds ids) { Step(group_, News(group_.submissions.back(), std::move(ids))); }
  void Finish(TokenIds ids, FinishReason reason, std::optional<uint32_t> stop_id = std::nullopt) {
    SequenceNews news = News(group_.submissions.back(), std::move(ids));
    news.finish_reason = reason;
    news.stop_token_id = stop_id;
    Step(group_, std::move(news));
  }
  static absl::Status Failure(const RecordingSink& sink) {
    const auto failures = sink.All<FailedEvent>();
    return failures.size() == 1 ? failures[0].status : absl::OkStatus();
  }

  EventLoop loop_{EventLoop::Mode::kManual};
  FakeTokenizer tokenizer_{&loop_};
  Metrics metrics_;
  Gateway gateway_{GatewayOptions{}, &loop_, &tokenizer_, &metrics_};
  FakeGroup group_{"group-a"};
  Gateway::RequestHandle handle_ = 0;
};

}  // namespace quartet::gateway::testing
