// The gRPC faces over a real socket: gateways at the engine's, followers at the group's. The model
// is a fake.
#include <gmock/gmock.h>
#include <grpcpp/create_channel.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <future>
#include <thread>

#include "absl/strings/str_cat.h"
#include "common/grpc_status.h"
#include "common/server_runner.h"
#include "common/version.h"
#include "worker/engine/engine.h"
#include "worker/engine/testing/fake_model.h"
#include "worker/engine_service.h"
#include "worker/group_member.h"
#include "worker/group_service.h"
#include "worker/wire_conversion.h"

namespace quartet::worker_service {
namespace {

namespace proto = worker::v1;

using ::testing::HasSubstr;

constexpr int64_t kVocabSize = 60;
constexpr uint64_t kEpoch = 77;

engine::EngineOptions TestEngineOptions() {
  engine::EngineOptions options;
  options.scheduler.max_num_batched_tokens = 32;
  options.scheduler.max_num_seqs = 8;
  options.scheduler.num_blocks = 64;
  options.scheduler.max_model_len = 500;
  options.vocab_size = kVocabSize;
  options.epoch = kEpoch;
  return options;
}

engine::StepLimits TestLimits() { return {kVocabSize, 64, 8, 32}; }

std::string NewSocket() {
  static int number = 0;
  return absl::StrCat("unix:", testing::TempDir(), "worker_service_test_", getpid(), "_", ++number);
}

std::unique_ptr<common::ServerRunner> StartServer(const std::string& address,
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

// A leader's engine with a fake model behind its face.
class EngineServiceTest : public testing::Test {
 protected:
  EngineServiceTest() : model_(kVocabSize), address_(NewSocket()) {
    engine::EngineCallbacks callbacks;
    callbacks.on_events = [this](uint64_t client, uint64_t step,
                                 std::vector<engine::SequenceEvent> events) {
      service_.Deliver(client, step, std::move(events));
    };
    engine_ = std::make_unique<engine::Engine>(TestEngineOptions(), &model_, nullptr,
                                               std::move(callbacks));
    server_ = StartServer(address_, {&service_});
    stub_ =
        proto::Engine::NewStub(grpc::CreateChannel(address_, grpc::InsecureChannelCredentials()));
  }
  ~EngineServiceTest() override {
    engine_->Stop();
    service_.Close(absl::UnavailableError("the test is over"));
    server_->Shutdown(std::chrono::milliseconds(100));
  }

  void Open() {
    engine_->Start();
    service_.Open(engine_.get(), [] {
      proto::GetInfoResponse info;
      info.set_vocab_size(kVocabSize);
      info.set_model_name("fake");
      info.mutable_default_sampling()->set_temperature(0);
      return info;
    });
  }

  engine::EngineLoad load() const { return engine_->load(); }

  engine::FakeModel model_;
  EngineService service_;
  std::unique_ptr<engine::Engine> engine_;
  const std::string address_;
  std::unique_ptr<common::ServerRunner> server_;
  std::unique_ptr<proto::Engine::Stub> stub_;
};

// A gateway: one Attach.
class Gateway {
 public:
  explicit Gateway(proto::Engine::Stub* stub, uint32_t protocol_version = kProtocolVersion,
                   const std::string& tokenizer_hash = "abc", uint32_t tokenizer_size = 50)
      : stream_(stub->Attach(&context_)) {
    proto::AttachRequest request;
    request.mutable_hello()->set_protocol_version(protocol_version);
    request.mutable_hello()->set_build(common::kVersion);
    request.mutable_hello()->set_tokenizer_hash(tokenizer_hash);
    request.mutable_hello()->set_tokenizer_size(tokenizer_size);
    request.mutable_hello()->set_gateway_id("gateway-" + tokenizer_hash);
    Write(request);
  }

  void Write(const proto::AttachRequest& request) { stream_->Write(request); }
  bool Read(proto::AttachResponse* response) { return stream_->Read(response); }
  // The stream's status, once the server has ended it.
  absl::Status Finish() {
    proto::AttachResponse response;
    while (stream_->Read(&response)) {
    }
    return common::FromGrpcStatus(stream_->Finish());
  }
  void Break() { context_.TryCancel(); }

  // Reads until the sequence's last event.
  proto::SequenceEvent ReadUntilEnd(uint64_t sequence_id) {
    proto::SequenceEvent all;
    proto::AttachResponse response;
    while (stream_->Read(&response)) {
      for (const proto::SequenceEvent& event : response.step().events()) {
        if (event.sequence_id() != sequence_id) continue;
        all.MergeFrom(event);
        if (event.finish_reason() != 0 || event.error_code() != 0) return all;
      }
    }
    ADD_FAILURE() << "the stream ended before sequence " << sequence_id;
    return all;
  }

 private:
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderWriter<proto::AttachRequest, proto::AttachResponse>> stream_;
};

proto::AttachRequest NewSubmit(uint64_t id, std::vector<uint32_t> prompt, uint32_t max_tokens) {
  proto::AttachRequest request;
  proto::Submit* submit = request.mutable_submit();
  submit->set_sequence_id(id);
  submit->mutable_prompt_ids()->Add(prompt.begin(), prompt.end());
  submit->mutable_sampling()->set_max_tokens(max_tokens);
  submit->mutable_sampling()->set_logprobs(2);
  return request;
}

TEST_F(EngineServiceTest, ServesSequencesOfSeveralGateways) {
  Open();
  std::vector<std::thread> threads;
  std::vector<std::vector<uint32_t>> tokens(4);
  for (uint64_t g = 0; g < 4; ++g) {
    threads.emplace_back([&, g] {
      Gateway gateway(stub_.get());
      proto::AttachResponse hello;
      ASSERT_TRUE(gateway.Read(&hello));
      EXPECT_EQ(hello.hello().info().model_name(), "fake");
      // The same id on each Attach.
      gateway.Write(NewSubmit(5, {1, 2, 3}, 20));
      const proto::SequenceEvent event = gateway.ReadUntilEnd(5);
      tokens[g].assign(event.token_ids().begin(), event.token_ids().end());
      EXPECT_EQ(event.logprobs_size(), 20);
      EXPECT_EQ(event.logprobs(0).top_size(), 2);
      EXPECT_EQ(event.finish_reason(), quartet::v1::FINISH_REASON_LENGTH);
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (uint64_t g = 0; g < 4; ++g) {
    EXPECT_EQ(tokens[g].size(), 20u);
    EXPECT_EQ(tokens[g], tokens[0]) << "temperature 0 is the model's default here";
    for (uint32_t id : tokens[g]) EXPECT_LT(id, 50u) << "past the tokenizer's last id";
  }
}

TEST_F(EngineServiceTest, RefusesABadSubmitWithAnEventAndServesTheNext) {
  Open();
  Gateway gateway(stub_.get());
  proto::AttachRequest bad = NewSubmit(1, {1, 2, 3}, 5);
  bad.mutable_submit()->mutable_sampling()->set_top_p(3);
  gateway.Write(bad);
  const proto::SequenceEvent event = gateway.ReadUntilEnd(1);
  EXPECT_EQ(event.error_code(), 3);  // INVALID_ARGUMENT
  EXPECT_THAT(event.error_message(), HasSubstr("top_p is 3"));
  gateway.Write(NewSubmit(2, {1, 2, 3}, 5));
  EXPECT_EQ(gateway.ReadUntilEnd(2).token_ids_size(), 5);
}

TEST_F(EngineServiceTest, ABrokenStreamFreesItsSequences) {
  Open();
  auto gateway = std::make_unique<Gateway>(stub_.get());
  Gateway other(stub_.get());
  gateway->Write(NewSubmit(1, {1, 2, 3}, 490));
  gateway->Write(NewSubmit(2, {1, 2, 3}, 490));
  proto::AttachResponse response;
  while (gateway->Read(&response) && !response.has_step()) {
  }
  gateway->Break();
  EXPECT_TRUE(Eventually([&] { return load().num_running == 0 && load().num_used_blocks == 0; }));
  other.Write(NewSubmit(1, {4}, 3));
  EXPECT_EQ(other.ReadUntilEnd(1).token_ids_size(), 3);
  EXPECT_LT(load().num_steps, 490u) << "the sequences ran to their end";
}

TEST_F(EngineServiceTest, CancelEndsASequence) {
  Open();
  Gateway gateway(stub_.get());
  gateway.Write(NewSubmit(1, {1, 2, 3}, 490));
  proto::AttachRequest cancel;
  cancel.mutable_cancel()->set_sequence_id(1);
  gateway.Write(cancel);
  gateway.Write(NewSubmit(2, {9}, 2));
  EXPECT_EQ(gateway.ReadUntilEnd(2).token_ids_size(), 2);
  EXPECT_TRUE(Eventually([&] { return load().num_running == 0; }));
  EXPECT_LT(load().num_steps, 490u);
}

TEST_F(EngineServiceTest, AMismatchIsRefusedNamingBothSides) {
  Open();
  absl::Status status = Gateway(stub_.get(), 9).Finish();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("version 9"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("speaks 1"));

  status = Gateway(stub_.get(), kProtocolVersion, "abc", 61).Finish();
  EXPECT_THAT(std::string(status.message()), HasSubstr("tokenizer has 61 ids"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("logits for 60"));

  Gateway first(stub_.get());
  proto::AttachResponse hello;
  ASSERT_TRUE(first.Read(&hello));
  status = Gateway(stub_.get(), kProtocolVersion, "xyz").Finish();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("xyz"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("abc"));
}

TEST_F(EngineServiceTest, RefusesAllUntilOpenAndAfterClose) {
  EXPECT_EQ(Gateway(stub_.get()).Finish().code(), absl::StatusCode::kUnavailable);
  grpc::ClientContext context;
  proto::GetInfoResponse info;
  EXPECT_EQ(stub_->GetInfo(&context, {}, &info).error_code(), grpc::StatusCode::UNAVAILABLE);
  Open();
  Gateway gateway(stub_.get());
  proto::AttachResponse hello;
  ASSERT_TRUE(gateway.Read(&hello));
  service_.Close(absl::UnavailableError("rank 2 has gone"));
  EXPECT_THAT(std::string(gateway.Finish().message()), HasSubstr("rank 2 has gone"));
}

TEST_F(EngineServiceTest, TheFirstMessageIsAHello) {
  Open();
  grpc::ClientContext context;
  auto stream = stub_->Attach(&context);
  stream->Write(NewSubmit(1, {1}, 1));
  proto::AttachResponse response;
  EXPECT_FALSE(stream->Read(&response));
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::INVALID_ARGUMENT);
}

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
      : group_(3, [this](const absl::Status& why) { lost_.set_value(why); }),
        address_(NewSocket()),
        server_(StartServer(address_, {&group_})) {}
  ~GroupServiceTest() override {
    group_.Close();
    server_->Shutdown(std::chrono::milliseconds(100));
  }

  std::unique_ptr<GroupMember> Join(const proto::RankHello& hello) {
    auto member = GroupMember::Join(address_, hello, absl::Seconds(60));
    EXPECT_TRUE(member.ok()) << member.status();
    return *std::move(member);
  }

  // Ranks 1 and 2 join and are ready; their members.
  std::vector<std::unique_ptr<GroupMember>> FormGroup() {
    std::vector<std::unique_ptr<GroupMember>> members;
    for (uint32_t rank : {2u, 1u}) members.push_back(Join(NewHello(rank, 3)));
    const auto hellos = group_.WaitForRanks(TestIdentity(3), absl::Seconds(60));
    EXPECT_TRUE(hellos.ok()) << hellos.status();
    EXPECT_EQ(hellos->at(0).max_kv_blocks(), 101u);
    proto::GroupFormed formed;
    formed.set_epoch(kEpoch);
    group_.Form(formed);
    for (auto& member : members) {
      EXPECT_EQ(member->WaitForGroup(absl::Seconds(60))->epoch(), kEpoch);
      member->Ready({}, [] {});
    }
    EXPECT_TRUE(group_.WaitUntilReady(absl::Seconds(60)).ok());
    return members;
  }

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

TEST_F(GroupServiceTest, FollowersRunTheLeadersSteps) {
  auto members = FormGroup();
  std::vector<std::unique_ptr<engine::FakeModel>> models;
  std::vector<std::future<absl::Status>> followers;
  for (auto& member : members) {
    models.push_back(std::make_unique<engine::FakeModel>(kVocabSize));
    followers.push_back(
        std::async(std::launch::async, [model = models.back().get(), source = member.get()] {
          return engine::RunFollower(TestLimits(), kEpoch, model, nullptr, source);
        }));
  }
  engine::FakeModel leader_model(kVocabSize);
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
