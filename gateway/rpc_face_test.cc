// The gRPC face over real channels: gateway as it is, fake tokenizer and worker as peers.
#include <gmock/gmock.h>
#include <grpcpp/create_channel.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "gateway/testing/test_cluster.h"
#include "gateway/testing/toy_vocabulary.h"

namespace quartet::gateway {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;
using testing::TestCluster;
using testing::ToyEncode;

class RpcFaceTest : public ::testing::Test {
 protected:
  struct Stream {
    std::vector<v1::GenerateEvent> events;
    grpc::Status status;
    std::string Text() const {
      std::string text;
      for (const auto& event : events) text += event.delta().text();
      return text;
    }
  };
  Stream Generate(const v1::GenerateRequest& request) {
    grpc::ClientContext context;
    Stream stream;
    const auto reader = inference_->Generate(&context, request);
    v1::GenerateEvent event;
    while (reader->Read(&event)) stream.events.push_back(event);
    stream.status = reader->Finish();
    return stream;
  }

  grpc::Status Drain(const std::string& worker_address) {
    grpc::ClientContext context;
    v1::DrainRequest request;
    v1::DrainResponse response;
    request.set_worker_address(worker_address);
    return control_->Drain(&context, request, &response);
  }

  TestCluster cluster_;
  std::shared_ptr<grpc::Channel> channel_ =
      grpc::CreateChannel(cluster_.grpc_address(), grpc::InsecureChannelCredentials());
  std::unique_ptr<v1::Inference::Stub> inference_ = v1::Inference::NewStub(channel_);
  std::unique_ptr<v1::Control::Stub> control_ = v1::Control::NewStub(channel_);
};

TEST_F(RpcFaceTest, StreamsNumberedEventsFromStartedToUsage) {
  v1::GenerateRequest request;
  request.set_text("abc");
  request.set_request_id("mine");
  request.mutable_sampling()->set_max_tokens(5);
  request.mutable_sampling()->set_logprobs(1);
  const Stream stream = Generate(request);
  EXPECT_TRUE(stream.status.ok()) << stream.status.error_message();
  ASSERT_GE(stream.events.size(), 4u);
  for (size_t i = 0; i < stream.events.size(); ++i) {
    EXPECT_EQ(stream.events[i].sequence_number(), i + 1);
  }
  const v1::Started& started = stream.events.front().started();
  EXPECT_EQ(started.request_id(), "mine");
  EXPECT_EQ(started.model(), "toy");
  EXPECT_THAT(started.prompt_token_ids(), ElementsAre('a', 'b', 'c'));
  EXPECT_EQ(stream.Text(), "abcab");
  size_t num_ids = 0;
  for (const auto& event : stream.events) {
    EXPECT_EQ(event.delta().token_ids_size(), event.delta().logprobs_size());
    num_ids += event.delta().token_ids_size();
  }
  EXPECT_EQ(num_ids, 5u);
  EXPECT_EQ(stream.events.back().usage().completion_tokens(), 5u);
  EXPECT_EQ(stream.events[stream.events.size() - 2].finished().reason(), v1::FINISH_REASON_LENGTH);
}

TEST_F(RpcFaceTest, TheEndingIdCountsButIsNoText) {
  v1::GenerateRequest request;
  for (uint32_t id : {uint32_t{'a'}, testing::kToyEnd}) request.mutable_token_ids()->add_ids(id);
  const Stream stream = Generate(request);
  EXPECT_EQ(stream.Text(), "a");
  EXPECT_EQ(stream.events.back().usage().completion_tokens(), 2u);
  const auto& finished = stream.events[stream.events.size() - 2].finished();
  EXPECT_EQ(finished.reason(), v1::FINISH_REASON_STOP);
  EXPECT_EQ(finished.stop_token_id(), testing::kToyEnd);
}

TEST_F(RpcFaceTest, EarlyErrorsAreStatusCodes) {
  v1::GenerateRequest request;
  EXPECT_EQ(Generate(request).status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  request.set_text("x");
  request.mutable_sampling()->set_temperature(-1);
  Stream stream = Generate(request);
  EXPECT_EQ(stream.status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(stream.status.error_message(), HasSubstr("temperature must be in [0, 100], got -1"));
  EXPECT_THAT(stream.status.error_details(),
              AllOf(HasSubstr("google.rpc.BadRequest"), HasSubstr("temperature")));
  EXPECT_THAT(stream.events, SizeIs(0));
  request.clear_sampling();
  request.set_model("gpt-7");
  EXPECT_EQ(Generate(request).status.error_code(), grpc::StatusCode::NOT_FOUND);
  request.clear_model();
  cluster_.worker().FailSubmissions(grpc::StatusCode::RESOURCE_EXHAUSTED, "full");
  stream = Generate(request);
  EXPECT_EQ(stream.status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_THAT(stream.status.error_details(), HasSubstr("google.rpc.RetryInfo"));
  cluster_.StopWorker();
  ASSERT_TRUE(cluster_.WaitForServing(false));
  EXPECT_EQ(Generate(request).status.error_code(), grpc::StatusCode::UNAVAILABLE);
}

TEST_F(RpcFaceTest, CancellingTheCallFreesTheSequence) {
  cluster_.worker().SetPaused(true);
  grpc::ClientContext context;
  v1::GenerateRequest request;
  request.set_text("x");
  const auto reader = inference_->Generate(&context, request);
  ASSERT_TRUE(cluster_.worker().WaitFor([](size_t n, size_t, size_t) { return n == 1; }));
  context.TryCancel();
  EXPECT_TRUE(cluster_.worker().WaitFor(
      [](size_t, size_t cancels, size_t running) { return cancels == 1 && running == 0; }));
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
}

TEST_F(RpcFaceTest, ADeadlineReachesTheWorker) {
  cluster_.worker().SetPaused(true);
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(300));
  v1::GenerateRequest request;
  request.set_text("x");
  const auto reader = inference_->Generate(&context, request);
  v1::GenerateEvent event;
  EXPECT_FALSE(reader->Read(&event));
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  EXPECT_TRUE(
      cluster_.worker().WaitFor([](size_t, size_t, size_t running) { return running == 0; }));
  EXPECT_GT(cluster_.worker().submissions()[0].timeout_ms(), 0u);
}

TEST_F(RpcFaceTest, AbortEndsARunningRequest) {
  v1::GenerateRequest request;
  request.set_text("x");
  request.set_request_id("mine");
  request.mutable_sampling()->set_max_tokens(90'000);
  grpc::ClientContext context;
  const auto reader = inference_->Generate(&context, request);
  v1::GenerateEvent event;
  ASSERT_TRUE(reader->Read(&event));
  grpc::ClientContext abort_context;
  v1::AbortRequest abort;
  v1::AbortResponse response;
  abort.set_request_id("mine");
  EXPECT_TRUE(control_->Abort(&abort_context, abort, &response).ok());
  std::vector<v1::GenerateEvent> events;
  while (reader->Read(&event)) events.push_back(event);
  EXPECT_TRUE(reader->Finish().ok());
  ASSERT_GE(events.size(), 2u);
  EXPECT_EQ(events[events.size() - 2].finished().reason(), v1::FINISH_REASON_ABORT);
  grpc::ClientContext again;
  EXPECT_EQ(control_->Abort(&again, abort, &response).error_code(), grpc::StatusCode::NOT_FOUND);
}

TEST_F(RpcFaceTest, TheTenantIsNamedOrADigestOfTheKey) {
  v1::GenerateRequest request;
  request.set_text("x");
  request.set_priority(-3);
  request.set_cache_salt("salt");
  const auto tenant = [&](std::vector<std::pair<std::string, std::string>> metadata) {
    grpc::ClientContext context;
    for (const auto& [key, value] : metadata) context.AddMetadata(key, value);
    const auto reader = inference_->Generate(&context, request);
    v1::GenerateEvent event;
    while (reader->Read(&event)) {
    }
    EXPECT_TRUE(reader->Finish().ok());
    return cluster_.worker().submissions().back().tenant();
  };
  EXPECT_EQ(tenant({}), "");
  const std::string of_key = tenant({{"authorization", "Bearer sk-1"}});
  EXPECT_EQ(of_key.substr(0, 4), "key-");
  EXPECT_EQ(tenant({{"authorization", "Bearer sk-1"}, {"x-tenant", "team-a"}}), "team-a");
  request.set_tenant("team-b");
  EXPECT_EQ(tenant({{"x-tenant", "team-a"}}), "team-b");
  EXPECT_EQ(cluster_.worker().submissions().back().priority(), -3);
  EXPECT_EQ(cluster_.worker().submissions().back().cache_salt(), "salt");
  request.set_tenant(std::string(257, 't'));
  const Stream stream = Generate(request);
  EXPECT_EQ(stream.status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(stream.status.error_message(), HasSubstr("tenant may have at most 256 bytes"));
}

TEST_F(RpcFaceTest, DrainingAGroupLetsItsStreamsFinish) {
  grpc::ClientContext context;
  v1::GenerateRequest request;
  request.set_text("abc");
  request.mutable_sampling()->set_max_tokens(90'000);
  const auto reader = inference_->Generate(&context, request);
  v1::GenerateEvent event;
  ASSERT_TRUE(reader->Read(&event));
  cluster_.worker().SetPaused(true);
  EXPECT_EQ(Drain("10.0.0.1:1").error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_THAT(Drain("10.0.0.1:1").error_message(), HasSubstr(cluster_.worker_address()));
  EXPECT_TRUE(Drain(cluster_.worker_address()).ok());
  ASSERT_TRUE(cluster_.WaitForServing(false));
  const Stream refused = Generate(request);
  EXPECT_EQ(refused.status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_THAT(refused.status.error_message(), HasSubstr("draining"));
  cluster_.worker().SetPaused(false);
  uint32_t num_tokens = 0;
  while (reader->Read(&event)) num_tokens += event.delta().token_ids_size();
  EXPECT_TRUE(reader->Finish().ok());
  EXPECT_EQ(num_tokens, 90'000u);
  EXPECT_EQ(cluster_.worker().submissions().size(), 1u);
}

TEST_F(RpcFaceTest, DrainingTheGatewayLetsItsStreamsFinish) {
  cluster_.worker().SetPaused(true);
  grpc::ClientContext context;
  v1::GenerateRequest request;
  request.set_text("abc");
  request.mutable_sampling()->set_max_tokens(3);
  const auto reader = inference_->Generate(&context, request);
  ASSERT_TRUE(cluster_.worker().WaitFor([](size_t n, size_t, size_t) { return n == 1; }));
  EXPECT_TRUE(Drain("").ok());
  ASSERT_TRUE(cluster_.WaitForServing(false));
  EXPECT_EQ(Generate(request).status.error_code(), grpc::StatusCode::UNAVAILABLE);
  cluster_.worker().SetPaused(false);
  std::string text;
  v1::GenerateEvent event;
  while (reader->Read(&event)) text += event.delta().text();
  EXPECT_TRUE(reader->Finish().ok());
  EXPECT_EQ(text, "abc");
}

TEST_F(RpcFaceTest, AReaderThatStopsIsCutOffAndSlowsNobody) {
  v1::GenerateRequest endless;
  endless.set_text("x");
  endless.set_n(4);
  endless.mutable_sampling()->set_max_tokens(99'000);
  endless.mutable_sampling()->set_logprobs(20);  // About a kilobyte a step.
  grpc::ClientContext context;
  const auto slow = inference_->Generate(&context, endless);
  v1::GenerateEvent event;
  ASSERT_TRUE(slow->Read(&event));
  v1::GenerateRequest request;
  request.set_text("abc");
  request.mutable_sampling()->set_max_tokens(200);
  EXPECT_TRUE(Generate(request).status.ok());
  EXPECT_TRUE(cluster_.worker().WaitFor([](size_t, size_t cancels, size_t running) {
    return cancels == 4 && running == 0;
  })) << "its sequences are freed";
  while (slow->Read(&event)) {
  }
  const grpc::Status status = slow->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED) << status.error_message();
  EXPECT_THAT(status.error_message(), HasSubstr("reads too slowly"));
}

TEST_F(RpcFaceTest, ControlTellsFacts) {
  {
    grpc::ClientContext context;
    v1::GetServerInfoResponse info;
    ASSERT_TRUE(control_->GetServerInfo(&context, {}, &info).ok());
    EXPECT_EQ(info.numerics_id(), "toy-numerics");
    EXPECT_EQ(info.ranks_size(), 1);
  }
  {
    grpc::ClientContext context;
    v1::GetModelInfoResponse info;
    ASSERT_TRUE(control_->GetModelInfo(&context, {}, &info).ok());
    EXPECT_EQ(info.name(), "toy");
    EXPECT_EQ(info.tokenizer_size(), testing::kToyVocabSize);
    EXPECT_THAT(info.eos_token_ids(), ElementsAre(testing::kToyEnd));
  }
  {
    grpc::ClientContext context;
    v1::TokenizeRequest request;
    v1::TokenizeResponse response;
    request.set_text("ab");
    ASSERT_TRUE(control_->Tokenize(&context, request, &response).ok());
    EXPECT_THAT(response.ids(), ElementsAre('a', 'b'));
  }
  {
    grpc::ClientContext context;
    v1::DetokenizeRequest request;
    v1::DetokenizeResponse response;
    request.add_ids(100'000);
    EXPECT_EQ(control_->Detokenize(&context, request, &response).error_code(),
              grpc::StatusCode::INVALID_ARGUMENT);
  }
  {
    grpc::ClientContext context;
    v1::ApplyChatTemplateRequest request;
    v1::ApplyChatTemplateResponse response;
    v1::ChatMessage* message = request.mutable_chat()->add_messages();
    message->set_role("user");
    message->set_content("hi");
    ASSERT_TRUE(control_->ApplyChatTemplate(&context, request, &response).ok());
    EXPECT_EQ(response.text(), "user:hi\nassistant:");
    EXPECT_EQ(response.ids_size(), static_cast<int>(response.text().size()));
  }
}

}  // namespace
}  // namespace quartet::gateway
