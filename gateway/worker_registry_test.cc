// Discovery: a list, and names that answer differently over time, with fake workers as real gRPC
// peers.
#include "gateway/worker_registry.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <condition_variable>
#include <filesystem>
#include <mutex>

#include "absl/strings/str_cat.h"
#include "gateway/dns_resolver.h"
#include "gateway/testing/fake_services.h"
#include "gateway/testing/toy_vocabulary.h"

namespace quartet::gateway {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using testing::FakeWorkerService;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::kPatience;

// Answers what the test says, on the loop.
class FakeResolver : public Resolver {
 public:
  explicit FakeResolver(EventLoop* loop) : loop_(loop) {}

  void Set(absl::StatusOr<std::vector<std::string>> answer) {
    std::lock_guard<std::mutex> lock(mutex_);
    answer_ = std::move(answer);
  }
  void Resolve(const std::string& host, const std::string& port, Done done) override {
    std::lock_guard<std::mutex> lock(mutex_);
    asked_ = absl::StrCat(host, ":", port);
    ++num_questions_;
    loop_->Post([done = std::move(done), answer = answer_]() mutable { done(std::move(answer)); });
  }
  std::string asked() {
    std::lock_guard<std::mutex> lock(mutex_);
    return asked_;
  }
  int num_questions() {
    std::lock_guard<std::mutex> lock(mutex_);
    return num_questions_;
  }

 private:
  EventLoop* const loop_;
  std::mutex mutex_;
  absl::StatusOr<std::vector<std::string>> answer_ = absl::UnavailableError("no answer yet");
  std::string asked_;
  int num_questions_ = 0;
};

// The attached groups' addresses.
class Attached : public WorkerGroupListener {
 public:
  void OnAttached(WorkerGroup* group) override {
    Change([&] { now_.insert(group->address()); });
  }
  void OnDetached(WorkerGroup* group, const absl::Status& why) override {
    Change([&] { now_.erase(group->address()); });
  }
  void OnStep(WorkerGroup* group, std::vector<SequenceNews> news) override {}
  void OnLoadChanged(WorkerGroup* group) override {}

  bool WaitFor(const std::set<std::string>& wanted) {
    std::unique_lock<std::mutex> lock(mutex_);
    return changed_.wait_for(lock, kPatience, [&] { return now_ == wanted; });
  }

 private:
  template <class Do>
  void Change(Do&& change) {
    std::lock_guard<std::mutex> lock(mutex_);
    change();
    changed_.notify_all();
  }
  std::mutex mutex_;
  std::condition_variable changed_;
  std::set<std::string> now_;  // Guarded by mutex_.
};

class WorkerRegistryTest : public ::testing::Test {
 protected:
  WorkerRegistryTest() : directory_(absl::StrCat(::testing::TempDir(), "/wr-XXXXXX")) {
    EXPECT_NE(mkdtemp(directory_.data()), nullptr);
  }
  ~WorkerRegistryTest() override {
    loop_.Stop();
    registry_.reset();
    for (auto& server : servers_) server.reset();
    std::filesystem::remove_all(directory_);
  }
  std::string Address(int i) const { return absl::StrCat("unix:", directory_, "/", i, ".sock"); }
  void StartWorker(int i) {
    servers_[i] = *common::ServerRunner::Start({Address(i)}, {&workers_[i]});
  }
  void StartRegistry(WorkerTargets targets) {
    registry_ = std::make_unique<WorkerRegistry>(targets, "test", &loop_, &attached_, &resolver_,
                                                 absl::Milliseconds(50));
    loop_.Post([this] { registry_->SetTokenizer(testing::ToyInfo()); });
  }
  // Waits until the registry knows these.
  bool KnowsSoon(const std::vector<std::string>& addresses) {
    std::mutex mutex;
    std::condition_variable changed;
    const auto end = std::chrono::steady_clock::now() + kPatience;
    for (bool equal = false; std::chrono::steady_clock::now() < end;) {
      bool answered = false;
      loop_.Post([&] {
        std::lock_guard<std::mutex> lock(mutex);
        equal = registry_->addresses() == addresses;
        answered = true;
        changed.notify_all();
      });
      std::unique_lock<std::mutex> lock(mutex);
      changed.wait(lock, [&] { return answered; });
      if (equal) return true;
    }
    return false;
  }

