#include "gateway/http/account_fields.h"

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "gateway/http/json_body.h"
#include "gateway/request_error.h"

namespace quartet::gateway::http {
namespace {

using nlohmann::json;

// OpenAI's bounds.
constexpr size_t kMaxMetadataPairs = 16;
constexpr size_t kMaxMetadataKeyBytes = 64;
constexpr size_t kMaxMetadataValueBytes = 512;

// A tier is a step of the priority: "flex" gives way to all others, "priority" goes before them.
absl::Status ReadUrgency(const FieldReader& fields, OpenAiRequest* request, int32_t* priority) {
  std::string tier;
  RETURN_IF_ERROR(fields.ReadOneOf(
      "service_tier", {"auto", "default", "flex", "scale", "priority", "fast"}, &tier));
  if (!tier.empty()) {
    request->service_tier = tier == "flex"                           ? "flex"
                            : (tier == "priority" || tier == "fast") ? "priority"
                                                                     : "default";
  }
  std::optional<int64_t> given;
  RETURN_IF_ERROR(fields.Read("priority", INT32_MIN, INT32_MAX, &given));
  *priority = given.has_value()                     ? static_cast<int32_t>(*given)
              : request->service_tier == "flex"     ? 1
              : request->service_tier == "priority" ? -1
                                                    : 0;
  return absl::OkStatus();
}

}  // namespace

absl::Status ReadMetadata(const json& body, std::string* text) {
  const FieldReader fields(body);
  const json* const metadata = fields.Find("metadata");
  if (metadata == nullptr) return absl::OkStatus();
  constexpr char kMust[] =
      "an object of at most 16 strings, names of at most 64 and values of at most 512 bytes";
  if (!metadata->is_object() || metadata->size() > kMaxMetadataPairs) {
    return fields.Wrong("metadata", kMust);
  }
  for (const auto& [key, value] : metadata->items()) {
    if (key.size() > kMaxMetadataKeyBytes || !value.is_string() ||
        value.get_ref<const std::string&>().size() > kMaxMetadataValueBytes) {
      return fields.Wrong("metadata", kMust);
    }
  }
  *text = metadata->dump();
  return absl::OkStatus();
}

absl::Status ReadAccountFields(const json& body, OpenAiRequest* request,
                               GenerationRequest* generation) {
  const FieldReader fields(body);
  RETURN_IF_ERROR(ReadUrgency(fields, request, &generation->priority));
  RETURN_IF_ERROR(fields.Read("cache_salt", &generation->cache_salt));
  RETURN_IF_ERROR(fields.Read("request_id", &request->request_id));
  RETURN_IF_ERROR(fields.Read("user", &request->end_user));
  RETURN_IF_ERROR(fields.Read("safety_identifier", &request->end_user));
  // Requests find the group that has their prefix by the prefix itself.
  std::string hint;
  RETURN_IF_ERROR(fields.Read("prompt_cache_key", &hint));
  RETURN_IF_ERROR(fields.Read("session_id", &hint));
  return ReadMetadata(body, &request->metadata_json);
}

}  // namespace quartet::gateway::http
