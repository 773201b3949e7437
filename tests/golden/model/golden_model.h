// A golden model: its specification (models.json), what `transformers` computed for it (NAME.bin,
// written by make_reference.py, where the format is described), and a directory with its weights.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "tests/golden/golden_weights.h"
#include "worker/model/model_config.h"

namespace quartet::golden {

struct Reference {
  uint64_t weights_checksum = 0;
  int num_reference = 0;  // R: tokens that follow each prompt
  int vocab_size = 0;     // V
  int num_samples = 0;
  int num_projections = 0;
  std::vector<std::vector<int32_t>> prompts;
  std::vector<std::vector<int32_t>> reference_ids;  // R for each prompt

  // The digest of one position: the logits after prompt p and r reference tokens, n = p * R + r.
  struct Position {
    int32_t ids[2];       // of the largest two logits
    float top[2];         // and their values
    float deviation = 1;  // standard deviation of all V logits
    std::vector<float> samples;
    std::vector<float> projections;
  };
  std::vector<Position> positions;
};

// The ids whose logits stand in Position::samples.
std::vector<int32_t> SampleIds(const Reference& reference, int64_t position);
// +1 or -1: how id `id` counts in a projection.
double ProjectionSign(const Reference& reference, int projection, int32_t id);

class GoldenModel {
 public:
  // Reads models.json and the reference, and writes the weights into a fresh temporary directory.
  static absl::StatusOr<GoldenModel> Create(const std::string& name);
  ~GoldenModel();
  GoldenModel(GoldenModel&& other) noexcept = default;

  const std::string& directory() const { return directory_; }
  // As the loader reads it from the directory.
  const model::ModelConfig& config() const { return config_; }
  const Reference& reference() const { return reference_; }
  // The sum that make_reference.py took of its weights, over the generator's in C++.
  uint64_t WeightsChecksum() const;

 private:
  GoldenModel() = default;

  uint64_t seed_ = 0;
  GoldenGains gains_;
  std::string directory_;
  model::ModelConfig config_;
  Reference reference_;
};

}  // namespace quartet::golden
