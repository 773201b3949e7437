// Work counted in tokens tried; that the ids are right, bpe_test.cc shows against the definition.
#include "tokenizer_service/backtracking_encoder.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tokenizer_service/heap_merger.h"

namespace quartet::tokenizer {
namespace {

constexpr uint32_t kLongestRun = 120;

// Runs of one character as large vocabularies have them: the powers of two first, then every length
// up to kLongestRun as the largest power and the rest. The run of n is id n - 1. A longer run
// encodes to 64 again and again, though far longer tokens stand at every position.
class RunVocabulary {
 public:
  RunVocabulary() : merges_(Merges()) {
    texts_.reserve(kLongestRun);
    std::vector<StableToken> tokens;
    for (uint32_t size = 1; size <= kLongestRun; ++size) {
      texts_.push_back(std::string(size, '-'));
      std::vector<uint32_t> symbols(size, 0);
      const uint32_t rank = MergeByHeap(merges_, &symbols);
      if (symbols != std::vector<uint32_t>{size - 1}) continue;
      StableToken token = {texts_.back(), size - 1, {}};
      if (rank != kNoMerge)
        token.derivation = {merges_.At(rank).left, merges_.At(rank).right, rank};
      tokens.push_back(token);
    }
    num_stable_ = tokens.size();
    encoder_.Build(&merges_, kLongestRun, tokens);
  }

  const MergeTable& merges() const { return merges_; }
  const BacktrackingEncoder& encoder() const { return encoder_; }
  size_t num_stable() const { return num_stable_; }

 private:
  static std::vector<Merge> Merges() {
    std::vector<Merge> merges;
    for (uint32_t size = 2; size <= kLongestRun; size *= 2) {
      merges.push_back({size / 2 - 1, size / 2 - 1, size - 1});
    }
    uint32_t power = 1;
    for (uint32_t size = 2; size <= kLongestRun; ++size) {
      if (size == power * 2) {
        power = size;
      } else {
        merges.push_back({power - 1, size - power - 1, size - 1});
      }
    }
    return merges;
  }

  const MergeTable merges_;
  std::vector<std::string> texts_;
  BacktrackingEncoder encoder_;
  size_t num_stable_ = 0;
};

TEST(BacktrackingEncoderTest, ARunOfOneCharacterTriesFewTokens) {
  const RunVocabulary vocabulary;
  ASSERT_GT(vocabulary.num_stable(), 100u);
  BacktrackingEncoder::Scratch scratch;
  for (const size_t size : {size_t{6'400}, size_t{64'000}, size_t{64'063}}) {
    std::vector<uint32_t> ids;
    vocabulary.encoder().Encode(std::string(size, '-'), &scratch, &ids);
    std::vector<uint32_t> expected(size, 0);
    MergeByHeap(vocabulary.merges(), &expected);
    ASSERT_EQ(ids, expected);
    ASSERT_EQ(ids.front(), 63u);
    EXPECT_GE(scratch.num_tries, ids.size());
    // One try for each token, and what the two ends of the run take, however long it is.
    EXPECT_LE(scratch.num_tries, ids.size() + kLongestRun * kLongestRun) << size << " bytes";
  }
}

TEST(BacktrackingEncoderTest, RunsOfEveryLengthEncodeAsMerged) {
  const RunVocabulary vocabulary;
  BacktrackingEncoder::Scratch scratch;
  for (size_t size = 1; size <= 4 * kLongestRun; ++size) {
    std::vector<uint32_t> ids;
    vocabulary.encoder().Encode(std::string(size, '-'), &scratch, &ids);
    std::vector<uint32_t> expected(size, 0);
    MergeByHeap(vocabulary.merges(), &expected);
    ASSERT_EQ(ids, expected) << size;
  }
}

}  // namespace
}  // namespace quartet::tokenizer
