// The memory that the ranks of one group share on one host, and how they wait for each other in it.
// What is exchanged is shared_memory_communicator's business.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace quartet::parallel {

struct SharedMemoryOptions {
  // For shm_open: starts with '/', no other '/'. A fresh one for each group.
  std::string name;
  // Of the group, not 0; a rank with another epoch is refused.
  uint64_t epoch = 0;
  int rank = 0;
  int world_size = 1;
  // Bytes of one of a rank's two slots, a multiple of 64. The segment holds 2 * (world_size + 1)
  // of them.
  int64_t slot_bytes = int64_t{1} << 20;
  // How long to wait for another rank: at the start,
  absl::Duration timeout = absl::Seconds(60);
  // and in each call later.
  absl::Duration call_timeout = absl::Seconds(60);
  // Asked again and again while this rank waits at the start; an error ends the waiting. May be
  // null.
  std::function<absl::Status()> check = nullptr;
};

// Takes away the names of segments that begin with `prefix` ("/quartet-...") and that leaders who
// were killed have left. REQUIRES: no living group forms under such a name.
void RemoveLeftoverSegments(const std::string& prefix);

// One thread at a time, except for Abort.
class SharedMemorySegment {
 public:
  // Rank 0 creates the segment, waits for the others and takes its name away, so that nothing is
  // left when the processes end; other ranks wait for rank 0. Returns UNAVAILABLE naming the rank
  // that did not come, FAILED_PRECONDITION naming both sides if epoch, world size or slot size
  // differ, RESOURCE_EXHAUSTED if shared memory has no room.
  static absl::StatusOr<std::unique_ptr<SharedMemorySegment>> Connect(
      const SharedMemoryOptions& options);
  // Rank 0's end retires the epoch: others that still wait get ABORTED.
  ~SharedMemorySegment();
  SharedMemorySegment(const SharedMemorySegment&) = delete;
  SharedMemorySegment& operator=(const SharedMemorySegment&) = delete;

  // This process's arrival number `arrival`, in order from 1: what it wrote before is seen by ranks
  // that wait for it.
  void Arrive(uint32_t arrival);
  // Waits for another rank's arrival.
  absl::Status WaitFor(int rank, uint32_t arrival);
  // OK, or why this rank may not go on.
  absl::Status Check() const;
  // Any thread.
  void Abort() { aborted_ = true; }
  // The rank that WaitFor sleeps for, or -1. Any thread.
  int waiting_for() const { return waiting_for_; }

  // Slot `buffer` (0 or 1) of a rank: slot_bytes.
  char* Slot(int rank, int buffer) const;
  // What all ranks fill together, one part each: slot_bytes.
  char* Result(int buffer) const;

  const SharedMemoryOptions& options() const { return options_; }

 private:
  struct Header;

  explicit SharedMemorySegment(const SharedMemoryOptions& options) : options_(options) {}
  absl::Status Create();
  absl::Status Open();
  absl::Status Map(int fd);
  absl::Status CheckHeader() const;
  absl::Status WaitUntilAllAttached();
  // Pauses between two looks at what others do; an error is why to give up.
  absl::Status PauseAtStart() const;
  absl::Status SleepUntil(int rank, std::atomic<uint32_t>& word, uint32_t arrival);
  int64_t TotalBytes() const;

  const SharedMemoryOptions options_;
  Header* header_ = nullptr;
  std::atomic<bool> aborted_{false};
  std::atomic<int> waiting_for_{-1};
  bool named_ = false;  // the name still stands and is ours to take away
};

}  // namespace quartet::parallel
