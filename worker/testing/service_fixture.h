// What the tests of the gRPC faces share: a small engine's sizes, a server on a fresh Unix socket,
// and waiting for other threads.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/server_runner.h"
#include "worker/engine/engine.h"

namespace quartet::worker_service {

inline constexpr int64_t kVocabSize = 60;
inline constexpr int64_t kNumBlocks = 4096;
inline constexpr uint64_t kEpoch = 77;

inline engine::EngineOptions TestEngineOptions() {
  engine::EngineOptions options;
  options.scheduler.max_num_batched_tokens = 32;
  options.scheduler.max_num_seqs = 8;
  options.scheduler.num_blocks = kNumBlocks;
  // So long that a sequence does not end by itself while a test looks at it.
  options.scheduler.max_model_len = 20000;
  options.vocab_size = kVocabSize;
  options.epoch = kEpoch;
  return options;
}

inline engine::StepLimits TestLimits() { return {kVocabSize, kNumBlocks, 8, 32}; }

inline std::string NewSocket() {
  static int number = 0;
  return absl::StrCat("unix:", testing::TempDir(), "worker_service_test_", getpid(), "_", ++number);
}

inline std::unique_ptr<common::ServerRunner> StartServer(const std::string& address,
                                                         std::vector<grpc::Service*> services) {
  auto server = common::ServerRunner::Start({address}, services);
  EXPECT_TRUE(server.ok()) << server.status();
  return *std::move(server);
}

// Waits for what another thread brings about, for at most a minute.
template <typename Condition>
bool Eventually(Condition condition) {
  const absl::Time deadline = absl::Now() + absl::Minutes(1);
  while (!condition()) {
    if (absl::Now() > deadline) return false;
    std::this_thread::yield();
  }
  return true;
}

}  // namespace quartet::worker_service
