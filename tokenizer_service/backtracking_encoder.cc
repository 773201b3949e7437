#include "tokenizer_service/backtracking_encoder.h"

#include <cstring>
#include <utility>

namespace quartet::tokenizer {
namespace {

// Whether the `size` bytes before `position` follow once more.
bool StandsAgain(absl::string_view word, size_t position, size_t size) {
  if (word.size() - position < size || word[position] != word[position - size]) return false;
  return std::memcmp(word.data() + position, word.data() + position - size, size) == 0;
}

}  // namespace

void BacktrackingEncoder::Build(const MergeTable* merges, uint32_t num_ids,
                                const std::vector<StableToken>& tokens) {
  merges_ = merges;
  tokens_.assign(num_ids, Token());
  std::vector<std::pair<absl::string_view, uint32_t>> words;
  for (const StableToken& token : tokens) {
    tokens_[token.id].num_bytes = static_cast<uint32_t>(token.bytes.size());
    tokens_[token.id].derivation = token.derivation;
    words.emplace_back(token.bytes, token.id);
  }
  trie_.Build(words);
  for (const StableToken& token : tokens) {
    if (token.bytes.size() < 2) continue;
    tokens_[token.id].shorter = trie_.Longest(token.bytes.substr(0, token.bytes.size() - 1));
  }
}

bool BacktrackingEncoder::AreNeighbours(uint32_t left, uint32_t right) const {
  // Time runs backwards: `limit` is the rank at which the last undone merge was due, and a merge
  // across the border that was due before it would have come first.
  uint64_t limit = UINT64_MAX;
  while (true) {
    const uint32_t across = merges_->Rank(left, right);
    if (across != kNoMerge && across < limit) return false;
    const Derivation& of_left = tokens_[left].derivation;
    const Derivation& of_right = tokens_[right].derivation;
    const bool left_is_byte = of_left.rank == kNoMerge;
    const bool right_is_byte = of_right.rank == kNoMerge;
    if (left_is_byte && right_is_byte) return true;
    if (right_is_byte || (!left_is_byte && of_left.rank > of_right.rank)) {
      // A merge of equal rank across the border lies to the right of this one: it came later.
      limit = of_left.rank;
      left = of_left.right;
    } else {
      // Here it lies to the left: it came first.
      limit = uint64_t{of_right.rank} + 1;
      right = of_right.left;
    }
  }
}

bool BacktrackingEncoder::AreNeighbours(uint32_t left, uint32_t right, Scratch* scratch) const {
  const uint64_t pair = uint64_t{left} << 32 | right;
  const uint64_t slot = pair * 0x9E3779B97F4A7C15u >> 32;
  uint64_t& answer = scratch->answers[slot % kNumAnswers];
  if ((answer | kRefused) != (pair | kRefused)) {
    answer = AreNeighbours(left, right) ? pair : pair | kRefused;
  }
  return answer == pair;
}

void BacktrackingEncoder::Encode(absl::string_view word, Scratch* scratch,
                                 std::vector<uint32_t>* ids) const {
  std::vector<uint32_t>& tokens = scratch->tokens;
  std::vector<uint64_t>& dead_ends = scratch->dead_ends;
  tokens.clear();
  scratch->num_tries = 0;
  dead_ends.assign(word.size() / 64 + 1, 0);
  size_t position = 0;
  uint32_t token = trie_.Longest(word);
  bool repeats = false;  // whether `token` is tried because it stands before
  while (position < word.size()) {
    if (token == kNoToken) {  // Nothing fits here, so the encoding has no border here: step back.
      dead_ends[position / 64] |= uint64_t{1} << (position % 64);
      token = tokens.back();
      tokens.pop_back();
      position -= tokens_[token].num_bytes;
      // A repetition that was taken came before all others; had it come in their row it would have
      // been refused.
      const bool repeated = !tokens.empty() && tokens.back() == token;
      token = repeated ? trie_.Longest(word.substr(position)) : tokens_[token].shorter;
      repeats = false;
      continue;
    }
    ++scratch->num_tries;
    const size_t end = position + tokens_[token].num_bytes;
    const bool dead = (dead_ends[end / 64] >> (end % 64) & 1) != 0;
    if (dead || (!tokens.empty() && !AreNeighbours(tokens.back(), token, scratch))) {
      token = repeats ? trie_.Longest(word.substr(position)) : tokens_[token].shorter;
      repeats = false;
      continue;
    }
    tokens.push_back(token);
    repeats = StandsAgain(word, end, end - position);
    position = end;
    if (!repeats) token = trie_.Longest(word.substr(position));
  }
  ids->insert(ids->end(), tokens.begin(), tokens.end());
}

}  // namespace quartet::tokenizer
