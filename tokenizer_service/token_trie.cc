#include "tokenizer_service/token_trie.h"

#include <algorithm>
#include <iterator>

namespace quartet::tokenizer {
namespace {

// Tokens [begin, end) of the sorted list share the first `depth` bytes, which lead to `node`.
struct Range {
  size_t begin;
  size_t end;
  size_t depth;
  uint32_t node;
};

}  // namespace

void TokenTrie::Build(std::vector<std::pair<absl::string_view, uint32_t>> tokens) {
  std::sort(tokens.begin(), tokens.end());
  nodes_.assign(1024, Node());
  std::fill(std::begin(next_place_), std::end(next_place_), kFirstPlace);
  nodes_[kRoot].parent = kRoot;
  // Depth first, so that what belongs to one beginning lies together.
  std::vector<Range> ranges = {{0, tokens.size(), 0, kRoot}};
  std::vector<unsigned char> bytes;
  std::vector<size_t> starts;
  while (!ranges.empty()) {
    Range range = ranges.back();
    ranges.pop_back();
    if (range.begin < range.end && tokens[range.begin].first.size() == range.depth) {
      nodes_[range.node].token = tokens[range.begin++].second;
    }
    bytes.clear();
    starts.clear();
    for (size_t i = range.begin; i < range.end; ++i) {
      const auto byte = static_cast<unsigned char>(tokens[i].first[range.depth]);
      if (!bytes.empty() && bytes.back() == byte) continue;
      bytes.push_back(byte);
      starts.push_back(i);
    }
    if (bytes.empty()) continue;
    starts.push_back(range.end);
    const uint32_t base = FindBase(bytes);
    nodes_[range.node].base = base;
    for (size_t i = 0; i < bytes.size(); ++i) {
      nodes_[base + bytes[i]].parent = range.node;
      ranges.push_back({starts[i], starts[i + 1], range.depth + 1, base + bytes[i]});
    }
  }
}

uint32_t TokenTrie::FindBase(const std::vector<unsigned char>& bytes) {
  // Each class of sizes goes on where its last node went in: the room before is taken or too
  // narrow, give or take holes.
  uint32_t& place = next_place_[bytes.size() == 1 ? 0 : bytes.size() < 8 ? 1 : 2];
  for (;; ++place) {
    const uint32_t base = place - bytes[0];
    // Every base leaves room for all 256 bytes, so that Longest never reads past the end.
    if (nodes_.size() < base + 512) nodes_.resize(nodes_.size() * 2);
    const bool fits = std::all_of(bytes.begin(), bytes.end(), [&](unsigned char byte) {
      return nodes_[base + byte].parent == UINT32_MAX;
    });
    if (fits) return base;
  }
}

}  // namespace quartet::tokenizer
