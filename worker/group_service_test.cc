// Both sides of the group over a real socket: the leader's service and followers' members.
#include "worker/group_service.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <future>

#include "common/version.h"
#include "worker/engine/testing/fake_model.h"
#include "worker/group_member.h"
#include "worker/testing/service_fixture.h"

namespace quartet::worker_service {
namespace {

namespace proto = worker::v1;

using ::testing::HasSubstr;

GroupIdentity TestIdentity(uint32_t world_size) {
  return {world_size, common::kVersion, "model-a", "numerics-a"};
}

proto::RankHello NewHello(uint32_t rank, uint32_t world_size) {
  proto::RankHello hello;
  hello.set_rank(rank);
  hello.set_world_size(world_size);
  hello.set_build(common::kVersion);
  hello.set_model_hash("model-a");
  hello.set_numerics_id("numerics-a");
  hello.set_max_kv_blocks(100 + rank);
  hello.mutable_report()->set_pid(4000 + rank);
  return hello;
}

// The leader's side of a group of three.
class GroupServiceTest : public testing::Test {
 protected:
  GroupServiceTest()
      : group_(3,
               [this](uint64_t epoch, const absl::Status& why) {
                 EXPECT_EQ(epoch, epoch_);
                 lost_.set_value(why);
               }),
        address_(NewSocket()),
        server_(StartServer(address_, {&group_})) {}
  ~GroupServiceTest() override {
    group_.Close();
    server_->Shutdown(std::chrono::milliseconds(100));
  }

  std::unique_ptr<GroupMember> Join(const proto::RankHello& hello) {
    auto member = GroupMember::Join(
        address_, [hello] { return hello; }, absl::Seconds(60));
    EXPECT_TRUE(member.ok()) << member.status();
    return *std::move(member);
  }

  // Ranks 1 and 2 join and are ready; their members.
  std::vector<std::unique_ptr<GroupMember>> FormGroup() {
    std::vector<std::unique_ptr<GroupMember>> members;
    for (uint32_t rank : {2u, 1u}) members.push_back(Join(NewHello(rank, 3)));
    const auto hellos = group_.WaitForRanks(TestIdentity(3), absl::Seconds(60));
    EXPECT_TRUE(hellos.ok()) << hellos.status();
    EXPECT_EQ(hellos->at(0).hello.max_kv_blocks(), 101u);
    proto::GroupFormed formed;
    formed.set_epoch(epoch_);
    group_.Form(formed);
    for (auto& member : members) {
      EXPECT_EQ(member->WaitForGroup(absl::Seconds(60))->epoch(), epoch_);
      member->Ready({}, [] {});
    }
    EXPECT_TRUE(group_.WaitUntilReady(absl::Seconds(60)).ok());
    return members;
  }

