// What a worker group must be to be attached, with a fake worker as a real gRPC peer.
#include "gateway/worker_client.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <future>

#include "absl/strings/str_cat.h"
#include "gateway/testing/fake_services.h"
#include "gateway/testing/toy_vocabulary.h"

namespace quartet::gateway {
namespace {

using ::testing::AllOf;
using testing::FakeWorkerService;
using ::testing::HasSubstr;

// The first thing that is heard of the group.
class FirstWord : public WorkerGroupListener {
 public:
  std::future<absl::Status> future() { return first_.get_future(); }
  void OnAttached(WorkerGroup* group) override { Say(absl::OkStatus()); }
  void OnDetached(WorkerGroup* group, const absl::Status& why) override { Say(why); }
  void OnStep(WorkerGroup* group, std::vector<SequenceNews> news) override {}
  void OnLoadChanged(WorkerGroup* group) override {}

 private:
  void Say(const absl::Status& status) {
    if (!std::exchange(said_, true)) first_.set_value(status);
  }
  std::promise<absl::Status> first_;
  bool said_ = false;
};

class WorkerClientTest : public ::testing::Test {
 protected:
  WorkerClientTest() : directory_(absl::StrCat(::testing::TempDir(), "/wc-XXXXXX")) {
    EXPECT_NE(mkdtemp(directory_.data()), nullptr);
    address_ = absl::StrCat("unix:", directory_, "/worker.sock");
  }
  ~WorkerClientTest() override {
    server_.reset();
    std::filesystem::remove_all(directory_);
  }
  void StartWorker() { server_ = *common::ServerRunner::Start({address_}, {&worker_}); }
  absl::Status Attach(const TokenizerInfo& tokenizer, absl::Status verdict = absl::OkStatus()) {
    FirstWord listener;
    std::future<absl::Status> first = listener.future();
    EventLoop loop;
    WorkerClient client(address_, "test", &loop, &listener,
                        [verdict](const std::string&, const GroupInfo&) { return verdict; });
    loop.Post([&] { client.SetTokenizer(tokenizer); });
    const absl::Status status = first.get();
    loop.Stop();
    return status;
  }

  std::string directory_;
  std::string address_;
  FakeWorkerService worker_;
  std::unique_ptr<common::ServerRunner> server_;
};

TEST_F(WorkerClientTest, AttachesToAGroupThatFits) {
  StartWorker();
  EXPECT_TRUE(Attach(testing::ToyInfo()).ok());
}

TEST_F(WorkerClientTest, SaysThatNobodyListens) {
  EXPECT_TRUE(absl::IsUnavailable(Attach(testing::ToyInfo())));
}

TEST_F(WorkerClientTest, RefusesTooSmallLogitsNamingBothSides) {
  StartWorker();
  TokenizerInfo large = testing::ToyInfo();
  large.vocab_size = testing::kToyVocabSize + 1;
  const absl::Status status = Attach(large);
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr("logits for 300 ids"), HasSubstr("the tokenizer has 301")));
}

TEST_F(WorkerClientTest, PassesOnTheWorkersRefusal) {
  StartWorker();
  TokenizerInfo other = testing::ToyInfo();
  other.hash = "another";
  const absl::Status status = Attach(other);
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
}

TEST_F(WorkerClientTest, LetsTheRegistryRefuse) {
  StartWorker();
  const absl::Status status =
      Attach(testing::ToyInfo(), absl::FailedPreconditionError("another model"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("another model"));
}

}  // namespace
}  // namespace quartet::gateway
