// The worker groups that this gateway knows of, from a list and from DNS, and that they all serve
// the same model.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "gateway/event_loop.h"
#include "gateway/resolver.h"
#include "gateway/tokenizer.h"
#include "gateway/worker_client.h"
#include "gateway/worker_group.h"

namespace quartet::gateway {

// Where worker groups are.
struct WorkerTargets {
  struct Name {
    std::string host;
    std::string port;
  };
  // gRPC addresses, one a group.
  std::vector<std::string> addresses;
  // Names whose every address is a group.
  std::vector<Name> names;
};

// Reads entries as --worker_address has them: a gRPC address, or dns:///name:port for all groups
// behind a name. Returns INVALID_ARGUMENT with an entry that is neither.
absl::StatusOr<WorkerTargets> ParseWorkerTargets(const std::vector<std::string>& entries);

// Used on the gateway's loop only, but for construction and destruction. Names are resolved every
// few seconds and whenever a group is lost: groups that appear are attached; those that disappear
// are forgotten once their stream is gone. A name that can't be resolved changes nothing.
class WorkerRegistry : private WorkerGroupListener {
 public:
  // `resolver` may be nullptr if there are no names.
  WorkerRegistry(const WorkerTargets& targets, const std::string& gateway_id, EventLoop* loop,
                 WorkerGroupListener* listener, Resolver* resolver,
                 absl::Duration resolve_interval = absl::Seconds(5));
  // REQUIRES: the loop is stopped.
  ~WorkerRegistry() override = default;

  // Attaches to all groups as a gateway with this tokenizer. Nothing is tried before the first
  // call.
  void SetTokenizer(const TokenizerInfo& tokenizer);

  // The groups' addresses, attached or not.
  std::vector<std::string> addresses() const;

 private:
  struct Name {
    WorkerTargets::Name target;
    std::vector<std::string> addresses;  // The last good answer.
    bool resolving = false;
    uint64_t timer = 0;
    std::string last_error;
  };

  void OnAttached(WorkerGroup* group) override;
  void OnDetached(WorkerGroup* group, const absl::Status& why) override;
  void OnStep(WorkerGroup* group, std::vector<SequenceNews> news) override;
  void OnLoadChanged(WorkerGroup* group) override;

  void Resolve(Name* name);
  void OnResolved(Name* name, absl::StatusOr<std::vector<std::string>> addresses);
  // Makes clients_ what addresses_ and names_ say.
  void Update();
  // Refuses a group whose model is not that of the groups attached before it.
  absl::Status Accept(const std::string& address, const GroupInfo& info) const;

  const std::string gateway_id_;
  EventLoop* const loop_;
  WorkerGroupListener* const listener_;
  Resolver* const resolver_;
  const absl::Duration resolve_interval_;
  const std::set<std::string> addresses_;  // The listed ones.
  std::vector<std::unique_ptr<Name>> names_;
  std::optional<TokenizerInfo> tokenizer_;
  std::map<std::string, std::unique_ptr<WorkerClient>> clients_;  // By address.
};

}  // namespace quartet::gateway
