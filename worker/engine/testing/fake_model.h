// A model for tests: its logits are a hash of all tokens that the sequence has in the paged cache,
// read through the block tables. So a wrong block, slot, position or a block owned twice changes
// the tokens.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <set>
#include <vector>

#include "absl/status/status.h"
#include "common/mix_bits.h"
#include "kernels/cpu/sampling.h"
#include "kernels/ops.h"
#include "worker/model/model.h"

namespace quartet::engine {

class FakeModel : public model::Model {
 public:
  explicit FakeModel(int64_t vocab_size) : vocab_size_(vocab_size) {}

  // As rank 0 it remembers what it shares; as another rank it waits for what `shared_by` shares.
  absl::Status ShareTokenIds(std::vector<int32_t>* ids) override {
    if (shared_by != nullptr) *ids = shared_by->Shared(shared.size());
    {
      std::lock_guard<std::mutex> lock(mutex_);
      shared.push_back(*ids);
    }
    shared_more_.notify_all();
    return absl::OkStatus();
  }

  absl::Status Forward(const model::StepInput& input) override {
    inputs.push_back(input);
    if (on_forward) {
      const absl::Status status = on_forward(input);
      if (!status.ok()) return status;
    }
    for (int64_t t = 0; t < input.num_tokens(); ++t) {
      cache_[input.slot_mapping[t]] = common::MixBits(
          static_cast<uint64_t>(input.token_ids[t]) * 1000003 + input.positions[t] + 1);
    }
    logits_.clear();
    int64_t sequence = 0;
    for (int32_t row : input.logits_rows) {
      while (row >= input.query_start[sequence + 1]) ++sequence;
      uint64_t hash = 17;
      for (int32_t position = 0; position <= input.positions[row]; ++position) {
        const int32_t block =
            input.block_tables[sequence * input.max_blocks + position / kernels::kBlockTokens];
        hash = common::MixBits(
            hash * 31 + cache_[block * kernels::kBlockTokens + position % kernels::kBlockTokens]);
      }
      for (int64_t id = 0; id < vocab_size_; ++id) {
        logits_.push_back(
            static_cast<float>(common::MixBits(hash + static_cast<uint64_t>(id)) >> 40) * 0x1p-21f);
      }
    }
    return absl::OkStatus();
  }

  absl::Status Sample(std::span<const kernels::SampleRow> rows,
                      std::vector<kernels::SampledToken>* out) override {
    return kernels::cpu::Sample(logits_.data(), vocab_size_, vocab_size_, rows, nullptr, out);
  }

  std::vector<model::StepInput> inputs;  // of all steps
  std::vector<std::vector<int32_t>> shared;
  FakeModel* shared_by = nullptr;
  std::function<absl::Status(const model::StepInput&)> on_forward;

 private:
  std::vector<int32_t> Shared(size_t index) {
    std::unique_lock<std::mutex> lock(mutex_);
    shared_more_.wait(lock, [&] { return shared.size() > index; });
    return shared[index];
  }

  std::mutex mutex_;
  std::condition_variable shared_more_;
  const int64_t vocab_size_;
  std::map<int32_t, uint64_t> cache_;  // by slot in the cache
  std::vector<float> logits_;
};

}  // namespace quartet::engine
