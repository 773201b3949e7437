// A follower's side of the group: joins the leader, then hands its plans to engine::RunFollower.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "quartet/worker/v1/group.grpc.pb.h"
#include "worker/engine/follower.h"

namespace quartet::worker_service {

// Join, WaitForGroup, Ready, Next and Done: one thread. Leave: any thread.
class GroupMember final : public engine::PlanSource {
 public:
  // Connects, saying every few seconds that it waits, and says what `hello` returns then. Returns
  // DEADLINE_EXCEEDED with the address if the leader doesn't come.
  static absl::StatusOr<std::unique_ptr<GroupMember>> Join(
      const std::string& leader_address, const std::function<worker::v1::RankHello()>& hello,
      absl::Duration timeout);
  ~GroupMember() override;

  // Waits for the group to form. Returns the leader's refusal, UNAVAILABLE if it goes away, ABORTED
  // if it starts anew, or DEADLINE_EXCEEDED.
  absl::StatusOr<worker::v1::GroupFormed> WaitForGroup(absl::Duration timeout);
  // Tells the leader that this rank can run steps. `on_end` is called, maybe from another thread,
  // when the stream has ended for whatever reason, but not after Leave. It must not call this
  // object.
  void Ready(const worker::v1::RankReport& report, std::function<void()> on_end);

  absl::StatusOr<engine::StepPlan> Next() override;
  void Done(uint64_t step, const absl::Status& status) override;

  // Why the stream has ended, or `otherwise` if it has not. Any thread.
  absl::Status end(const absl::Status& otherwise = absl::OkStatus());

  // Ends the stream; what waits here returns CANCELLED.
  void Leave();

 private:
  GroupMember() = default;
  void ReadLoop();

  std::unique_ptr<worker::v1::Group::Stub> stub_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderWriter<worker::v1::JoinRequest, worker::v1::LeaderCommand>>
      stream_;
  std::thread reader_;
  uint64_t epoch_ = 0;                             // of the group, once it has formed
  absl::Time next_report_ = absl::InfinitePast();  // of steps that went well, on the steady clock

  std::mutex mutex_;  // guards all below
  std::condition_variable changed_;
  std::deque<worker::v1::LeaderCommand> commands_;
  bool has_ended_ = false;
  absl::Status end_;
  std::function<void()> on_end_;
};

}  // namespace quartet::worker_service
