#include "worker/group_member.h"

#include <grpcpp/create_channel.h>

#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/grpc_status.h"
#include "common/logging.h"
#include "worker/engine/step_watchdog.h"
#include "worker/wire_conversion.h"

namespace quartet::worker_service {
namespace {

namespace proto = worker::v1;

constexpr std::chrono::seconds kReportInterval(5);
// A leader whose host is gone sends nothing, not even an end.
constexpr int kKeepaliveMs = 20'000;
constexpr absl::Duration kStepReportInterval = absl::Seconds(1);

absl::Status WaitForLeader(grpc::Channel* channel, const std::string& address,
                           absl::Duration timeout) {
  const absl::Time deadline = engine::SteadyNow() + timeout;
  while (!channel->WaitForConnected(std::chrono::system_clock::now() + kReportInterval)) {
    common::LogInfo("waiting for the leader", {{"address", address}});
    if (engine::SteadyNow() < deadline) continue;
    return absl::DeadlineExceededError(
        absl::StrCat("no leader answered at ", address, " within ", absl::FormatDuration(timeout),
                     "; does rank 0 run, and is --leader_address its --address?"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<GroupMember>> GroupMember::Join(
    const std::string& leader_address, const std::function<proto::RankHello()>& hello,
    absl::Duration timeout) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(-1);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 1000);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 250);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveMs);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepaliveMs);
  const std::shared_ptr<grpc::Channel> channel =
      grpc::CreateCustomChannel(leader_address, grpc::InsecureChannelCredentials(), arguments);
  const absl::Status connected = WaitForLeader(channel.get(), leader_address, timeout);
  if (!connected.ok()) return connected;

  std::unique_ptr<GroupMember> member(new GroupMember());
  member->stub_ = proto::Group::NewStub(channel);
  member->stream_ = member->stub_->Join(&member->context_);
  proto::JoinRequest request;
  *request.mutable_hello() = hello();
  member->stream_->Write(request);  // if it fails the reader learns why
  member->reader_ = std::thread([raw = member.get()] { raw->ReadLoop(); });
  return member;
}

GroupMember::~GroupMember() {
  Leave();
  if (reader_.joinable()) reader_.join();
}

void GroupMember::ReadLoop() {
  proto::LeaderCommand command;
  while (stream_->Read(&command)) {
    std::lock_guard<std::mutex> lock(mutex_);
    commands_.push_back(std::move(command));
    changed_.notify_all();
  }
  absl::Status status = common::FromGrpcStatus(stream_->Finish());
  if (status.ok()) status = absl::CancelledError("the leader ended the group");
  if (absl::IsUnavailable(status)) {
    status = absl::UnavailableError(absl::StrCat("the leader has gone away: ", status.message()));
  }
  std::lock_guard<std::mutex> lock(mutex_);
  has_ended_ = true;
  end_ = status;
  changed_.notify_all();
  // Under the lock: whoever has called Leave may give up what on_end works on.
  if (on_end_) on_end_();
}

absl::StatusOr<proto::GroupFormed> GroupMember::WaitForGroup(absl::Duration timeout) {
  const absl::Time deadline = engine::SteadyNow() + timeout;
  std::unique_lock<std::mutex> lock(mutex_);
  while (!changed_.wait_for(lock, kReportInterval,
                            [this] { return has_ended_ || !commands_.empty(); })) {
    common::LogInfo("waiting for the group to form");
    if (engine::SteadyNow() < deadline) continue;
    return absl::DeadlineExceededError(absl::StrCat(
        "the group did not form within ", absl::FormatDuration(timeout), " (--group_timeout)"));
  }
  if (commands_.empty()) return end_;
  const proto::LeaderCommand command = std::move(commands_.front());
  commands_.pop_front();
  if (!command.has_formed()) return absl::InternalError("the leader sent a step before the group");
  epoch_ = command.formed().epoch();
  return command.formed();
}

void GroupMember::Ready(const proto::RankReport& report, std::function<void()> on_end) {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (has_ended_) {
      on_end();
    } else {
      on_end_ = std::move(on_end);
    }
  }
  proto::JoinRequest request;
  *request.mutable_step_done()->mutable_report() = report;
  request.mutable_step_done()->set_epoch(epoch_);
  stream_->Write(request);
}

absl::StatusOr<engine::StepPlan> GroupMember::Next() {
  std::unique_lock<std::mutex> lock(mutex_);
  // No time limit: an idle leader sends nothing, and a dead one ends the stream.
  changed_.wait(lock, [this] { return has_ended_ || !commands_.empty(); });
  if (commands_.empty()) return end_;
  const proto::LeaderCommand command = std::move(commands_.front());
  commands_.pop_front();
  lock.unlock();
  if (!command.has_step()) return absl::InternalError("the leader sent something else than a step");
  return ToStepPlan(command.step());
}

void GroupMember::Done(uint64_t step, const absl::Status& status) {
  // The leader needs no news of each step: the ranks meet in the step itself, and what it wants to
  // know when one hangs may be some steps old.
  const absl::Time now = engine::SteadyNow();
  if (status.ok() && now < next_report_) return;
  next_report_ = now + kStepReportInterval;
  proto::JoinRequest request;
  request.mutable_step_done()->set_step(step);
  request.mutable_step_done()->set_epoch(epoch_);
  if (!status.ok()) request.mutable_step_done()->set_error(std::string(status.message()));
  stream_->Write(request);
}

absl::Status GroupMember::end(const absl::Status& otherwise) {
  std::lock_guard<std::mutex> lock(mutex_);
  return has_ended_ ? end_ : otherwise;
}

void GroupMember::Leave() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    on_end_ = nullptr;
  }
  context_.TryCancel();
}

}  // namespace quartet::worker_service
