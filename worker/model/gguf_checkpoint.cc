#include "worker/model/gguf_checkpoint.h"

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/status_macros.h"
#include "worker/model/gguf.h"
#include "worker/model/gguf_config.h"
#include "worker/model/gguf_quantization.h"
#include "worker/model/tensor_file.h"

namespace quartet::model {
namespace {

using kernels::bfloat16;

struct NamePair {
  absl::string_view gguf;
  absl::string_view hf;
};
constexpr NamePair kGlobalNames[] = {{"token_embd.weight", "model.embed_tokens.weight"},
                                     {"output_norm.weight", "model.norm.weight"},
                                     {"output.weight", "lm_head.weight"}};
constexpr NamePair kLayerNames[] = {
    {"attn_norm", "input_layernorm"}, {"ffn_norm", "post_attention_layernorm"},
    {"attn_q", "self_attn.q_proj"},   {"attn_k", "self_attn.k_proj"},
    {"attn_v", "self_attn.v_proj"},   {"attn_output", "self_attn.o_proj"},
    {"ffn_gate", "mlp.gate_proj"},    {"ffn_up", "mlp.up_proj"},
    {"ffn_down", "mlp.down_proj"}};

class GgufCheckpoint : public TensorFileCheckpoint {
 public:
  // `interleaved_head_dim`: of the heads whose q and k rows stand interleaved, or 0 if none do.
  GgufCheckpoint(std::string path, std::vector<std::unique_ptr<MappedFile>> files,
                 TensorMap tensors, int interleaved_head_dim)
      : TensorFileCheckpoint(std::move(path), std::move(files), std::move(tensors)),
        interleaved_head_dim_(interleaved_head_dim) {}

  absl::Status ReadRows(absl::string_view name, int64_t first_row, int64_t num_rows,
                        int64_t first_col, int64_t num_cols, bfloat16* out) const override {
    const TensorBytes& tensor = Tensor(name);
    const GgmlType& type = TypeOf(tensor);
    const int64_t row_bytes = tensor.info.shape[1] / type.block_elements * type.block_bytes;
    std::vector<float> values(num_cols);
    int64_t lowest = tensor.info.shape[0], highest = 0;
    for (int64_t i = 0; i < num_rows; ++i) {
      const int64_t row = RowInFile(name, first_row + i);
      lowest = std::min(lowest, row);
      highest = std::max(highest, row);
      const uint8_t* from = tensor.file->data() + tensor.begin + row * row_bytes;
      DequantizeRange(type, from, first_col, num_cols, values.data());
      bfloat16* to = out + i * num_cols;
      for (int64_t j = 0; j < num_cols; ++j) to[j] = kernels::ToBfloat16(values[j]);
    }
    tensor.file->Release(tensor.begin + lowest * row_bytes,
                         tensor.begin + (highest + 1) * row_bytes);
    return absl::OkStatus();
  }

  absl::Status ReadVector(absl::string_view name, int64_t first, int64_t count,
                          float* out) const override {
    const TensorBytes& tensor = Tensor(name);
    const GgmlType& type = TypeOf(tensor);
    for (int64_t i = 0; i < count; ++i) {
      DequantizeRange(type, tensor.file->data() + tensor.begin, RowInFile(name, first + i), 1,
                      out + i);
    }
    tensor.file->Release(tensor.begin, tensor.end);
    return absl::OkStatus();
  }

 private:
  static const GgmlType& TypeOf(const TensorBytes& tensor) {
    const GgmlType* type = FindGgmlType(tensor.info.dtype);
    QUARTET_CHECK(type != nullptr);
    return *type;
  }

  // HF rotates element i of a head with element i + head_dim / 2, the original Llama code 2i with
  // 2i + 1. Files of architecture llama keep the rows of q and k (and their biases) in the latter
  // order.
  int64_t RowInFile(absl::string_view name, int64_t row) const {
    if (interleaved_head_dim_ == 0 || !(absl::StrContains(name, ".self_attn.q_proj.") ||
                                        absl::StrContains(name, ".self_attn.k_proj."))) {
      return row;
    }
    const int64_t head = row / interleaved_head_dim_, within = row % interleaved_head_dim_;
    const int64_t half = interleaved_head_dim_ / 2;
    return head * interleaved_head_dim_ + within % half * 2 + within / half;
  }

  int interleaved_head_dim_;
};

}  // namespace

std::string HfTensorName(absl::string_view gguf_name) {
  for (const NamePair& pair : kGlobalNames) {
    if (gguf_name == pair.gguf) return std::string(pair.hf);
  }
  absl::string_view rest = gguf_name;
  if (!absl::ConsumePrefix(&rest, "blk.")) return std::string(gguf_name);
  const size_t layer_end = rest.find('.');
  const size_t suffix = rest.rfind('.');
  int layer = -1;
  if (layer_end == absl::string_view::npos || suffix <= layer_end ||
      !absl::SimpleAtoi(rest.substr(0, layer_end), &layer) || layer < 0 ||
      absl::StrCat(layer) != rest.substr(0, layer_end)) {
    return std::string(gguf_name);
  }
  for (const NamePair& pair : kLayerNames) {
    if (rest.substr(layer_end + 1, suffix - layer_end - 1) == pair.gguf) {
      return absl::StrCat("model.layers.", layer, ".", pair.hf, rest.substr(suffix));
    }
  }
  return std::string(gguf_name);
}

absl::StatusOr<std::unique_ptr<Checkpoint>> OpenGguf(const std::string& path) {
  ASSIGN_OR_RETURN(GgufFile gguf, GgufFile::Open(path));
  ASSIGN_OR_RETURN(const LoadedConfig config, ConfigFromGguf(gguf));
  TensorMap tensors;
  for (const auto& [name, from] : gguf.tensors()) {
    TensorBytes tensor;
    tensor.info.dtype = std::string(GgmlTypeName(from.type));
    tensor.info.shape = from.shape;
    tensor.info.file = path;
    tensor.file = &gguf.file();
    tensor.begin = from.begin;
    tensor.end = from.end;
    if (!tensors.emplace(HfTensorName(name), std::move(tensor)).second) {
      return absl::InvalidArgumentError(absl::StrCat(path, ": tensor ", HfTensorName(name),
                                                     " stands in it twice, once as ", name));
    }
  }
  RETURN_IF_ERROR(CheckNoOverlap(tensors));
  const bool interleaved = config.model.architecture == Architecture::kLlama;
  std::vector<std::unique_ptr<MappedFile>> files;
  files.push_back(std::move(gguf).TakeFile());
  return std::make_unique<GgufCheckpoint>(path, std::move(files), std::move(tensors),
                                          interleaved ? config.model.head_dim : 0);
}

}  // namespace quartet::model
