// Responses and chat completions that clients may come back to, in memory: what a restart or newer
// ones push out is gone.
#pragma once

#include <cstddef>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

namespace quartet::gateway::http {

struct StoredResponse {
  std::string id;
  // Nobody else sees it.
  std::string tenant;
  // The response's JSON.
  std::string body;
  // The conversation with the answer: a JSON list of chat messages.
  std::string messages_json;
};

// Thread-safe. The oldest go first when there are too many, or too many bytes.
class ResponseStore {
 public:
  explicit ResponseStore(size_t max_responses = 10'000, size_t max_bytes = 64 << 20);

  void Put(StoredResponse response);
  // nullptr if there is none of this id and tenant.
  std::shared_ptr<const StoredResponse> Get(const std::string& id, const std::string& tenant) const;
  // All of a tenant's, oldest first.
  std::vector<std::shared_ptr<const StoredResponse>> List(const std::string& tenant) const;
  // Gives one another body and leaves it in its place; whether there was one.
  bool SetBody(const std::string& id, const std::string& tenant, std::string body);
  // Whether there was one.
  bool Delete(const std::string& id, const std::string& tenant);

 private:
  using Order = std::list<std::shared_ptr<const StoredResponse>>;  // Oldest first.
  static size_t BytesOf(const StoredResponse& response);
  // REQUIRES: mutex_ is held.
  void Remove(Order::iterator place);

  const size_t max_responses_;
  const size_t max_bytes_;
  mutable std::mutex mutex_;
  Order order_;                                             // Guarded by mutex_.
  std::unordered_map<std::string, Order::iterator> by_id_;  // Guarded by mutex_.
  size_t num_bytes_ = 0;                                    // Guarded by mutex_.
};

}  // namespace quartet::gateway::http
