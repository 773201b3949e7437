#include "gateway/http/cluster_state.h"

#include <nlohmann/json.hpp>

#include "common/version.h"
#include "gateway/http/json_body.h"

namespace quartet::gateway::http {
namespace {

using json = nlohmann::ordered_json;

json Model(const ServerState& state) {
  if (state.model == nullptr) return nullptr;
  return {{"name", state.model->name},
          {"architecture", state.group.architecture},
          {"num_parameters", state.group.num_parameters},
          {"max_model_len", state.model->max_model_len},
          {"vocab_size", state.group.vocab_size},
          {"has_chat_template", state.model->has_chat_template}};
}

json Group(const GroupState& group) {
  json ranks = json::array();
  for (const RankReport& rank : group.info.ranks) {
    ranks.push_back({{"rank", rank.rank},
                     {"pid", rank.pid},
                     {"weight_bytes", rank.weight_bytes},
                     {"kv_cache_bytes", rank.kv_cache_bytes},
                     {"peak_rss_bytes", rank.peak_rss_bytes}});
  }
  return {{"address", group.address},
          {"build", group.info.build},
          {"device", group.info.device},
          {"numerics_id", group.info.numerics_id},
          {"healthy", group.healthy},
          {"draining", group.draining},
          {"num_running", group.load.num_running},
          {"num_waiting", group.load.num_waiting},
          {"num_used_kv_blocks", group.load.num_used_kv_blocks},
          {"num_kv_blocks", group.load.num_kv_blocks},
          {"kv_block_tokens", group.info.kv_block_tokens},
          {"generated_tokens", group.num_tokens},
          {"ranks", std::move(ranks)}};
}

}  // namespace

std::string ClusterStateJson(const ServerState& state, const std::vector<GroupState>& groups,
                             const ClusterFacts& facts) {
  json body = {
      {"version", common::kVersion},  {"uptime_seconds", absl::ToDoubleSeconds(facts.uptime)},
      {"serving", state.serving},     {"reason", state.reason},
      {"grpc_port", facts.grpc_port}, {"model", Model(state)},
      {"groups", json::array()}};
  for (const GroupState& group : groups) body["groups"].push_back(Group(group));
  return Dump(body);
}

}  // namespace quartet::gateway::http
