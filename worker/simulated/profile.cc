#include "worker/simulated/profile.h"

#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/status_macros.h"
#include "worker/model/json_document.h"
#include "worker/simulated/shipped_profiles.h"

namespace quartet::simulated {
namespace {

constexpr double kGiga = 1e9;
constexpr double kMicro = 1e-6;
// Nothing on earth has more; a larger number is in the wrong unit.
constexpr double kMostPerUnit = 1e6;

const std::set<std::string>& KnownFields() {
  static const std::set<std::string>& fields =
      *new std::set<std::string>{"description",
                                 "num_gpus",
                                 "memory_gb",
                                 "memory_utilization",
                                 "bytes_per_value",
                                 "memory_bandwidth_gb_per_s",
                                 "compute_tflop_per_s",
                                 "collective_bandwidth_gb_per_s",
                                 "collective_latency_us",
                                 "step_overhead_us"};
  return fields;
}

// A number in (0, max], or from 0 if `zero_included`, times `unit`.
absl::Status ReadNumber(const model::JsonFields& fields, absl::string_view name, double max,
                        double unit, bool zero_included, double* out) {
  ASSIGN_OR_RETURN(const auto value, fields.Number(name, 0, max, zero_included));
  if (!value) {
    return fields.Error(name,
                        absl::StrCat("a number ", zero_included ? "from" : "above", " 0 to ", max));
  }
  *out = *value * unit;
  return absl::OkStatus();
}

absl::Status ReadFields(const model::JsonFields& fields, Profile* profile) {
  ASSIGN_OR_RETURN(const auto description, fields.Text("description"));
  profile->description = description.value_or("");
  ASSIGN_OR_RETURN(const int64_t num_gpus, fields.RequiredInt("num_gpus", 1, 1024));
  profile->num_gpus = static_cast<int>(num_gpus);
  ASSIGN_OR_RETURN(const int64_t bytes, fields.RequiredInt("bytes_per_value", 1, 4));
  profile->bytes_per_value = static_cast<int>(bytes);
  double utilization = 0;
  RETURN_IF_ERROR(ReadNumber(fields, "memory_utilization", 1, 1, false, &utilization));
  RETURN_IF_ERROR(
      ReadNumber(fields, "memory_gb", kMostPerUnit, kGiga, false, &profile->memory_bytes));
  profile->memory_bytes *= utilization;
  RETURN_IF_ERROR(ReadNumber(fields, "memory_bandwidth_gb_per_s", kMostPerUnit, kGiga, false,
                             &profile->memory_bytes_per_second));
  RETURN_IF_ERROR(ReadNumber(fields, "compute_tflop_per_s", kMostPerUnit, 1000 * kGiga, false,
                             &profile->flops_per_second));
  RETURN_IF_ERROR(ReadNumber(fields, "step_overhead_us", kMostPerUnit, kMicro, true,
                             &profile->step_overhead_s));
  if (num_gpus == 1) return absl::OkStatus();  // nothing is exchanged
  RETURN_IF_ERROR(ReadNumber(fields, "collective_latency_us", kMostPerUnit, kMicro, true,
                             &profile->collective_latency_s));
  return ReadNumber(fields, "collective_bandwidth_gb_per_s", kMostPerUnit, kGiga, false,
                    &profile->collective_bytes_per_second);
}

}  // namespace

std::vector<std::string> ShippedProfiles() {
  std::vector<std::string> names;
  for (const ShippedProfile& profile : kShippedProfiles) names.emplace_back(profile.name);
  return names;
}

absl::StatusOr<Profile> ParseProfile(absl::string_view text, absl::string_view source) {
  ASSIGN_OR_RETURN(const nlohmann::json document, model::ParseJson(text, source));
  if (!document.is_object()) {
    return absl::InvalidArgumentError(absl::StrCat(source, ": is ", model::JsonExcerpt(document),
                                                   "; expected a JSON object of numbers"));
  }
  const model::JsonFields fields(document, source);
  for (const auto& [name, value] : document.items()) {
    if (KnownFields().count(name) > 0) continue;
    return absl::InvalidArgumentError(absl::StrCat(
        source, ": ", name, " is ", model::JsonExcerpt(value),
        ", but no profile has such a field; the fields are ", absl::StrJoin(KnownFields(), ", ")));
  }
  Profile profile;
  RETURN_IF_ERROR(ReadFields(fields, &profile));
  return profile;
}

absl::StatusOr<Profile> ReadProfile(const std::string& name_or_path) {
  for (const ShippedProfile& profile : kShippedProfiles) {
    if (profile.name == name_or_path) {
      return ParseProfile(profile.text,
                          absl::StrCat("deploy/sim_profiles/", name_or_path, ".json"));
    }
  }
  std::ifstream file(name_or_path);
  std::ostringstream text;
  if (!file || !(text << file.rdbuf())) {
    return absl::NotFoundError(absl::StrCat(
        name_or_path, ": no such profile, and no file that can be read; the shipped profiles are ",
        absl::StrJoin(ShippedProfiles(), ", ")));
  }
  return ParseProfile(text.str(), name_or_path);
}

}  // namespace quartet::simulated
