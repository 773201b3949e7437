// The JSON of GET /cluster: what runs and how busy it is, for the web page's third tab and for
// scripts.
#pragma once

#include <string>
#include <vector>

#include "absl/time/time.h"
#include "gateway/gateway.h"

namespace quartet::gateway::http {

struct ClusterFacts {
  absl::Duration uptime;
  int grpc_port = 0;  // 0: not known.
};

// `groups` as Gateway::ListGroups gives them. Counters only grow while a group is attached, so that
// a reader gets rates from two answers and their uptimes.
std::string ClusterStateJson(const ServerState& state, const std::vector<GroupState>& groups,
                             const ClusterFacts& facts);

}  // namespace quartet::gateway::http
