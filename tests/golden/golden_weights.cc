#include "tests/golden/golden_weights.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/status_macros.h"

namespace quartet::golden {
namespace {

using kernels::bfloat16;
using nlohmann::ordered_json;

constexpr uint64_t kGolden = 0x9E3779B97F4A7C15u;

uint64_t Fnv1a64(absl::string_view text) {
  uint64_t hash = 14695981039346656037u;
  for (const char c : text) hash = (hash ^ static_cast<uint8_t>(c)) * 1099511628211u;
  return hash;
}

uint64_t SplitMix64(uint64_t x) {
  x += kGolden;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  return x ^ (x >> 31);
}

// float32 to float16, to nearest even; values of bf16 tensors never overflow it here.
uint16_t ToFloat16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint16_t sign = static_cast<uint16_t>((bits >> 16) & 0x8000);
  // Scaling by 2^24 makes a subnormal half an integer, which lrint rounds to nearest even.
  const float magnitude = std::fabs(value);
  if (magnitude < 0x1p-14f) return sign | static_cast<uint16_t>(std::lrint(magnitude * 0x1p24f));
  const uint32_t rounded = (bits & 0x7fffffffu) + 0xfffu + ((bits >> 13) & 1u);
  return sign | static_cast<uint16_t>((rounded - ((127u - 15u) << 23)) >> 13);
}

int64_t SizeOf(absl::string_view dtype) { return dtype == "F32" ? 4 : 2; }

int64_t NumValues(const GoldenTensor& tensor) {
  int64_t count = 1;
  for (const int64_t size : tensor.shape) count *= size;
  return count;
}

void AppendAs(absl::string_view dtype, const std::vector<bfloat16>& values, std::string* out) {
  out->resize(values.size() * SizeOf(dtype));
  if (dtype == "BF16") {
    std::memcpy(out->data(), values.data(), out->size());
    return;
  }
  for (size_t i = 0; i < values.size(); ++i) {
    const float value = kernels::ToFloat(values[i]);
    if (dtype == "F32") {
      std::memcpy(out->data() + 4 * i, &value, 4);
    } else {
      const uint16_t half = ToFloat16(value);
      std::memcpy(out->data() + 2 * i, &half, 2);
    }
  }
}

absl::Status WriteSafetensors(const std::string& path, const std::vector<GoldenTensor>& tensors,
                              uint64_t seed, const std::string& dtype) {
  ordered_json header;
  header["__metadata__"] = {{"format", "pt"}};
  int64_t offset = 0;
  for (const GoldenTensor& tensor : tensors) {
    const int64_t end = offset + NumValues(tensor) * SizeOf(dtype);
    header[tensor.name] = {
        {"dtype", dtype}, {"shape", tensor.shape}, {"data_offsets", {offset, end}}};
    offset = end;
  }
  std::string text = header.dump();
  text.append((8 - text.size() % 8) % 8, ' ');
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  const uint64_t header_bytes = text.size();
  file.write(reinterpret_cast<const char*>(&header_bytes), 8);
  file.write(text.data(), static_cast<std::streamsize>(text.size()));
  std::string bytes;
  constexpr int64_t kChunk = 1 << 20;
  for (const GoldenTensor& tensor : tensors) {
    const int64_t count = NumValues(tensor);
    for (int64_t first = 0; first < count; first += kChunk) {
      AppendAs(dtype, GoldenValues(tensor, seed, first, std::min(kChunk, count - first)), &bytes);
      file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    }
  }
  file.close();
  if (!file) return absl::UnavailableError(absl::StrCat("can't write ", path));
  return absl::OkStatus();
}

absl::Status WriteText(const std::string& path, const std::string& text) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << text;
  file.close();
  if (!file) return absl::UnavailableError(absl::StrCat("can't write ", path));
  return absl::OkStatus();
}

ordered_json RopeScaling(const model::RopeConfig& rope) {
  using Type = model::RopeConfig::Type;
  ordered_json json = {{"rope_type", std::string(model::RopeTypeName(rope.type))},
                       {"factor", rope.factor}};
  if (rope.original_max_position_embeddings > 0 && rope.type != Type::kLinear) {
    json["original_max_position_embeddings"] = rope.original_max_position_embeddings;
  }
  if (rope.type == Type::kYarn) {
    json["beta_fast"] = rope.beta_fast;
    json["beta_slow"] = rope.beta_slow;
    if (rope.attention_factor) json["attention_factor"] = *rope.attention_factor;
    if (rope.mscale) json["mscale"] = *rope.mscale;
    if (rope.mscale_all_dim) json["mscale_all_dim"] = *rope.mscale_all_dim;
  }
  if (rope.type == Type::kLlama3) {
    json["low_freq_factor"] = rope.low_freq_factor;
    json["high_freq_factor"] = rope.high_freq_factor;
  }
  return json;
}

}  // namespace

