#include "gateway/worker_registry.h"

#include "absl/strings/str_cat.h"

namespace quartet::gateway {

WorkerRegistry::WorkerRegistry(const std::vector<std::string>& addresses,
                               const std::string& gateway_id, EventLoop* loop,
                               WorkerGroupListener* listener) {
  for (const std::string& address : addresses) {
    clients_.push_back(std::make_unique<WorkerClient>(
        address, gateway_id, loop, listener,
        [this](const std::string& from, const GroupInfo& info) { return Accept(from, info); }));
  }
}

void WorkerRegistry::SetTokenizer(const TokenizerInfo& tokenizer) {
  for (const auto& client : clients_) client->SetTokenizer(tokenizer);
}

absl::Status WorkerRegistry::Accept(const std::string& address, const GroupInfo& info) const {
  for (const auto& client : clients_) {
    if (!client->attached() || client->info().model_hash == info.model_hash) continue;
    return absl::FailedPreconditionError(
        absl::StrCat("the worker at ", address, " serves a model with hash ", info.model_hash,
                     ", the one at ", client->address(), " one with hash ",
                     client->info().model_hash, "; all groups of a gateway must serve the same"));
  }
  return absl::OkStatus();
}

}  // namespace quartet::gateway
