// What a scrape of the leader's port brings.
#include "worker/worker_metrics.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "worker/engine/testing/engine_harness.h"

namespace quartet::worker_service {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

std::string Scrape(int port) {
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_EQ(connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  const std::string request = "GET /metrics HTTP/1.0\r\n\r\n";
  EXPECT_EQ(write(fd, request.data(), request.size()), static_cast<ssize_t>(request.size()));
  std::string response;
  char buffer[4096];
  for (ssize_t n; (n = read(fd, buffer, sizeof(buffer))) > 0;) {
    response.append(buffer, static_cast<size_t>(n));
  }
  close(fd);
  return response;
}

TEST(WorkerMetricsTest, AScrapeTellsOfStepsBlocksAndRecoveries) {
  const auto metrics = WorkerMetrics::Serve("127.0.0.1:0", "tiny");
  ASSERT_TRUE(metrics.ok()) << metrics.status();
  engine::StepTimes times;
  times.device = absl::Milliseconds(4);
  times.device_idle = absl::Microseconds(15);
  times.host = absl::Microseconds(45);
  (*metrics)->ObserveStep(times);
  times.device_idle = -absl::InfiniteDuration();  // the first step after a pause
  (*metrics)->ObserveStep(times);
  worker::v1::RecoveryReport recovery;
  recovery.set_loaded_ms(700);
  (*metrics)->ObserveRecovery(recovery);
  std::string text = Scrape((*metrics)->port());
  EXPECT_THAT(
      text,
      AllOf(HasSubstr("quartet_step_device_idle_seconds_count{model_name=\"tiny\"} 1\n"),
            HasSubstr(
                "quartet_step_device_idle_seconds_bucket{model_name=\"tiny\",le=\"2e-05\"} 1\n"),
            HasSubstr("quartet_step_host_overhead_seconds_count{model_name=\"tiny\"} 2\n"),
            HasSubstr("quartet_step_duration_seconds_count{model_name=\"tiny\"} 2\n"),
            HasSubstr("phase=\"loaded\",le=\"1\"} 1\n"), Not(HasSubstr("quartet_kv_blocks"))));

  engine::Harness harness;
  ASSERT_TRUE(harness.engine->Submit(engine::NewRequest(1, std::vector<int32_t>(20, 3), 4)).ok());
  harness.RunUntilIdle();
  (*metrics)->SetEngine(std::shared_ptr<const engine::Engine>(std::move(harness.engine)));
  text = Scrape((*metrics)->port());
  EXPECT_THAT(text, AllOf(HasSubstr("state=\"cached\"} 1"), HasSubstr("state=\"used\"} 0"),
                          HasSubstr("quartet_prefix_cache_queries_total{model_name=\"tiny\"} 20")));
  (*metrics)->SetEngine(nullptr);
}

TEST(WorkerMetricsTest, AddressesThatCannotWorkAreNamed) {
  for (const char* address : {"nonsense", "127.0.0.1:70000", "127.0.0.1:x"}) {
    EXPECT_THAT(std::string(WorkerMetrics::Serve(address, "m").status().message()),
                HasSubstr(absl::StrCat("--metrics_address=", address)));
  }
  const auto first = WorkerMetrics::Serve("127.0.0.1:0", "m");
  ASSERT_TRUE(first.ok());
  const std::string taken = absl::StrCat("127.0.0.1:", (*first)->port());
  EXPECT_EQ(WorkerMetrics::Serve(taken, "m").status().code(), absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace quartet::worker_service
