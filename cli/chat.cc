// `quartet chat`: a conversation in the terminal, streamed over gRPC. Ctrl-C stops the answer,
// never the program.

#include <grpcpp/grpcpp.h>
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <iostream>
#include <mutex>
#include <thread>

#include "absl/strings/str_cat.h"
#include "cli/commands.h"
#include "cli/conversation.h"
#include "cli/flag_set.h"
#include "common/grpc_status.h"
#include "common/status_macros.h"
#include "quartet/v1/control.grpc.pb.h"
#include "quartet/v1/inference.grpc.pb.h"

namespace quartet::cli {
namespace {

constexpr char kHelp[] =
    "/reset forgets the conversation, /exit or Ctrl-D leaves, /help shows this. Ctrl-C stops an "
    "answer.\n";
constexpr char kPrompt[] = "> ";

struct ChatOptions {
  std::string address = "127.0.0.1:50051";
  std::string system;
  int64_t max_tokens = 0;
  double temperature = -1;
  int64_t seed = -1;
};

// Takes SIGINT on a thread of its own: cancels the answer that runs, or says how to leave.
class InterruptWatcher {
 public:
  explicit InterruptWatcher(bool interactive) : interactive_(interactive) {
    sigemptyset(&set_);
    sigaddset(&set_, SIGINT);
    sigaddset(&set_, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &set_, nullptr);
    thread_ = std::thread([this] { Run(); });
  }
  ~InterruptWatcher() {
    pthread_kill(thread_.native_handle(), SIGUSR1);
    thread_.join();
  }

  // `context` is cancelled by an interrupt from now on; null: none runs.
  void SetAnswer(grpc::ClientContext* context) {
    std::lock_guard<std::mutex> lock(mutex_);
    answer_ = context;
  }

 private:
  void Run() {
    int number = 0;
    while (sigwait(&set_, &number) == 0 && number == SIGINT) {
      std::lock_guard<std::mutex> lock(mutex_);
      if (answer_ != nullptr) {
        answer_->TryCancel();
      } else if (interactive_) {
        std::printf("\n%s%s", kHelp, kPrompt);
        std::fflush(stdout);
      } else {
        _exit(130);
      }
    }
  }

  const bool interactive_;
  sigset_t set_;
  std::mutex mutex_;
  grpc::ClientContext* answer_ = nullptr;  // guarded by mutex_
  std::thread thread_;
};

v1::GenerateRequest MakeRequest(const Conversation& conversation, const ChatOptions& options) {
  v1::GenerateRequest request;
  for (const Turn& turn : conversation.turns()) {
    v1::ChatMessage* message = request.mutable_chat()->add_messages();
    message->set_role(turn.role);
    message->set_content(turn.content);
  }
  v1::SamplingParams* sampling = request.mutable_sampling();
  if (options.max_tokens > 0) sampling->set_max_tokens(static_cast<uint32_t>(options.max_tokens));
  if (options.temperature >= 0) sampling->set_temperature(static_cast<float>(options.temperature));
  if (options.seed >= 0) sampling->set_seed(static_cast<uint64_t>(options.seed));
  return request;
}

// Streams one answer to stdout and returns its text. An answer that was stopped is one as far as it
// came.
absl::StatusOr<std::string> Answer(const v1::GenerateRequest& request, v1::Inference::Stub* stub,
                                   InterruptWatcher* interrupts) {
  grpc::ClientContext context;
  interrupts->SetAnswer(&context);
  const auto stream = stub->Generate(&context, request);
  v1::GenerateEvent event;
  std::string text;
  bool cut = false;
  while (stream->Read(&event)) {
    if (event.finished().reason() == v1::FINISH_REASON_LENGTH) cut = true;
    if (event.delta().text().empty()) continue;
    text += event.delta().text();
    std::fputs(event.delta().text().c_str(), stdout);
    std::fflush(stdout);
  }
  const grpc::Status status = stream->Finish();
  interrupts->SetAnswer(nullptr);
  const bool stopped = status.error_code() == grpc::StatusCode::CANCELLED;
  std::printf("%s\n", stopped ? " [stopped]" : cut ? " [cut at max_tokens]" : "");
  std::fflush(stdout);
  if (!status.ok() && !stopped) return common::FromGrpcStatus(status);
  return text;
}

absl::Status Greet(const std::shared_ptr<grpc::Channel>& channel, const ChatOptions& options,
                   bool interactive) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(10));
  v1::GetModelInfoResponse info;
  const grpc::Status status =
      v1::Control::NewStub(channel)->GetModelInfo(&context, v1::GetModelInfoRequest(), &info);
  if (!status.ok()) {
    return absl::UnavailableError(absl::StrCat(
        "no server answers at ", options.address, " (", common::FromGrpcStatus(status).ToString(),
        "); start one with `quartet serve`, or name another one with --address"));
  }
  if (!info.has_chat_template()) {
    return absl::FailedPreconditionError(
        absl::StrCat("the model ", info.name(),
                     " has no chat template; it can only continue text (/v1/completions)"));
  }
  if (interactive) std::printf("%s at %s. %s", info.name().c_str(), options.address.c_str(), kHelp);
  return absl::OkStatus();
}

