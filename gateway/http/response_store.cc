#include "gateway/http/response_store.h"

#include <utility>

namespace quartet::gateway::http {
namespace {

// Beside the texts: list, map and strings themselves.
constexpr size_t kOverheadBytes = 512;

}  // namespace

ResponseStore::ResponseStore(size_t max_responses, size_t max_bytes)
    : max_responses_(max_responses), max_bytes_(max_bytes) {}

size_t ResponseStore::BytesOf(const StoredResponse& response) {
  return response.id.size() + response.tenant.size() + response.body.size() +
         response.messages_json.size() + kOverheadBytes;
}

void ResponseStore::Put(StoredResponse response) {
  const size_t bytes = BytesOf(response);
  if (bytes > max_bytes_) return;
  const auto stored = std::make_shared<const StoredResponse>(std::move(response));
  std::lock_guard<std::mutex> lock(mutex_);
  if (const auto found = by_id_.find(stored->id); found != by_id_.end()) Remove(found->second);
  by_id_[stored->id] = order_.insert(order_.end(), stored);
  num_bytes_ += bytes;
  while (order_.size() > max_responses_ || num_bytes_ > max_bytes_) Remove(order_.begin());
}

std::shared_ptr<const StoredResponse> ResponseStore::Get(const std::string& id,
                                                         const std::string& tenant) const {
  std::lock_guard<std::mutex> lock(mutex_);
  const auto found = by_id_.find(id);
  if (found == by_id_.end() || (*found->second)->tenant != tenant) return nullptr;
  return *found->second;
}

std::vector<std::shared_ptr<const StoredResponse>> ResponseStore::List(
    const std::string& tenant) const {
  std::lock_guard<std::mutex> lock(mutex_);
  std::vector<std::shared_ptr<const StoredResponse>> responses;
  for (const auto& stored : order_) {
    if (stored->tenant == tenant) responses.push_back(stored);
  }
  return responses;
}

bool ResponseStore::SetBody(const std::string& id, const std::string& tenant, std::string body) {
  std::lock_guard<std::mutex> lock(mutex_);
  const auto found = by_id_.find(id);
  if (found == by_id_.end() || (*found->second)->tenant != tenant) return false;
  std::shared_ptr<const StoredResponse>& place = *found->second;
  StoredResponse changed = *place;
  changed.body = std::move(body);
  num_bytes_ -= BytesOf(*place);
  num_bytes_ += BytesOf(changed);
  place = std::make_shared<const StoredResponse>(std::move(changed));
  while (num_bytes_ > max_bytes_) Remove(order_.begin());
  return true;
}

bool ResponseStore::Delete(const std::string& id, const std::string& tenant) {
  std::lock_guard<std::mutex> lock(mutex_);
  const auto found = by_id_.find(id);
  if (found == by_id_.end() || (*found->second)->tenant != tenant) return false;
  Remove(found->second);
  return true;
}

void ResponseStore::Remove(Order::iterator place) {
  num_bytes_ -= BytesOf(**place);
  by_id_.erase((*place)->id);
  order_.erase(place);
}

}  // namespace quartet::gateway::http
