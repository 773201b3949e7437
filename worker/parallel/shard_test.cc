#include "worker/parallel/shard.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace quartet::parallel {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr ShardedSizes kQwen7B = {28, 4, 128, 18944, 152064};
constexpr ShardedSizes kSmolLm2 = {9, 3, 64, 1536, 49152};

TEST(ShardTest, Qwen7BAtFourRanks) {
  const auto shard = MakeShard(kQwen7B, 3, 4);
  ASSERT_TRUE(shard.ok()) << shard.status();
  EXPECT_EQ(shard->num_heads, 7);
  EXPECT_EQ(shard->first_head, 21);
  EXPECT_EQ(shard->num_kv_heads, 1);
  EXPECT_EQ(shard->first_kv_head, 3);
  EXPECT_EQ(shard->intermediate_size, 4736);
  EXPECT_EQ(shard->first_intermediate, 3 * 4736);
  EXPECT_EQ(shard->vocab_rows, 38016);
  EXPECT_EQ(shard->vocab_rows_in_file, 38016);
  EXPECT_EQ(shard->first_vocab_row, 3 * 38016);
  EXPECT_EQ(shard->num_segments, 1);
  EXPECT_EQ(shard->total_num_segments, 4);
  EXPECT_EQ(shard->qkv_rows(), 9 * 128);
}

TEST(ShardTest, EveryPartIsOwnedOnce) {
  for (const ShardedSizes& sizes : {kQwen7B, kSmolLm2, ShardedSizes{8, 4, 6, 40, 1001}}) {
    for (const int world_size : PossibleWorldSizes(sizes)) {
      int heads = 0, kv_heads = 0;
      int64_t intermediate = 0, vocabulary = 0;
      for (int rank = 0; rank < world_size; ++rank) {
        const auto shard = MakeShard(sizes, rank, world_size);
        ASSERT_TRUE(shard.ok()) << shard.status();
        EXPECT_EQ(shard->first_head, heads);
        EXPECT_EQ(shard->first_kv_head, kv_heads);
        EXPECT_EQ(shard->first_intermediate, intermediate);
        EXPECT_EQ(shard->num_heads * sizes.num_kv_heads, shard->num_kv_heads * sizes.num_heads);
        heads += shard->num_heads;
        kv_heads += shard->num_kv_heads;
        intermediate += shard->intermediate_size;
        vocabulary += shard->vocab_rows_in_file;
      }
      EXPECT_EQ(heads, sizes.num_heads);
      EXPECT_EQ(kv_heads, sizes.num_kv_heads);
      EXPECT_EQ(intermediate, sizes.intermediate_size);
      EXPECT_EQ(vocabulary, sizes.vocab_size);
    }
  }
}

TEST(ShardTest, UnevenVocabularyIsPaddedToEqualCounts) {
  const ShardedSizes sizes = {8, 4, 6, 40, 1001};
  for (int rank = 0; rank < 4; ++rank) {
    const auto shard = MakeShard(sizes, rank, 4);
    ASSERT_TRUE(shard.ok());
    EXPECT_EQ(shard->vocab_rows, 251);
    EXPECT_EQ(shard->vocab_rows_in_file, rank < 3 ? 251 : 248);
    EXPECT_EQ(shard->padded_vocab_size(), 1004);
  }
}

TEST(ShardTest, VocabularySmallerThanTheRanksLeavesSomeWithPaddingOnly) {
  const auto shard = MakeShard({8, 4, 6, 40, 5}, 3, 4);
  ASSERT_TRUE(shard.ok());
  EXPECT_EQ(shard->vocab_rows, 2);
  EXPECT_EQ(shard->vocab_rows_in_file, 0);
}

TEST(ShardTest, OtherWorldSizesAreRefusedWithThePossibleOnes) {
  EXPECT_THAT(PossibleWorldSizes(kQwen7B), ElementsAre(1, 2, 4));
  EXPECT_THAT(PossibleWorldSizes(kSmolLm2), ElementsAre(1, 3));
  for (const int size : {-1, 0, 2, 9}) {
    const auto shard = MakeShard(kSmolLm2, 0, size);
    ASSERT_FALSE(shard.ok()) << size;
    EXPECT_THAT(std::string(shard.status().message()), HasSubstr("use 1, 3")) << size;
  }
  EXPECT_FALSE(MakeShard(kSmolLm2, 3, 3).ok());
  EXPECT_FALSE(MakeShard(kSmolLm2, -1, 3).ok());
}

TEST(ShardTest, SizesThatDoNotFallIntoEvenSegmentsAreRefused) {
  EXPECT_THAT(PossibleWorldSizes({9, 2, 64, 1536, 100}), IsEmpty());  // 2 doesn't divide 9
  EXPECT_THAT(PossibleWorldSizes({8, 4, 64, 1004, 100}), IsEmpty());  // segments of 251
  EXPECT_THAT(PossibleWorldSizes({8, 0, 64, 1024, 100}), IsEmpty());
  const auto shard = MakeShard({8, 4, 64, 1004, 100}, 0, 1);
  ASSERT_FALSE(shard.ok());
  EXPECT_THAT(std::string(shard.status().message()), HasSubstr("1004"));
}

}  // namespace
}  // namespace quartet::parallel
