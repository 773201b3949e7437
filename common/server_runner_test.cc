#include "common/server_runner.h"

#include <grpcpp/generic/generic_stub.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <string>

#include "absl/strings/str_cat.h"

namespace quartet::common {
namespace {

using std::chrono::milliseconds;

// Calls grpc.health.v1.Health/Check for `service` (fewer than 128 bytes); returns the reply's bytes
// (0x08 0x01 is SERVING).
std::string CheckHealth(const std::string& address, const std::string& service = "") {
  auto channel = grpc::CreateChannel(address, grpc::InsecureChannelCredentials());
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(10));
  // HealthCheckRequest{service}: field 1, a string.
  const grpc::Slice slice(
      service.empty() ? "" : std::string("\x0a") + static_cast<char>(service.size()) + service);
  const grpc::ByteBuffer request(&slice, 1);
  grpc::ByteBuffer reply;
  grpc::CompletionQueue queue;
  grpc::Status status;
  auto call = grpc::GenericStub(channel).PrepareUnaryCall(&context, "/grpc.health.v1.Health/Check",
                                                          request, &queue);
  call->StartCall();
  call->Finish(&reply, &status, nullptr);
  void* tag = nullptr;
  bool ok = false;
  EXPECT_TRUE(queue.Next(&tag, &ok));
  if (!status.ok()) return status.error_message();
  grpc::Slice bytes;
  EXPECT_TRUE(reply.DumpToSingleSlice(&bytes).ok());
  return std::string(reinterpret_cast<const char*>(bytes.begin()), bytes.size());
}

TEST(ServerRunnerTest, HealthFollowsSetServing) {
  auto runner = ServerRunner::Start({.address = "127.0.0.1:0"}, {});
  ASSERT_TRUE(runner.ok()) << runner.status();
  const std::string address = absl::StrCat("127.0.0.1:", (*runner)->port());
  EXPECT_EQ(CheckHealth(address), std::string("\x08\x02"));
  (*runner)->SetServing(true);
  EXPECT_EQ(CheckHealth(address), std::string("\x08\x01"));
}

TEST(ServerRunnerTest, HealthAnswersForEachService) {
  auto runner = ServerRunner::Start({.address = "127.0.0.1:0", .service_names = {"a.b.C"}}, {});
  ASSERT_TRUE(runner.ok()) << runner.status();
  const std::string address = absl::StrCat("127.0.0.1:", (*runner)->port());
  EXPECT_EQ(CheckHealth(address, "a.b.C"), std::string("\x08\x02"));
  (*runner)->SetServing(true);
  EXPECT_EQ(CheckHealth(address, "a.b.C"), std::string("\x08\x01"));
  EXPECT_EQ(CheckHealth(address, "a.b.D"), "service name unknown");
}

TEST(ServerRunnerTest, ATakenPortIsAnErrorThatNamesIt) {
  auto first = ServerRunner::Start({.address = "127.0.0.1:0"}, {});
  ASSERT_TRUE(first.ok()) << first.status();
  const std::string address = absl::StrCat("127.0.0.1:", (*first)->port());
  auto second = ServerRunner::Start({.address = address}, {});
  ASSERT_FALSE(second.ok());
  EXPECT_NE(second.status().message().find(address), std::string::npos) << second.status();
}

TEST(ServerRunnerTest, AUnixSocketServes) {
  const std::string address =
      absl::StrCat("unix:", testing::TempDir(), "runner_", getpid(), ".sock");
  auto runner = ServerRunner::Start({.address = address}, {});
  ASSERT_TRUE(runner.ok()) << runner.status();
  (*runner)->SetServing(true);
  EXPECT_EQ(CheckHealth(address), std::string("\x08\x01"));
  (*runner)->Shutdown(milliseconds(100));
  (*runner)->Shutdown(milliseconds(100));
}

}  // namespace
}  // namespace quartet::common
