// The leader's gRPC face towards the other ranks of its group: they join, the group forms, and each
// step's plan goes out to them. Notices when one of them dies; then the group is over and the next
// one forms from those that are left and those that come.
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

// A rank that has joined.
struct JoinedRank {
  worker::v1::RankHello hello;
  absl::Time joined_at;  // SteadyNow()
};

// Thread-safe. WaitForRanks, Form, WaitUntilReady, Broadcast and End follow each other, again and
// again; a rank of an ended group can't be heard in the next one.
class GroupService final : public GroupServiceBase {
 public:
  using OnLost = std::function<void(uint64_t epoch, const absl::Status& why)>;

  // `on_lost` is called once an epoch, from a gRPC thread, when a rank of the formed group goes
  // away or fails, with UNAVAILABLE naming it.
  GroupService(uint32_t world_size, OnLost on_lost);
  ~GroupService() override;

  // Waits until ranks 1 to world_size - 1 have joined, saying every few seconds who is missing.
  // Ranks that differ from `identity` are refused. Returns what they said in order of rank, or
  // DEADLINE_EXCEEDED naming the missing ones, or CANCELLED after Close. Ranks that come later are
  // told to come again.
  absl::StatusOr<std::vector<JoinedRank>> WaitForRanks(const GroupIdentity& identity,
                                                       absl::Duration timeout);
  // Tells all ranks that the group is there.
  void Form(const worker::v1::GroupFormed& formed);
  // Waits until all ranks are ready to run; their reports in order of rank. Errors as above, or
  // UNAVAILABLE if a rank was lost.
  absl::StatusOr<std::vector<worker::v1::RankReport>> WaitUntilReady(absl::Duration timeout);

  // Sends a plan to all ranks. Returns UNAVAILABLE if a rank was lost. One thread.
  absl::Status Broadcast(const engine::StepPlan& plan);
  // Ends the group: all its ranks are told why and are to join anew.
  void End(const absl::Status& why);
  // Why the group can't go on; OK if it can.
  absl::Status lost();
  // "rank 1 has done step 7, rank 2 step 6": for the log when a step hangs.
  std::string DescribeProgress();
  // Ends all streams; lost ranks are no news from now on.
  void Close();

 private:
  friend class JoinStream;
  struct Member {
    std::shared_ptr<JoinStream> stream;
    worker::v1::RankHello hello;
    absl::Time joined_at;
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
  void OnStepDone(uint32_t rank, const JoinStream* stream, const worker::v1::StepDone& done);
  void OnLeft(uint32_t rank, const JoinStream* stream);

  // The member whose stream it is, or null if it is none any more.
  Member* Find(uint32_t rank, const JoinStream* stream);
  void Lose(Lock lock, const absl::Status& why);
  absl::Status Compare(const worker::v1::RankHello& hello) const;
  std::vector<std::shared_ptr<JoinStream>> Streams();
  // Ranks of which `has` is false, as text.
  std::string Missing(const std::function<bool(const Member&)>& has) const;
  absl::Status WaitForAll(Lock* lock, const char* what, absl::Duration timeout,
                          const std::function<bool(const Member&)>& has);

  const uint32_t world_size_;
  const OnLost on_lost_;

  // Broadcast's own: a message that is used again needs no memory.
  worker::v1::LeaderCommand step_command_;

  std::mutex mutex_;  // guards all below
  std::condition_variable changed_;
  bool knows_identity_ = false;
  GroupIdentity identity_;
  std::map<uint32_t, Member> members_;
  bool is_formed_ = false;  // all are there; from then on until End
  uint64_t epoch_ = 0;      // of the group that was formed last
  bool is_closed_ = false;
  absl::Status lost_;
};

}  // namespace quartet::worker_service
