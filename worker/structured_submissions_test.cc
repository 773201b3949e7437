#include "worker/structured_submissions.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>
#include <thread>

namespace quartet::worker_service {
namespace {

using ::testing::HasSubstr;

// Takes the ids 1 and 2 only.
struct FakeMatcher : grammar::Matcher {
  absl::Status Accept(int32_t id) override {
    ids.push_back(id);
    return id <= 2 ? absl::OkStatus() : absl::InvalidArgumentError("not this");
  }
  absl::Status FillMask(std::span<uint32_t>) override { return absl::OkStatus(); }
  bool CanEnd() const override { return true; }
  std::vector<int32_t> ids;
};
struct FakeGrammar : grammar::CompiledGrammar {
  absl::StatusOr<std::unique_ptr<grammar::Matcher>> NewMatcher() const override {
    return std::make_unique<FakeMatcher>();
  }
  size_t size_bytes() const override { return 1; }
};
struct FakeBackend : grammar::Backend {
  absl::StatusOr<std::shared_ptr<const grammar::CompiledGrammar>> Compile(
      const grammar::OutputFormat& format, const grammar::CompileLimits&) const override {
    if (format.text == "bad") return absl::InvalidArgumentError("structured_output.regex: bad");
    return std::make_shared<FakeGrammar>();
  }
};

class StructuredSubmissionsTest : public testing::Test {
 protected:
  using Ready = absl::StatusOr<engine::SequenceRequest>;

  static grammar::GrammarCompilerOptions Options() {
    grammar::GrammarCompilerOptions options;
    options.make_backend = [](const grammar::Vocabulary&, int64_t) {
      return std::make_shared<FakeBackend>();
    };
    return options;
  }
  std::future<Ready> Add(uint64_t id, const std::string& text, std::vector<int32_t> output_ids = {},
                         uint64_t timeout_ms = 0) {
    engine::SequenceRequest request;
    request.key = {1, id};
    request.output_ids = std::move(output_ids);
    request.timeout_ms = timeout_ms;
    grammar::OutputFormat format;
    format.kind = grammar::OutputFormat::Kind::kRegex;
    format.text = text;
    auto promise = std::make_shared<std::promise<Ready>>();
    const absl::Status status =
        submissions_->Add(std::move(request), format, "h",
                          [promise](Ready ready) { promise->set_value(std::move(ready)); });
    if (!status.ok()) promise->set_value(status);
    return promise->get_future();
  }
  void GiveVocabulary() {
    grammar::Vocabulary vocabulary;
    vocabulary.hash = "h";
    compiler_.SetVocabulary(std::move(vocabulary));
  }

  grammar::GrammarCompiler compiler_{Options()};
  std::shared_ptr<StructuredSubmissions> submissions_ =
      std::make_shared<StructuredSubmissions>(&compiler_);
};

TEST_F(StructuredSubmissionsTest, GivesAMatcherThatKnowsTheOutputSoFar) {
  GiveVocabulary();
  const Ready ready = Add(1, "a", {1, 2, 1}).get();
  ASSERT_TRUE(ready.ok()) << ready.status();
  EXPECT_THAT(static_cast<FakeMatcher&>(*ready->matcher).ids, testing::ElementsAre(1, 2, 1));
}

TEST_F(StructuredSubmissionsTest, AnOutputThatDoesNotFitIsAnInternalError) {
  GiveVocabulary();
  const Ready ready = Add(1, "a", {1, 9}).get();
  EXPECT_EQ(ready.status().code(), absl::StatusCode::kInternal);
  EXPECT_THAT(std::string(ready.status().message()), HasSubstr("id 9 at 1"));
}

TEST_F(StructuredSubmissionsTest, ABadFormatIsTold) {
  GiveVocabulary();
  EXPECT_EQ(Add(1, "bad").get().status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Add(1, "").get().status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(StructuredSubmissionsTest, WhatIsCancelledWhileItWaitsIsHeardOfNoMore) {
  std::future<Ready> cancelled = Add(1, "a");
  std::future<Ready> other = Add(2, "a");
  EXPECT_TRUE(submissions_->Cancel(1));
  EXPECT_FALSE(submissions_->Cancel(1));
  GiveVocabulary();
  EXPECT_TRUE(other.get().ok());
  EXPECT_FALSE(submissions_->Cancel(2));
  // The answer is dropped unheard.
  EXPECT_THROW(cancelled.get(), std::future_error);
}

TEST_F(StructuredSubmissionsTest, AfterTheEndNothingIsHeard) {
  std::future<Ready> late = Add(1, "a");
  submissions_->End();
  GiveVocabulary();
  EXPECT_THROW(late.get(), std::future_error);
}

TEST_F(StructuredSubmissionsTest, TimeSpentOnWaitingCounts) {
  std::future<Ready> late = Add(1, "a", {}, 1);
  std::this_thread::sleep_for(std::chrono::milliseconds(5));
  GiveVocabulary();
  EXPECT_EQ(late.get().status().code(), absl::StatusCode::kDeadlineExceeded);
  const Ready in_time = Add(2, "a", {}, 60'000).get();
  ASSERT_TRUE(in_time.ok());
  EXPECT_LE(in_time->timeout_ms, 60'000);
}

}  // namespace
}  // namespace quartet::worker_service
