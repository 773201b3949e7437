#include "cli/eval/eval_client.h"

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/grpc_status.h"
#include "common/status_macros.h"
#include "quartet/v1/control.grpc.pb.h"
#include "quartet/v1/inference.grpc.pb.h"

namespace quartet::cli::eval {
namespace {

constexpr std::chrono::seconds kUnaryTimeout(60);
constexpr std::chrono::hours kGenerateTimeout(1);
constexpr std::chrono::seconds kPauseWhileFull(1);
constexpr int kAttemptsWhileFull = 300;

template <typename Duration>
void SetTimeout(Duration timeout, grpc::ClientContext* context) {
  context->set_deadline(std::chrono::system_clock::now() + timeout);
}

v1::GenerateRequest ToProto(const EvalRequest& request) {
  v1::GenerateRequest proto;
  if (!request.prompt.user_message.empty()) {
    v1::ChatMessage* const message = proto.mutable_chat()->add_messages();
    message->set_role("user");
    message->set_content(request.prompt.user_message);
  } else if (!request.prompt.text.empty()) {
    proto.set_text(request.prompt.text);
  } else {
    proto.mutable_token_ids()->mutable_ids()->Add(request.prompt.token_ids.begin(),
                                                  request.prompt.token_ids.end());
  }
  v1::SamplingParams* const sampling = proto.mutable_sampling();
  sampling->set_max_tokens(request.max_tokens);
  sampling->set_temperature(static_cast<float>(request.temperature));
  sampling->set_seed(request.seed);
  if (request.prompt_logprobs) sampling->set_prompt_logprobs(0);
  if (!request.json_schema.empty()) {
    proto.mutable_structured_output()->set_json_schema(request.json_schema);
  }
  return proto;
}

void Add(const v1::GenerateEvent& event, EvalAnswer* answer) {
  answer->text += event.delta().text();
  for (const v1::PositionLogprobs& position : event.delta().prompt_logprobs()) {
    answer->prompt_logprobs.push_back(static_cast<double>(position.token().logprob()));
  }
  if (event.finished().reason() == v1::FINISH_REASON_LENGTH) answer->is_cut = true;
  if (event.has_usage()) {
    answer->prompt_tokens = event.usage().prompt_tokens();
    answer->completion_tokens = event.usage().completion_tokens();
  }
}

}  // namespace

struct EvalClient::Connection {
  std::unique_ptr<v1::Control::Stub> control;
  std::unique_ptr<v1::Inference::Stub> inference;
  ServedModel model;
};

EvalClient::EvalClient(std::unique_ptr<Connection> connection)
    : connection_(std::move(connection)) {}

EvalClient::~EvalClient() = default;

const ServedModel& EvalClient::model() const { return connection_->model; }

absl::StatusOr<std::unique_ptr<EvalClient>> EvalClient::Connect(const std::string& address) {
  grpc::ChannelArguments arguments;
  // Log-probabilities of a long prompt exceed gRPC's 4 MB.
  arguments.SetMaxReceiveMessageSize(-1);
  const auto channel =
      grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
  auto connection = std::make_unique<Connection>();
  connection->control = v1::Control::NewStub(channel);
  connection->inference = v1::Inference::NewStub(channel);
  grpc::ClientContext context;
  SetTimeout(kUnaryTimeout, &context);
  v1::GetModelInfoResponse info;
  const grpc::Status status =
      connection->control->GetModelInfo(&context, v1::GetModelInfoRequest(), &info);
  if (!status.ok()) {
    return absl::UnavailableError(absl::StrCat("no server answers at --address=", address, ": ",
                                               common::FromGrpcStatus(status).ToString()));
  }
  connection->model = {info.name(), info.max_model_len(), info.has_chat_template()};
  return std::unique_ptr<EvalClient>(new EvalClient(std::move(connection)));
}

absl::StatusOr<std::vector<uint32_t>> EvalClient::Tokenize(const std::string& text) const {
  v1::TokenizeRequest request;
  request.set_text(text);
  request.set_add_special_tokens(false);
  grpc::ClientContext context;
  SetTimeout(kUnaryTimeout, &context);
  v1::TokenizeResponse response;
  RETURN_IF_ERROR(
      common::FromGrpcStatus(connection_->control->Tokenize(&context, request, &response)));
  return std::vector<uint32_t>(response.ids().begin(), response.ids().end());
}

absl::StatusOr<std::string> EvalClient::Detokenize(const std::vector<uint32_t>& ids) const {
  v1::DetokenizeRequest request;
  request.mutable_ids()->Add(ids.begin(), ids.end());
  grpc::ClientContext context;
  SetTimeout(kUnaryTimeout, &context);
  v1::DetokenizeResponse response;
  RETURN_IF_ERROR(
      common::FromGrpcStatus(connection_->control->Detokenize(&context, request, &response)));
  return response.text();
}

absl::StatusOr<size_t> EvalClient::CountTokens(const EvalPrompt& prompt) const {
  if (!prompt.token_ids.empty()) return prompt.token_ids.size();
  grpc::ClientContext context;
  SetTimeout(kUnaryTimeout, &context);
  if (!prompt.text.empty()) {
    v1::TokenizeRequest request;
    request.set_text(prompt.text);
    v1::TokenizeResponse response;
    RETURN_IF_ERROR(
        common::FromGrpcStatus(connection_->control->Tokenize(&context, request, &response)));
    return static_cast<size_t>(response.ids_size());
  }
  v1::ApplyChatTemplateRequest request;
  v1::ChatMessage* const message = request.mutable_chat()->add_messages();
  message->set_role("user");
  message->set_content(prompt.user_message);
  v1::ApplyChatTemplateResponse response;
  RETURN_IF_ERROR(common::FromGrpcStatus(
      connection_->control->ApplyChatTemplate(&context, request, &response)));
  return static_cast<size_t>(response.ids_size());
}

absl::StatusOr<EvalAnswer> EvalClient::Generate(const EvalRequest& request) const {
  const v1::GenerateRequest proto = ToProto(request);
  for (int attempt = 1;; ++attempt) {
    grpc::ClientContext context;
    SetTimeout(kGenerateTimeout, &context);
    const auto stream = connection_->inference->Generate(&context, proto);
    EvalAnswer answer;
    v1::GenerateEvent event;
    while (stream->Read(&event)) Add(event, &answer);
    const absl::Status status = common::FromGrpcStatus(stream->Finish());
    if (status.ok()) return answer;
    if (!absl::IsResourceExhausted(status) || attempt == kAttemptsWhileFull) return status;
    std::this_thread::sleep_for(kPauseWhileFull);
  }
}

}  // namespace quartet::cli::eval
