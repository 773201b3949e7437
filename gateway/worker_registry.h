// The worker groups that this gateway knows of, and that they all serve the same model.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "gateway/event_loop.h"
#include "gateway/tokenizer.h"
#include "gateway/worker_client.h"
#include "gateway/worker_group.h"

namespace quartet::gateway {

// Used on the gateway's loop only, but for construction and destruction.
class WorkerRegistry {
 public:
  // One group an address.
  WorkerRegistry(const std::vector<std::string>& addresses, const std::string& gateway_id,
                 EventLoop* loop, WorkerGroupListener* listener);

  // Attaches to all groups as a gateway with this tokenizer.
  void SetTokenizer(const TokenizerInfo& tokenizer);

 private:
  // Refuses a group whose model is not that of the groups attached before it.
  absl::Status Accept(const std::string& address, const GroupInfo& info) const;

  std::vector<std::unique_ptr<WorkerClient>> clients_;
};

}  // namespace quartet::gateway
