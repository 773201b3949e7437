#include "worker/grammar/grammar_compiler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <future>

namespace quartet::grammar {
namespace {

using ::testing::HasSubstr;
using Result = GrammarCompiler::Result;

struct FakeGrammar : CompiledGrammar {
  explicit FakeGrammar(size_t size) : size(size) {}
  absl::StatusOr<std::unique_ptr<Matcher>> NewMatcher() const override {
    return absl::UnimplementedError("not for this test");
  }
  size_t size_bytes() const override { return size; }
  const size_t size;
};

// Counts compilations; the text "bad" fails, "slow" waits for `gate`.
struct FakeBackend : Backend {
  Result Compile(const OutputFormat& format, const CompileLimits&) const override {
    ++num_compiled;
    if (format.text == "slow") gate.wait();
    if (format.text == "bad") return absl::InvalidArgumentError("bad");
    return std::make_shared<FakeGrammar>(100);
  }
  mutable std::atomic<int> num_compiled{0};
  std::promise<void> open_gate;
  std::shared_future<void> gate = open_gate.get_future().share();
};

class GrammarCompilerTest : public testing::Test {
 protected:
  GrammarCompilerTest() {
    options_.cache_bytes = 250;
    options_.max_format_bytes = 50;
    options_.max_pending = 2;
    options_.num_threads = 1;
    options_.make_backend = [this](const Vocabulary&, int64_t) { return backend_; };
  }

  static OutputFormat Format(std::string text) {
    OutputFormat format;
    format.kind = OutputFormat::Kind::kRegex;
    format.text = std::move(text);
    return format;
  }
  static Vocabulary Words(std::string hash) {
    Vocabulary vocabulary;
    vocabulary.hash = std::move(hash);
    return vocabulary;
  }
  std::future<Result> Compile(GrammarCompiler& compiler, const std::string& text,
                              const std::string& hash = "h") {
    auto promise = std::make_shared<std::promise<Result>>();
    const absl::Status status = compiler.Compile(
        Format(text), hash, [promise](Result result) { promise->set_value(std::move(result)); });
    if (!status.ok()) promise->set_value(status);
    return promise->get_future();
  }

  std::shared_ptr<FakeBackend> backend_ = std::make_shared<FakeBackend>();
  GrammarCompilerOptions options_;
};

TEST_F(GrammarCompilerTest, WaitsForTheVocabulary) {
  GrammarCompiler compiler(options_);
  std::future<Result> result = Compile(compiler, "a");
  EXPECT_EQ(result.wait_for(std::chrono::milliseconds(20)), std::future_status::timeout);
  compiler.SetVocabulary(Words("h"));
  EXPECT_TRUE(result.get().ok());
}

TEST_F(GrammarCompilerTest, WithoutVocabularyRequestsGetTheReason) {
  GrammarCompiler compiler(options_);
  compiler.SetVocabulary(absl::InternalError("out of reach"));
  EXPECT_THAT(std::string(Compile(compiler, "a").get().status().message()),
              HasSubstr("out of reach"));
  compiler.SetVocabulary(Words("h"));
  EXPECT_TRUE(Compile(compiler, "b").get().ok());
}

TEST_F(GrammarCompilerTest, EqualFormatsAreCompiledOnce) {
  GrammarCompiler compiler(options_);
  std::future<Result> first = Compile(compiler, "a");
  std::future<Result> second = Compile(compiler, "a");
  compiler.SetVocabulary(Words("h"));
  EXPECT_EQ(first.get().value(), second.get().value());
  EXPECT_TRUE(Compile(compiler, "a").get().ok());
  EXPECT_EQ(backend_->num_compiled, 1);
  EXPECT_EQ(compiler.stats().num_hits, 2);
}

TEST_F(GrammarCompilerTest, TheOldestAreForgottenBeyondTheLimit) {
  GrammarCompiler compiler(options_);
  compiler.SetVocabulary(Words("h"));
  for (const char* text : {"a", "b", "a", "c"}) EXPECT_TRUE(Compile(compiler, text).get().ok());
  EXPECT_EQ(compiler.stats().cache_bytes, 200);
  EXPECT_TRUE(Compile(compiler, "a").get().ok());
  EXPECT_EQ(backend_->num_compiled, 3);
  EXPECT_TRUE(Compile(compiler, "b").get().ok());
  EXPECT_EQ(backend_->num_compiled, 4);
}

TEST_F(GrammarCompilerTest, FailuresAreNotKept) {
  GrammarCompiler compiler(options_);
  compiler.SetVocabulary(Words("h"));
  EXPECT_FALSE(Compile(compiler, "bad").get().ok());
  EXPECT_FALSE(Compile(compiler, "bad").get().ok());
  EXPECT_EQ(backend_->num_compiled, 2);
  EXPECT_EQ(compiler.stats().num_failed, 2);
}

TEST_F(GrammarCompilerTest, TooLargeEmptyAndTooManyAreRefused) {
  GrammarCompiler compiler(options_);
  EXPECT_THAT(std::string(Compile(compiler, std::string(51, 'a')).get().status().message()),
              HasSubstr("structured_output.regex has 51 bytes"));
  EXPECT_EQ(Compile(compiler, "").get().status().code(), absl::StatusCode::kInvalidArgument);
  std::future<Result> one = Compile(compiler, "1");
  std::future<Result> two = Compile(compiler, "2");
  EXPECT_EQ(Compile(compiler, "3").get().status().code(), absl::StatusCode::kResourceExhausted);
  compiler.SetVocabulary(Words("h"));
  EXPECT_TRUE(one.get().ok() && two.get().ok());
}

TEST_F(GrammarCompilerTest, AnotherTokenizersIdsAreRefusedAndANewVocabularyEmptiesTheCache) {
  GrammarCompiler compiler(options_);
  compiler.SetVocabulary(Words("h"));
  EXPECT_TRUE(Compile(compiler, "a").get().ok());
  const Result other = Compile(compiler, "a", "other").get();
  EXPECT_EQ(other.status().code(), absl::StatusCode::kFailedPrecondition);
  compiler.SetVocabulary(Words("other"));
  while (!Compile(compiler, "a", "other").get().ok()) std::this_thread::yield();
  EXPECT_EQ(compiler.stats().cache_bytes, 100);
}

TEST_F(GrammarCompilerTest, WhatWaitsAtTheEndIsCancelled) {
  auto compiler = std::make_unique<GrammarCompiler>(options_);
  compiler->SetVocabulary(Words("h"));
  std::future<Result> running = Compile(*compiler, "slow");
  while (backend_->num_compiled == 0) std::this_thread::yield();
  std::future<Result> waiting = Compile(*compiler, "a");
  std::thread end([&] { compiler.reset(); });
  backend_->open_gate.set_value();
  end.join();
  EXPECT_TRUE(running.get().ok());
  const Result late = waiting.get();
  EXPECT_TRUE(late.ok() || late.status().code() == absl::StatusCode::kCancelled);
}

}  // namespace
}  // namespace quartet::grammar
