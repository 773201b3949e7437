// What the prefix cache finds, what it must not find, and in which order it forgets.
#include "worker/engine/prefix_cache.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>

namespace quartet::engine {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

// Token ids first, first + 1, ... of `num_blocks` blocks.
std::vector<int32_t> Text(int32_t first, int64_t num_blocks) {
  std::vector<int32_t> tokens(num_blocks * kBlockTokens);
  std::iota(tokens.begin(), tokens.end(), first);
  return tokens;
}

// Plays a sequence that computes all of `tokens` in blocks of its own.
std::vector<int32_t> Compute(PrefixCache* cache, const std::vector<int32_t>& tokens,
                             absl::string_view salt = "") {
  std::vector<int32_t> blocks;
  for (size_t i = 0; i < tokens.size() / kBlockTokens; ++i) blocks.push_back(cache->Allocate());
  for (size_t i = 0; i < blocks.size(); ++i) {
    blocks[i] = cache->Publish(salt, blocks, static_cast<int64_t>(i),
                               std::span(tokens).subspan(i * kBlockTokens, kBlockTokens), true);
  }
  return blocks;
}

void ReleaseAll(PrefixCache* cache, const std::vector<int32_t>& blocks) {
  for (auto it = blocks.rbegin(); it != blocks.rend(); ++it) cache->Release(*it);
}

TEST(PrefixCacheTest, FindsTheLongestKnownPrefix) {
  PrefixCache cache(10, true);
  const std::vector<int32_t> blocks = Compute(&cache, Text(0, 3));
  std::vector<int32_t> other = Text(0, 4);
  EXPECT_EQ(cache.Acquire("", other, 4), blocks);
  EXPECT_THAT(cache.Acquire("", other, 2), ElementsAre(blocks[0], blocks[1]));
  other[kBlockTokens + 3] = 7777;
  EXPECT_THAT(cache.Acquire("", other, 4), ElementsAre(blocks[0]));
  EXPECT_EQ(cache.pool().reference_count(blocks[0]), 4);
  EXPECT_EQ(cache.pool().reference_count(blocks[2]), 2);
}

TEST(PrefixCacheTest, ABlockIsKnownOnlyBehindItsOwnPrefix) {
  PrefixCache cache(10, true);
  Compute(&cache, Text(0, 2));
  // The second block's tokens as a first block, and behind another first block.
  EXPECT_THAT(cache.Acquire("", Text(kBlockTokens, 1), 1), IsEmpty());
  std::vector<int32_t> tokens = Text(500, 1);
  for (int32_t id : Text(kBlockTokens, 1)) tokens.push_back(id);
  const std::vector<int32_t> other = Compute(&cache, Text(500, 1));
  EXPECT_EQ(cache.Acquire("", tokens, 2), other);
}

TEST(PrefixCacheTest, SaltsKeepUsersApart) {
  PrefixCache cache(10, true);
  const std::vector<int32_t> of_a = Compute(&cache, Text(0, 2), "a");
  const std::vector<int32_t> of_b = Compute(&cache, Text(0, 2), "b");
  EXPECT_NE(of_a, of_b);
  EXPECT_EQ(cache.Acquire("a", Text(0, 2), 2), of_a);
  EXPECT_EQ(cache.Acquire("b", Text(0, 2), 2), of_b);
  EXPECT_THAT(cache.Acquire("", Text(0, 2), 2), IsEmpty());
}

TEST(PrefixCacheTest, CollisionsOfHashesAreNoMatches) {
  // All blocks have one hash.
  PrefixCache cache(
      12, true, [](uint64_t, absl::string_view, std::span<const int32_t>) { return uint64_t{7}; });
  const std::vector<int32_t> first = Compute(&cache, Text(0, 2));
  const std::vector<int32_t> second = Compute(&cache, Text(900, 2));
  const std::vector<int32_t> salted = Compute(&cache, Text(0, 2), "salt");
  EXPECT_EQ(cache.Acquire("", Text(0, 2), 2), first);
  EXPECT_EQ(cache.Acquire("", Text(900, 2), 2), second);
  EXPECT_EQ(cache.Acquire("salt", Text(0, 2), 2), salted);
  EXPECT_THAT(cache.Acquire("", Text(300, 2), 2), IsEmpty());
  // Forgetting one from the middle of the chain leaves the others.
  for (int i = 0; i < 2; ++i) ReleaseAll(&cache, second);
  while (cache.num_cached() > 0) cache.Allocate();
  EXPECT_THAT(cache.Acquire("", Text(900, 2), 2), IsEmpty());
  EXPECT_EQ(cache.Acquire("", Text(0, 2), 2), first);
  EXPECT_EQ(cache.Acquire("salt", Text(0, 2), 2), salted);
}

TEST(PrefixCacheTest, TheLeastRecentlyHeldIsForgottenFirstAndEndsBeforeBeginnings) {
  PrefixCache cache(4, true);
  const std::vector<int32_t> old_text = Compute(&cache, Text(0, 2));
  const std::vector<int32_t> new_text = Compute(&cache, Text(100, 2));
  ReleaseAll(&cache, old_text);
  ReleaseAll(&cache, new_text);
  EXPECT_EQ(cache.num_cached(), 4);
  EXPECT_EQ(cache.pool().num_free(), 4);
  EXPECT_EQ(cache.Allocate(), old_text[1]);
  EXPECT_THAT(cache.Acquire("", Text(0, 2), 2), ElementsAre(old_text[0]));  // held again
  EXPECT_EQ(cache.Allocate(), new_text[1]);
  EXPECT_EQ(cache.Allocate(), new_text[0]);
  EXPECT_EQ(cache.num_cached(), 0);
  EXPECT_THAT(cache.Acquire("", Text(100, 2), 2), IsEmpty());
}

TEST(PrefixCacheTest, BlocksWithoutContentsAreUsedBeforeKnownOnes) {
  PrefixCache cache(3, true);
  ReleaseAll(&cache, Compute(&cache, Text(0, 1)));
  const int32_t scratch = cache.Allocate();
  cache.Release(scratch);
  EXPECT_EQ(cache.Allocate(), scratch);
  EXPECT_EQ(cache.num_cached(), 1);
}

TEST(PrefixCacheTest, ASecondCopyGivesWayUnlessItIsBeingWritten) {
  PrefixCache cache(6, true);
  const std::vector<int32_t> first = Compute(&cache, Text(0, 1));
  const std::vector<int32_t> copy = {cache.Allocate()};
  EXPECT_EQ(cache.Publish("", copy, 0, Text(0, 1), /*may_replace=*/false), -1);
  EXPECT_EQ(cache.pool().reference_count(copy[0]), 1);
  EXPECT_EQ(cache.Publish("", copy, 0, Text(0, 1), /*may_replace=*/true), first[0]);
  EXPECT_EQ(cache.pool().reference_count(copy[0]), 0);
  EXPECT_EQ(cache.pool().reference_count(first[0]), 2);
}

TEST(PrefixCacheTest, SwitchedOffItKnowsNothing) {
  PrefixCache cache(4, false);
  const std::vector<int32_t> blocks = {cache.Allocate()};
  EXPECT_EQ(cache.Publish("", blocks, 0, Text(0, 1), true), -1);
  EXPECT_THAT(cache.Acquire("", Text(0, 1), 1), IsEmpty());
  cache.Release(blocks[0]);
  EXPECT_EQ(cache.num_cached(), 0);
  EXPECT_EQ(cache.pool().num_free(), 4);
}

}  // namespace
}  // namespace quartet::engine