  uint64_t epoch_ = kEpoch;
  std::promise<absl::Status> lost_;
  GroupService group_;
  const std::string address_;
  const std::unique_ptr<common::ServerRunner> server_;
};

TEST_F(GroupServiceTest, MissingRanksAreNamed) {
  const auto member = Join(NewHello(1, 3));
  const auto hellos = group_.WaitForRanks(TestIdentity(3), absl::Milliseconds(300));
  EXPECT_EQ(hellos.status().code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_THAT(std::string(hellos.status().message()), HasSubstr("waiting for ranks 2 of 3"));
}

TEST_F(GroupServiceTest, ARankThatDiffersIsRefusedWhenItComesBeforeOrAfterTheLeader) {
  epoch_ = 0;  // no group is formed
  proto::RankHello early = NewHello(1, 3);
  early.set_model_hash("model-b");
  const auto early_member = Join(early);
  const auto waiting = std::async(std::launch::async, [&] {
    return group_.WaitForRanks(TestIdentity(3), absl::Seconds(60)).status();
  });
  absl::Status status = early_member->WaitForGroup(absl::Seconds(60)).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("model-b"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("model-a"));
  proto::RankHello late = NewHello(2, 3);
  late.set_numerics_id("numerics-b");
  status = Join(late)->WaitForGroup(absl::Seconds(60)).status();
  EXPECT_THAT(std::string(status.message()), HasSubstr("numerics-b"));
  status = Join(NewHello(2, 4))->WaitForGroup(absl::Seconds(60)).status();
  EXPECT_THAT(std::string(status.message()), HasSubstr("world size 4, the leader for 3"));
  // The right ones may still come.
  const auto one = Join(NewHello(1, 3));
  const auto two = Join(NewHello(2, 3));
  while (waiting.wait_for(std::chrono::seconds(0)) != std::future_status::ready) {
    std::this_thread::yield();
  }
}

TEST_F(GroupServiceTest, PlansReachAllRanksInOrder) {
  auto members = FormGroup();
  for (uint64_t step = 1; step <= 100; ++step) {
    engine::StepPlan plan;
    plan.step = step;
    plan.token_ids = {static_cast<int32_t>(step)};
    plan.block_updates = {{1, 2, {3, 4}}};
    ASSERT_TRUE(group_.Broadcast(plan).ok());
  }
  for (auto& member : members) {
    for (uint64_t step = 1; step <= 100; ++step) {
      const auto plan = member->Next();
      ASSERT_TRUE(plan.ok()) << plan.status();
      EXPECT_EQ(plan->step, step);
      EXPECT_EQ(plan->token_ids, std::vector<int32_t>{static_cast<int32_t>(step)});
      EXPECT_EQ(plan->block_updates[0].blocks, (std::vector<int32_t>{3, 4}));
    }
    member->Done(100, absl::OkStatus());
  }
  EXPECT_TRUE(Eventually([&] {
    return group_.DescribeProgress() == "rank 1 has done step 100, rank 2 has done step 100";
  }));
  group_.Close();
  EXPECT_EQ(members[0]->Next().status().code(), absl::StatusCode::kCancelled);
}

// What a member works on while it runs, and gives up once it has left, is not touched any more.
TEST_F(GroupServiceTest, AMemberThatHasLeftHearsNothingOfTheEnd) {
  auto members = FormGroup();
  for (const bool leaves : {true, false}) {
    std::atomic<int> num_calls = 0;
    std::unique_ptr<GroupMember> member = std::move(members.back());
    members.pop_back();
    member->Ready({}, [&num_calls] { ++num_calls; });
    if (leaves) {
      member->Leave();
    } else {
      group_.Close();
      while (num_calls == 0) std::this_thread::yield();
    }
    member.reset();  // waits for the end of the stream
    EXPECT_EQ(num_calls, leaves ? 0 : 1);
  }
}

TEST_F(GroupServiceTest, ARankThatLeavesIsNamed) {
  auto members = FormGroup();
  members[0]->Leave();  // rank 2
  const absl::Status why = lost_.get_future().get();
  EXPECT_EQ(why.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(why.message()), HasSubstr("rank 2 (pid 4002)"));
  EXPECT_FALSE(group_.Broadcast({}).ok());
}

TEST_F(GroupServiceTest, ARankThatFailsAStepIsNamedWithItsError) {
  auto members = FormGroup();
  members[1]->Done(12, absl::InternalError("no memory left"));
  const absl::Status why = lost_.get_future().get();
  EXPECT_THAT(std::string(why.message()), HasSubstr("rank 1 failed in step 12: no memory left"));
}

TEST_F(GroupServiceTest, SurvivorsFormTheNextGroupWithTheRankThatComesBack) {
  auto members = FormGroup();
  members[0]->Leave();  // rank 2
  const absl::Status why = lost_.get_future().get();
  lost_ = {};
  group_.End(why);
  const absl::Status end = members[1]->Next().status();
  EXPECT_EQ(end.code(), absl::StatusCode::kAborted);
  EXPECT_THAT(std::string(end.message()), HasSubstr("rank 2 (pid 4002)"));
  // A rank that slept through it all speaks of the group before; nobody listens.
  members[1]->Done(1, absl::InternalError("late"));
  epoch_ = kEpoch + 1;
  auto next = FormGroup();
  engine::StepPlan plan;
  plan.step = 1;
  plan.epoch = epoch_;
  EXPECT_TRUE(group_.Broadcast(plan).ok());
  for (auto& member : next) EXPECT_EQ(member->Next()->epoch, epoch_);
  members.clear();
  EXPECT_TRUE(group_.lost().ok());
  next[0]->Leave();
  EXPECT_THAT(std::string(lost_.get_future().get().message()), HasSubstr("rank 2"));
}

TEST_F(GroupServiceTest, NewsOfAnotherEpochIsIgnored) {
  auto members = FormGroup();
  epoch_ = kEpoch + 1;
  proto::GroupFormed formed;
  formed.set_epoch(epoch_);
  // As if a message had been held up: these members still speak of the epoch before.
  group_.Form(formed);
  members[0]->Done(5, absl::InternalError("of the old group"));
  members[1]->Done(5, absl::OkStatus());
  members[1]->Leave();  // rank 1; noticed after what it said
  EXPECT_THAT(std::string(lost_.get_future().get().message()), HasSubstr("rank 1 (pid 4001)"));
  EXPECT_EQ(group_.DescribeProgress(), "rank 1 has done step 0, rank 2 has done step 0");
}

TEST_F(GroupServiceTest, ARankWhosePlaceIsTakenIsToldToComeAgain) {
  auto members = FormGroup();
  const auto twin = Join(NewHello(1, 3));
  const absl::Status status = twin->WaitForGroup(absl::Seconds(60)).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kAlreadyExists);
  EXPECT_THAT(std::string(status.message()), HasSubstr("as process 4001"));
  EXPECT_TRUE(group_.lost().ok()) << "the group goes on";
}

TEST_F(GroupServiceTest, FollowersRunTheLeadersSteps) {
  auto members = FormGroup();
  engine::FakeModel leader_model(kVocabSize);
  std::vector<std::unique_ptr<engine::FakeModel>> models;
  std::vector<std::future<absl::Status>> followers;
  for (auto& member : members) {
    models.push_back(std::make_unique<engine::FakeModel>(kVocabSize));
    models.back()->shared_by = &leader_model;
    followers.push_back(
        std::async(std::launch::async, [model = models.back().get(), source = member.get()] {
          return engine::RunFollower(TestLimits(), kEpoch, model, nullptr, source);
        }));
  }
  engine::EngineCallbacks callbacks;
  int num_events = 0;
  callbacks.on_events = [&](uint64_t, uint64_t, std::vector<engine::SequenceEvent> events) {
    num_events += static_cast<int>(events.size());
  };
  callbacks.broadcast = [this](const engine::StepPlan& plan) { return group_.Broadcast(plan); };
  engine::Engine engine(TestEngineOptions(), &leader_model, nullptr, std::move(callbacks));
  for (uint64_t id = 0; id < 10; ++id) {
    engine::SequenceRequest request;
    request.key = {1, id};
    request.prompt_ids.assign(20 + id, 3);
    request.sampling.max_tokens = 30;
    ASSERT_TRUE(engine.Submit(request).ok());
  }
  while (*engine.RunStep()) {
  }
  EXPECT_EQ(num_events, 300);
  group_.Close();
  for (auto& follower : followers) {
    EXPECT_EQ(follower.get().code(), absl::StatusCode::kCancelled);
  }
  for (const auto& model : models) {
    ASSERT_EQ(model->inputs.size(), leader_model.inputs.size());
    for (size_t i = 0; i < model->inputs.size(); ++i) {
      EXPECT_EQ(model->inputs[i].token_ids, leader_model.inputs[i].token_ids);
      EXPECT_EQ(model->inputs[i].block_tables, leader_model.inputs[i].block_tables);
    }
  }
}

}  // namespace
}  // namespace quartet::worker_service
