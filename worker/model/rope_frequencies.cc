#include "worker/model/rope_frequencies.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "absl/strings/str_cat.h"

namespace quartet::model {
namespace {

using Type = RopeConfig::Type;

// theta^(-2i / head_dim), i < head_dim / 2.
std::vector<double> PlainFrequencies(double theta, int head_dim) {
  std::vector<double> frequencies(head_dim / 2);
  for (int i = 0; i < head_dim / 2; ++i) frequencies[i] = std::pow(theta, -2.0 * i / head_dim);
  return frequencies;
}

// The base that stretches the slowest pair to the served length (NTK-aware scaling).
double DynamicTheta(const RopeConfig& rope, int head_dim, int64_t max_model_len) {
  const double original = static_cast<double>(rope.original_max_position_embeddings);
  const double length = std::max(static_cast<double>(max_model_len), original);
  const double stretch = rope.factor * length / original - (rope.factor - 1);
  return rope.theta * std::pow(stretch, static_cast<double>(head_dim) / (head_dim - 2));
}

// Peng et al. 2023, "YaRN": fast pairs keep their frequency, slow ones are interpolated, those
// between are blended.
void ApplyYarn(const RopeConfig& rope, int head_dim, std::vector<double>* frequencies) {
  const auto dimension_turning = [&](double rotations) {
    return head_dim *
           std::log(static_cast<double>(rope.original_max_position_embeddings) /
                    (rotations * 2 * std::numbers::pi)) /
           (2 * std::log(rope.theta));
  };
  // As in the reference, 0 means the default.
  const double beta_fast = rope.beta_fast == 0 ? 32 : rope.beta_fast;
  const double beta_slow = rope.beta_slow == 0 ? 1 : rope.beta_slow;
  const double low = std::max(std::floor(dimension_turning(beta_fast)), 0.0);
  double high = std::min(std::ceil(dimension_turning(beta_slow)), head_dim - 1.0);
  if (low == high) high += 0.001;
  for (int i = 0; i < head_dim / 2; ++i) {
    const double interpolated = std::clamp((i - low) / (high - low), 0.0, 1.0);
    double& frequency = (*frequencies)[i];
    frequency = frequency / rope.factor * interpolated + frequency * (1 - interpolated);
  }
}

double YarnAttentionFactor(const RopeConfig& rope) {
  if (rope.attention_factor) return *rope.attention_factor;
  const auto magnitude = [&](double mscale) {
    return rope.factor <= 1 ? 1.0 : 0.1 * mscale * std::log(rope.factor) + 1;
  };
  // As in the reference, both must be there and not 0.
  if (rope.mscale.value_or(0) != 0 && rope.mscale_all_dim.value_or(0) != 0) {
    return magnitude(*rope.mscale) / magnitude(*rope.mscale_all_dim);
  }
  return magnitude(1);
}

// Llama 3.1: long wavelengths are stretched, short ones kept, those between blended.
void ApplyLlama3(const RopeConfig& rope, std::vector<double>* frequencies) {
  const double original = static_cast<double>(rope.original_max_position_embeddings);
  for (double& frequency : *frequencies) {
    const double wavelength = 2 * std::numbers::pi / frequency;
    if (wavelength < original / rope.high_freq_factor) continue;
    if (wavelength > original / rope.low_freq_factor) {
      frequency /= rope.factor;
      continue;
    }
    const double smooth = (original / wavelength - rope.low_freq_factor) /
                          (rope.high_freq_factor - rope.low_freq_factor);
    frequency = (1 - smooth) * frequency / rope.factor + smooth * frequency;
  }
}

}  // namespace

absl::StatusOr<RopeFrequencies> ComputeRopeFrequencies(const RopeConfig& rope, int head_dim,
                                                       int64_t max_model_len) {
  RopeFrequencies result;
  const double theta =
      rope.type == Type::kDynamic ? DynamicTheta(rope, head_dim, max_model_len) : rope.theta;
  result.inverse_frequencies = PlainFrequencies(theta, head_dim);
  switch (rope.type) {
    case Type::kNone:
    case Type::kDynamic:
      break;
    case Type::kLinear:
      for (double& frequency : result.inverse_frequencies) frequency /= rope.factor;
      break;
    case Type::kYarn:
      ApplyYarn(rope, head_dim, &result.inverse_frequencies);
      result.attention_factor = YarnAttentionFactor(rope);
      break;
    case Type::kLlama3:
      ApplyLlama3(rope, &result.inverse_frequencies);
      break;
  }
  const bool finite =
      std::isfinite(result.attention_factor) &&
      std::all_of(result.inverse_frequencies.begin(), result.inverse_frequencies.end(),
                  [](double frequency) { return std::isfinite(frequency); });
  if (!finite) {
    return absl::InvalidArgumentError(
        absl::StrCat("rope_scaling of type ", RopeTypeName(rope.type), " with rope_theta ",
                     rope.theta, ", factor ", rope.factor, ", original_max_position_embeddings ",
                     rope.original_max_position_embeddings, " and head_dim ", head_dim,
                     " gives no finite frequencies; check these values"));
  }
  return result;
}

}  // namespace quartet::model