absl::Status Converse(const std::shared_ptr<grpc::Channel>& channel, const ChatOptions& options,
                      bool interactive, InterruptWatcher* interrupts) {
  const auto stub = v1::Inference::NewStub(channel);
  Conversation conversation(options.system);
  absl::Status last_error;
  std::string line;
  while (true) {
    if (interactive) std::fputs(kPrompt, stdout);
    std::fflush(stdout);
    if (!std::getline(std::cin, line)) break;
    switch (ClassifyLine(line)) {
      case LineKind::kEmpty:
        continue;
      case LineKind::kExit:
        return last_error;
      case LineKind::kReset:
        conversation.Reset();
        if (interactive) std::puts("forgotten");
        continue;
      case LineKind::kHelp:
        std::fputs(kHelp, stdout);
        continue;
      case LineKind::kUnknownCommand:
        std::fprintf(stderr, "no such command: %s. %s", line.c_str(), kHelp);
        continue;
      case LineKind::kMessage:
        break;
    }
    conversation.AddUser(line);
    const absl::StatusOr<std::string> answer =
        Answer(MakeRequest(conversation, options), stub.get(), interrupts);
    conversation.AddAssistant(answer.ok() ? *answer : "");
    last_error = answer.status();
    if (!answer.ok() && !interactive) return last_error;
    if (!answer.ok()) std::fprintf(stderr, "error: %s\n", answer.status().ToString().c_str());
  }
  if (interactive) std::puts("");
  return interactive ? absl::OkStatus() : last_error;
}

}  // namespace

absl::Status Chat(const Arguments& arguments) {
  ChatOptions options;
  FlagSet flags("chat", "[flags]",
                "Talks to a server in the terminal. A line is a message; lines from a pipe are "
                "answered one after the other.");
  flags.Add("address", &options.address, "Where the server's gRPC API is.");
  flags.Add("system", &options.system, "System prompt. Default: the model's own.");
  flags.Add("max_tokens", &options.max_tokens, "Longest answer; 0: the server's default.");
  flags.Add("temperature", &options.temperature,
            "Sampling temperature; negative: the model's own.");
  flags.Add("seed", &options.seed, "Seed of sampling; negative: a new one each time.");
  ASSIGN_OR_RETURN(const Arguments rest, flags.Parse(arguments));
  if (!rest.empty()) return absl::InvalidArgumentError(absl::StrCat("'", rest[0], "' is no flag"));

  const bool interactive = isatty(STDIN_FILENO) != 0;
  // Before gRPC starts its threads, so that none of them takes the signal.
  InterruptWatcher interrupts(interactive);
  const auto channel = grpc::CreateChannel(options.address, grpc::InsecureChannelCredentials());
  RETURN_IF_ERROR(Greet(channel, options, interactive));
  return Converse(channel, options, interactive, &interrupts);
}

}  // namespace quartet::cli
