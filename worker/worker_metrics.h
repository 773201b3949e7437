// What the leader counts and times, in Prometheus' form, on a port of its own.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "quartet/worker/v1/worker.pb.h"
#include "worker/engine/engine.h"
#include "worker/grammar/grammar_compiler.h"

namespace quartet::worker_service {

// Thread-safe.
class WorkerMetrics {
 public:
  // Serves /metrics at `address`, "host:port", where port 0 picks a free one. Returns
  // INVALID_ARGUMENT or UNAVAILABLE with the address if it can't.
  static absl::StatusOr<std::unique_ptr<WorkerMetrics>> Serve(const std::string& address,
                                                              const std::string& model_name);
  ~WorkerMetrics();

  int port() const;

  void ObserveStep(const engine::StepTimes& times);
  // A grammar was compiled, or not, in this time.
  void ObserveGrammar(absl::Duration time);
  // Whose cache is told of from now on; it must outlive this object.
  void SetGrammars(const grammar::GrammarCompiler* compiler);
  // A group was formed anew after a loss.
  void ObserveRecovery(const worker::v1::RecoveryReport& report);
  // Whose counters and blocks are told from now on; null: nobody's. They count from zero again with
  // each engine, as Prometheus expects of a process that is started again.
  void SetEngine(std::shared_ptr<const engine::Engine> engine);

 private:
  struct Parts;
  explicit WorkerMetrics(std::unique_ptr<Parts> parts);

  const std::unique_ptr<Parts> parts_;
};

}  // namespace quartet::worker_service