std::vector<GoldenTensor> GoldenTensors(const model::ModelConfig& config,
                                        const GoldenGains& gains) {
  const int64_t hidden = config.hidden_size;
  const int64_t q_rows = static_cast<int64_t>(config.num_heads) * config.head_dim;
  const int64_t kv_rows = static_cast<int64_t>(config.num_kv_heads) * config.head_dim;
  std::vector<GoldenTensor> tensors;
  const auto matrix = [&](const std::string& name, int64_t rows, int64_t cols, double gain) {
    tensors.push_back({name, {rows, cols}, gain * std::sqrt(3.0 / static_cast<double>(cols)), 0});
  };
  const auto norm = [&](const std::string& name) {
    tensors.push_back({name, {hidden}, gains.norm, 1});
  };
  const auto projection = [&](const std::string& name, int64_t rows, double gain) {
    matrix(name + ".weight", rows, hidden, gain);
    if (config.qkv_bias) tensors.push_back({name + ".bias", {rows}, gains.bias, 0});
  };

  tensors.push_back({"model.embed_tokens.weight",
                     {config.vocab_size, hidden},
                     gains.embed_tokens * std::sqrt(3.0),
                     0});
  for (int layer = 0; layer < config.num_layers; ++layer) {
    const std::string prefix = absl::StrCat("model.layers.", layer, ".");
    norm(prefix + "input_layernorm.weight");
    projection(prefix + "self_attn.q_proj", q_rows, gains.q_proj);
    projection(prefix + "self_attn.k_proj", kv_rows, gains.k_proj);
    projection(prefix + "self_attn.v_proj", kv_rows, gains.v_proj);
    matrix(prefix + "self_attn.o_proj.weight", hidden, q_rows, gains.o_proj);
    norm(prefix + "post_attention_layernorm.weight");
    matrix(prefix + "mlp.gate_proj.weight", config.intermediate_size, hidden, gains.gate_proj);
    matrix(prefix + "mlp.up_proj.weight", config.intermediate_size, hidden, gains.up_proj);
    matrix(prefix + "mlp.down_proj.weight", hidden, config.intermediate_size, gains.down_proj);
  }
  norm("model.norm.weight");
  if (!config.tie_word_embeddings)
    matrix("lm_head.weight", config.vocab_size, hidden, gains.lm_head);
  return tensors;
}

std::vector<bfloat16> GoldenValues(const GoldenTensor& tensor, uint64_t model_seed, int64_t first,
                                   int64_t count) {
  const uint64_t seed = Fnv1a64(tensor.name) ^ model_seed;
  std::vector<bfloat16> values(count);
  for (int64_t i = 0; i < count; ++i) {
    const uint64_t u = SplitMix64(seed + static_cast<uint64_t>(first + i) * kGolden);
    const double value =
        (static_cast<double>(u >> 40) * 0x1p-24 - 0.5) * 2 * tensor.scale + tensor.offset;
    values[i] = kernels::ToBfloat16(static_cast<float>(value));
  }
  return values;
}

std::string GoldenConfigJson(const model::ModelConfig& config) {
  const bool llama = config.architecture == model::Architecture::kLlama;
  ordered_json json = {{"architectures", {llama ? "LlamaForCausalLM" : "Qwen2ForCausalLM"}},
                       {"model_type", llama ? "llama" : "qwen2"},
                       {"hidden_act", "silu"},
                       {"hidden_size", config.hidden_size},
                       {"intermediate_size", config.intermediate_size},
                       {"num_hidden_layers", config.num_layers},
                       {"num_attention_heads", config.num_heads},
                       {"num_key_value_heads", config.num_kv_heads},
                       {"head_dim", config.head_dim},
                       {"vocab_size", config.vocab_size},
                       {"max_position_embeddings", config.max_position_embeddings},
                       {"rms_norm_eps", static_cast<double>(config.rms_norm_eps)},
                       {"rope_theta", config.rope.theta},
                       {"tie_word_embeddings", config.tie_word_embeddings},
                       {"use_sliding_window", false},
                       {"torch_dtype", "bfloat16"}};
  if (llama) json["attention_bias"] = config.qkv_bias;
  if (config.rope.type != model::RopeConfig::Type::kNone) {
    json["rope_scaling"] = RopeScaling(config.rope);
  }
  if (config.eos_token_ids.size() == 1) {
    json["eos_token_id"] = config.eos_token_ids[0];
  } else if (!config.eos_token_ids.empty()) {
    json["eos_token_id"] = config.eos_token_ids;
  }
  return json.dump(2) + "\n";
}

absl::Status WriteGoldenModel(const std::string& directory, const model::ModelConfig& config,
                              uint64_t model_seed, const GoldenGains& gains,
                              const GoldenFileOptions& options) {
  RETURN_IF_ERROR(WriteText(directory + "/config.json", GoldenConfigJson(config)));
  const std::vector<GoldenTensor> tensors = GoldenTensors(config, gains);
  if (options.num_shards == 0) {
    return WriteSafetensors(directory + "/model.safetensors", tensors, model_seed, options.dtype);
  }
  ordered_json index;
  int64_t total_bytes = 0;
  const size_t shards = options.num_shards;
  for (size_t shard = 0; shard < shards; ++shard) {
    const std::string file =
        absl::StrFormat("model-%05d-of-%05d.safetensors", shard + 1, options.num_shards);
    const std::vector<GoldenTensor> part(tensors.begin() + tensors.size() * shard / shards,
                                         tensors.begin() + tensors.size() * (shard + 1) / shards);
    RETURN_IF_ERROR(WriteSafetensors(directory + "/" + file, part, model_seed, options.dtype));
    for (const GoldenTensor& tensor : part) {
      index["weight_map"][tensor.name] = file;
      total_bytes += NumValues(tensor) * SizeOf(options.dtype);
    }
  }
  index["metadata"] = {{"total_size", total_bytes}};
  return WriteText(directory + "/model.safetensors.index.json", index.dump(2) + "\n");
}

}  // namespace quartet::golden
