// The leader's gRPC face towards the other ranks of its group: they join, the group forms, and each
// step's plan goes out to them. Notices when one of them dies.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "quartet/worker/v1/group.grpc.pb.h"
#include "worker/engine/step_plan.h"

namespace quartet::worker_service {

class JoinStream;

// Join is raw: see queued_stream.h.
using GroupServiceBase = worker::v1::Group::WithRawCallbackMethod_Join<worker::v1::Group::Service>;

// What must be equal on all ranks.
struct GroupIdentity {
  uint32_t world_size = 1;
  std::string build;
  std::string model_hash;
  std::string numerics_id;
};

// Thread-safe.
class GroupService final : public GroupServiceBase {
 public:
  // `on_lost` is called once, from a gRPC thread, when a rank of the formed group goes away or
  // fails, with UNAVAILABLE naming it.
  GroupService(uint32_t world_size, std::function<void(const absl::Status&)> on_lost);
  ~GroupService() override;

  // Waits until ranks 1 to world_size - 1 have joined, saying every few seconds who is missing.
  // Ranks that differ from `identity` are refused. Returns what they said in order of rank, or
  // DEADLINE_EXCEEDED naming the missing ones, or CANCELLED after Close.
  absl::StatusOr<std::vector<worker::v1::RankHello>> WaitForRanks(const GroupIdentity& identity,
                                                                  absl::Duration timeout);
  // Tells all ranks that the group is there.
  void Form(const worker::v1::GroupFormed& formed);
  // Waits until all ranks are ready to run; their reports in order of rank. Errors as above, or
  // UNAVAILABLE if a rank was lost.
  absl::StatusOr<std::vector<worker::v1::RankReport>> WaitUntilReady(absl::Duration timeout);

  // Sends a plan to all ranks. Returns UNAVAILABLE if a rank was lost. One thread.
  absl::Status Broadcast(const engine::StepPlan& plan);
  // "rank 1 has done step 7, rank 2 step 6": for the log when a step hangs.
  std::string DescribeProgress();
  // Ends all streams; lost ranks are no news from now on.
  void Close();

 private:
  friend class JoinStream;
  struct Member {
    std::shared_ptr<JoinStream> stream;
    worker::v1::RankHello hello;
    bool is_accepted = false;  // compared with the leader's identity
    bool is_ready = false;
    worker::v1::RankReport report;
    uint64_t last_step = 0;
  };
  using Lock = std::unique_lock<std::mutex>;

  grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* Join(
      grpc::CallbackServerContext* context) override;
  // Called by the streams.
  absl::Status AddMember(const worker::v1::RankHello& hello, std::shared_ptr<JoinStream> stream);
  void OnStepDone(uint32_t rank, const worker::v1::StepDone& done);
  void OnLeft(uint32_t rank, const JoinStream* stream);

  void Lose(const absl::Status& why);
  absl::Status Compare(const worker::v1::RankHello& hello) const;
  std::vector<std::shared_ptr<JoinStream>> Streams();
  // Ranks of which `has` is false, as text.
  std::string Missing(const std::function<bool(const Member&)>& has) const;
  absl::Status WaitForAll(Lock* lock, const char* what, absl::Duration timeout,
                          const std::function<bool(const Member&)>& has);

  const uint32_t world_size_;
  const std::function<void(const absl::Status&)> on_lost_;

  // Broadcast's own: a message that is used again needs no memory.
  worker::v1::LeaderCommand step_command_;

  std::mutex mutex_;  // guards all below
  std::condition_variable changed_;
  bool knows_identity_ = false;
  GroupIdentity identity_;
  std::map<uint32_t, Member> members_;
  bool is_formed_ = false;
  bool is_closed_ = false;
  absl::Status lost_;
};

}  // namespace quartet::worker_service
