#include "worker/model/rope_scaling.h"

#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "worker/model/config_limits.h"
#include "worker/model/json_document.h"

namespace quartet::model {
namespace {

using nlohmann::json;
using Type = RopeConfig::Type;

constexpr char kTypes[] = "default, linear, dynamic, yarn or llama3";

absl::StatusOr<Type> ReadType(const JsonFields& fields) {
  ASSIGN_OR_RETURN(const std::optional<std::string> type, fields.Text("rope_type"));
  ASSIGN_OR_RETURN(const std::optional<std::string> old_type, fields.Text("type"));
  if (type && old_type && *type != *old_type) {
    return fields.Error("type",
                        absl::StrCat("the same as rope_type, which is ", JsonExcerpt(json(*type))));
  }
  if (!type && !old_type) return fields.Error("rope_type", kTypes);
  const std::string& name = type ? *type : *old_type;
  if (name == "default" || name == "none") return Type::kNone;
  for (const Type known : {Type::kLinear, Type::kDynamic, Type::kYarn, Type::kLlama3}) {
    if (name == RopeTypeName(known)) return known;
  }
  return fields.Error(type ? "rope_type" : "type", kTypes);
}

absl::Status ReadYarn(const JsonFields& fields, RopeConfig* rope) {
  ASSIGN_OR_RETURN(rope->attention_factor, fields.Number("attention_factor", 0, 1e6));
  ASSIGN_OR_RETURN(rope->mscale, fields.Number("mscale", -1e6, 1e6));
  ASSIGN_OR_RETURN(rope->mscale_all_dim, fields.Number("mscale_all_dim", -1e6, 1e6));
  ASSIGN_OR_RETURN(const auto beta_fast, fields.Number("beta_fast", 0, 1e6));
  ASSIGN_OR_RETURN(const auto beta_slow, fields.Number("beta_slow", 0, 1e6));
  ASSIGN_OR_RETURN(const auto truncate, fields.Bool("truncate"));
  rope->beta_fast = beta_fast.value_or(rope->beta_fast);
  rope->beta_slow = beta_slow.value_or(rope->beta_slow);
  if (rope->beta_fast < rope->beta_slow) {
    return fields.Error("beta_fast", absl::StrCat("at least beta_slow, ", rope->beta_slow));
  }
  if (!truncate.value_or(true)) return fields.Error("truncate", "true");
  return absl::OkStatus();
}

absl::Status ReadLlama3(const JsonFields& fields, RopeConfig* rope) {
  ASSIGN_OR_RETURN(const auto low, fields.Number("low_freq_factor", 0, 1e6));
  ASSIGN_OR_RETURN(const auto high, fields.Number("high_freq_factor", 0, 1e6));
  if (!low) return fields.Error("low_freq_factor", "a number above 0");
  if (!high || *high <= *low) {
    return fields.Error("high_freq_factor", absl::StrCat("a number above low_freq_factor, ", *low));
  }
  rope->low_freq_factor = *low;
  rope->high_freq_factor = *high;
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<RopeConfig> RopeFromJson(const json& object, absl::string_view source,
                                        const ModelConfig& config) {
  RopeConfig rope;
  rope.theta = config.rope.theta;
  rope.original_max_position_embeddings = config.max_position_embeddings;
  if (object.is_null()) return rope;
  if (!object.is_object()) {
    return absl::InvalidArgumentError(
        absl::StrCat(source, ": is ", JsonExcerpt(object), "; expected an object or null"));
  }
  const JsonFields fields(object, source);
  ASSIGN_OR_RETURN(rope.type, ReadType(fields));
  ASSIGN_OR_RETURN(const auto theta, fields.Number("rope_theta", 0, 1e15));
  rope.theta = theta.value_or(rope.theta);
  ASSIGN_OR_RETURN(const auto partial, fields.Number("partial_rotary_factor", 0, 1));
  if (partial.value_or(1) != 1) return fields.Error("partial_rotary_factor", "1");
  if (rope.type == Type::kNone) return rope;

  ASSIGN_OR_RETURN(const auto original,
                   fields.Int("original_max_position_embeddings", 1, kMaxPositions));
  if (!original && rope.type == Type::kLlama3) {
    return fields.Error("original_max_position_embeddings", "a positive integer");
  }
  rope.original_max_position_embeddings = original.value_or(rope.original_max_position_embeddings);
  ASSIGN_OR_RETURN(std::optional<double> factor, fields.Number("factor", 1, kMaxRopeFactor, true));
  if (!factor && rope.type == Type::kYarn && original &&
      config.max_position_embeddings >= *original) {
    factor = static_cast<double>(config.max_position_embeddings) / static_cast<double>(*original);
  }
  if (!factor) return fields.Error("factor", "a number from 1");
  rope.factor = *factor;
  if (rope.type == Type::kYarn) RETURN_IF_ERROR(ReadYarn(fields, &rope));
  if (rope.type == Type::kLlama3) RETURN_IF_ERROR(ReadLlama3(fields, &rope));
  return rope;
}

absl::StatusOr<RopeConfig> ParseRopeScaling(absl::string_view json_text,
                                            const ModelConfig& config) {
  ASSIGN_OR_RETURN(const json object, ParseJson(json_text, "rope_scaling"));
  return RopeFromJson(object, "rope_scaling", config);
}

}  // namespace quartet::model
