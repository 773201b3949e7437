#include "gateway/worker_registry.h"

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "common/logging.h"

namespace quartet::gateway {
namespace {

constexpr char kDnsPrefix[] = "dns:///";

absl::StatusOr<WorkerTargets::Name> ParseName(const std::string& entry) {
  const absl::string_view rest = absl::StripPrefix(entry, kDnsPrefix);
  const size_t colon = rest.rfind(':');
  int port = 0;
  if (!absl::StartsWith(entry, kDnsPrefix) || colon == absl::string_view::npos || colon == 0 ||
      !absl::SimpleAtoi(rest.substr(colon + 1), &port) || port < 1 || port > 65535) {
    return absl::InvalidArgumentError(absl::StrCat(
        "--worker_address has the entry '", entry,
        "', which must be dns:///name:port, e.g. dns:///quartet-workers.default.svc:50052"));
  }
  return WorkerTargets::Name{std::string(rest.substr(0, colon)), absl::StrCat(port)};
}

}  // namespace

absl::StatusOr<WorkerTargets> ParseWorkerTargets(const std::vector<std::string>& entries) {
  WorkerTargets targets;
  for (const std::string& entry : entries) {
    if (!absl::StartsWith(entry, "dns:")) {
      targets.addresses.push_back(entry);
      continue;
    }
    absl::StatusOr<WorkerTargets::Name> name = ParseName(entry);
    if (!name.ok()) return name.status();
    targets.names.push_back(*std::move(name));
  }
  return targets;
}

WorkerRegistry::WorkerRegistry(const WorkerTargets& targets, const std::string& gateway_id,
                               EventLoop* loop, WorkerGroupListener* listener, Resolver* resolver,
                               absl::Duration resolve_interval)
    : gateway_id_(gateway_id),
      loop_(loop),
      listener_(listener),
      resolver_(resolver),
      resolve_interval_(resolve_interval),
      addresses_(targets.addresses.begin(), targets.addresses.end()) {
  for (const WorkerTargets::Name& target : targets.names) {
    names_.push_back(std::make_unique<Name>());
    names_.back()->target = target;
  }
}

void WorkerRegistry::SetTokenizer(const TokenizerInfo& tokenizer) {
  const bool first = !tokenizer_.has_value();
  tokenizer_ = tokenizer;
  for (const auto& [address, client] : clients_) client->SetTokenizer(tokenizer);
  if (!first) return;
  Update();
  for (const auto& name : names_) Resolve(name.get());
}

std::vector<std::string> WorkerRegistry::addresses() const {
  std::vector<std::string> all;
  for (const auto& [address, client] : clients_) all.push_back(address);
  return all;
}

void WorkerRegistry::Resolve(Name* name) {
  if (std::exchange(name->resolving, true)) return;
  loop_->CancelTimer(std::exchange(name->timer, 0));
  resolver_->Resolve(name->target.host, name->target.port,
                     [this, name](absl::StatusOr<std::vector<std::string>> addresses) {
                       OnResolved(name, std::move(addresses));
                     });
}

void WorkerRegistry::OnResolved(Name* name, absl::StatusOr<std::vector<std::string>> addresses) {
  name->resolving = false;
  name->timer = loop_->PostAfter(resolve_interval_, [this, name] {
    name->timer = 0;
    Resolve(name);
  });
  if (!addresses.ok()) {
    // Said once: while a name server is away the same error comes back every few seconds.
    std::string error = addresses.status().ToString();
    if (error != name->last_error) {
      common::LogWarning("can't find worker groups, trying again",
                         {{"name", name->target.host}, {"error", error}});
    }
    name->last_error = std::move(error);
    return;
  }
  name->last_error.clear();
  if (*addresses == name->addresses) return;
  common::LogInfo("worker groups found",
                  {{"name", name->target.host}, {"addresses", absl::StrJoin(*addresses, ",")}});
  name->addresses = *std::move(addresses);
  Update();
}

void WorkerRegistry::Update() {
  std::set<std::string> wanted = addresses_;
  for (const auto& name : names_) wanted.insert(name->addresses.begin(), name->addresses.end());
  for (const std::string& address : wanted) {
    std::unique_ptr<WorkerClient>& client = clients_[address];
    if (client != nullptr) {
      client->SetWanted();
      continue;
    }
    client = std::make_unique<WorkerClient>(
        address, gateway_id_, loop_, static_cast<WorkerGroupListener*>(this),
        [this](const std::string& from, const GroupInfo& info) { return Accept(from, info); });
    client->SetTokenizer(*tokenizer_);
  }
  for (const auto& [address, client] : clients_) {
    if (wanted.count(address) > 0) continue;
    client->SetUnwanted([this, address = address] {
      common::LogInfo("worker group forgotten: its name has it no more", {{"address", address}});
      clients_.erase(address);
    });
  }
}

absl::Status WorkerRegistry::Accept(const std::string& address, const GroupInfo& info) const {
  for (const auto& [other, client] : clients_) {
    if (!client->attached() || client->info().model_hash == info.model_hash) continue;
    return absl::FailedPreconditionError(
        absl::StrCat("the worker at ", address, " serves a model with hash ", info.model_hash,
                     ", the one at ", other, " one with hash ", client->info().model_hash,
                     "; all groups of a gateway must serve the same"));
  }
  return absl::OkStatus();
}

void WorkerRegistry::OnAttached(WorkerGroup* group) { listener_->OnAttached(group); }

void WorkerRegistry::OnDetached(WorkerGroup* group, const absl::Status& why) {
  listener_->OnDetached(group, why);
  // Its successor may already be there, at another address.
  for (const auto& name : names_) Resolve(name.get());
}

void WorkerRegistry::OnStep(WorkerGroup* group, std::vector<SequenceNews> news) {
  listener_->OnStep(group, std::move(news));
}

void WorkerRegistry::OnLoadChanged(WorkerGroup* group) { listener_->OnLoadChanged(group); }

}  // namespace quartet::gateway
