#include "gateway/prefix_affinity.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "absl/strings/str_cat.h"

namespace quartet::gateway {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

TokenIds Ids(uint32_t n, uint32_t first = 0) {
  TokenIds ids(n);
  for (uint32_t i = 0; i < n; ++i) ids[i] = first + i;
  return ids;
}

TEST(BlockHashesTest, NameFullBlocksByAllThatIsBeforeThem) {
  const auto hashes = BlockHashes(Ids(40), "", 16);
  ASSERT_THAT(hashes, SizeIs(2));
  const auto longer = BlockHashes(Ids(64), "", 16);
  ASSERT_THAT(longer, SizeIs(4));
  EXPECT_THAT(hashes, ElementsAre(longer[0], longer[1]));
  TokenIds changed = Ids(64);
  changed[3] = 99;
  const auto other = BlockHashes(changed, "", 16);
  for (size_t i = 0; i < other.size(); ++i) EXPECT_NE(other[i], longer[i]) << i;
}

TEST(BlockHashesTest, ASaltMakesAnotherPrefix) {
  EXPECT_NE(BlockHashes(Ids(16), "a", 16), BlockHashes(Ids(16), "b", 16));
}

TEST(BlockHashesTest, AreTheSameInEveryProcess) {
  EXPECT_THAT(BlockHashes(Ids(16), "salt", 16), ElementsAre(9587893374210078043ULL));
}

TEST(BlockHashesTest, AShortPromptHasNone) {
  EXPECT_THAT(BlockHashes(Ids(15), "", 16), IsEmpty());
  EXPECT_THAT(BlockHashes(Ids(15), "", 0), IsEmpty());
}

TEST(RendezvousTest, ANewGroupTakesItsShareAndMovesNothingElse) {
  const std::vector<std::string> four = {"a", "b", "c", "d"};
  const auto home = [](uint64_t prefix, const std::vector<std::string>& groups) {
    return *std::max_element(groups.begin(), groups.end(), [&](const auto& x, const auto& y) {
      return RendezvousScore(prefix, x) < RendezvousScore(prefix, y);
    });
  };
  const std::vector<std::string> three(four.begin(), four.begin() + 3);
  std::map<std::string, int> share;
  for (uint32_t i = 0; i < 4000; ++i) {
    const uint64_t prefix = BlockHashes(Ids(16, i), "", 16)[0];
    const std::string before = home(prefix, three);
    const std::string after = home(prefix, four);
    ++share[after];
    EXPECT_TRUE(after == "d" || after == before) << after << " was " << before;
  }
  for (const auto& [group, count] : share) EXPECT_NEAR(count, 1000, 150) << group;
}

TEST(PrefixMemoryTest, FindsTheLongestPromptThatIsAPrefix) {
  PrefixMemory memory(100);
  const auto turn = [](uint32_t n) { return BlockHashes(Ids(n), "", 16); };
  memory.Remember(turn(32), "a");
  memory.Remember(turn(80), "b");
  EXPECT_EQ(memory.Find(turn(16)), nullptr);
  EXPECT_EQ(*memory.Find(turn(64)), "a");
  EXPECT_EQ(*memory.Find(turn(200)), "b");
  memory.Remember(turn(80), "c");
  EXPECT_EQ(*memory.Find(turn(200)), "c");
}

TEST(PrefixMemoryTest, ForgetsTheLeastRecentlyUsed) {
  PrefixMemory memory(2);
  const auto prompt = [](uint32_t first) { return BlockHashes(Ids(16, first), "", 16); };
  memory.Remember(prompt(0), "a");
  memory.Remember(prompt(1), "b");
  EXPECT_NE(memory.Find(prompt(0)), nullptr);
  memory.Remember(prompt(2), "c");
  EXPECT_EQ(memory.Find(prompt(1)), nullptr);
  EXPECT_EQ(*memory.Find(prompt(0)), "a");
  EXPECT_EQ(*memory.Find(prompt(2)), "c");
}

}  // namespace
}  // namespace quartet::gateway
