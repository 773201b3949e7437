// Models with random weights for tests: a counter-based generator that gives the same bits in C++
// and in Python, and a writer of model directories in Hugging Face's layout.
//
// Value i (row-major) of the tensor `name` in a model with seed `model_seed`:
//   seed64 = FNV1a64(name) ^ model_seed
//   u      = splitmix64(seed64 + i * 0x9E3779B97F4A7C15)                    (mod 2^64)
//   value  = ((u >> 40) * 2^-24 - 0.5) * 2 * scale + offset                 (float64, left to
//   right) stored = bf16(float32(value)), both roundings to nearest even
// where
//   FNV1a64: h = 14695981039346656037; for each byte b: h = (h ^ b) * 1099511628211
//   splitmix64(x): x += 0x9E3779B97F4A7C15; x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9;
//                  x = (x ^ x >> 27) * 0x94D049BB133111EB; return x ^ x >> 31
// Scale and offset of a tensor follow from GoldenGains:
//   matrix [rows, cols]:   scale = gain * sqrt(3.0 / cols), offset = 0     (standard deviation
//                          gain / sqrt(cols))
//   embed_tokens:          scale = gain * sqrt(3.0), offset = 0            (standard deviation
//   gain) norm weight:           scale = gain, offset = 1 bias:                  scale = gain,
//   offset = 0
// Files of type F16 and F32 hold the same bf16-rounded values (F16 rounds those below 2^-17 once
// more).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "kernels/bfloat16.h"
#include "worker/model/model_config.h"

namespace quartet::golden {

struct GoldenGains {
  double embed_tokens = 1;
  double q_proj = 1;
  double k_proj = 1;
  double v_proj = 1;
  double o_proj = 1;
  double gate_proj = 1;
  double up_proj = 1;
  double down_proj = 1;
  double lm_head = 1;
  double bias = 0.5;
  double norm = 0.25;
};

struct GoldenTensor {
  std::string name;            // HF's
  std::vector<int64_t> shape;  // [rows, cols] or [size]
  double scale = 1;
  double offset = 0;
};

// The tensors of a model, in the order in which they are written: embed_tokens, the layers (norms,
// q, k, v with biases, o, gate, up, down), norm, lm_head unless it is tied.
std::vector<GoldenTensor> GoldenTensors(const model::ModelConfig& config, const GoldenGains& gains);

// Values [first, first + count) of a tensor.
std::vector<kernels::bfloat16> GoldenValues(const GoldenTensor& tensor, uint64_t model_seed,
                                            int64_t first, int64_t count);

struct GoldenFileOptions {
  std::string dtype = "BF16";  // or "F16", "F32"
  // 0: model.safetensors; else model-0000x-of-0000n.safetensors and an index.
  int num_shards = 0;
};

// Writes config.json and the weights into `directory`, which must exist.
absl::Status WriteGoldenModel(const std::string& directory, const model::ModelConfig& config,
                              uint64_t model_seed, const GoldenGains& gains,
                              const GoldenFileOptions& options = {});

// config.json's text for `config`.
std::string GoldenConfigJson(const model::ModelConfig& config);

}  // namespace quartet::golden
