#include "tokenizer_service/bpe.h"

#include <gtest/gtest.h>

#include <random>
#include <set>
#include <string>
#include <vector>

#include "tokenizer_service/heap_merger.h"

namespace quartet::tokenizer {
namespace {

// A vocabulary of single bytes, to which merges are added.
class VocabularyBuilder {
 public:
  explicit VocabularyBuilder(absl::string_view alphabet) {
    for (const char c : alphabet) Add(std::string(1, c));
  }
  uint32_t Add(const std::string& bytes) {
    vocabulary_.tokens.push_back({bytes, true, false});
    return static_cast<uint32_t>(vocabulary_.tokens.size() - 1);
  }
  uint32_t Find(const std::string& bytes) const {
    for (uint32_t id = 0; id < vocabulary_.tokens.size(); ++id) {
      if (vocabulary_.tokens[id].bytes == bytes) return id;
    }
    return UINT32_MAX;
  }
  // Adds the merge, and the token it makes if that is new.
  VocabularyBuilder& Merge(const std::string& left, const std::string& right) {
    uint32_t result = Find(left + right);
    if (result == UINT32_MAX) result = Add(left + right);
    vocabulary_.merges.push_back({Find(left), Find(right), result});
    return *this;
  }
  Vocabulary& vocabulary() { return vocabulary_; }

