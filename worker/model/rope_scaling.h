// The object rope_scaling (also rope_parameters) of config.json and of the flag --rope_scaling.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "worker/model/model_config.h"

namespace quartet::model {

// `object` null means none. Theta comes from the object if it has rope_theta, else from
// `config.rope`.
absl::StatusOr<RopeConfig> RopeFromJson(const nlohmann::json& object, absl::string_view source,
                                        const ModelConfig& config);

}  // namespace quartet::model
