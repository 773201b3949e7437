// A GGUF file as a Checkpoint: HF's names, HF's order of rows, bf16 values.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "worker/model/checkpoint.h"

namespace quartet::model {

// HF's name of a GGUF tensor, or the name itself if HF has none for it.
// "blk.3.attn_q.weight" -> "model.layers.3.self_attn.q_proj.weight"
std::string HfTensorName(absl::string_view gguf_name);

absl::StatusOr<std::unique_ptr<Checkpoint>> OpenGguf(const std::string& path);

}  // namespace quartet::model
