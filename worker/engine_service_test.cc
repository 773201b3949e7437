// The face towards gateways over a real socket. The model is a fake.
#include "worker/engine_service.h"

#include <gmock/gmock.h>
#include <grpcpp/create_channel.h>
#include <gtest/gtest.h>

#include "common/grpc_status.h"
#include "common/version.h"
#include "worker/engine/testing/fake_model.h"
#include "worker/testing/service_fixture.h"

namespace quartet::worker_service {
namespace {

namespace proto = worker::v1;

using ::testing::HasSubstr;

constexpr uint32_t kEndless = 19000;  // tokens; more than any test waits for

// A leader's engine with a fake model behind its face.
class EngineServiceTest : public testing::Test {
 protected:
  EngineServiceTest() : model_(kVocabSize), address_(NewSocket()) {
    engine::EngineCallbacks callbacks;
    callbacks.on_events = [this](uint64_t client, uint64_t step,
                                 std::vector<engine::SequenceEvent> events) {
      service_.Deliver(client, step, std::move(events));
    };
    engine_ = std::make_shared<engine::Engine>(TestEngineOptions(), &model_, nullptr,
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
    service_.Open(engine_, [] {
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
  std::shared_ptr<engine::Engine> engine_;
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
  gateway->Write(NewSubmit(1, {1, 2, 3}, kEndless));
  gateway->Write(NewSubmit(2, {1, 2, 3}, kEndless));
  proto::AttachResponse response;
  while (gateway->Read(&response) && !response.has_step()) {
  }
  gateway->Break();
  EXPECT_TRUE(Eventually([&] { return load().num_running == 0 && load().num_used_blocks == 0; }));
  other.Write(NewSubmit(1, {4}, 3));
  EXPECT_EQ(other.ReadUntilEnd(1).token_ids_size(), 3);
  EXPECT_LT(load().num_steps, kEndless) << "the sequences ran to their end";
}

TEST_F(EngineServiceTest, CancelEndsASequence) {
  Open();
  Gateway gateway(stub_.get());
  gateway.Write(NewSubmit(1, {1, 2, 3}, kEndless));
  proto::AttachRequest cancel;
  cancel.mutable_cancel()->set_sequence_id(1);
  gateway.Write(cancel);
  gateway.Write(NewSubmit(2, {9}, 2));
  EXPECT_EQ(gateway.ReadUntilEnd(2).token_ids_size(), 2);
  EXPECT_TRUE(Eventually([&] { return load().num_running == 0; }));
  EXPECT_LT(load().num_steps, kEndless);
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

TEST_F(EngineServiceTest, DrainingRefusesNewSequencesAndFinishesOld) {
  Open();
  Gateway gateway(stub_.get());
  proto::AttachResponse response;
  ASSERT_TRUE(gateway.Read(&response));
  EXPECT_FALSE(response.hello().info().draining());
  gateway.Write(NewSubmit(1, {1, 2}, kEndless));
  ASSERT_TRUE(gateway.Read(&response));
  ASSERT_TRUE(response.has_step());
  grpc::ClientContext context;
  proto::DrainResponse drained;
  ASSERT_TRUE(stub_->Drain(&context, {}, &drained).ok());
  gateway.Write(NewSubmit(2, {1, 2}, 5));
  bool told = false;
  bool refused = false;
  size_t num_tokens_since = 0;
  while (num_tokens_since < 100 && gateway.Read(&response)) {
    told |= response.has_draining();
    for (const proto::SequenceEvent& event : response.step().events()) {
      if (event.sequence_id() == 1) {
        num_tokens_since += refused ? event.token_ids_size() : 0;
        continue;
      }
      EXPECT_TRUE(told) << "a gateway must know why";
      EXPECT_EQ(event.error_code(), static_cast<int>(absl::StatusCode::kUnavailable));
      EXPECT_THAT(event.error_message(), HasSubstr("draining"));
      refused = true;
    }
  }
  EXPECT_TRUE(refused);
  EXPECT_EQ(num_tokens_since, 100u) << "the old sequence goes on";
  grpc::ClientContext load_context;
  proto::GetLoadResponse load;
  ASSERT_TRUE(stub_->GetLoad(&load_context, {}, &load).ok());
  EXPECT_TRUE(load.draining());
  Gateway late(stub_.get());
  ASSERT_TRUE(late.Read(&response));
  EXPECT_TRUE(response.hello().info().draining());
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

}  // namespace
}  // namespace quartet::worker_service
