#include "worker/model/tensor_list.h"

#include <set>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "worker/model/tensor_file.h"

namespace quartet::model {
namespace {

// What files carry beside the weights: tables that follow from the config, and the output matrix of
// a model that ties it to the embedding (HF ignores it then too).
bool MayBeIgnored(const std::string& name, const ModelConfig& config) {
  return absl::EndsWith(name, ".rotary_emb.inv_freq") || name == "rope_freqs.weight" ||
         (name == "lm_head.weight" && config.tie_word_embeddings);
}

absl::Status CheckTensor(const Checkpoint& checkpoint, const ExpectedTensor& expected) {
  const TensorInfo* found = checkpoint.Find(expected.name);
  if (found == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat(checkpoint.path(), ": tensor ", expected.name, " is missing; expected ",
                     ShapeText(expected.shape), " by the model's config"));
  }
  if (found->shape != expected.shape) {
    return absl::InvalidArgumentError(absl::StrCat(
        found->file, ": tensor ", expected.name, " has shape ", ShapeText(found->shape),
        "; expected ", ShapeText(expected.shape), " by the model's config"));
  }
  if (!found->is_float_data) {
    return absl::InvalidArgumentError(absl::StrCat(found->file, ": tensor ", expected.name,
                                                   " has dtype ", found->dtype,
                                                   "; expected BF16, F16 or F32"));
  }
  return absl::OkStatus();
}

}  // namespace

std::vector<ExpectedTensor> ExpectedTensors(const ModelConfig& config) {
  const int64_t hidden = config.hidden_size;
  const int64_t intermediate = config.intermediate_size;
  const int64_t q_rows = static_cast<int64_t>(config.num_heads) * config.head_dim;
  const int64_t kv_rows = static_cast<int64_t>(config.num_kv_heads) * config.head_dim;
  std::vector<ExpectedTensor> tensors = {{"model.embed_tokens.weight", {config.vocab_size, hidden}},
                                         {"model.norm.weight", {hidden}}};
  if (!config.tie_word_embeddings) {
    tensors.push_back({"lm_head.weight", {config.vocab_size, hidden}});
  }
  for (int layer = 0; layer < config.num_layers; ++layer) {
    const auto add = [&](absl::string_view name, std::vector<int64_t> shape) {
      tensors.push_back({absl::StrCat("model.layers.", layer, ".", name), std::move(shape)});
    };
    add("input_layernorm.weight", {hidden});
    add("post_attention_layernorm.weight", {hidden});
    add("self_attn.q_proj.weight", {q_rows, hidden});
    add("self_attn.k_proj.weight", {kv_rows, hidden});
    add("self_attn.v_proj.weight", {kv_rows, hidden});
    if (config.qkv_bias) {
      add("self_attn.q_proj.bias", {q_rows});
      add("self_attn.k_proj.bias", {kv_rows});
      add("self_attn.v_proj.bias", {kv_rows});
    }
    add("self_attn.o_proj.weight", {hidden, q_rows});
    add("mlp.gate_proj.weight", {intermediate, hidden});
    add("mlp.up_proj.weight", {intermediate, hidden});
    add("mlp.down_proj.weight", {hidden, intermediate});
  }
  return tensors;
}

absl::Status CheckTensors(const Checkpoint& checkpoint, const ModelConfig& config) {
  std::set<std::string> known;
  for (const ExpectedTensor& expected : ExpectedTensors(config)) {
    RETURN_IF_ERROR(CheckTensor(checkpoint, expected));
    known.insert(expected.name);
  }
  for (const std::string& name : checkpoint.Names()) {
    if (known.contains(name) || MayBeIgnored(name, config)) continue;
    return absl::InvalidArgumentError(absl::StrCat(
        checkpoint.Find(name)->file, ": tensor ", absl::CHexEscape(name), " belongs to no ",
        ArchitectureName(config.architecture), " model of ", config.num_layers, " layers",
        config.qkv_bias ? "" : " without biases", "; loading without it would give wrong answers"));
  }
  return absl::OkStatus();
}

}  // namespace quartet::model
