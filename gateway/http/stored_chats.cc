#include "gateway/http/stored_chats.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/status_macros.h"
#include "gateway/http/account_fields.h"
#include "gateway/http/json_body.h"
#include "gateway/http/openai_response.h"
#include "gateway/http/path_pattern.h"
#include "gateway/request_error.h"
#include "gateway/tenant.h"

namespace quartet::gateway::http {
namespace {

using json = nlohmann::ordered_json;

constexpr int kDefaultLimit = 20;
constexpr int kMaxLimit = 100;

std::string TenantOf(const HttpRequest& request) {
  return gateway::TenantOf(request.x_tenant, request.authorization);
}

HttpResponse Json(const json& body) {
  HttpResponse response;
  response.body = Dump(body);
  return response;
}

HttpResponse NotFound(const std::string& id) {
  return ErrorResponse(
      WithField(absl::NotFoundError(absl::StrCat(
                    "There is no stored chat completion with the id '", id,
                    "': it was made without \"store\": true, was deleted, was pushed out by newer "
                    "ones, or belongs to another client")),
                "completion_id", "completion_not_found"));
}

// Which part of a list is wanted.
struct Page {
  int limit = kDefaultLimit;
  bool newest_first = false;
  std::string after;  // The id before the first that is wanted.
};

absl::StatusOr<Page> ReadPage(const std::map<std::string, std::string>& query) {
  Page page;
  if (const auto found = query.find("limit"); found != query.end()) {
    const bool fits =
        absl::SimpleAtoi(found->second, &page.limit) && page.limit >= 1 && page.limit <= kMaxLimit;
    if (!fits) {
      return InvalidField(
          "limit", absl::StrCat("limit must be a whole number from 1 to ", kMaxLimit, ", got ",
                                Show(nlohmann::json(found->second))));
    }
  }
  if (const auto found = query.find("order"); found != query.end()) {
    if (found->second != "asc" && found->second != "desc") {
      return InvalidField("order", absl::StrCat("order must be asc or desc, got ",
                                                Show(nlohmann::json(found->second))));
    }
    page.newest_first = found->second == "desc";
  }
  if (const auto found = query.find("after"); found != query.end()) page.after = found->second;
  return page;
}

// OpenAI's list object of the part of `items`, oldest first, that the page names.
HttpResponse ListOf(std::vector<json> items, const Page& page) {
  if (page.newest_first) std::reverse(items.begin(), items.end());
  auto first = items.begin();
  if (!page.after.empty()) {
    first = std::find_if(items.begin(), items.end(),
                         [&](const json& item) { return item["id"] == page.after; });
    if (first == items.end()) {
      return ErrorResponse(
          InvalidField("after", absl::StrCat("after names ", Show(nlohmann::json(page.after)),
                                             ", which the list doesn't have")));
    }
    ++first;
  }
  const auto num_left = std::distance(first, items.end());
  const auto last = first + std::min<std::ptrdiff_t>(page.limit, num_left);
  json body = {{"object", "list"}, {"data", json::array()}};
  for (auto item = first; item != last; ++item) body["data"].push_back(std::move(*item));
  const json& data = body["data"];
  const json first_id = data.empty() ? json() : data.front()["id"];
  const json last_id = data.empty() ? json() : data.back()["id"];
  body["first_id"] = first_id;
  body["last_id"] = last_id;
  body["has_more"] = last != items.end();
  return Json(body);
}

// Whether a completion is of the model and has the metadata that the query names.
bool IsAskedFor(const json& completion, const std::map<std::string, std::string>& query) {
  for (const auto& [name, value] : query) {
    if (name == "model" && completion["model"] != value) return false;
    absl::string_view key = name;
    if (!absl::ConsumePrefix(&key, "metadata[") || !absl::ConsumeSuffix(&key, "]")) continue;
    const auto metadata = completion.find("metadata");
    if (metadata == completion.end() || !metadata->is_object()) return false;
    const auto found = metadata->find(std::string(key));
    if (found == metadata->end() || *found != value) return false;
  }
  return true;
}

}  // namespace

HttpResponse StoredChats::List(const HttpRequest& request) const {
  const std::map<std::string, std::string> query = ParseQuery(request.query);
  const absl::StatusOr<Page> page = ReadPage(query);
  if (!page.ok()) return ErrorResponse(page.status());
  std::vector<json> completions;
  for (const auto& stored : store_.List(TenantOf(request))) {
    json completion = json::parse(stored->body);
    if (IsAskedFor(completion, query)) completions.push_back(std::move(completion));
  }
  return ListOf(std::move(completions), *page);
}

HttpResponse StoredChats::Get(const std::string& id, const HttpRequest& request) const {
  const auto stored = store_.Get(id, TenantOf(request));
  if (stored == nullptr) return NotFound(id);
  HttpResponse response;
  response.body = stored->body;
  return response;
}

HttpResponse StoredChats::Messages(const std::string& id, const HttpRequest& request) const {
  const auto stored = store_.Get(id, TenantOf(request));
  if (stored == nullptr) return NotFound(id);
  const absl::StatusOr<Page> page = ReadPage(ParseQuery(request.query));
  if (!page.ok()) return ErrorResponse(page.status());
  std::vector<json> messages;
  for (json& message : json::parse(stored->messages_json)) {
    message["id"] = absl::StrCat(id, "-", messages.size());
    messages.push_back(std::move(message));
  }
  return ListOf(std::move(messages), *page);
}

HttpResponse StoredChats::Update(const std::string& id, const HttpRequest& request) {
  const std::string tenant = TenantOf(request);
  const auto stored = store_.Get(id, tenant);
  if (stored == nullptr) return NotFound(id);
  const absl::StatusOr<nlohmann::json> body = ParseJsonObject(request.body);
  if (!body.ok()) return ErrorResponse(body.status());
  std::string metadata;
  if (const absl::Status status = ReadMetadata(*body, &metadata); !status.ok()) {
    return ErrorResponse(status);
  }
  if (metadata.empty()) {
    return ErrorResponse(InvalidField("metadata", "you must provide the new metadata"));
  }
  json completion = json::parse(stored->body);
  completion["metadata"] = json::parse(metadata);
  HttpResponse response = Json(completion);
  if (!store_.SetBody(id, tenant, response.body)) return NotFound(id);
  return response;
}

HttpResponse StoredChats::Delete(const std::string& id, const HttpRequest& request) {
  if (!store_.Delete(id, TenantOf(request))) return NotFound(id);
  return Json({{"object", "chat.completion.deleted"}, {"id", id}, {"deleted", true}});
}

}  // namespace quartet::gateway::http