  std::string directory_;
  FakeWorkerService workers_[3];
  std::unique_ptr<common::ServerRunner> servers_[3];
  EventLoop loop_;
  FakeResolver resolver_{&loop_};
  Attached attached_;
  std::unique_ptr<WorkerRegistry> registry_;
};

TEST_F(WorkerRegistryTest, ReadsListsAndNames) {
  const auto targets = ParseWorkerTargets({"10.0.0.1:50052", "dns:///workers.svc:7", "unix:/x"});
  ASSERT_TRUE(targets.ok()) << targets.status();
  EXPECT_THAT(targets->addresses, ElementsAre("10.0.0.1:50052", "unix:/x"));
  ASSERT_EQ(targets->names.size(), 1u);
  EXPECT_EQ(targets->names[0].host, "workers.svc");
  EXPECT_EQ(targets->names[0].port, "7");
  for (const char* bad : {"dns:///workers", "dns:workers:7", "dns:///:7", "dns:///w:99999"}) {
    const absl::Status status = ParseWorkerTargets({bad}).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << bad;
    EXPECT_THAT(std::string(status.message()), HasSubstr(bad));
  }
}

TEST_F(WorkerRegistryTest, AttachesToAllAddressesOfANameAndToThoseThatAppear) {
  for (int i = 0; i < 3; ++i) StartWorker(i);
  resolver_.Set(std::vector<std::string>{Address(0), Address(1)});
  StartRegistry({{}, {{"workers.svc", "50052"}}});
  EXPECT_TRUE(attached_.WaitFor({Address(0), Address(1)}));
  EXPECT_EQ(resolver_.asked(), "workers.svc:50052");
  resolver_.Set(std::vector<std::string>{Address(0), Address(1), Address(2)});
  EXPECT_TRUE(attached_.WaitFor({Address(0), Address(1), Address(2)}));
}

TEST_F(WorkerRegistryTest, WhatANameHasNoMoreIsForgottenOnceItsStreamIsGone) {
  StartWorker(0);
  StartWorker(1);
  resolver_.Set(std::vector<std::string>{Address(0), Address(1)});
  StartRegistry({{}, {{"workers.svc", "50052"}}});
  ASSERT_TRUE(attached_.WaitFor({Address(0), Address(1)}));
  resolver_.Set(std::vector<std::string>{Address(0)});
  const int asked = resolver_.num_questions();
  while (resolver_.num_questions() < asked + 2) std::this_thread::yield();
  EXPECT_TRUE(attached_.WaitFor({Address(0), Address(1)})) << "its stream goes on";
  servers_[1].reset();
  EXPECT_TRUE(attached_.WaitFor({Address(0)}));
  EXPECT_TRUE(KnowsSoon({Address(0)}));
}

TEST_F(WorkerRegistryTest, AnErrorChangesNothing) {
  StartWorker(0);
  resolver_.Set(std::vector<std::string>{Address(0)});
  StartRegistry({{}, {{"workers.svc", "50052"}}});
  ASSERT_TRUE(attached_.WaitFor({Address(0)}));
  resolver_.Set(absl::UnavailableError("no such name"));
  const int asked = resolver_.num_questions();
  servers_[0].reset();  // Has the name asked for at once.
  EXPECT_TRUE(attached_.WaitFor({}));
  while (resolver_.num_questions() == asked) std::this_thread::yield();
  EXPECT_TRUE(KnowsSoon({Address(0)}));
  StartWorker(0);
  EXPECT_TRUE(attached_.WaitFor({Address(0)})) << "it is still tried";
}

TEST_F(WorkerRegistryTest, ListedGroupsNeedNoResolver) {
  StartWorker(2);
  StartRegistry({{Address(2)}, {}});
  EXPECT_TRUE(attached_.WaitFor({Address(2)}));
  EXPECT_EQ(resolver_.num_questions(), 0);
}

TEST(DnsResolverTest, FindsTheAddressesOfANameAndSaysWhichItCanNotFind) {
  EventLoop loop;
  DnsResolver resolver(&loop);
  std::mutex mutex;
  std::condition_variable changed;
  std::map<std::string, absl::StatusOr<std::vector<std::string>>> answers;
  for (const std::string host : {"localhost", "127.0.0.1", "no-such-host.invalid"}) {
    resolver.Resolve(host, "50052", [&, host](absl::StatusOr<std::vector<std::string>> answer) {
      std::lock_guard<std::mutex> lock(mutex);
      answers.emplace(host, std::move(answer));
      changed.notify_all();
    });
  }
  std::unique_lock<std::mutex> lock(mutex);
  ASSERT_TRUE(changed.wait_for(lock, kPatience, [&] { return answers.size() == 3; }));
  EXPECT_THAT(*answers.at("127.0.0.1"), ElementsAre("127.0.0.1:50052"));
  ASSERT_TRUE(answers.at("localhost").ok());
  EXPECT_THAT(answers.at("no-such-host.invalid").status().ToString(),
              HasSubstr("no-such-host.invalid"));
  loop.Stop();
}

}  // namespace
}  // namespace quartet::gateway