 private:
  Vocabulary vocabulary_;
};

// BPE by its definition, in quadratic time.
std::vector<uint32_t> NaiveEncode(const Vocabulary& vocabulary, const std::string& word) {
  std::vector<uint32_t> ids;
  for (const char c : word) {
    for (uint32_t id = 0; id < vocabulary.tokens.size(); ++id) {
      if (vocabulary.tokens[id].bytes == std::string(1, c)) ids.push_back(id);
    }
  }
  while (true) {
    size_t best_rank = vocabulary.merges.size();
    size_t at = 0;
    for (size_t i = 0; i + 1 < ids.size(); ++i) {
      // Of two equal merges the later one counts, so the search goes to the end.
      size_t rank = vocabulary.merges.size();
      for (size_t r = 0; r < vocabulary.merges.size(); ++r) {
        if (vocabulary.merges[r].left == ids[i] && vocabulary.merges[r].right == ids[i + 1])
          rank = r;
      }
      if (rank < best_rank) {
        best_rank = rank;
        at = i;
      }
    }
    if (best_rank == vocabulary.merges.size()) return ids;
    ids[at] = vocabulary.merges[best_rank].result;
    ids.erase(ids.begin() + static_cast<std::ptrdiff_t>(at) + 1);
  }
}

std::vector<uint32_t> Encode(const Bpe& bpe, const std::string& word, BpeScratch* scratch) {
  std::vector<uint32_t> ids;
  bpe.Encode(word, scratch, &ids);
  return ids;
}

std::string RandomWord(std::mt19937* random, absl::string_view alphabet, size_t max_size) {
  std::string word(1 + (*random)() % max_size, ' ');
  for (char& c : word) c = alphabet[(*random)() % alphabet.size()];
  return word;
}

// Merges of random pairs of tokens made so far. With `in_order`, as training would: parts first.
VocabularyBuilder RandomVocabulary(std::mt19937* random, int num_merges, bool in_order) {
  VocabularyBuilder builder("abc");
  std::set<std::pair<uint32_t, uint32_t>> pairs;
  for (int i = 0; i < num_merges; ++i) {
    const auto& tokens = builder.vocabulary().tokens;
    const auto left = static_cast<uint32_t>((*random)() % tokens.size());
    const auto right = static_cast<uint32_t>((*random)() % tokens.size());
    const bool is_new = builder.Find(tokens[left].bytes + tokens[right].bytes) == UINT32_MAX;
    // Now and then a second way to make a token, as files converted from other formats have.
    const bool wanted = is_new || !in_order || (*random)() % 4 == 0;
    if (!wanted || !pairs.emplace(left, right).second) {
      continue;
    }
    builder.Merge(std::string(tokens[left].bytes), std::string(tokens[right].bytes));
  }
  if (!in_order) {
    std::shuffle(builder.vocabulary().merges.begin(), builder.vocabulary().merges.end(), *random);
  }
  return builder;
}

// Returns how many of the vocabularies had their parts come first.
int CompareOnRandomVocabularies(bool in_order, uint32_t seed) {
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  std::mt19937 random(seed);
  int num_ordered = 0;
  for (int round = 0; round < 150; ++round) {
    VocabularyBuilder builder =
        RandomVocabulary(&random, 1 + static_cast<int>(random() % 40), in_order);
    const Bpe bpe(builder.vocabulary());
    BpeScratch scratch;
    for (int i = 0; i < 60; ++i) {
      const std::string word = RandomWord(&random, random() % 3 == 0 ? "a" : "abc", 80);
      EXPECT_EQ(Encode(bpe, word, &scratch), NaiveEncode(builder.vocabulary(), word))
          << "round " << round << " word " << word;
      if (testing::Test::HasFailure()) return num_ordered;
    }
    num_ordered += MergeTable(builder.vocabulary().merges).parts_come_first() ? 1 : 0;
  }
  return num_ordered;
}

TEST(BpeTest, LowestRankMergesFirst) {
  VocabularyBuilder builder("abc");
  builder.Merge("b", "c").Merge("a", "b").Merge("ab", "c");
  const Bpe bpe(builder.vocabulary());
  BpeScratch scratch;
  // "abc" is a token, but its parts never meet: b and c merge first.
  EXPECT_EQ(Encode(bpe, "abc", &scratch),
            (std::vector<uint32_t>{builder.Find("a"), builder.Find("bc")}));
}

TEST(BpeTest, EqualPairsMergeFromTheLeft) {
  VocabularyBuilder builder("a");
  builder.Merge("a", "a");
  const Bpe bpe(builder.vocabulary());
  BpeScratch scratch;
  EXPECT_EQ(Encode(bpe, "aaa", &scratch), (std::vector<uint32_t>{1, 0}));
}

TEST(BpeTest, IgnoreMergesTakesAWholeToken) {
  VocabularyBuilder builder("abc");
  builder.Merge("b", "c").Merge("a", "b").Merge("ab", "c");
  builder.vocabulary().ignore_merges = true;
  const Bpe bpe(builder.vocabulary());
  BpeScratch scratch;
  EXPECT_EQ(Encode(bpe, "abc", &scratch), (std::vector<uint32_t>{builder.Find("abc")}));
}

TEST(BpeTest, BytesWithoutATokenAreDropped) {
  VocabularyBuilder builder("ab");
  builder.Merge("a", "b");
  const Bpe bpe(builder.vocabulary());
  BpeScratch scratch;
  EXPECT_EQ(Encode(bpe, "a#b", &scratch), (std::vector<uint32_t>{2}));
  EXPECT_EQ(Encode(bpe, "###", &scratch), (std::vector<uint32_t>{}));
  const std::string long_word = std::string(40, '#') + "a" + std::string(40, '#') + "b";
  EXPECT_EQ(Encode(bpe, long_word, &scratch), (std::vector<uint32_t>{2}));
}

TEST(BpeTest, CachedWordsComeOutTheSame) {
  VocabularyBuilder builder("ab");
  builder.Merge("a", "b");
  const Bpe bpe(builder.vocabulary());
  BpeScratch scratch;
  const std::vector<uint32_t> first = Encode(bpe, "abba", &scratch);
  EXPECT_EQ(Encode(bpe, "abba", &scratch), first);
  EXPECT_EQ(first, (std::vector<uint32_t>{2, 1, 0}));
}

TEST(BpeTest, EqualsTheDefinitionOnTrainedVocabularies) {
  EXPECT_GT(CompareOnRandomVocabularies(true, 1), 20);
}

TEST(BpeTest, EqualsTheDefinitionOnAnyOrderOfMerges) {
  EXPECT_LT(CompareOnRandomVocabularies(false, 2), 130);
}

TEST(MergeTableTest, KnowsWhetherPartsComeFirst) {
  VocabularyBuilder trained("abc");
  trained.Merge("a", "b").Merge("ab", "c");
  EXPECT_TRUE(MergeTable(trained.vocabulary().merges).parts_come_first());
  std::swap(trained.vocabulary().merges[0], trained.vocabulary().merges[1]);
  EXPECT_FALSE(MergeTable(trained.vocabulary().merges).parts_come_first());
}

TEST(TokenTrieTest, FindsTheLongestToken) {
  TokenTrie trie;
  const std::string high = "\xff\xfe";
  trie.Build({{"a", 1}, {"abc", 2}, {"b", 3}, {high, 4}, {absl::string_view("\0", 1), 5}});
  EXPECT_EQ(trie.Longest("abd"), 1u);
  EXPECT_EQ(trie.Longest("abcd"), 2u);
  EXPECT_EQ(trie.Longest("\xff\xfe\xfd"), 4u);
  EXPECT_EQ(trie.Longest(absl::string_view("\0\0", 2)), 5u);
  EXPECT_EQ(trie.Longest("\xff"), kNoToken);
  EXPECT_EQ(trie.Longest("c"), kNoToken);
  EXPECT_EQ(trie.Longest(""), kNoToken);
}

}  // namespace
}  // namespace quartet::tokenizer
