#include "worker/group_service.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/grpc_status.h"
#include "common/logging.h"
#include "common/status_macros.h"
#include "worker/engine/step_watchdog.h"
#include "worker/queued_stream.h"
#include "worker/wire_conversion.h"

namespace quartet::worker_service {

namespace proto = worker::v1;

namespace {

// How often the leader says for whom it waits.
constexpr absl::Duration kReportInterval = absl::Seconds(5);

}  // namespace

// One follower.
class JoinStream final : public QueuedStream<proto::JoinRequest, proto::LeaderCommand> {
 public:
  JoinStream(GroupService* service, grpc::CallbackServerContext* context)
      : QueuedStream(context), service_(service) {}

 private:
  grpc::Status OnMessage(const proto::JoinRequest& request) override {
    if (request.has_hello() == (rank_ != 0)) {
      return {grpc::StatusCode::INVALID_ARGUMENT, "the first message, and no other, is a hello"};
    }
    if (request.has_hello()) {
      const absl::Status status = service_->AddMember(
          request.hello(), std::static_pointer_cast<JoinStream>(shared_from_this()));
      if (!status.ok()) return common::ToGrpcStatus(status);
      rank_ = request.hello().rank();
    } else if (request.has_step_done()) {
      service_->OnStepDone(rank_, this, request.step_done());
    }
    return grpc::Status::OK;
  }

  void OnEnd() override {
    if (rank_ != 0) service_->OnLeft(rank_, this);
  }

  GroupService* const service_;
  uint32_t rank_ = 0;  // 0: not joined yet
};

GroupService::GroupService(uint32_t world_size, OnLost on_lost)
    : world_size_(world_size), on_lost_(std::move(on_lost)) {}

GroupService::~GroupService() = default;

grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* GroupService::Join(
    grpc::CallbackServerContext* context) {
  const auto stream = std::make_shared<JoinStream>(this, context);
  stream->Begin();
  return stream.get();
}

absl::Status GroupService::Compare(const proto::RankHello& hello) const {
  const auto differ = [&](absl::string_view what, const absl::AlphaNum& theirs,
                          const absl::AlphaNum& ours) {
    return absl::FailedPreconditionError(absl::StrCat(what, " of rank ", hello.rank(), " is ",
                                                      theirs, ", the leader's is ", ours,
                                                      "; start all ranks with the same flags"));
  };
  if (hello.build() != identity_.build) return differ("the build", hello.build(), identity_.build);
  if (hello.model_hash() != identity_.model_hash) {
    return differ("the model", hello.model_hash(), identity_.model_hash);
  }
  if (hello.numerics_id() != identity_.numerics_id) {
    return differ("the numerics", hello.numerics_id(), identity_.numerics_id);
  }
  return absl::OkStatus();
}

absl::Status GroupService::AddMember(const proto::RankHello& hello,
                                     std::shared_ptr<JoinStream> stream) {
  std::lock_guard<std::mutex> lock(mutex_);
  if (is_closed_) return absl::CancelledError("the leader is stopping");
  if (hello.world_size() != world_size_ || hello.rank() < 1 || hello.rank() >= world_size_) {
    return absl::FailedPreconditionError(
        absl::StrCat("rank ", hello.rank(), " was started for world size ", hello.world_size(),
                     ", the leader for ", world_size_));
  }
  // Perhaps the leader has yet to notice that the other one is gone.
  const auto other = members_.find(hello.rank());
  if (other != members_.end()) {
    return absl::AlreadyExistsError(absl::StrCat("rank ", hello.rank(),
                                                 " has joined already, as process ",
                                                 other->second.hello.report().pid()));
  }
  if (is_formed_) {
    return absl::UnavailableError(absl::StrCat("the group of epoch ", epoch_, " is just ending"));
  }
  // Before the leader has loaded its own part there is nothing to compare with.
  if (knows_identity_) RETURN_IF_ERROR(Compare(hello));
  members_[hello.rank()] = {std::move(stream), hello, engine::SteadyNow(), knows_identity_, false,
                            hello.report(),    0};
  common::LogInfo("rank joined", {{"rank", hello.rank()},
                                  {"pid", hello.report().pid()},
                                  {"last_epoch", hello.last_epoch()},
                                  {"max_kv_blocks", hello.max_kv_blocks()},
                                  {"held_kv_blocks", hello.held_kv_blocks()}});
  changed_.notify_all();
  return absl::OkStatus();
}

std::string GroupService::Missing(const std::function<bool(const Member&)>& has) const {
  std::vector<uint32_t> missing;
  for (uint32_t rank = 1; rank < world_size_; ++rank) {
    const auto it = members_.find(rank);
    if (it == members_.end() || !has(it->second)) missing.push_back(rank);
  }
  return absl::StrJoin(missing, ", ");
}

absl::Status GroupService::WaitForAll(Lock* lock, const char* what, absl::Duration timeout,
                                      const std::function<bool(const Member&)>& has) {
  const absl::Time deadline = engine::SteadyNow() + timeout;
  const auto is_over = [&] { return is_closed_ || !lost_.ok() || Missing(has).empty(); };
  while (!changed_.wait_for(*lock, absl::ToChronoMilliseconds(std::min(kReportInterval, timeout)),
                            is_over)) {
    common::LogInfo(what, {{"ranks", Missing(has)}, {"world_size", world_size_}});
    if (engine::SteadyNow() < deadline) continue;
    return absl::DeadlineExceededError(absl::StrCat(what, " ", Missing(has), " of ", world_size_,
                                                    " for ", absl::FormatDuration(timeout),
                                                    "; giving up (--group_timeout)"));
  }
  if (is_closed_) return absl::CancelledError("the worker is stopping");
  return lost_;
}

absl::StatusOr<std::vector<JoinedRank>> GroupService::WaitForRanks(const GroupIdentity& identity,
                                                                   absl::Duration timeout) {
  Lock lock(mutex_);
  identity_ = identity;
  knows_identity_ = true;
  for (auto it = members_.begin(); it != members_.end();) {
    const absl::Status status = Compare(it->second.hello);
    it->second.is_accepted = status.ok();
    if (status.ok()) {
      ++it;
      continue;
    }
    common::LogWarning("rank refused", {{"rank", it->first}, {"why", status.message()}});
    const std::shared_ptr<JoinStream> stream = std::move(it->second.stream);
    it = members_.erase(it);
    lock.unlock();
    stream->Close(common::ToGrpcStatus(status));
    lock.lock();
    it = members_.begin();
  }
  RETURN_IF_ERROR(WaitForAll(&lock, "waiting for ranks", timeout,
                             [](const Member& member) { return member.is_accepted; }));
  is_formed_ = true;
  std::vector<JoinedRank> ranks;
  for (const auto& [rank, member] : members_) ranks.push_back({member.hello, member.joined_at});
  return ranks;
}

std::vector<std::shared_ptr<JoinStream>> GroupService::Streams() {
  std::lock_guard<std::mutex> lock(mutex_);
  std::vector<std::shared_ptr<JoinStream>> streams;
  for (const auto& [rank, member] : members_) streams.push_back(member.stream);
  return streams;
}

void GroupService::Form(const proto::GroupFormed& formed) {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    epoch_ = formed.epoch();
  }
  proto::LeaderCommand command;
  *command.mutable_formed() = formed;
  for (const auto& stream : Streams()) stream->Write(command);
}

