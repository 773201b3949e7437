// Small GGUF models for tests: every tensor from generated values, in a chosen format.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "worker/model/gguf_quantization.h"
#include "worker/model/model_config.h"
#include "worker/model/tensor_list.h"
#include "worker/model/testing/model_files.h"

namespace quartet::model::testing {

// The metadata that every model needs.
inline void AddGgufConfig(const ModelConfig& config, GgufWriter* writer) {
  const std::string arch(ArchitectureName(config.architecture));
  writer->AddText("general.architecture", arch);
  writer->AddInt(arch + ".block_count", config.num_layers);
  writer->AddInt(arch + ".context_length", static_cast<uint32_t>(config.max_position_embeddings));
  writer->AddInt(arch + ".embedding_length", static_cast<uint32_t>(config.hidden_size));
  writer->AddInt(arch + ".feed_forward_length", static_cast<uint32_t>(config.intermediate_size));
  writer->AddInt(arch + ".attention.head_count", config.num_heads);
  writer->AddInt(arch + ".attention.head_count_kv", config.num_kv_heads);
  writer->AddInt(arch + ".attention.key_length", config.head_dim);
  writer->AddNumber(arch + ".attention.layer_norm_rms_epsilon", config.rms_norm_eps);
  writer->AddNumber(arch + ".rope.freq_base", static_cast<float>(config.rope.theta));
}

inline std::string GgufTensorName(std::string name) {
  const std::pair<const char*, const char*> pairs[] = {{"model.embed_tokens.", "token_embd."},
                                                       {"model.norm.", "output_norm."},
                                                       {"lm_head.", "output."},
                                                       {"model.layers.", "blk."},
                                                       {"input_layernorm", "attn_norm"},
                                                       {"post_attention_layernorm", "ffn_norm"},
                                                       {"self_attn.q_proj", "attn_q"},
                                                       {"self_attn.k_proj", "attn_k"},
                                                       {"self_attn.v_proj", "attn_v"},
                                                       {"self_attn.o_proj", "attn_output"},
                                                       {"mlp.gate_proj", "ffn_gate"},
                                                       {"mlp.up_proj", "ffn_up"},
                                                       {"mlp.down_proj", "ffn_down"}};
  for (const auto& [hf, gguf] : pairs) {
    const size_t at = name.find(hf);
    if (at != std::string::npos) name.replace(at, std::string(hf).size(), gguf);
  }
  return name;
}

// Random blocks whose scales are small finite numbers.
inline std::string RandomBlocks(const GgmlType& type, int64_t elements, uint64_t seed) {
  const int64_t bytes = elements / type.block_elements * type.block_bytes;
  std::string data(bytes, '\0');
  for (int64_t i = 0; i < bytes; ++i) data[i] = static_cast<char>(SplitMix64(seed + i));
  const std::string name = type.name;
  for (int64_t block = 0; block < bytes; block += type.block_bytes) {
    // The byte with sign and exponent of d and of m; the upper bits of 0x2f cap both at 0.12.
    const int first = name == "Q6_K" ? 208 : name == "F32" ? 2 : 0;
    const bool two = name == "Q4_1" || name == "Q5_1" || name == "Q4_K" || name == "Q5_K";
    for (int half = 0; half < (two ? 2 : 1); ++half) data[block + first + 2 * half + 1] &= 0x2f;
  }
  return data;
}

struct GgufModel {
  std::string bytes;
  // Every tensor under its HF name and in HF's order of rows, in fp32.
  std::map<std::string, std::vector<float>> values;
};

// What llama.cpp's converter does to q and k of architecture llama (LlamaModel.permute):
// reshape(heads, 2, head_dim / 2, cols).swapaxes(1, 2).
inline std::vector<float> UndoPermute(const std::vector<float>& rows, int heads, int head_dim,
                                      int64_t cols) {
  std::vector<float> out(rows.size());
  const int half = head_dim / 2;
  int64_t to = 0;
  for (int head = 0; head < heads; ++head) {
    for (int i = 0; i < half; ++i) {
      for (int part = 0; part < 2; ++part, ++to) {
        const int64_t hf_row = (static_cast<int64_t>(head) * 2 + part) * half + i;
        std::copy_n(rows.begin() + to * cols, cols, out.begin() + hf_row * cols);
      }
    }
  }
  return out;
}

// `type_of`: the format of each matrix, by HF name; vectors are F32.
template <typename TypeOf>
GgufModel MakeGgufModel(const ModelConfig& config, const TypeOf& type_of) {
  GgufModel model;
  GgufWriter writer;
  AddGgufConfig(config, &writer);
  writer.AddTextList("tokenizer.ggml.tokens", {"a", "b", "\xff"});
  writer.AddInt("tokenizer.ggml.eos_token_id", 2);
  uint64_t seed = 1;
  for (const ExpectedTensor& tensor : ExpectedTensors(config)) {
    const bool matrix = tensor.shape.size() == 2;
    const GgmlType& type = *FindGgmlType(matrix ? type_of(tensor.name) : "F32");
    const int64_t cols = matrix ? tensor.shape[1] : 1;
    const int64_t elements = tensor.shape[0] * cols;
    const std::string data = RandomBlocks(type, elements, seed += 1u << 24);
    writer.AddTensor(GgufTensorName(tensor.name),
                     std::vector<uint64_t>(tensor.shape.begin(), tensor.shape.end()), type.id,
                     data);
    std::vector<float> values(elements);
    DequantizeRange(type, reinterpret_cast<const uint8_t*>(data.data()), 0, elements,
                    values.data());
    const bool is_q = tensor.name.find("q_proj") != std::string::npos;
    const bool is_k = tensor.name.find("k_proj") != std::string::npos;
    if (config.architecture == Architecture::kLlama && (is_q || is_k)) {
      values =
          UndoPermute(values, is_q ? config.num_heads : config.num_kv_heads, config.head_dim, cols);
    }
    model.values[tensor.name] = values;
  }
  model.bytes = writer.Bytes();
  return model;
}

}  // namespace quartet::model::testing
