// What other threads want of the engine, until its loop takes it in: bounded where clients could
// fill it.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "worker/engine/engine_load.h"
#include "worker/engine/sequence.h"

namespace quartet::engine {

struct InboxLimits {
  int64_t max_waiting = 0;         // sequences, those that wait in the scheduler among them
  int64_t max_waiting_tokens = 0;  // that they begin with
};

// Thread-safe. Take, Wait and Publish: the engine's thread alone.
class Inbox {
 public:
  struct Cancel {
    SequenceKey key;
  };
  struct Detach {
    uint64_t client_id;
  };
  using Command = std::variant<SequenceRequest, Cancel, Detach>;

  explicit Inbox(const InboxLimits& limits) : limits_(limits) {}

  // Returns RESOURCE_EXHAUSTED with the numbers if too much waits, or why the engine has failed.
  absl::Status Submit(SequenceRequest request);
  void Push(Command command);
  void Probe();
  // The first reason counts.
  void Fail(const absl::Status& why);
  void Stop();

  // Waits until there is something to do, which there is at once if the loop `has_work` of its own.
  // False if the loop is to stop.
  bool Wait(bool has_work);
  std::vector<Command> Take();
  // Whether a probe is wanted; it is not any more.
  bool TakeProbe();
  absl::Status failure() const;

  // What load() answers from now on, what waits here added.
  void Publish(const EngineLoad& load);
  EngineLoad load() const;

 private:
  const InboxLimits limits_;
  mutable std::mutex mutex_;  // guards all below
  std::condition_variable changed_;
  std::vector<Command> commands_;
  int64_t num_submitted_ = 0;  // sequences in commands_
  int64_t num_submitted_tokens_ = 0;
  bool probe_wanted_ = false;
  bool is_stopping_ = false;
  absl::Status failure_;
  EngineLoad load_;
};

}  // namespace quartet::engine