absl::StatusOr<std::vector<proto::RankReport>> GroupService::WaitUntilReady(
    absl::Duration timeout) {
  Lock lock(mutex_);
  RETURN_IF_ERROR(WaitForAll(&lock, "waiting until ready: ranks", timeout,
                             [](const Member& member) { return member.is_ready; }));
  std::vector<proto::RankReport> reports;
  for (const auto& [rank, member] : members_) reports.push_back(member.report);
  return reports;
}

absl::Status GroupService::Broadcast(const engine::StepPlan& plan) {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    RETURN_IF_ERROR(lost_);
  }
  step_command_.mutable_step()->Clear();
  ToProto(plan, step_command_.mutable_step());
  const grpc::ByteBuffer bytes = Serialize(step_command_);
  for (const auto& stream : Streams()) stream->WriteBytes(bytes);
  return absl::OkStatus();
}

GroupService::Member* GroupService::Find(uint32_t rank, const JoinStream* stream) {
  const auto it = members_.find(rank);
  return it != members_.end() && it->second.stream.get() == stream ? &it->second : nullptr;
}

void GroupService::OnStepDone(uint32_t rank, const JoinStream* stream,
                              const proto::StepDone& done) {
  Lock lock(mutex_);
  Member* const member = Find(rank, stream);
  if (member == nullptr || !is_formed_ || done.epoch() != epoch_) return;
  if (!done.error().empty()) {
    Lose(std::move(lock), absl::UnavailableError(absl::StrCat("rank ", rank, " failed in step ",
                                                              done.step(), ": ", done.error())));
    return;
  }
  if (done.step() == 0) {
    member->is_ready = true;
    member->report = done.report();
    changed_.notify_all();
  }
  member->last_step = done.step();
}

void GroupService::OnLeft(uint32_t rank, const JoinStream* stream) {
  Lock lock(mutex_);
  const Member* const member = Find(rank, stream);
  if (member == nullptr) return;
  const absl::Status why =
      absl::UnavailableError(absl::StrCat("rank ", rank, " (pid ", member->hello.report().pid(),
                                          ") of this worker group has gone away"));
  if (is_formed_) {
    Lose(std::move(lock), why);
    return;
  }
  // It may come back; the leader goes on waiting for it.
  members_.erase(rank);
  changed_.notify_all();
  if (!is_closed_) common::LogWarning(why.message());
}

void GroupService::Lose(Lock lock, const absl::Status& why) {
  if (is_closed_ || !lost_.ok()) return;
  lost_ = why;
  changed_.notify_all();
  const uint64_t epoch = epoch_;
  lock.unlock();
  common::LogError("rank lost", {{"why", why.message()}});
  on_lost_(epoch, why);
}

absl::Status GroupService::lost() {
  std::lock_guard<std::mutex> lock(mutex_);
  return lost_;
}

void GroupService::End(const absl::Status& why) {
  std::map<uint32_t, Member> members;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    members.swap(members_);
    is_formed_ = false;
    lost_ = absl::OkStatus();
  }
  for (const auto& [rank, member] : members) {
    member.stream->Close(grpc::Status(grpc::StatusCode::ABORTED,
                                      absl::StrCat("the group is over: ", why.message())));
  }
}

std::string GroupService::DescribeProgress() {
  std::lock_guard<std::mutex> lock(mutex_);
  std::vector<std::string> parts;
  for (const auto& [rank, member] : members_) {
    parts.push_back(absl::StrCat("rank ", rank, " has done step ", member.last_step));
  }
  return parts.empty() ? "there are no other ranks" : absl::StrJoin(parts, ", ");
}

void GroupService::Close() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    is_closed_ = true;
    changed_.notify_all();
  }
  for (const auto& stream : Streams()) {
    stream->Close(grpc::Status(grpc::StatusCode::CANCELLED, "the leader is stopping"));
  }
}

}  // namespace quartet::worker_service
